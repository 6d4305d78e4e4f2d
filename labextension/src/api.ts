/**
 * The only place that talks to the server: one function a route of docs/openapi.yaml, one function for the websocket of a
 * run's events. Errors come out as `ApiError` with the server's own message; a server without our extension is said to be so.
 */
import { URLExt } from '@jupyterlab/coreutils';
import type { INotebookContent } from '@jupyterlab/nbformat';
import { ServerConnection } from '@jupyterlab/services';

import { patched } from './analysis';
import type {
  IAnalysis,
  IComparison,
  ILessons,
  IOpened,
  IPreviews,
  IRoles,
  IRunDetails,
  IRunRequest,
  IRunSummary,
  ISuggestion,
  ITarget,
  ITrackedPage
} from './types';

const PREFIX = 'mlops-lab/api';

/** A request that the server refused, or that never reached it (`status` 0). */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly kind = ''
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** What the analysis gets of a notebook: no outputs, so that it stays small. */
export interface INotebookBody {
  path: string;
  cells: { id: string; cell_type: string; source: string; tags: string[] }[];
  metadata: Record<string, unknown>;
}

export class Api {
  constructor(readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {}

  roles(): Promise<IRoles> {
    return this._request('GET', 'roles');
  }

  /** The cells as a pipeline; the answer brings only what has changed where the server still knows the analysis we have. */
  async analyse(body: INotebookBody, signal?: AbortSignal, before: IAnalysis | null = null): Promise<IAnalysis> {
    const found = await this._request('POST', 'analyse', { ...body, since: before?.version }, signal);
    return patched(before, found) ?? this.analyse(body, signal);
  }

  suggest(body: INotebookBody): Promise<ISuggestion> {
    return this._request('POST', 'suggest', body);
  }

  compile(path: string, target: string): Promise<{ filename: string; text: string }> {
    return this._request('POST', 'compile', { path, target });
  }

  async targets(): Promise<ITarget[]> {
    return (await this._request('GET', 'connections')).targets;
  }

  async runs(query: { path?: string; status?: string; limit?: number }): Promise<IRunSummary[]> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
    const answer = await this._request('GET', `runs${URLExt.objectToQueryString(Object.fromEntries(given) as any)}`);
    return answer.runs;
  }

  async start(options: IRunRequest): Promise<string> {
    return (await this._request('POST', 'runs', options)).id;
  }

  run(id: string): Promise<IRunDetails> {
    return this._request('GET', this._run(id));
  }

  async cancel(id: string): Promise<void> {
    await this._request('POST', `${this._run(id)}/cancel`, {});
  }

  async resume(id: string): Promise<string> {
    return (await this._request('POST', `${this._run(id)}/resume`, {})).id;
  }

  async delete(id: string): Promise<void> {
    await this._request('DELETE', this._run(id));
  }

  notebook(id: string): Promise<INotebookContent> {
    return this._request('GET', `${this._run(id)}/notebook`);
  }

  lessons(id: string): Promise<ILessons> {
    return this._request('GET', `${this._run(id)}/lessons`);
  }

  /** The address of the MLflow run of a run or of a step; MLflow's UI is started where its store has no server. */
  async mlflow(id: string, step = ''): Promise<string> {
    const { url, port, place }: ITrackedPage = await this._request('POST', `${this._run(id)}/mlflow`, { step });
    return url ?? (await this._address(port!)) + place;
  }

  /** The address of a port of the server's machine: through the Jupyter server, with its prefix, where it passes ports on. */
  private async _address(port: number): Promise<string> {
    const through = URLExt.join(this.settings.baseUrl, 'proxy', String(port));
    const answer = await ServerConnection.makeRequest(`${through}/`, { method: 'HEAD' }, this.settings).catch(() => null);
    return answer?.ok ? through : `http://127.0.0.1:${port}`;
  }

  log(id: string, step: string): Promise<{ text: string; cut: boolean }> {
    return this._request('GET', `${this._step(id, step)}/log`);
  }

  previews(id: string, step: string): Promise<IPreviews> {
    return this._request('GET', `${this._step(id, step)}/previews`);
  }

  open(id: string, step: string): Promise<IOpened> {
    return this._request('POST', `${this._step(id, step)}/open`, {});
  }

  compare(ids: string[]): Promise<IComparison> {
    return this._request('GET', `compare${URLExt.objectToQueryString({ runs: ids.join(',') })}`);
  }

  /** The websocket that sends a run's events, from the one behind `after`. */
  stream(id: string, after: number): WebSocket {
    const { wsUrl, token, appendToken, WebSocket } = this.settings;
    let url = `${URLExt.join(wsUrl, PREFIX, this._run(id), 'stream')}?after=${after}`;
    if (appendToken && token) {
      url += `&token=${encodeURIComponent(token)}`;
    }
    return new WebSocket(url);
  }

  private _run(id: string): string {
    return `runs/${encodeURIComponent(id)}`;
  }

  private _step(id: string, step: string): string {
    return `${this._run(id)}/steps/${encodeURIComponent(step)}`;
  }

  private async _request(method: string, route: string, body?: unknown, signal?: AbortSignal): Promise<any> {
    const init: RequestInit = { method, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(URLExt.join(this.settings.baseUrl, PREFIX, route), init, this.settings);
    } catch (error) {
      if (signal?.aborted) {
        throw error;
      }
      throw new ApiError('The Jupyter server does not answer. Is it still running?', 0);
    }
    const text = await response.text();
    const isJson = (response.headers.get('Content-Type') ?? '').includes('json');
    const data = isJson && text ? JSON.parse(text) : text;
    if (response.ok) {
      return data;
    }
    if (response.status === 404 && !(isJson && data.kind)) {
      throw new ApiError(
        'The server extension of MLOps Lab is not there. Install the Python package mlops-lab where Jupyter runs, and start Jupyter again.',
        404
      );
    }
    // What is no answer of ours comes from what stands before the server, or from the server in trouble.
    const message = isJson && data.message;
    throw new ApiError(
      message || `The Jupyter server failed (${response.status} ${response.statusText}); its log says why.`,
      response.status,
      isJson ? data.kind : ''
    );
  }
}
