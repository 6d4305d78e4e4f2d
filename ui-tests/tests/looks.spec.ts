import { AxeBuilder } from '@axe-core/playwright';
import { expect, test } from '@jupyterlab/galata';

import { ended, FLOW, open, run, runView, sidebar, steps } from './help';

const IMAGES = `${__dirname}/../../docs/images`;

const THEMES = ['JupyterLab Light', 'JupyterLab Dark', 'JupyterLab Dark High Contrast'];

test('nobody is shut out, in light, dark and high contrast', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'looks.ipynb', [
    ...FLOW,
    { id: 'broken', source: 'print(nothing_of_this_name)', tags: ['step:extra'] }
  ]);
  await expect(steps(page)).toHaveCount(5);
  await page.notebook.selectCells(1);
  await run(page);
  await ended(page, 'failed');
  for (const theme of THEMES) {
    await page.theme.setTheme(theme);
    for (const selector of ['.mlops-Sidebar', '.mlops-RunView', '.jp-Notebook .mlops-Chips']) {
      const found = await new AxeBuilder({ page }).include(selector).analyze();
      const serious = found.violations
        .filter(each => ['serious', 'critical'].includes(each.impact ?? ''))
        .map(each => `${each.id}: ${each.nodes.map(node => node.html.slice(0, 160)).join(' | ')}`);
      expect(serious, `${theme}: ${selector}`).toEqual([]);
    }
  }
});

test('the pictures of the documentation', async ({ page, tmpPath }) => {
  await open(page, tmpPath, 'primes.ipynb', FLOW);
  await page.sidebar.setWidth(360, 'left');
  await expect(steps(page)).toHaveCount(4);
  await page.notebook.selectCells(2);
  await page.screenshot({ path: `${IMAGES}/lab-sidebar.png` });
  await run(page);
  await ended(page, 'done');
  await runView(page).getByRole('treeitem', { name: /count/ }).click();
  await expect(runView(page).locator('.mlops-Outputs')).toContainText('counted to 2');
  await page.screenshot({ path: `${IMAGES}/lab-run.png` });
  await page.theme.setDarkTheme();
  await expect(sidebar(page)).toBeVisible();
  await page.screenshot({ path: `${IMAGES}/lab-dark.png` });
});
