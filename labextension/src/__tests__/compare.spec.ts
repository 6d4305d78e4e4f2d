import { difference, outputRows } from '../compare/rows';

const stream = (text: string | string[]) => ({ output_type: 'stream', name: 'stdout', text });

function notebook(cells: Record<string, any[]>): any {
  return {
    cells: Object.entries(cells).map(([id, outputs]) => ({ id, cell_type: 'code', source: '', execution_count: 1, outputs }))
  };
}

test('outputs stand beside those of the same cell, in notebook order, with what only one run has in its place', () => {
  const owners = { load: 'load', new: 'fit', fit: 'fit', end: 'report' };
  const rows = outputRows(
    [
      notebook({ load: [stream('1\n')], fit: [stream('a')], end: [] }),
      notebook({ load: [stream(['1', '\n'])], new: [stream('!')], fit: [stream('b')], end: [] }),
      null
    ],
    owners
  );
  expect(rows.map(({ step, rows }) => [step, rows.map(row => row.cell)])).toEqual([
    ['load', ['load']],
    ['fit', ['new', 'fit']]
  ]);
  expect(rows[1].rows[0].outputs).toEqual([null, [stream('!')], null]);
});

test('the pieces of a text and counts make no difference, a picture does', () => {
  const picture = (data: string, count: number) => ({
    output_type: 'execute_result',
    execution_count: count,
    metadata: {},
    data: { 'image/png': data, 'text/plain': ['<Fig', 'ure>'] }
  });
  const same = (one: any, other: any) => outputRows([notebook({ a: [one] }), notebook({ a: [other] })], {})[0].rows[0].same;
  expect(same(picture('AA', 1), { ...picture('AA', 7), data: { 'image/png': 'AA', 'text/plain': '<Figure>' } })).toBe(true);
  expect(same(picture('AA', 1), picture('BB', 1))).toBe(false);
  expect(same(stream('x'), picture('AA', 1))).toBe(false);
});

test('a cell that was not executed has nothing to be compared', () => {
  const waiting = { cells: [{ id: 'a', cell_type: 'code', source: '', execution_count: null, outputs: [] }] } as any;
  expect(outputRows([notebook({ a: [stream('x')] }), waiting], {})[0].rows[0].outputs[1]).toBeNull();
});

test('a number says how it differs from the first', () => {
  expect([difference(0.93, 0.91), difference(2, 5), difference(1, 1), difference('a', 1)]).toEqual(['+0.02', '−3', '', '']);
});
