/** Going to a cell, and to a line in it. */
import type { NotebookPanel } from '@jupyterlab/notebook';

/**
 * Makes a cell active, scrolls to it, and puts the cursor on a line (1-based) if one is given, to type there at once or, without
 * `edit`, once the user presses Enter. The keys are the notebook's then.
 */
export async function jumpTo(panel: NotebookPanel, id: string, line = 0, column = 0, edit = true): Promise<void> {
  const notebook = panel.content;
  const index = notebook.widgets.findIndex(cell => cell.model.id === id);
  if (index < 0) {
    return;
  }
  notebook.deselectAll();
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'smart').catch(() => undefined);
  if (line > 0) {
    const cell = notebook.widgets[index];
    await cell.ready;
    cell.editor?.setCursorPosition({ line: line - 1, column });
  }
  notebook.mode = line > 0 && edit ? 'edit' : 'command';
  notebook.activate();
}

/** The text of the last Markdown heading above a cell, with no code cell between them; '' if there is none. */
export function headingAbove(panel: NotebookPanel, index: number, headingIn: (source: string) => string): string {
  for (let above = index - 1; above >= 0; above--) {
    const cell = panel.content.widgets[above].model;
    if (cell.type === 'code') {
      return '';
    }
    const heading = headingIn(cell.sharedModel.getSource());
    if (heading) {
      return heading;
    }
  }
  return '';
}
