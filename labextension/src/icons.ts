/** The extension's own icon, and the marks of a status: one table for the cells, the graph and the lists. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import { IRunPicture, progress } from './fold';
import pipelineSvg from '../style/icons/pipeline.svg';

export const pipelineIcon = new LabIcon({ name: '@mlops-lab/labextension:pipeline', svgstr: pipelineSvg });

/** A sign for each status, so that colour is never the only difference. */
const MARKS: Record<string, string> = {
  waiting: '○',
  running: '◐',
  retrying: '↻',
  done: '✓',
  cached: '⚡︎',
  failed: '✕',
  rejected: '⊘',
  skipped: '–',
  cancelled: '■',
  interrupted: '■'
};

export function mark(status: string): string {
  return MARKS[status] ?? '·';
}

/** A status in the user's language. */
export function statusText(status: string, trans: TranslationBundle): string {
  const texts: Record<string, string> = {
    waiting: trans.__('waiting'),
    running: trans.__('running'),
    retrying: trans.__('retrying'),
    done: trans.__('done'),
    cached: trans.__('cached'),
    failed: trans.__('failed'),
    rejected: trans.__('rejected'),
    skipped: trans.__('skipped'),
    cancelled: trans.__('cancelled'),
    interrupted: trans.__('interrupted')
  };
  return texts[status] ?? status;
}

/** A length of time for people: `0.42 s`, `12 s`, `3 min 20 s`. */
export function duration(seconds: number | undefined, trans: TranslationBundle): string {
  const value = seconds ?? 0;
  if (value < 10) {
    return trans.__('%1 s', value.toFixed(value < 1 ? 2 : 1));
  }
  if (value < 60) {
    return trans.__('%1 s', Math.round(value));
  }
  const minutes = Math.floor(Math.round(value) / 60);
  return trans.__('%1 min %2 s', minutes, Math.round(value) - minutes * 60);
}

/** A size for people: `812 B`, `1.2 kB`, `3.4 MB`. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  return `${(count / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

/** How a run stands, in a few words. */
export function runText(picture: IRunPicture, trans: TranslationBundle): string {
  if (picture.status !== 'running') {
    return statusText(picture.status, trans);
  }
  const done = progress(picture);
  return done === 1 ? trans.__('finishing') : trans.__('running, %1 %', Math.round(done * 100));
}
