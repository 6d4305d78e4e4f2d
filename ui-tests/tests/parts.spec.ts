/** What is done with runs besides starting them: parts of a notebook, its executed notebook, what a run saw, deleting, other places. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { expect, test } from '@jupyterlab/galata';
import type { Locator, Page } from '@playwright/test';

import { ended, FLOW, noTracking, open, run, runStep, runView, sidebar, tags } from './help';

function runs(page: Page): Locator {
  return sidebar(page).getByRole('list', { name: 'Runs' }).getByRole('listitem');
}

/** Presses a button that starts a part of a run anew, and waits until that run is done. */
async function partly(page: Page, step: string, button: string, count: number): Promise<void> {
  await runStep(page, step).click();
  await runView(page).getByRole('button', { name: button }).click();
  await expect(runs(page)).toHaveCount(count, { timeout: 90_000 });
  await ended(page, 'done');
}

test('a part of a notebook is run, its executed notebook opened, and a run deleted', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'parts.ipynb', FLOW);
  await run(page);
  await ended(page, 'done');
  await partly(page, 'check', 'Run up to here', 2);
  await expect(runStep(page, 'report')).toContainText('skipped');
  await expect(runStep(page, 'count')).toContainText('cached');
  await partly(page, 'check', 'Run from here', 3);
  await expect(runStep(page, 'count')).toContainText('cached');
  await expect(runStep(page, 'check')).toContainText('done');
  await expect(runStep(page, 'report')).toContainText(/done|cached/);
  await partly(page, 'report', 'Run only this', 4);
  await expect(runStep(page, 'report')).toContainText('done');

  await runView(page).getByRole('button', { name: 'Open executed notebook' }).click();
  await expect(page.locator('.jp-NotebookPanel:visible .jp-OutputArea-output').last()).toContainText('1.0', {
    timeout: 90_000
  });
  await page.notebook.activate('parts.ipynb');
  await runs(page)
    .first()
    .getByRole('button', { name: /^Delete run/ })
    .click();
  await expect(page.getByRole('dialog')).toContainText('Delete this run?');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(runs(page)).toHaveCount(3, { timeout: 90_000 });
});

test('what a run saw is written into the settings by a button, and undone', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'learns.ipynb', [
    { id: 'a', source: 'rows = [1]', tags: ['step:first'] },
    { id: 'b', source: 'done = list(map(rows.append, [2, 3]))', tags: ['step:change'] },
    { id: 'c', source: 'print(rows)', tags: ['step:last'] }
  ]);
  await run(page);
  await ended(page, 'done');
  await runView(page).getByRole('button', { name: 'Learn from this run' }).click();
  const follows = sidebar(page).getByRole('treeitem', { name: 'after change: rows' });
  await expect(sidebar(page).getByRole('button', { name: /^Undo: Learn/ })).toBeVisible({ timeout: 90_000 });
  await sidebar(page).getByRole('treeitem', { level: 1, name: /last/ }).focus();
  await page.keyboard.press('ArrowRight');
  await expect(follows).toBeVisible();
  await sidebar(page)
    .getByRole('button', { name: /^Undo: Learn/ })
    .click();
  await expect(follows).toHaveCount(0);
});

test('a cell with a magic finds the notebook saved, and the keys of JupyterLab undo tags', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'magic.ipynb', [
    { id: 'a', source: 'rows = [1]', tags: ['step:first'] },
    { id: 'm', source: '%load_ext mlops_lab\n%mlops show' }
  ]);
  await page.notebook.selectCells(0);
  await page.keyboard.press('Escape');
  await page.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:rename-step', { step: 'first', name: 'renamed' }));
  await page.evaluate(async () => {
    const panel = window.jupyterapp.shell.currentWidget as any;
    await panel.sessionContext.ready; // JupyterLab runs no cell while the kernel is still being started
    await panel.sessionContext.session?.kernel?.info;
    panel.content.activeCellIndex = 1;
    await window.jupyterapp.commands.execute('notebook:run-cell');
  });
  await expect(page.locator('.jp-Notebook .jp-OutputArea-output').last()).toContainText('renamed', { timeout: 90_000 });

  await page.notebook.selectCells(0);
  await page.keyboard.press('Escape');
  await page.keyboard.press('p');
  await page.keyboard.press('s');
  await expect.poll(() => tags(page, 'a')).toEqual(['skip']);
  await page.keyboard.press('z');
  await expect.poll(() => tags(page, 'a')).toEqual(['step:renamed']);
  await page.keyboard.press('Shift+z');
  await expect.poll(() => tags(page, 'a')).toEqual(['skip']);
  await sidebar(page).getByRole('button', { name: 'Undo: Skip' }).click();
  await expect.poll(() => tags(page, 'a')).toEqual(['step:renamed']);
});

