/** What the UI tests share: notebooks made for them, the sidebar, the run view. */
import { expect, IJupyterLabPageFixture } from '@jupyterlab/galata';
import type { Locator, Page } from '@playwright/test';

export interface ICell {
  id: string;
  source: string;
  tags?: string[];
  type?: 'code' | 'markdown';
}

/** A notebook whose steps take a moment, stream their outputs, and fail on demand. */
export const FLOW: ICell[] = [
  {
    id: 'settings',
    tags: ['parameters'],
    source: 'rounds: int = 3  # how many numbers\nbroken: bool = False\npause: float = 0.1'
  },
  { id: 'load', tags: ['step:load'], source: 'numbers = list(range(rounds))' },
  {
    id: 'count',
    tags: ['step:count'],
    source:
      'import time\ntotal = 0\nfor n in numbers:\n    total += n\n    print("counted to", n, flush=True)\n    time.sleep(pause)'
  },
  { id: 'check', tags: ['step:check'], source: 'assert not broken, "asked to fail"\nmean = total / len(numbers)' },
  { id: 'report', tags: ['step:report'], source: 'print("the mean is", mean)\nmean' }
];

/** Opens a notebook made of these cells, with the sidebar beside it. */
export async function open(page: IJupyterLabPageFixture, dir: string, name: string, cells: ICell[]): Promise<void> {
  await page.contents.uploadContent(notebookOf(cells), 'text', `${dir}/${name}`);
  await page.evaluate(async path => {
    const { commands } = window.jupyterapp;
    await commands.execute('docmanager:open', { path });
    await commands.execute('mlops-lab:show-sidebar');
  }, `${dir}/${name}`);
  await expect(sidebar(page).getByRole('heading', { level: 1 })).toHaveText(name.replace('.ipynb', ''), { timeout: 60_000 });
}

/** The text of a notebook file made of these cells. */
export function notebookOf(cells: ICell[]): string {
  return JSON.stringify({
    cells: cells.map(({ id, source, tags, type }) => ({
      id,
      cell_type: type ?? 'code',
      source,
      metadata: tags ? { tags } : {},
      ...(type === 'markdown' ? {} : { outputs: [], execution_count: null })
    })),
    metadata: { kernelspec: { name: 'python3', display_name: 'Python 3 (ipykernel)', language: 'python' } },
    nbformat: 4,
    nbformat_minor: 5
  });
}

export function sidebar(page: Page): Locator {
  return page.getByRole('region', { name: 'Pipeline' });
}

export function steps(page: Page): Locator {
  return sidebar(page).getByRole('tree').getByRole('treeitem', { level: 1 });
}

/** The names of the steps in the sidebar's tree, in order. */
export async function stepNames(page: Page): Promise<string[]> {
  return sidebar(page).locator('.mlops-TreeItem-name').allTextContents();
}

/** The run view that is in front. */
export function runView(page: Page): Locator {
  return page.locator('.mlops-RunView:visible');
}

/** A step in the run view, with its status as text. */
export function runStep(page: Page, name: string): Locator {
  return runView(page)
    .getByRole('treeitem')
    .filter({ has: page.getByText(name, { exact: true }) });
}

/** Starts a run of the notebook without MLflow, which takes seconds, and waits for its view. */
export async function run(page: Page): Promise<void> {
  await noTracking(page);
  await sidebar(page).getByRole('button', { name: 'Run as pipeline' }).click();
  await expect(runView(page).getByRole('tree')).toBeVisible({ timeout: 90_000 });
}

export async function noTracking(page: Page): Promise<void> {
  const box = sidebar(page).getByLabel('Track with MLflow');
  if (!(await box.isVisible())) {
    await sidebar(page).getByText('Options', { exact: true }).click();
  }
  await box.setChecked(false);
}

export async function ended(page: Page, status: string): Promise<void> {
  await expect(runView(page).getByRole('heading', { level: 1 }).getByRole('status')).toContainText(status, { timeout: 90_000 });
}

/** The tags of a cell in the notebook's model. */
export async function tags(page: Page, id: string): Promise<string[]> {
  return page.evaluate(cell => {
    const panel = window.jupyterapp.shell.currentWidget as any;
    const found = panel.content.widgets.find((each: any) => each.model.id === cell);
    return found.model.getMetadata('tags') ?? [];
  }, id);
}
