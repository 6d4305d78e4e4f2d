import { AxeBuilder } from '@axe-core/playwright';
import { expect, test } from '@jupyterlab/galata';

import { ended, FLOW, open, run, runView, sidebar, steps } from './help';

const IMAGES = `${__dirname}/../../docs/images`;

test('the pictures of the documentation are made, and nobody is shut out, in light, dark and high contrast', async ({
  page,
  tmpPath
}) => {
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

  // What can go wrong is looked at, too: a failed run, and a problem with its fix.
  await sidebar(page).getByLabel('broken').check();
  await run(page);
  await ended(page, 'failed');
  await page.notebook.activate('primes.ipynb');
  await page.evaluate(() =>
    (window.jupyterapp.shell.currentWidget as any).content.model.sharedModel.cells[4].setMetadata('tags', ['Step:report'])
  );
  await expect(sidebar(page).getByRole('list', { name: 'Problems' })).toContainText('ML102');
  const parts = ['.mlops-Sidebar', '.mlops-RunView', '.jp-Notebook .mlops-Chips'];
  const look = async (theme: string, rules?: string[]) => {
    const axe = parts.reduce((builder, part) => builder.include(part), new AxeBuilder({ page }));
    const found = await (rules ? axe.withRules(rules) : axe).analyze();
    const serious = found.violations
      .filter(each => ['serious', 'critical'].includes(each.impact ?? ''))
      .map(each => `${each.id}: ${each.nodes.map(node => node.html.slice(0, 160)).join(' | ')}`);
    expect(serious, theme).toEqual([]);
  };
  await look('dark');
  // Of a theme only the colours are its own.
  for (const theme of ['JupyterLab Light', 'JupyterLab Dark High Contrast']) {
    await page.theme.setTheme(theme);
    await look(theme, ['color-contrast']);
  }
});
