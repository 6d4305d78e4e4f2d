/** Keeps a model for each open notebook, and says which one the user looks at. */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { IStateDB } from '@jupyterlab/statedb';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import type { Api } from './api';
import { NotebookModel } from './model';
import type { RunStore } from './runs';
import type { IPipelines } from './tokens';

export class Pipelines implements IPipelines {
  constructor(
    private readonly _tracker: INotebookTracker,
    private readonly _api: Api,
    private readonly _runs: RunStore,
    private readonly _state: IStateDB | null
  ) {
    _tracker.widgetAdded.connect((_, panel) => void this._add(panel));
    _tracker.forEach(panel => void this._add(panel));
    _tracker.currentChanged.connect(() => this._currentChanged.emit(this.current));
    // Runs that somebody else starts (another tab, a terminal, a colleague) are seen here. Nothing is asked while hidden.
    this._poll = new Poll({
      name: 'mlops-lab:runs',
      factory: () => this.current?.refreshRuns() ?? Promise.resolve(),
      frequency: { interval: 5_000, backoff: true, max: 60_000 },
      standby: 'when-hidden'
    });
  }

  get current(): NotebookModel | null {
    const panel = this._tracker.currentWidget;
    return (panel && this._models.get(panel)) ?? null;
  }

  get currentChanged(): ISignal<this, NotebookModel | null> {
    return this._currentChanged;
  }

  /** Asks for the runs now, and not only when it is time again. */
  refreshRuns(): Promise<void> {
    return this._poll.refresh();
  }

  /** Emitted when a notebook was opened. */
  get added(): ISignal<this, NotebookModel> {
    return this._added;
  }

  of(panel: NotebookPanel): NotebookModel | undefined {
    return this._models.get(panel);
  }

  forEach(each: (model: NotebookModel) => void): void {
    this._models.forEach(each);
  }

  /** How long the typing must have stopped before the cells are analysed. */
  set delay(milliseconds: number) {
    this._delay = milliseconds;
    this._models.forEach(model => (model.delay = milliseconds));
  }

  private async _add(panel: NotebookPanel): Promise<void> {
    await panel.context.ready;
    if (panel.isDisposed || !panel.content.model || this._models.has(panel)) {
      return;
    }
    const model = new NotebookModel(panel, this._api, this._runs, this._state, this._delay);
    this._models.set(panel, model);
    panel.disposed.connect(() => {
      this._models.delete(panel);
      this._currentChanged.emit(this.current);
    });
    this._added.emit(model);
    if (panel === this._tracker.currentWidget) {
      this._currentChanged.emit(model);
    }
  }

  private readonly _poll: Poll;
  private _models = new Map<NotebookPanel, NotebookModel>();
  private _delay = 50;
  private _currentChanged = new Signal<this, NotebookModel | null>(this);
  private _added = new Signal<this, NotebookModel>(this);
}
