/**
 * Runs cells as JupyterLab does, but saves the notebook before one with a `%mlops` magic: such a magic works on the file. It
 * takes the place of JupyterLab's own plugin (`disabledExtensions` in package.json), since there is no other way to come
 * between the user's keystroke and the kernel.
 */
import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookCellExecutor, INotebookModel, NotebookPanel, runCell } from '@jupyterlab/notebook';

import { callsMagic } from './magic';
import { saveChanges } from './saving';

/** Which panel shows a notebook's model; told by the main plugin, since this one is needed before there are notebooks. */
let panelOf: (model: INotebookModel) => NotebookPanel | null = () => null;

export function findPanelsBy(find: typeof panelOf): void {
  panelOf = find;
}

async function run(options: INotebookCellExecutor.IRunCellOptions): Promise<boolean> {
  const { cell, notebook } = options;
  if (cell.model.type === 'code' && callsMagic(cell.model.sharedModel.getSource())) {
    const context = panelOf(notebook)?.context;
    if (context && !context.model.readOnly && context.contentsModel?.writable !== false) {
      await saveChanges(context).catch(() => undefined); // JupyterLab has said what is wrong, and the magic warns of the old file
    }
  }
  return runCell(options);
}

export const executor: JupyterFrontEndPlugin<INotebookCellExecutor> = {
  id: '@mlops-lab/labextension:cell-executor',
  description: 'Runs cells, and saves the notebook before those with %mlops magics.',
  autoStart: true,
  provides: INotebookCellExecutor,
  activate: () => Object.freeze({ runCell: run })
};
