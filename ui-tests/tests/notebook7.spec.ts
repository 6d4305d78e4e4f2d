import { expect, test } from '@jupyterlab/galata';

import { FLOW, notebookOf, sidebar, steps } from './help';

test('in Notebook 7 cells have their chips, and a run is followed', async ({ page, tmpPath, context, baseURL }) => {
  await page.contents.uploadContent(notebookOf(FLOW), 'text', `${tmpPath}/flow.ipynb`);
  // A page of its own: Galata's knows JupyterLab's shell only.
  const notebook = await context.newPage();
  await notebook.goto(`${baseURL}/notebooks/${tmpPath}/flow.ipynb`);
  await expect(notebook.locator('.jp-Notebook .mlops-Chip').nth(1)).toHaveText('load', { timeout: 90_000 });
  await notebook.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:show-sidebar'));
  await expect(steps(notebook)).toHaveCount(4);
  await sidebar(notebook).getByText('Options', { exact: true }).click();
  await sidebar(notebook).getByLabel('Track with MLflow').uncheck();
  await sidebar(notebook).getByRole('button', { name: 'Run as pipeline' }).click();
  await expect(notebook.locator('.mlops-RunView').getByRole('tree')).toBeVisible({ timeout: 90_000 });
  await expect(notebook.locator('.jp-Notebook .mlops-Status.mlops-mod-done')).toHaveCount(4, { timeout: 90_000 });
  await notebook.close();
});
