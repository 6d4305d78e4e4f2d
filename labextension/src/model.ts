/**
 * What the extension knows of one open notebook: its analysis, which follows the typing; the suggestion that is being looked
 * at; the values of its parameters and the options for its next run; the run whose status its cells show. Data comes from the
 * notebook's shared model and from api.ts, and goes by the signal `changed` to the sidebar and the cells, which never fetch.
 */
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IStateDB } from '@jupyterlab/statedb';
import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { type Api, ApiError, type INotebookBody } from './api';
import { History, tagsOf } from './edits';
import type { RunModel } from './runmodel';
import type { RunStore } from './runs';
import { saveChanges } from './saving';
import type { IAnalysis, IRunSummary, ISuggestion } from './types';

/** How a run is to be started; kept with the notebook's other state between sessions. */
export interface IOptions {
  target: string;
  cache: boolean;
  workers: number;
  experiment: string;
  fail_fast: boolean;
  tracking: boolean;
}

export const DEFAULT_OPTIONS: IOptions = {
  target: 'local',
  cache: true,
  workers: 0,
  experiment: '',
  fail_fast: false,
  tracking: true
};

/** What a `changed` signal is about, so that views can leave out what does not concern them. */
export type Topic = 'analysis' | 'selection' | 'suggestion' | 'values' | 'run' | 'runs' | 'history';

export class NotebookModel implements IDisposable {
  constructor(
    readonly panel: NotebookPanel,
    private readonly _api: Api,
    private readonly _runs: RunStore,
    private readonly _state: IStateDB | null,
    delay: number
  ) {
    this.history = new History(panel.content.model!);
    this.history.changed.connect(this._onHistory, this);
    this._debouncer = new Debouncer(() => this._analyse(), delay);
    panel.context.model.contentChanged.connect(this.refresh, this);
    panel.context.pathChanged.connect(this._onPathChanged, this);
    panel.context.fileChanged.connect(this._onFileChanged, this);
    panel.content.activeCellChanged.connect(this._onActiveCell, this);
    panel.disposed.connect(this.dispose, this);
    this._wasReadOnly = this.readOnly;
    this._loaded = this._essence();
    void this._restore();
    void this._analyse();
    void this.refreshRuns();
  }

  readonly history: History;
  analysis: IAnalysis | null = null;
  /** Why there is no analysis, in a sentence; '' if there is one. */
  problem = '';
  /** True where that lies in the notebook, which is then no pipeline: one for another language, say. */
  isNoPipeline = false;
  suggestion: ISuggestion | null = null;
  /** The values that the user has given to parameters, where they are not the default. */
  values: Record<string, unknown> = {};
  /** What is wrong with the text in a parameter's field, by the parameter's name: with such a text nothing is run. */
  problems: Record<string, string> = {};
  options: IOptions = { ...DEFAULT_OPTIONS };
  /** The run that the cells and the graph show. */
  run: RunModel | null = null;
  runs: IRunSummary[] = [];

  get changed(): ISignal<this, Topic> {
    return this._changed;
  }

