/** Commands that change what cells are to the pipeline: roles, steps, quick fixes, undo, suggestions. */
import { InputDialog, Notification } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';

import type { IServices } from '../context';
import { Change, renameStep, tagsOf } from '../edits';
import { CMD } from '../ids';
import { headingAbove, jumpTo } from '../jump';
import type { NotebookModel } from '../model';
import { CELL_ROLES, CellRole, freeStepName, headingIn, readTags, slug, STEP_NAME, withGate, withRole } from '../tags';
import type { IDiagnostic } from '../types';
import { add, TEXT } from './common';

/** The selected code cells, or the active one. */
function selected(model: NotebookModel): Cell[] {
  return model.panel.content.widgets.filter(cell => cell.model.type === 'code' && model.panel.content.isSelectedOrActive(cell));
}

function hasCodeCell(model: NotebookModel | null): boolean {
  return model !== null && selected(model).length > 0;
}

function stepNames(model: NotebookModel): string[] {
  return model.body().cells.flatMap(cell => readTags(cell.tags).step || []);
}

function tag(model: NotebookModel, title: string, cells: Cell[], change: (tags: string[], place: number) => string[]): void {
  const changes: Change[] = cells.map((cell, place) => ({
    kind: 'set_tags',
    cell: cell.model.id,
    tags: change(tagsOf(cell.model.metadata), place)
  }));
  model.history.do(title, changes);
}

