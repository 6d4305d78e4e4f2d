/** Two people in one document: with jupyter-collaboration, which is not among what this project installs (docs/jupyterlab.md). */
import { spawnSync } from 'node:child_process';

import { expect, test } from '@jupyterlab/galata';

import { ended, FLOW, open, run, sidebar, stepNames, steps } from './help';

const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('jupyter_collaboration') is None)";
const installed = spawnSync('python', ['-c', find]).status === 0;
test.skip(!installed, 'needs jupyter-collaboration: pip install it into .venv');

test('what one tags, sets and runs is seen by the other, and each undoes only what is theirs', async ({
  page,
  tmpPath,
  browser,
  baseURL
}) => {
  await open(page, tmpPath, 'shared.ipynb', FLOW);
  await expect(steps(page)).toHaveCount(4, { timeout: 90_000 });
  const context = await browser.newContext();
  const other = await context.newPage();
  await other.goto(`${baseURL}/lab/workspaces/other/tree/${tmpPath}/shared.ipynb`);
  await expect(other.locator('.jp-Notebook .mlops-Chip').first()).toBeVisible({ timeout: 90_000 });
  await other.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:show-sidebar'));
  await expect(steps(other)).toHaveCount(4, { timeout: 90_000 });

  await page.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:rename-step', { step: 'check', name: 'verify' }));
  await expect.poll(() => stepNames(other), { timeout: 90_000 }).toEqual(['load', 'count', 'verify', 'report']);

  await other.evaluate(() => ((window.jupyterapp.shell.currentWidget as any).content.activeCellIndex = 1));
  await sidebar(other).getByText('What the step needs').click();
  await sidebar(other).getByLabel('retries').fill('2');
  await sidebar(other).getByLabel('retries').press('Enter');
  const settings = () =>
    page.evaluate(() => (window.jupyterapp.shell.currentWidget as any).content.model.sharedModel.getMetadata('mlops_lab'));
  await expect.poll(settings, { timeout: 90_000 }).toEqual({ steps: { load: { retries: 2 } } });

  await sidebar(page)
    .getByRole('button', { name: /^Undo: Rename/ })
    .click();
  await expect.poll(() => stepNames(other), { timeout: 90_000 }).toEqual(['load', 'count', 'check', 'report']);
  expect(await settings()).toEqual({ steps: { load: { retries: 2 } } });

  await run(page);
  await ended(page, 'done');
  await expect(other.locator('.jp-Notebook .mlops-Status.mlops-mod-done')).toHaveCount(4, { timeout: 90_000 });
  await context.close();
});
