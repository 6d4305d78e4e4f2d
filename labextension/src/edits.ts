/**
 * Changes of an open notebook that go through its shared model, so that collaborators and the file get them. Each gives back
 * the changes that undo it: JupyterLab's own undo knows no metadata, so `History` keeps ours.
 */
import type { INotebookModel } from '@jupyterlab/notebook';
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

/** The changes made to one notebook by us, so that the last one can be undone. */
export class History {
  constructor(private readonly _model: INotebookModel) {}

  /** Emitted when something was done or undone. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get canUndo(): boolean {
    return this._undo.length > 0;
  }

  /** The title of the change that `undo` would undo. */
  get last(): string {
    return this._undo[this._undo.length - 1]?.title ?? '';
  }

  /** Makes changes under a title for people. */
  do(title: string, changes: readonly Change[]): void {
    if (changes.length === 0) {
      return;
    }
    this._undo.push({ title, changes: applyChanges(this._model, changes) });
    this._undo.splice(0, this._undo.length - 100);
    this._changed.emit();
  }

  /** Undoes the last change; its title. */
  undo(): string {
    const entry = this._undo.pop();
    if (!entry) {
      return '';
    }
    applyChanges(this._model, entry.changes);
    this._changed.emit();
    return entry.title;
  }

  private _undo: { title: string; changes: Change[] }[] = [];
  private _changed = new Signal<this, void>(this);
}