  get path(): string {
    return this.panel.context.localPath;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The analysis to show: that of the suggestion while one is looked at. */
  get shown(): IAnalysis | null {
    return this.suggestion?.analysis ?? this.analysis;
  }

  get activeCellId(): string {
    return this.panel.content.activeCell?.model.id ?? '';
  }

  /** The step of the active cell, or ''. */
  get activeStep(): string {
    return this.analysis?.cells[this.activeCellId]?.step ?? '';
  }

  /** True where the notebook can't be saved. */
  get readOnly(): boolean {
    return this.panel.context.model.readOnly || this.panel.context.contentsModel?.writable === false;
  }

  /** True where something is not saved; what a kernel writes into the notebook's metadata when it starts doesn't count. */
  get isEdited(): boolean {
    return this.panel.context.model.dirty && this._essence() !== this._loaded;
  }

  /** Saves what was changed; raises an error where that can't be. */
  async save(cannot: string): Promise<void> {
    const { context } = this.panel;
    if (this.readOnly) {
      if (this.isEdited) {
        throw new Error(cannot);
      }
    } else {
      await saveChanges(context);
    }
  }

  /** Of a notebook that was opened at a step of a run: which one that is. */
  get openedAt(): { run: string; step: string } | null {
    const mark = this.panel.content.model?.sharedModel.getMetadata('mlops_lab_opened') as any;
    return typeof mark?.run === 'string' && typeof mark.step === 'string' ? mark : null;
  }

  /** True while there is nothing to make a pipeline of: no mistake, but how a notebook begins. */
  get isEmpty(): boolean {
    return this.analysis?.steps.length === 0 && this.analysis.diagnostics.every(each => !each.cell);
  }

  get errors(): number {
    return this.analysis?.diagnostics.filter(each => each.severity === 'error').length ?? 0;
  }

  set delay(milliseconds: number) {
    this._debouncer.dispose();
    this._debouncer = new Debouncer(() => this._analyse(), milliseconds);
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._debouncer.dispose();
    this._request?.abort();
    this.history.dispose();
    this._showRun(null);
    Signal.clearData(this);
  }

  /** Analyses the cells soon; calls that come close together make one analysis. */
  refresh(): void {
    if (!this._isDisposed) {
      void this._debouncer.invoke().catch(() => undefined);
    }
  }

  /** The cells as the server wants them: without outputs. */
  body(): INotebookBody {
    const shared = this.panel.content.model!.sharedModel;
    const metadata: Record<string, unknown> = {};
    for (const key of ['mlops_lab', 'kernelspec', 'language_info']) {
      const value = shared.getMetadata(key);
      if (value !== undefined) {
        metadata[key] = value;
      }
    }
    const cells = shared.cells.map(cell => ({
      id: cell.id,
      cell_type: String(cell.cell_type),
      source: cell.getSource(),
      tags: tagsOf(cell.getMetadata())
    }));
    return { path: this.path, cells, metadata };
  }

  /** Asks for a suggestion and shows it as a preview. */
  async suggest(): Promise<ISuggestion> {
    const suggestion = await this._api.suggest(this.body());
    if (Object.keys(suggestion.tags).length > 0) {
      this.suggestion = suggestion;
      this._changed.emit('suggestion');
    }
    return suggestion;
  }

  /** Other tags for one cell of the suggestion. */
  editSuggestion(cell: string, tags: string[]): void {
    if (this.suggestion) {
      const others = Object.entries(this.suggestion.tags).filter(([id]) => id !== cell);
      const all = tags.length ? [...others, [cell, tags] as const] : others;
      this.suggestion = { ...this.suggestion, tags: Object.fromEntries(all) };
      this._changed.emit('suggestion');
      void this._analyseSuggestion();
    }
  }

  /** Puts the suggestion's tags on the cells, or forgets it. */
  endSuggestion(accept: boolean, title: string): void {
    const suggestion = this.suggestion;
    this.suggestion = null;
    if (accept && suggestion) {
      const present = new Map(this.body().cells.map(cell => [cell.id, cell.tags]));
      this.history.do(
        title,
        Object.entries(suggestion.tags).map(([cell, tags]) => ({
          kind: 'set_tags' as const,
          cell,
          tags: [...new Set([...(present.get(cell) ?? []), ...tags])]
        }))
      );
    }
    this._changed.emit('suggestion');
  }

  /** Gives a parameter a value for the next runs; undefined gives it its default again. */
  setValue(name: string, value: unknown): void {
    const { [name]: _, ...rest } = this.values;
    this.values = value === undefined ? rest : { ...rest, [name]: value };
    this._save();
  }

  /** Says what is wrong with the text in a parameter's field; '' if nothing is. */
  setProblem(name: string, problem: string): void {
    const { [name]: before, ...rest } = this.problems;
    if ((before ?? '') !== problem) {
      this.problems = problem ? { ...rest, [name]: problem } : rest;
      this._changed.emit('values');
    }
  }

  /** The values to run with: those of parameters that the notebook still has. */
  get given(): Record<string, unknown> {
    const known = new Set(this.analysis?.parameters.map(each => each.name));
    return Object.fromEntries(Object.entries(this.values).filter(([name]) => known.has(name)));
  }

  setOptions(options: Partial<IOptions>): void {
    this.options = { ...this.options, ...options };
    this._save();
  }

  /** Shows a run on the cells and in the graph; null shows none. */
  follow(id: string | null): void {
    this._showRun(id === null ? null : this._runs.get(id));
  }

  /** Asks the server for the notebook's runs; one in progress, or new since we last asked, is shown on the cells. */
  async refreshRuns(): Promise<void> {
    let runs: IRunSummary[];
    try {
      runs = await this._api.runs({ path: this.path });
    } catch {
      return; // the analysis says what is wrong with the server
    }
    if (this._isDisposed) {
      return;
    }
    if (this.problem) {
      this.refresh(); // the server answers again
    }
    const before = JSON.stringify(this.runs);
    const known = this._knowsRuns ? new Set(this.runs.map(each => each.id)) : null;
    this.runs = runs;
    this._knowsRuns = true;
    // Whoever started it: another tab, a terminal, a colleague. A short run may have ended before we heard of it.
    const shown = runs.find(each => each.status === 'running') ?? runs.find(each => known && !known.has(each.id));
    if (shown && this.run?.id !== shown.id) {
      this.follow(shown.id);
    }
    if (JSON.stringify(runs) !== before) {
      this._changed.emit('runs');
    }
  }

  private _showRun(run: RunModel | null): void {
    this.run?.changed.disconnect(this._onRun, this);
    this.run = run;
    run?.changed.connect(this._onRun, this);
    if (!this._isDisposed) {
      this._changed.emit('run');
    }
  }

  private _onRun(): void {
    this._changed.emit('run');
    if (this.run?.finished && this._finishedRun !== this.run.id) {
      this._finishedRun = this.run.id;
      void this.refreshRuns();
    }
  }

  private _onHistory(): void {
    this._changed.emit('history');
  }

  private _onActiveCell(): void {
    this._changed.emit('selection');
  }

  /** What of the notebook makes the pipeline. */
  private _essence(): string {
    const { cells, metadata } = this.body();
    return JSON.stringify([cells, metadata.mlops_lab]);
  }

  private _onFileChanged(): void {
    this._loaded = this._essence();
    if (this.readOnly !== this._wasReadOnly) {
      this._wasReadOnly = this.readOnly;
      this._changed.emit('history');
    }
  }

  private _onPathChanged(): void {
    this._save(); // under the new name
    this._knowsRuns = false;
    this.refresh();
    void this.refreshRuns();
  }

  private async _analyse(): Promise<void> {
    if (this._isDisposed || !this.panel.content.model) {
      return;
    }
    if (this.openedAt) {
      this.isNoPipeline = true;
      this._changed.emit('analysis');
      return;
    }
    const body = this.body();
    const question = JSON.stringify(body);
    if (question === this._question && !this.problem) {
      return; // only outputs or the selection have changed
    }
    this._question = question;
    this._request?.abort();
    const request = (this._request = new AbortController());
    try {
      const analysis = await this._api.analyse(body, request.signal, this.analysis);
      if (request.signal.aborted) {
        return;
      }
      this.analysis = analysis;
      this.problem = '';
      this.isNoPipeline = false;
    } catch (error) {
      if (request.signal.aborted) {
        return;
      }
      this.problem = error instanceof Error ? error.message : String(error);
      this.isNoPipeline = error instanceof ApiError && error.status === 400 && !isPython(body.metadata);
      if (this.isNoPipeline) {
        this.analysis = null; // what was known of it before does not hold any more
        this.suggestion = null;
      }
    }
    if (!this._isDisposed) {
      this._changed.emit('analysis');
    }
  }

  private async _analyseSuggestion(): Promise<void> {
    const suggestion = this.suggestion!;
    const body = this.body();
    const cells = body.cells.map(cell => ({ ...cell, tags: [...cell.tags, ...(suggestion.tags[cell.id] ?? [])] }));
    const analysis = await this._api.analyse({ ...body, cells }).catch(() => undefined);
    if (this.suggestion === suggestion && analysis) {
      this.suggestion = { ...suggestion, analysis };
      this._changed.emit('suggestion');
    }
  }

  private get _stateKey(): string {
    return `mlops-lab:notebook:${this.path}`;
  }

  private _save(): void {
    this._changed.emit('values');
    void this._state?.save(this._stateKey, { values: this.values as any, options: this.options as any });
  }

  private async _restore(): Promise<void> {
    const saved = (await this._state?.fetch(this._stateKey)) as { values?: any; options?: any } | undefined;
    if (saved && !this._isDisposed) {
      this.values = saved.values ?? {};
      this.options = { ...DEFAULT_OPTIONS, ...(saved.options ?? {}) };
      this._changed.emit('values');
    }
  }

  private _changed = new Signal<this, Topic>(this);
  private _debouncer: Debouncer;
  private _request: AbortController | null = null;
  private _question = '';
  private _finishedRun = '';
  private _knowsRuns = false;
  private _wasReadOnly = false;
  private _loaded = '';
  private _isDisposed = false;
}

function isPython(metadata: Record<string, any>): boolean {
  const language = metadata.kernelspec?.language ?? metadata.language_info?.name ?? 'python';
  return /python/i.test(String(language));
}
