/** Commands about runs: start, follow, cancel, resume, compare, delete, and what is taken from a run into the notebook. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { CodeCellModel, ICellModel } from '@jupyterlab/cells';
import { PathExt } from '@jupyterlab/coreutils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { ICodeCell, INotebookContent } from '@jupyterlab/nbformat';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';

import type { IServices } from '../context';
import { CMD } from '../ids';
import { jumpTo } from '../jump';
import type { NotebookModel } from '../model';
import { saveChanges } from '../saving';
import type { IRunRequest } from '../types';
import { add, cannotChange, TEXT } from './common';

const CLOCKS = 500; // milliseconds by which the times of one save may differ, as JupyterLab allows, too
const RUN = { run: { ...TEXT, description: "The run's id" } };

export function addRunCommands(services: IServices, docs: IDocumentManager): void {
  const { api, commands, pipelines, runs, trans } = services;
  const current = () => pipelines.current!;
  const cannotSave = trans.__(
    'The notebook was changed and can’t be saved, since its file is read-only. Save it under another name.'
  );

  /** Saves what was changed. What was saved elsewhere meanwhile (another tab, git) is taken up first, since it is what would run. */
  async function save(model: NotebookModel): Promise<void> {
    const { context } = model.panel;
    if (!model.isEdited && !context.model.collaborative) {
      const stored = await docs.services.contents.get(context.path, { content: false });
      const age = Date.parse(stored.last_modified) - Date.parse(context.contentsModel?.last_modified ?? stored.last_modified);
      if (age > CLOCKS) {
        await context.revert();
        const name = PathExt.basename(model.path);
        Notification.info(trans.__('%1 was saved elsewhere: here it is as it is now.', name), { autoClose: 6_000 });
      }
    }
    await model.save(cannotSave);
  }

  /** Saves the notebook and starts a run of it, with the values and options of the forms. */
  async function start(model: NotebookModel, selection: Partial<IRunRequest> = {}): Promise<void> {
    if (model.errors > 0) {
      void commands.execute(CMD.show);
      throw new Error(
        trans._n(
          'The notebook has an error: correct it first.',
          'The notebook has %1 errors: correct them first.',
          model.errors
        )
      );
    }
    const [wrong] = Object.entries(model.problems);
    if (wrong) {
      void commands.execute(CMD.show);
      throw new Error(trans.__('Parameter %1: %2', ...wrong));
    }
    await save(model);
    const id = await api.start({ path: model.path, ...model.options, parameters: model.given, ...selection });
    model.follow(id);
    await model.refreshRuns();
    await commands.execute(CMD.openRun, { run: id });
  }

  const stepOf = (model: NotebookModel | null, args: { step?: unknown }) => String(args.step || model?.activeStep || '');

  add(services, CMD.run, {
    label: trans.__('Run as Pipeline'),
    enabled: model => model !== null && !model.isNoPipeline,
    execute: () => start(current())
  });
  const partly: [string, string, string, (step: string) => Partial<IRunRequest>][] = [
    [CMD.runFrom, trans.__('Run from This Step'), trans.__('Run this step and all below it again'), step => ({ start: step })],
    [CMD.runTo, trans.__('Run up to This Step'), trans.__('Run this step and what it needs'), step => ({ end: step })],
    [
      CMD.runOnly,
      trans.__('Run Only This Step'),
      trans.__('Run this step on what the last run left'),
      step => ({ only: [step] })
    ]
  ];
  for (const [id, label, caption, selection] of partly) {
    add(services, id, {
      label,
      caption,
      args: {
        step: { ...TEXT, description: 'By default that of the active cell' },
        path: { ...TEXT, description: 'The notebook' }
      },
      enabled: (model, args) => Boolean(args.path) || stepOf(model, args) !== '',
      execute: async (args: { step?: string; path?: string }) => {
        const model = args.path ? await opened(args.path) : current();
        await start(model, selection(stepOf(model, args)));
      }
    });
  }

  /** The model of a notebook, which is opened if it isn't open. */
  async function opened(path: string): Promise<NotebookModel> {
    const panel = (docs.findWidget(path) ?? docs.openOrReveal(path)) as NotebookPanel | undefined;
    if (!panel) {
      throw new Error(trans.__('Open %1 first.', path));
    }
    await panel.context.ready;
    await panel.revealed;
    return pipelines.of(panel)!;
  }

  /** The same, where it can be changed. */
  async function changeable(path: string): Promise<NotebookModel> {
    const model = await opened(path);
    if (model.readOnly) {
      throw new Error(cannotChange(trans));
    }
    return model;
  }

  const always = () => true;
  add(services, CMD.cancel, {
    label: trans.__('Cancel Run'),
    args: RUN,
    enabled: (model, args) => Boolean(args.run) || (model?.run !== null && model?.run?.finished === false),
    execute: async ({ run }: { run?: string }) => {
      await api.cancel(run ?? current().run!.id);
    }
  });

  add(services, CMD.resume, {
    label: trans.__('Resume Run'),
    caption: trans.__('Go on with a run that failed, was cancelled or was interrupted'),
    args: RUN,
    enabled: always,
    execute: async ({ run }: { run?: string }) => {
      const from = run ?? current()?.run?.id ?? '';
      const path = (await api.run(from)).path;
      const open = docs.findWidget(path) as NotebookPanel | undefined;
      if (open) {
        await saveChanges(open.context);
      }
      const id = await api.resume(from);
      const model = open && pipelines.of(open);
      model?.follow(id);
      await model?.refreshRuns();
      await commands.execute(CMD.openRun, { run: id });
    }
  });

  add(services, CMD.deleteRun, {
    label: trans.__('Delete Run…'),
    args: { ...RUN, sure: { type: 'boolean', description: "Don't ask" } },
    enabled: (_, args) => Boolean(args.run),
    execute: async ({ run, sure }: { run: string; sure?: boolean }) => {
      if (!sure) {
        const answer = await showDialog({
          title: trans.__('Delete this run?'),
          body: trans.__('%1: its log and its executed notebooks are deleted. Results that the cache holds are kept.', run),
          buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Delete') })]
        });
        if (!answer.button.accept) {
          return;
        }
      }
      await api.delete(run);
      runs.forget(run);
      pipelines.forEach(model => {
        if (model.run?.id === run) {
          model.follow(null);
        }
      });
      await pipelines.refreshRuns();
    }
  });

  add(services, CMD.outputsBack, {
    label: trans.__('Put Outputs Back into the Notebook'),
    args: RUN,
    enabled: (model, args) => Boolean(args.run) || Boolean(model?.run),
    execute: async ({ run }: { run?: string }) => {
      const id = run ?? current().run!.id;
      const model = await changeable((await api.run(id)).path);
      const { put, changed } = putOutputs(model, await api.notebook(id));
      const text = trans._n('The outputs of %1 cell are in the notebook.', 'The outputs of %1 cells are in the notebook.', put);
      const rest = trans._n(
        'One cell has changed since the run and was left as it is.',
        '%1 cells have changed since the run and were left as they are.',
        changed
      );
      Notification.success(changed ? `${text} ${rest}` : text, { autoClose: 6_000 });
    }
  });

  add(services, CMD.openStep, {
    label: trans.__('Open Here'),
    caption: trans.__('Open a kernel with the inputs of the step loaded, at the cell that failed'),
    args: { ...RUN, step: TEXT },
    enabled: (_, args) => Boolean(args.run && args.step),
    execute: async ({ run, step }: { run: string; step: string }) => {
      const found = await api.open(run, step);
      const panel = docs.openOrReveal(found.path, 'default', { name: found.kernel.name }) as NotebookPanel | undefined;
      if (!panel) {
        // Notebook 7 opens it in another browser tab, out of reach.
        Notification.info(trans.__('%1 is opened in another tab. Run its first cell to load the inputs.', found.path));
        return;
      }
      await panel.context.ready;
      await panel.revealed;
      await panel.sessionContext.ready;
      for (const index of found.run_first) {
        panel.content.activeCellIndex = index;
        await NotebookActions.run(panel.content, panel.sessionContext);
      }
      const cell = panel.content.widgets[found.cell];
      await jumpTo(panel, cell?.model.id ?? '', found.line ?? 0);
    }
  });

  add(services, CMD.openMlflow, {
    label: trans.__('Open in MLflow'),
    caption: trans.__('Open the MLflow run, in MLflow’s own UI'),
    args: { ...RUN, step: { ...TEXT, description: 'A step, for its own MLflow run' } },
    enabled: (_, args) => Boolean(args.run),
    execute: async ({ run, step }: { run: string; step?: string }) => {
      // Opened at once: a window that comes later than the click is one that browsers hold back.
      const page = window.open('', '_blank');
      const wait = Notification.info(trans.__('MLflow is being opened. The first time it takes a while…'), {
        autoClose: false
      });
      try {
        const address = await api.mlflow(run, step);
        if (page) {
          page.opener = null;
          page.location.href = address;
        } else {
          Notification.info(trans.__('The browser did not let MLflow open.'), {
            autoClose: false,
            actions: [{ label: trans.__('Open'), callback: () => void window.open(address, '_blank', 'noopener') }]
          });
        }
      } catch (error) {
        page?.close();
        throw error;
      } finally {
        Notification.dismiss(wait);
      }
    }
  });

  add(services, CMD.learn, {
    label: trans.__('Learn from Run'),
    caption: trans.__('Write what the run saw and the graph does not show into the settings of the steps'),
    args: RUN,
    enabled: (_, args) => Boolean(args.run),
    execute: async ({ run }: { run: string }) => {
      const model = await changeable((await api.run(run)).path);
      await save(model);
      const { lessons, edits } = await api.lessons(run);
      if (lessons.length === 0) {
        Notification.info(trans.__('Nothing to learn: the graph shows all that the run did.'), { autoClose: 6_000 });
        return;
      }
      const title = trans.__('Learn from run %1', run);
      const done = model.history.do(title, edits);
      Notification.success(lessons.map(each => each.text).join('\n'), {
        autoClose: 12_000,
        actions: [{ label: trans.__('Undo'), callback: () => void model.history.undo(done) }]
      });
    }
  });

  add(services, CMD.compile, {
    label: trans.__('Compile for Kubeflow Pipelines'),
    caption: trans.__('Write the compiled pipeline beside the notebook, and open it'),
    enabled: model => model !== null && model.errors === 0,
    execute: async () => {
      const model = current();
      await save(model);
      const { filename, text } = await api.compile(model.path, 'kubeflow');
      const path = PathExt.join(PathExt.dirname(model.path), filename);
      await docs.services.contents.save(path, { type: 'file', format: 'text', content: text });
      docs.openOrReveal(path);
    }
  });

  add(services, CMD.openExecuted, {
    label: trans.__('Open Executed Notebook'),
    args: RUN,
    enabled: (_, args) => Boolean(args.run),
    execute: async ({ run }: { run: string }) => {
      const [details, content] = await Promise.all([api.run(run), api.notebook(run)]);
      const name = `${PathExt.basename(details.path, '.ipynb')}.${run}.ipynb`;
      const path = PathExt.join(PathExt.dirname(details.path), name);
      await docs.services.contents.save(path, { type: 'notebook', format: 'json', content });
      docs.openOrReveal(path);
    }
  });
}

/** Writes a run's outputs to the cells of the open notebook whose code is the code that ran. */
function putOutputs(model: NotebookModel, executed: INotebookContent): { put: number; changed: number } {
  const cells = new Map<string, ICellModel>();
  for (const widget of model.panel.content.widgets) {
    cells.set(widget.model.id, widget.model);
  }
  let put = 0;
  let changed = 0;
  for (const cell of executed.cells as ICodeCell[]) {
    const mine = cells.get(String(cell.id));
    if (cell.cell_type !== 'code' || !(mine instanceof CodeCellModel) || (cell.outputs.length === 0 && !cell.execution_count)) {
      continue;
    }
    const source = Array.isArray(cell.source) ? cell.source.join('') : cell.source;
    if (mine.sharedModel.getSource() !== source) {
      changed += 1;
      continue;
    }
    mine.outputs.fromJSON(cell.outputs);
    mine.executionCount = cell.execution_count;
    put += 1;
  }
  return { put, changed };
}
