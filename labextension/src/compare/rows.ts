/** Which outputs of runs stand side by side: a row a cell, by the ids of the cells; and when two of them are the same. Pure. */
import type { ICodeCell, INotebookContent, IOutput } from '@jupyterlab/nbformat';

/** One cell in each run; null where a run has no such cell, or did not get to it. */
export interface IOutputRow {
  cell: string;
  outputs: (readonly IOutput[] | null)[];
  same: boolean;
}

export interface IStepRows {
  /** '' for cells outside of the steps. */
  step: string;
  rows: IOutputRow[];
}

/** The rows of each step, in notebook order; cells without any output are left out. `owners` says whose each cell is. */
export function outputRows(
  notebooks: readonly (INotebookContent | null)[],
  owners: Readonly<Record<string, string>>
): IStepRows[] {
  const tables = notebooks.map(outputsByCell);
  const steps = new Map<string, IOutputRow[]>();
  for (const cell of inOrder(tables.map(table => [...table.keys()]))) {
    const outputs = tables.map(table => table.get(cell) ?? null);
    if (outputs.some(each => each?.length)) {
      const step = owners[cell] ?? '';
      const texts = outputs.map(each => each && JSON.stringify(each.map(essence)));
      steps.set(step, [...(steps.get(step) ?? []), { cell, outputs, same: texts.every(text => text === texts[0]) }]);
    }
  }
  return [...steps].map(([step, rows]) => ({ step, rows }));
}

function outputsByCell(notebook: INotebookContent | null): Map<string, IOutput[]> {
  const found = new Map<string, IOutput[]>();
  notebook?.cells.forEach((cell, index) => {
    const { outputs, execution_count } = cell as ICodeCell;
    // What was not executed has no outputs to be compared: not even that there are none.
    if (cell.cell_type === 'code' && (outputs.length > 0 || execution_count)) {
      found.set(String(cell.id ?? `cell-${index}`), outputs);
    }
  });
  return found;
}

/** All names, those that only later lists have behind the one that they follow there. */
function inOrder(lists: readonly string[][]): string[] {
  const all: string[] = [];
  for (const list of lists) {
    let at = 0;
    for (const name of list) {
      const known = all.indexOf(name);
      if (known >= 0) {
        at = known + 1;
      } else {
        all.splice(at, 0, name);
        at += 1;
      }
    }
  }
  return all;
}

/** What of an output a person sees: not the count of its execution, nor in how many pieces its text came. */
function essence(output: IOutput): unknown {
  const { execution_count: _, metadata: __, ...rest } = output as Record<string, unknown>;
  return Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, key === 'data' ? joined(value) : one(value)]));
}

function joined(data: unknown): unknown {
  return Object.fromEntries(Object.entries((data ?? {}) as object).map(([type, value]) => [type, one(value)]));
}

function one(value: unknown): unknown {
  return Array.isArray(value) && value.every(each => typeof each === 'string') ? value.join('') : value;
}

/** How a number differs from the first of its row: `+0.02`; '' where that says nothing. */
export function difference(value: unknown, first: unknown): string {
  if (typeof value !== 'number' || typeof first !== 'number' || value === first) {
    return '';
  }
  const by = Number((value - first).toPrecision(3));
  return by > 0 ? `+${by}` : `−${-by}`;
}
