/** The runs that are looked at, each once however many views show it; the least recently used are let go. */
import type { Api } from './api';
import { RunModel } from './runmodel';

const KEPT = 12;

export class RunStore {
  constructor(private readonly _api: Api) {}

  get(id: string): RunModel {
    const run = this._models.get(id) ?? new RunModel(id, this._api);
    this._models.delete(id);
    this._models.set(id, run);
    for (const [old, model] of this._models) {
      if (this._models.size > KEPT && model.finished) {
        this._models.delete(old); // without disposing: a view may still show it; it has no connection any more
      }
    }
    return run;
  }

  /** Forgets a run that was deleted. */
  forget(id: string): void {
    this._models.get(id)?.dispose();
    this._models.delete(id);
  }

  private _models = new Map<string, RunModel>();
}
