/**
 * One run as it is looked at: the fold of its events, which come by websocket, and what the server knows of it besides (the
 * graph of the notebook as it was run). A connection that breaks is made again from the last event received.
 */
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import type { Api } from './api';
import { apply, cellStatus, emptyPicture, FINAL_RUN, IRunPicture, stepStatus } from './fold';
import type { IEvent, IRunDetails } from './types';

const NORMAL = 1000;
const NO_SUCH_RUN = 4404;

export class RunModel implements IDisposable {
  constructor(
    readonly id: string,
    private readonly _api: Api
  ) {
    this.picture = emptyPicture(id);
    void this.refresh();
    this._connect();
  }

  picture: IRunPicture;
  details: IRunDetails | null = null;
  /** Why the run can't be shown, or ''. */
  problem = '';
  /** True while the connection is broken and being made again. */
  reconnecting = false;

  /** Emitted at most once a frame, however many events come. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get finished(): boolean {
    return FINAL_RUN.has(this.picture.status);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The status of each cell of the notebook as it was run, by cell id. */
  cellStatus(id: string): { status: string; seconds: number } | null {
    const step = this.details?.step_states.find(each => each.cells.includes(id));
    if (!step || !this.picture.steps[step.name]) {
      return null;
    }
    const numbers = this.details!.cells;
    const run = (this.picture.cells[step.name] ?? []).find(cell => numbers[cell.number] === id);
    if (run) {
      return { status: cellStatus(this.picture, step.name, run), seconds: run.seconds };
    }
    const whole = stepStatus(this.picture, step.name) ?? 'waiting';
    // The cells of a step below the one that runs, or that ended it.
    const rest: Record<string, string> = { running: 'waiting', failed: 'skipped', rejected: 'skipped', cancelled: 'skipped' };
    return { status: rest[whole] ?? whole, seconds: 0 };
  }

  /** Asks for the details again. */
  async refresh(): Promise<void> {
    try {
      this.details = await this._api.run(this.id);
      this.problem = '';
      if (this.details.status === 'interrupted') {
        this.picture.status = 'interrupted';
      }
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this._emit();
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._retry);
    this._socket?.close();
    Signal.clearData(this);
  }

  private _connect(): void {
    const socket = (this._socket = this._api.stream(this.id, this.picture.seq));
    socket.onopen = () => {
      if (this.reconnecting) {
        // A step may run in silence for hours: that the connection is back shows before it says something.
        this.reconnecting = false;
        void this.refresh();
      }
    };
    socket.onmessage = message => {
      this._delay = 500;
      this._take(JSON.parse(message.data));
    };
    socket.onclose = closed => this._onClosed(closed);
  }

  private _take(event: IEvent): void {
    if (apply(this.picture, event)) {
      if (event.type === 'run_finished') {
        void this.refresh();
      }
      this._emit();
    }
  }

  private _onClosed(closed: CloseEvent): void {
    if (this._isDisposed || closed.code === NO_SUCH_RUN || (closed.code === NORMAL && this.finished)) {
      return;
    }
    if (closed.code === NORMAL) {
      // The log has no end, and none will come: whoever wrote it is gone.
      this.picture.status = closed.reason || 'interrupted';
      void this.refresh();
      return;
    }
    this.reconnecting = true;
    this._retry = window.setTimeout(() => this._connect(), this._delay);
    this._delay = Math.min(this._delay * 2, 10_000);
    this._emit();
  }

  private _emit(): void {
    if (!this._pending && !this._isDisposed) {
      this._pending = true;
      // A frame does not come in a tab that is hidden, a timer does.
      window.setTimeout(() => {
        this._pending = false;
        if (!this._isDisposed) {
          this._changed.emit();
        }
      }, 50);
    }
  }

  private _socket: WebSocket | null = null;
  private _retry = 0;
  private _delay = 500;
  private _pending = false;
  private _isDisposed = false;
  private _changed = new Signal<this, void>(this);
}
