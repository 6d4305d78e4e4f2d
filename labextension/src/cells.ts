/**
 * What the user sees on the cells of a notebook: a rail in the step's colour, a chip with its name or the cell's role, and the
 * status while a pipeline runs. Data comes from the notebook's model; a cell is touched only where something of it changed.
 */
import type { Cell } from '@jupyterlab/cells';
import type { TranslationBundle } from '@jupyterlab/translation';

import { stepColour } from './colours';
import { tagsOf } from './edits';
import { duration, mark, statusText } from './icons';
import type { NotebookModel } from './model';
import { readTags } from './tags';

export interface IDecorations {
  rail: boolean;
  chips: boolean;
  status: boolean;
}

const CLASS = 'mlops-Cell';

/** All that is shown on one cell; two that are equal look equal. */
interface ILook {
  label: string;
  title: string;
  role: string;
  colour: string;
  step: string;
  proposed: boolean;
  issues: string;
  status: string;
  statusLabel: string;
}

export class CellDecorator {
  constructor(
    private readonly _model: NotebookModel,
    private readonly _trans: TranslationBundle,
    private _options: IDecorations,
    private readonly _open: (cell: string) => void
  ) {
    _model.changed.connect(this._onChanged, this);
    this._draw();
  }

  set options(options: IDecorations) {
    this._options = options;
    this._draw();
  }

  private _onChanged(_: NotebookModel, topic: string): void {
    if (['analysis', 'suggestion', 'run'].includes(topic)) {
      this._draw();
    }
  }

  private _draw(): void {
    if (this._model.isDisposed) {
      return;
    }
    const positions = new Map(this._model.shown?.steps.map((step, position) => [step.name, position]) ?? []);
    const issues = new Map<string, string>();
    for (const { cell, code, message } of this._model.analysis?.diagnostics ?? []) {
      cell && issues.set(cell, [issues.get(cell) ?? [], `${code}: ${message}`].flat().join('\n'));
    }
    for (const cell of this._model.panel.content.widgets) {
      const look = this._look(cell, positions, issues);
      const key = look ? JSON.stringify([look, this._options]) : '';
      if (this._drawn.get(cell) !== key) {
        this._drawn.set(cell, key);
        draw(cell.node, look, this._options, this._trans, () => this._open(cell.model.id));
      }
    }
  }

  private _look(cell: Cell, positions: Map<string, number>, issues: Map<string, string>): ILook | null {
    const id = cell.model.id;
    const found = this._model.shown?.cells[id];
    if (!found || (!this._options.rail && !this._options.chips)) {
      return null;
    }
    const trans = this._trans;
    const step = found.step ?? '';
    const role = found.role === 'gate' ? trans.__('gate') : found.role;
    const label = step || (role === 'outside' ? '' : role);
    if (!label) {
      return null;
    }
    const run = this._options.status ? (this._model.run?.cellStatus(id) ?? null) : null;
    const time = run && run.seconds > 0 ? ` ${duration(run.seconds, trans)}` : '';
    return {
      label,
      role: step && role !== 'step' ? role : '',
      step,
      title: step ? trans.__('Step %1: show it in the sidebar', step) : trans.__('Role: %1', role),
      colour: step ? stepColour(positions.get(step) ?? 0) : 'var(--jp-border-color0)',
      proposed: this._model.suggestion !== null && this._model.suggestion.tags[id] !== undefined,
      issues: issues.get(id) ?? '',
      status: run?.status ?? '',
      statusLabel: run ? `${mark(run.status)} ${statusText(run.status, trans)}${time}` : ''
    };
  }

  private _drawn = new WeakMap<Cell, string>();
}

function draw(node: HTMLElement, look: ILook | null, options: IDecorations, trans: TranslationBundle, open: () => void): void {
  // Behind the children that Lumino manages, so that their positions in the node stay what it thinks they are.
  let overlay = node.querySelector<HTMLElement>(':scope > .mlops-CellOverlay');
  node.classList.toggle(CLASS, look !== null && options.chips);
  node.classList.toggle('mlops-mod-decorated', look !== null);
  if (!look) {
    overlay?.remove();
    return;
  }
  if (!overlay) {
    overlay = document.createElement('div');
    overlay.className = 'mlops-CellOverlay';
    node.appendChild(overlay);
  }
  overlay.style.setProperty('--mlops-step-color', look.colour);
  overlay.classList.toggle('mlops-mod-proposed', look.proposed);
  overlay.replaceChildren(
    ...(options.rail ? [element('div', 'mlops-Rail')] : []),
    ...(options.chips ? [chips(look, trans, open)] : [])
  );
}

function chips(look: ILook, trans: TranslationBundle, open: () => void): HTMLElement {
  const row = element('div', 'mlops-Chips');
  const chip = element(look.step ? 'button' : 'span', 'mlops-Chip', look.label);
  chip.title = look.title;
  chip.prepend(element('span', 'mlops-Dot'));
  if (look.step) {
    chip.onmousedown = event => event.preventDefault(); // the focus stays in the notebook
    chip.onclick = open;
    chip.tabIndex = -1; // reached by the sidebar's tree; a thousand cells must not be a thousand stops
  }
  row.append(chip);
  if (look.role) {
    row.append(element('span', 'mlops-Chip mlops-mod-role', look.role));
  }
  if (look.proposed) {
    row.append(element('span', 'mlops-Chip mlops-mod-role', trans.__('proposed')));
  }
  if (look.issues) {
    const sign = element('span', 'mlops-Chip mlops-mod-issue', '!');
    sign.title = look.issues;
    sign.setAttribute('role', 'img');
    sign.setAttribute('aria-label', look.issues);
    row.append(sign);
  }
  if (look.statusLabel) {
    row.append(element('span', `mlops-Status mlops-mod-${look.status}`, look.statusLabel));
  }
  return row;
}

function element(name: string, className: string, text = ''): HTMLElement {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

/** The role that a cell has by its own tags, for the menu of roles. */
export function ownRole(cell: Cell): ReturnType<typeof readTags> {
  return readTags(tagsOf(cell.model.metadata));
}
