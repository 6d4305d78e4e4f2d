/**
 * An analysis and what the server says has changed since, put together. What has not changed stays the object that it was, so
 * that views can tell by identity what to draw again. Pure.
 */
import type { IAnalysis, IAnalysisChanges, ISplice } from './types';

/** The next analysis; null where the changes are of another one than this. */
export function patched(before: IAnalysis | null, found: IAnalysis | IAnalysisChanges): IAnalysis | null {
  if (!('since' in found)) {
    return found;
  }
  if (before?.version !== found.since) {
    return null;
  }
  return {
    ...before,
    name: found.name ?? before.name,
    description: found.description ?? before.description,
    steps: spliced(before.steps, found.steps),
    edges: spliced(before.edges, found.edges),
    parameters: spliced(before.parameters, found.parameters),
    diagnostics: spliced(before.diagnostics, found.diagnostics),
    cells: found.cells ? withCells(before.cells, found.cells) : before.cells,
    milliseconds: found.milliseconds,
    version: found.version
  };
}

function spliced<T>(before: T[], splices: ISplice<T>[] | undefined): T[] {
  if (!splices?.length) {
    return before;
  }
  const after: T[] = [];
  let at = 0;
  for (const splice of splices) {
    after.push(...before.slice(at, splice.at), ...splice.items);
    at = splice.at + splice.remove;
  }
  after.push(...before.slice(at));
  return after;
}

function withCells(before: IAnalysis['cells'], changes: NonNullable<IAnalysisChanges['cells']>): IAnalysis['cells'] {
  const after = { ...before };
  for (const [id, cell] of Object.entries(changes)) {
    if (cell) {
      after[id] = cell;
    } else {
      delete after[id];
    }
  }
  return after;
}
