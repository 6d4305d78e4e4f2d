/** The extension's public token: the pipelines of the open notebooks, for other extensions to look at. */
import type { NotebookPanel } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

import type { NotebookModel } from './model';

export const PLUGIN_ID = '@mlops-lab/labextension:plugin';

export interface IPipelines {
  /** The model of the notebook that the user looks at, or null. */
  readonly current: NotebookModel | null;
  /** Emitted when another notebook has become the current one. */
  readonly currentChanged: ISignal<IPipelines, NotebookModel | null>;
  /** The model of an open notebook. */
  of(panel: NotebookPanel): NotebookModel | undefined;
}

export const IPipelines = new Token<IPipelines>(
  '@mlops-lab/labextension:IPipelines',
  'Notebooks as pipelines: steps, edges, diagnostics, runs.'
);
