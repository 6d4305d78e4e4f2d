import { patched } from '../analysis';
import type { IAnalysis, IAnalysisChanges } from '../types';

const step = (name: string, leaves: string[] = []) => ({
  name,
  group: name,
  cells: [],
  gate: false,
  implicit: false,
  after: [],
  reads: [],
  writes: leaves,
  leaves,
  prelude: [],
  settings: {}
});
const cell = (name: string) => ({ role: 'step', step: name, begins: true });
const before: IAnalysis = {
  version: 'one',
  name: 'flow',
  steps: [step('a'), step('b'), step('c')],
  edges: [],
  parameters: [],
  diagnostics: [],
  cells: { 1: cell('a'), 2: cell('b'), 3: cell('c') }
};

describe('an analysis with its changes', () => {
  it('is the next one, of the same objects where nothing has changed', () => {
    const found: IAnalysisChanges = {
      version: 'two',
      since: 'one',
      steps: [
        { at: 0, remove: 1, items: [step('a', ['x'])] },
        { at: 2, remove: 1, items: [] }
      ],
      cells: { 3: null, 4: cell('b') }
    };
    const after = patched(before, found)!;
    expect(after.steps.map(each => [each.name, ...each.leaves])).toEqual([['a', 'x'], ['b']]);
    expect(after.steps[1]).toBe(before.steps[1]);
    expect(after.edges).toBe(before.edges);
    expect(Object.keys(after.cells)).toEqual(['1', '2', '4']);
    expect([after.version, after.name]).toEqual(['two', 'flow']);
    expect(before.steps.map(each => each.name)).toEqual(['a', 'b', 'c']);
  });

  it('is the answer itself where the server has sent all of it, and nothing where it knew another one', () => {
    expect(patched(before, { ...before, version: 'three' })?.version).toBe('three');
    expect(patched(null, { version: 'two', since: 'one' })).toBeNull();
    expect(patched(before, { version: 'three', since: 'two' })).toBeNull();
  });
});
