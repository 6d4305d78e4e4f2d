/**
 * The picture of a run: a fold of its events, the same as mlops_lab/runstate.py, and with the outputs of its cells. Events
 * come from the websocket (api.ts); runmodel.ts keeps the picture of a run that is looked at. Pure functions.
 */
import type { IOutput } from '@jupyterlab/nbformat';

import type { IEvent, IRunState, IStepState } from './types';

export const FINAL_RUN = new Set(['done', 'failed', 'rejected', 'cancelled', 'interrupted']);

/** One cell of a step's current attempt. */
export interface ICellState {
  number: number;
  status: 'running' | 'done' | 'failed';
  seconds: number;
  outputs: IOutput[];
}

export interface IRunPicture extends IRunState {
  /** The number of the last event that is in the picture. */
  seq: number;
  /** By step, its cells in the order in which they ran. */
  cells: Record<string, ICellState[]>;
  options: Record<string, unknown>;
}

export function emptyPicture(id: string): IRunPicture {
  return {
    id,
    notebook: '',
    pipeline: '',
    experiment: '',
    target: 'local',
    status: 'running',
    started: 0,
    seconds: 0,
    resumed_from: '',
    message: '',
    parameters: {},
    steps: {},
    messages: [],
    tracking: null,
    seq: 0,
    cells: {},
    options: {}
  };
}

function newStep(name: string): IStepState {
  return {
    name,
    status: 'waiting',
    attempt: 0,
    position: 0,
    total: 0,
    cell: 0,
    seconds: 0,
    started: 0,
    reason: '',
    overtaken: 0,
    committed: false,
    failure: null,
    from_run: '',
    inputs: {},
    outputs: {},
    metrics: {},
    tracking: null
  };
}

/**
 * Takes one more event into the picture, in place; false if it was there already. The log leaves out fields that have their
 * default value, so that every field is read with one.
 */
export function apply(picture: IRunPicture, event: IEvent): boolean {
  if (event.seq <= picture.seq) {
    return false; // sent twice: the replay after a reconnection
  }
  picture.seq = event.seq;
  if (event.type in RUN_EVENTS) {
    RUN_EVENTS[event.type](picture, event);
  }
  const step = event.step ? picture.steps[event.step] : undefined;
  if (step && event.type in STEP_EVENTS && !(isOfAttempt(event) && event.attempt !== step.attempt)) {
    STEP_EVENTS[event.type](step, event, picture);
  }
  return true;
}

function isOfAttempt(event: IEvent): boolean {
  return ['cell_started', 'cell_output', 'cell_finished', 'step_finished'].includes(event.type);
}

const RUN_EVENTS: Record<string, (picture: IRunPicture, event: IEvent) => void> = {
  run_started: (picture, event) => {
    picture.id = event.run;
    picture.notebook = event.notebook;
    picture.pipeline = event.pipeline;
    picture.target = event.target ?? 'local';
    picture.parameters = event.parameters ?? {};
    picture.experiment = event.experiment ?? '';
    picture.started = event.time;
    picture.resumed_from = event.resumed_from ?? '';
    picture.options = event.options ?? {};
    picture.steps = Object.fromEntries((event.steps as string[]).map(name => [name, newStep(name)]));
    picture.cells = {};
  },
  run_finished: (picture, event) => {
    picture.status = event.status;
    picture.seconds = event.seconds;
    picture.message = event.message ?? '';
  },
  message: (picture, event) => {
    picture.messages.push({ text: event.text, level: event.level ?? 'info', step: event.step ?? '' });
  },
  tracking_run: (picture, event) => {
    if (!event.step) {
      picture.tracking = { run_id: event.run_id, uri: event.uri, experiment_id: event.experiment_id };
    }
  }
};

const STEP_EVENTS: Record<string, (step: IStepState, event: IEvent, picture: IRunPicture) => void> = {
  step_started: (step, event, picture) => {
    step.status = 'running';
    step.attempt = event.attempt;
    step.reason = event.reason ?? '';
    step.started = event.time;
    step.position = 0;
    step.failure = null;
    step.committed = false;
    picture.cells[step.name] = [];
  },
  cell_started: (step, event, picture) => {
    step.cell = event.cell;
    step.position = event.position;
    step.total = event.total;
    picture.cells[step.name].push({ number: event.cell, status: 'running', seconds: 0, outputs: [] });
  },
  cell_output: (step, event, picture) => {
    const cell = lastCell(picture, step.name, event.cell);
    if (cell) {
      addOutput(cell.outputs, event.output);
    }
  },
  cell_finished: (step, event, picture) => {
    const cell = lastCell(picture, step.name, event.cell);
    if (cell) {
      cell.status = event.status ?? 'done';
      cell.seconds = event.seconds;
    }
  },
  step_finished: (step, event) => {
    step.status = event.retry_in !== undefined && event.retry_in !== null ? 'retrying' : event.status;
    step.seconds = event.seconds;
    step.failure = event.failure ?? null;
    step.inputs = event.inputs ?? {};
    step.outputs = event.outputs ?? {};
  },
  step_overtaken: step => {
    step.overtaken += 1;
    step.status = 'waiting';
    step.committed = false;
    step.metrics = {};
  },
  step_committed: step => {
    step.committed = true;
  },
  step_cached: (step, event) => {
    step.status = 'cached';
    step.from_run = event.from_run;
    step.inputs = event.inputs ?? {};
    step.outputs = event.outputs ?? {};
    step.committed = true;
  },
  step_skipped: (step, event) => {
    step.status = 'skipped';
    step.reason = event.because;
  },
  metrics: (step, event) => {
    step.metrics = { ...step.metrics, ...event.values };
  },
  tracking_run: (step, event) => {
    step.tracking = { run_id: event.run_id, uri: event.uri, experiment_id: event.experiment_id };
  }
};

function lastCell(picture: IRunPicture, step: string, number: number): ICellState | undefined {
  return (picture.cells[step] ?? []).filter(cell => cell.number === number).pop();
}

/** Adds an output as a notebook would show it: pieces of one stream are one text. */
function addOutput(outputs: IOutput[], output: IOutput): void {
  const last = outputs[outputs.length - 1];
  if (output.output_type === 'stream' && last?.output_type === 'stream' && last.name === output.name) {
    outputs[outputs.length - 1] = { ...last, text: text(last.text) + text(output.text) };
  } else {
    outputs.push(output);
  }
}

function text(value: unknown): string {
  return Array.isArray(value) ? value.join('') : String(value ?? '');
}

/** The status of a step to show: one that still waited or ran when the run ended did not end by itself. */
export function stepStatus(picture: IRunPicture, name: string): string | undefined {
  const status = picture.steps[name]?.status;
  if (!status || !FINAL_RUN.has(picture.status) || !['waiting', 'running', 'retrying'].includes(status)) {
    return status;
  }
  return status === 'waiting' ? 'skipped' : picture.status;
}

/** The status of a cell to show: it ends as its step does, since the kernel knows nothing of a run being cancelled. */
export function cellStatus(picture: IRunPicture, step: string, cell: ICellState): string {
  const whole = stepStatus(picture, step) ?? '';
  const unended = cell.status === 'running' && whole !== 'running';
  return unended || (cell.status === 'failed' && ['cancelled', 'rejected'].includes(whole)) ? whole : cell.status;
}

/** How far a run is, from 0 to 1, by the number of its steps that are finished. */
export function progress(picture: IRunPicture): number {
  const steps = Object.values(picture.steps);
  const finished = steps.filter(step => !['waiting', 'running', 'retrying'].includes(step.status)).length;
  return steps.length ? finished / steps.length : 0;
}
