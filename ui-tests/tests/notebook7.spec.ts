import { expect, test } from '@jupyterlab/galata';

import { FLOW, notebookOf, sidebar, steps } from './help';

// Notebook 7 has another shell; Galata's own page object is for JupyterLab's.
test.use({ autoGoto: false });

test('in Notebook 7 cells have their chips, and a run is followed', async ({ page, tmpPath, baseURL }) => {
  await page.contents.uploadContent(notebookOf(FLOW), 'text', `${tmpPath}/flow.ipynb`);
  await page.goto(`${baseURL}/notebooks/${tmpPath}/flow.ipynb`, { waitForIsReady: false } as any);
  await expect(page.locator('.jp-Notebook .mlops-Chip').nth(1)).toHaveText('load', { timeout: 30_000 });
  await page.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:show-sidebar'));
  await expect(steps(page)).toHaveCount(4);
  await sidebar(page).getByText('Options', { exact: true }).click();
  await sidebar(page).getByLabel('Track with MLflow').uncheck();
  await sidebar(page).getByRole('button', { name: 'Run as pipeline' }).click();
  await expect(page.locator('.mlops-RunView').getByRole('tree')).toBeVisible({ timeout: 30_000 });
  await expect(page.locator('.jp-Notebook .mlops-Status.mlops-mod-done')).toHaveCount(4, { timeout: 40_000 });
});