test('a notebook is run on Kubeflow Pipelines, and followed there', async ({ page, tmpPath }) => {
  const cluster = spawn('python', ['kubeflow_pipelines.py', process.env.MLOPS_LAB_CONFIG!, 'load', 'report'], {
    cwd: `${__dirname}/..`,
    stdio: ['pipe', 'pipe', 'inherit']
  });
  try {
    await Promise.race([once(cluster.stdout, 'data'), once(cluster, 'exit')]);
    await open(page, tmpPath, 'elsewhere.ipynb', [
      { id: 'a', source: 'numbers = [1, 2]', tags: ['step:load'] },
      { id: 'b', source: 'print(sum(numbers))', tags: ['step:report'] }
    ]);
    await noTracking(page);
    await sidebar(page).getByLabel('Where', { exact: true }).selectOption({ label: 'Kubeflow: lab' });
    await sidebar(page).getByRole('button', { name: 'Run as pipeline' }).click();
    await expect(runView(page).getByRole('tree')).toBeVisible({ timeout: 90_000 });
    await ended(page, 'done');
    await expect(runStep(page, 'report')).toContainText('done');
    await expect(runView(page).getByRole('link', { name: 'Kubeflow run' })).toBeVisible();
  } finally {
    cluster.stdin.end();
    cluster.exitCode === null && (await once(cluster, 'exit'));
  }
});

test('settings take the rails and chips off the cells', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'plain.ipynb', FLOW);
  await expect(page.locator('.jp-Notebook .mlops-Chip')).toHaveCount(5);
  const set = (key: string, value: boolean) =>
    page.evaluate(
      async ([name, on]) => {
        const settings = (await window.galata.getPlugin('@jupyterlab/apputils-extension:settings'))!;
        await settings.set('@mlops-lab/labextension:plugin', name as string, on);
      },
      [key, value] as const
    );
  await set('chips', false);
  await expect(page.locator('.jp-Notebook .mlops-Chip')).toHaveCount(0);
  await expect(page.locator('.jp-Notebook .mlops-Rail')).toHaveCount(5);
  await set('rail', false);
  await expect(page.locator('.jp-Notebook .mlops-Rail')).toHaveCount(0);
  await set('chips', true);
  await expect(page.locator('.jp-Notebook .mlops-Chip')).toHaveCount(5);
});

test('a notebook that is renamed keeps its runs, and what it shows', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'before.ipynb', FLOW);
  await run(page);
  await ended(page, 'done');
  await page.notebook.activate('before.ipynb');
  await page.contents.renameFile(`${tmpPath}/before.ipynb`, `${tmpPath}/after.ipynb`);
  await expect(sidebar(page).getByRole('heading', { level: 1 })).toHaveText('after');
  await expect(runs(page)).toHaveCount(1);
  await runView(page).getByRole('button', { name: 'Put outputs back' }).click();
  await expect(page.locator('.jp-NotebookPanel:visible .jp-OutputArea-output').last()).toContainText('1.0');
});

test('a notebook that can’t be written is shown and run, and not changed', async ({ page, tmpPath }) => {
  // As a server tells it of a file that its user may not write.
  await page.route(/\/api\/contents\/.*fixed\.ipynb\?/, async route => {
    const response = await route.fetch();
    const isRead = route.request().method() === 'GET' && response.ok();
    await route.fulfill(isRead ? { response, json: { ...(await response.json()), writable: false } } : { response });
  });
  await open(page, tmpPath, 'fixed.ipynb', FLOW);
  const panel = sidebar(page);
  await expect(panel).toContainText('The notebook is read-only: save it under another name to change it.');
  await page.evaluate(() => ((window.jupyterapp.shell.currentWidget as any).content.activeCellIndex = 1));
  await expect(panel.getByLabel('Step name')).toBeDisabled();
  await expect(panel.getByLabel('Role')).toBeDisabled();
  await expect(panel.getByLabel('rounds')).toBeEnabled();
  const possible = (ids: string[]) =>
    page.evaluate(all => all.filter(id => window.jupyterapp.commands.isEnabled(`mlops-lab:${id}`, { role: 'skip' })), ids);
  expect(await possible(['tag-new-step', 'set-role', 'skip-cell', 'rename-step', 'run'])).toEqual(['run']);
  await run(page);
  await ended(page, 'done');
  await runView(page).getByRole('button', { name: 'Put outputs back' }).click();
  await expect(page.getByText('save it under another name', { exact: false }).last()).toBeVisible();
  await expect(page.locator('.jp-NotebookPanel .jp-OutputArea-output')).toHaveCount(0);
});
