/**
 * Changes of an open notebook that go through its shared model, so that collaborators and the file get them. Each is one item
 * of the notebook's own undo, and gives back the changes that undo it when others have been made since; `History` keeps both.
 */
import type { YNotebook } from '@jupyter/ydoc';
import type { INotebookModel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { withStepRenamed } from './tags';
import type { Edit, IStepSettings } from './types';

/** What a change may be: the fixes' own kinds, a whole source (the inverse of `replace`) and all of our metadata. */
export type Change = Edit | { kind: 'set_source'; cell: string; source: string } | { kind: 'set_metadata'; value: unknown };

export const METADATA_KEY = 'mlops_lab';

interface ISettings {
  steps?: Record<string, IStepSettings>;
  [key: string]: unknown;
}

/** The tags of a cell, by its metadata. */
export function tagsOf(metadata: { tags?: unknown } | undefined): string[] {
  const tags = metadata?.tags;
  return Array.isArray(tags) ? tags.filter(tag => typeof tag === 'string') : [];
}

/** Our settings in the notebook's metadata. */
export function settingsOf(model: INotebookModel): ISettings {
  const value = model.sharedModel.getMetadata(METADATA_KEY);
  return value && typeof value === 'object' && !Array.isArray(value) ? (value as ISettings) : {};
}

/** Makes all changes as one transaction; gives back the changes that undo them, to be made in their order. */
export function applyChanges(model: INotebookModel, changes: readonly Change[]): Change[] {
  const inverse: Change[] = [];
  model.sharedModel.transact(() => {
    for (const change of changes) {
      const undone = applyOne(model, change);
      if (undone) {
        inverse.unshift(undone);
      }
    }
  });
  return inverse;
}

function applyOne(model: INotebookModel, change: Change): Change | null {
  if (change.kind === 'set_setting' || change.kind === 'rename_settings' || change.kind === 'set_metadata') {
    const before = model.sharedModel.getMetadata(METADATA_KEY) ?? null;
    const after = change.kind === 'set_metadata' ? change.value : changedSettings(settingsOf(model), change);
    if (after === null || Object.keys(after as object).length === 0) {
      model.sharedModel.deleteMetadata(METADATA_KEY);
    } else {
      model.sharedModel.setMetadata(METADATA_KEY, after as any);
    }
    return { kind: 'set_metadata', value: before };
  }
  const cell = model.sharedModel.cells.find(each => each.id === change.cell);
  if (!cell) {
    return null; // a collaborator has deleted it meanwhile
  }
  if (change.kind === 'set_tags') {
    const before = tagsOf(cell.getMetadata());
    if (change.tags.length > 0) {
      cell.setMetadata('tags', change.tags);
    } else if (cell.getMetadata('tags') !== undefined) {
      cell.deleteMetadata('tags');
    }
    return { kind: 'set_tags', cell: cell.id, tags: before };
  }
  const before = cell.getSource();
  if (change.kind === 'set_source') {
    cell.setSource(change.source);
  } else {
    const lines = before.split('\n');
    const start = lines.slice(0, change.line - 1).join('\n').length + (change.line > 1 ? 1 : 0);
    cell.updateSource(start + change.column, start + change.end_column, change.text);
  }
  return { kind: 'set_source', cell: cell.id, source: before };
}

/** Our metadata after one change of a step's settings; what is left empty goes away. */
export function changedSettings(
  settings: ISettings,
  change: Extract<Edit, { kind: 'set_setting' | 'rename_settings' }>
): ISettings {
  const { [change.step]: mine, ...steps } = { ...(settings.steps ?? {}) } as Record<string, any>;
  if (change.kind === 'rename_settings') {
    if (change.to !== null && mine) {
      steps[change.to] = mine;
    }
  } else {
    const { [change.key]: _, ...rest } = mine ?? {};
    const changed = change.value === null ? rest : { ...rest, [change.key]: change.value };
    if (Object.keys(changed).length > 0) {
      steps[change.step] = changed;
    }
  }
  const { steps: _, ...others } = settings;
  return Object.keys(steps).length > 0 ? { ...others, steps } : others;
}

/** The changes that give a step another name everywhere: its cells, what runs after it, its settings. */
export function renameStep(model: INotebookModel, from: string, to: string): Change[] {
  const changes: Change[] = [];
  for (const cell of model.sharedModel.cells) {
    const tags = tagsOf(cell.getMetadata());
    const renamed = withStepRenamed(tags, from, to);
    if (renamed.join('\n') !== tags.join('\n')) {
      changes.push({ kind: 'set_tags', cell: cell.id, tags: [...new Set(renamed)] });
    }
  }
  if (settingsOf(model).steps?.[from]) {
    changes.push({ kind: 'rename_settings', step: from, to });
  }
  return changes;
}

type UndoManager = YNotebook['undoManager'];
type UndoItem = UndoManager['undoStack'][number];

/** A change under its title: what undoes it, and the item of the notebook's own undo that it is. */
export interface IEntry {
  readonly title: string;
  readonly changes: readonly Change[];
  item?: UndoItem;
}

/**
 * The changes made to one notebook by us, so that they can be undone: by our own command, and by JupyterLab's undo in command
 * mode, which keeps the cells with their metadata. Neither undoes what the other has undone.
 */
export class History implements IDisposable {
  constructor(private readonly _model: INotebookModel) {
    const shared = _model.sharedModel as unknown as YNotebook;
    this._manager = shared.undoManager;
    // Our settings stand in the notebook's metadata: with them in its scope one undo takes back all of a change.
    this._manager.addToScope(shared.ymeta);
    this._manager.on('stack-item-popped', this._onPopped);
  }

  /** Emitted when something was done or undone. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get canUndo(): boolean {
    return this._done.length > 0;
  }

  /** The title of the change that `undo` would undo. */
  get last(): string {
    return top(this._done)?.title ?? '';
  }

  dispose(): void {
    this._isDisposed = true;
    this._manager.off('stack-item-popped', this._onPopped);
    Signal.clearData(this);
  }

  /** Makes changes under a title for people. */
  do(title: string, changes: readonly Change[]): IEntry | null {
    if (changes.length === 0) {
      return null;
    }
    const before = top(this._manager.undoStack);
    // Without a pause on both sides it would be one item with what was done just before and after it.
    this._manager.stopCapturing();
    const entry: IEntry = { title, changes: applyChanges(this._model, changes) };
    this._manager.stopCapturing();
    const item = top(this._manager.undoStack);
    entry.item = item === before ? undefined : item;
    this._done.push(entry);
    this._done.splice(0, this._done.length - 100);
    this._undone = [];
    this._changed.emit();
    return entry;
  }

  /** Undoes a change, by default the last; its title. Nothing happens if it was undone already. */
  undo(entry: IEntry | null | undefined = top(this._done)): string {
    if (!entry || !this._done.includes(entry)) {
      return '';
    }
    if (entry.item && entry.item === top(this._manager.undoStack)) {
      this._model.sharedModel.undo();
    } else {
      this._done = this._done.filter(each => each !== entry);
      this._manager.stopCapturing();
      applyChanges(this._model, entry.changes);
      this._manager.stopCapturing();
      this._changed.emit();
    }
    return entry.title;
  }

  /** The notebook's own undo or redo, whoever asked for it, has taken an item off its stack and put one on the other. */
  private _onPopped = ({ stackItem, type }: { stackItem: UndoItem; type: 'undo' | 'redo' }): void => {
    const [from, to, stack] =
      type === 'undo'
        ? [this._done, this._undone, this._manager.redoStack]
        : [this._undone, this._done, this._manager.undoStack];
    const at = from.findIndex(each => each.item === stackItem);
    if (at >= 0) {
      const [entry] = from.splice(at, 1);
      entry.item = top(stack);
      to.push(entry);
      this._changed.emit();
    }
  };

  private _manager: UndoManager;
  private _done: IEntry[] = [];
  private _undone: IEntry[] = [];
  private _isDisposed = false;
  private _changed = new Signal<this, void>(this);
}

function top<T>(stack: readonly T[]): T | undefined {
  return stack[stack.length - 1];
}