export function addTaggingCommands(services: IServices): void {
  const { pipelines, trans } = services;
  let visited = '';
  const current = () => pipelines.current!;

  add(services, CMD.setRole, {
    label: trans.__('Set Role of Cell'),
    changes: true,
    title: args =>
      args.role === 'step'
        ? trans.__('Step %1', String(args.step ?? ''))
        : trans.__('Role: %1', String(args.role || trans.__('none'))),
    args: { role: { ...TEXT, enum: [...CELL_ROLES, ''] }, step: { ...TEXT, description: 'The step, with the role "step"' } },
    enabled: hasCodeCell,
    toggled: (model, args) => {
      const cell = model?.panel.content.activeCell;
      const own = cell ? readTags(tagsOf(cell.model.metadata)) : null;
      return own !== null && own.role === args.role && (args.role !== 'step' || own.step === args.step);
    },
    execute: ({ role, step }: { role: CellRole | ''; step?: string }) => {
      if (role === 'step' && !step) {
        return services.commands.execute(CMD.newStep);
      }
      // The first cell begins the step; those below it belong to it without a tag, unless they carry one of their own.
      tag(current(), trans.__('Set role'), selected(current()), tags => withRole(tags, role, step));
    }
  });

  add(services, CMD.newStep, {
    label: trans.__('Tag Cell as New Step'),
    changes: true,
    args: { name: { ...TEXT, description: 'The name of the step; asked for if it is left out' } },
    enabled: hasCodeCell,
    execute: async ({ name }: { name?: string }) => {
      const model = current();
      const cells = selected(model);
      const place = model.panel.content.widgets.indexOf(cells[0]);
      const wish = freeStepName(stepNames(model), headingAbove(model.panel, place, headingIn));
      const chosen = name ?? (await askName(services, trans.__('New step'), wish));
      if (!chosen) {
        return;
      }
      tag(model, trans.__('Tag as step %1', chosen), cells, (tags, at) =>
        at === 0 ? withRole(tags, 'step', chosen) : withRole(tags, '')
      );
      model.panel.content.activate();
    }
  });

  add(services, CMD.joinAbove, {
    label: trans.__('Join Cell to the Step Above'),
    changes: true,
    enabled: hasCodeCell,
    execute: () => tag(current(), trans.__('Join the step above'), selected(current()), tags => withRole(tags, ''))
  });

  add(services, CMD.skip, {
    label: trans.__('Skip Cell (Leave It out of the Pipeline)'),
    changes: true,
    enabled: hasCodeCell,
    toggled: model => hasCodeCell(model) && selected(model!).every(cell => tagsOf(cell.model.metadata).includes('skip')),
    execute: () => {
      const cells = selected(current());
      const all = cells.every(cell => tagsOf(cell.model.metadata).includes('skip'));
      tag(current(), trans.__('Skip'), cells, tags => withRole(tags, all ? '' : 'skip'));
    }
  });

  add(services, CMD.clear, {
    label: trans.__('Clear Role of Cell'),
    changes: true,
    enabled: hasCodeCell,
    execute: () => tag(current(), trans.__('Clear role'), selected(current()), tags => withRole(tags, ''))
  });

  add(services, CMD.gate, {
    label: trans.__('Make the Step a Gate'),
    changes: true,
    caption: trans.__('A failing assertion in a gate rejects the run'),
    enabled: model => model !== null && readTags(tagsOf(model.panel.content.activeCell?.model.metadata)).role === 'step',
    toggled: model => tagsOf(model?.panel.content.activeCell?.model.metadata).includes('gate'),
    execute: () => {
      const cell = current().panel.content.activeCell!;
      tag(current(), trans.__('Gate'), [cell], tags => withGate(tags, !tags.includes('gate')));
    }
  });

  add(services, CMD.rename, {
    label: trans.__('Rename Step…'),
    changes: true,
    args: { step: TEXT, name: { ...TEXT, description: 'The new name; asked for if it is left out' } },
    enabled: (model, args) => model !== null && Boolean(args.step || readStep(model)),
    execute: async ({ step, name }: { step?: string; name?: string }) => {
      const model = current();
      const from = step ?? readStep(model);
      const to = name ?? (await askName(services, trans.__('Rename step %1', from), from));
      if (!to || to === from) {
        return;
      }
      if (!STEP_NAME.test(to)) {
        throw new Error(
          trans.__(
            '"%1" is no step name: names are lower-case letters, digits and dashes, and begin with a letter. Try "%2".',
            to,
            slug(to) || 'step'
          )
        );
      }
      if (stepNames(model).includes(to)) {
        throw new Error(trans.__('There is a step %1 already; give the step another name.', to));
      }
      model.history.do(trans.__('Rename step %1 to %2', from, to), renameStep(model.panel.content.model!, from, to));
    }
  });

  add(services, CMD.goToStep, {
    label: trans.__('Go to Step'),
    args: {
      step: TEXT,
      cell: { ...TEXT, description: 'The id of a cell' },
      line: { type: 'number' },
      column: { type: 'number' }
    },
    execute: async ({ step, cell, line, column }: { step?: string; cell?: string; line?: number; column?: number }) => {
      const model = current();
      const id = cell ?? model.shown?.steps.find(each => each.name === step)?.cells[0];
      if (id) {
        await jumpTo(model.panel, id, line, column);
      }
    }
  });

  add(services, CMD.nextProblem, {
    label: trans.__('Go to Next Diagnostic'),
    enabled: model => Boolean(model?.analysis?.diagnostics.some(each => each.cell)),
    execute: async () => {
      const model = current();
      const order = model.panel.content.widgets.map(cell => cell.model.id);
      const found = model
        .analysis!.diagnostics.filter(each => each.cell)
        .sort((a, b) => order.indexOf(a.cell!) - order.indexOf(b.cell!));
      // A cell may have several: behind the one that was visited last comes the next one of its cell.
      const name = (each: IDiagnostic) => [each.code, each.cell, each.line, each.name].join(' ');
      const at = found.findIndex(each => each.cell === model.activeCellId && name(each) === visited);
      const below = found.findIndex(each => order.indexOf(each.cell!) >= model.panel.content.activeCellIndex);
      const next = found[at >= 0 ? at + 1 : below] ?? found[0];
      visited = name(next);
      // In command mode, so that the keys for the next one, and for its fix, can follow; Enter goes to the line.
      await jumpTo(model.panel, next.cell!, next.line, next.column, false);
      Notification.emit(`${next.code}: ${next.message} ${next.advice}`, next.severity, { autoClose: 8_000 });
    }
  });

  add(services, CMD.fix, {
    label: trans.__('Apply Quick Fix'),
    changes: true,
    caption: trans.__('Apply the fix of the first diagnostic of the cell'),
    args: { index: { type: 'number', description: 'Which diagnostic, as the analysis lists them' } },
    enabled: (model, args) => fixable(model, args.index as number | undefined) !== undefined,
    execute: ({ index }: { index?: number }) => {
      const model = current();
      const fix = fixable(model, index)!.fix!;
      const done = model.history.do(fix.title, fix.edits);
      Notification.success(fix.title, {
        autoClose: 6_000,
        actions: [{ label: trans.__('Undo'), callback: () => void model.history.undo(done) }]
      });
    }
  });

  add(services, CMD.undo, {
    label: trans.__('Undo the Last Change of Tags or Settings'),
    changes: true,
    title: () => {
      const last = pipelines.current?.history.last;
      return last ? trans.__('Undo: %1', last) : trans.__('Undo the Last Change of Tags or Settings');
    },
    enabled: model => model?.history.canUndo ?? false,
    execute: () => void current().history.undo()
  });

  add(services, CMD.suggest, {
    label: trans.__('Suggest Steps'),
    execute: async () => {
      const suggestion = await current().suggest();
      if (Object.keys(suggestion.tags).length === 0) {
        const why = Object.values(suggestion.reasons)[0] ?? trans.__('There is no code to divide into steps.');
        Notification.info(why, { autoClose: 6_000 });
        return;
      }
      await services.commands.execute(CMD.show);
    }
  });
}

function readStep(model: NotebookModel): string {
  const step = model.activeStep;
  return model.analysis?.steps.find(each => each.name === step && !each.implicit)?.group ?? '';
}

function fixable(model: NotebookModel | null, index?: number): IDiagnostic | undefined {
  const all = model?.analysis?.diagnostics ?? [];
  return index === undefined ? all.find(each => each.fix && each.cell === model!.activeCellId) : all[index]?.fix && all[index];
}

async function askName(services: IServices, title: string, text: string): Promise<string> {
  const { trans } = services;
  const answer = await InputDialog.getText({
    title,
    label: trans.__('Name: lower-case letters, digits and dashes'),
    text,
    pattern: '[a-z]([a-z0-9\\-]*[a-z0-9])?',
    required: true
  });
  return answer.button.accept ? (answer.value ?? '').trim() : '';
}
