import { apply, cellStatus, emptyPicture, IRunPicture, progress, stepStatus } from '../fold';
import type { IEvent } from '../types';

/** A picture of a log; the events get their numbers here. */
function fold(...events: Record<string, unknown>[]): IRunPicture {
  const picture = emptyPicture('r');
  events.forEach((event, at) => apply(picture, { seq: at + 1, time: at, ...event } as IEvent));
  return picture;
}

const STARTED = { type: 'run_started', run: 'r', notebook: '/n.ipynb', pipeline: 'n', steps: ['a', 'b'] };
const A = { step: 'a', attempt: 1 };

test('a step goes from waiting to done, with the outputs of its cells', () => {
  const picture = fold(
    STARTED,
    { type: 'step_started', ...A, reason: 'never run' },
    { type: 'cell_started', ...A, cell: 1, position: 1, total: 1 },
    { type: 'cell_output', ...A, cell: 1, output: { output_type: 'stream', name: 'stdout', text: 'x' } },
    { type: 'cell_output', ...A, cell: 1, output: { output_type: 'stream', name: 'stdout', text: 'y' } },
    { type: 'cell_output', ...A, cell: 1, output: { output_type: 'stream', name: 'stderr', text: 'z' } },
    { type: 'cell_finished', ...A, cell: 1, seconds: 0.5 },
    { type: 'step_finished', ...A, status: 'done', seconds: 1 },
    { type: 'step_committed', ...A }
  );
  expect(picture.steps.a).toMatchObject({ status: 'done', seconds: 1, committed: true, reason: 'never run' });
  expect(picture.steps.b.status).toBe('waiting');
  expect(progress(picture)).toBe(0.5);
  const [cell] = picture.cells.a;
  expect(cell.outputs.map(output => output.text)).toEqual(['xy', 'z']);
});

test('events that come twice, after a reconnection, count once', () => {
  const picture = fold(STARTED, { type: 'step_started', ...A }, { type: 'cell_started', ...A, cell: 1, position: 1, total: 1 });
  const output = {
    type: 'cell_output',
    ...A,
    cell: 1,
    seq: 4,
    time: 0,
    output: { output_type: 'stream', name: 'stdout', text: 'x' }
  };
  expect(apply(picture, output)).toBe(true);
  expect(apply(picture, output)).toBe(false);
  expect(picture.cells.a[0].outputs).toHaveLength(1);
});

test('a second attempt begins afresh, and what the first still sends is left out', () => {
  const picture = fold(
    STARTED,
    { type: 'step_started', ...A },
    { type: 'cell_started', ...A, cell: 1, position: 1, total: 1 },
    { type: 'step_finished', ...A, status: 'failed', seconds: 1, retry_in: 2, failure: { kind: 'error', message: 'no' } }
  );
  expect(picture.steps.a.status).toBe('retrying');
  apply(picture, { type: 'step_started', step: 'a', attempt: 2, seq: 5, time: 5 });
  apply(picture, { type: 'cell_finished', ...A, cell: 1, seconds: 9, status: 'failed', seq: 6, time: 6 });
  expect(picture.steps.a).toMatchObject({ status: 'running', attempt: 2, failure: null });
  expect(picture.cells.a).toEqual([]);
});

test('what was running when a run is cancelled is cancelled, and what waited is skipped', () => {
  const picture = fold(
    STARTED,
    { type: 'step_started', ...A },
    { type: 'cell_started', ...A, cell: 1, position: 1, total: 1 },
    { type: 'cell_finished', ...A, cell: 1, seconds: 1, status: 'failed' },
    { type: 'step_finished', ...A, status: 'cancelled', seconds: 1 },
    { type: 'run_finished', status: 'cancelled', seconds: 2 }
  );
  expect(stepStatus(picture, 'a')).toBe('cancelled');
  expect(cellStatus(picture, 'a', picture.cells.a[0])).toBe('cancelled');
  expect(stepStatus(picture, 'b')).toBe('skipped');
});

test('a step whose process is gone is interrupted, not running for ever', () => {
  const picture = fold(STARTED, { type: 'step_started', ...A });
  picture.status = 'interrupted';
  expect(stepStatus(picture, 'a')).toBe('interrupted');
});

test('events of later versions are passed over', () => {
  const picture = fold(STARTED, { type: 'something_new', step: 'a' });
  expect(picture.seq).toBe(2);
  expect(picture.steps.a.status).toBe('waiting');
});
