import { AxeBuilder } from '@axe-core/playwright';
import { expect, test } from '@jupyterlab/galata';

import { ended, FLOW, noTracking, open, run, runStep, runView, sidebar } from './help';

test('a run takes the parameters of the form, streams its outputs, and leaves them to the notebook', async ({
  page,
  tmpPath
}) => {
  await open(page, tmpPath, 'flow.ipynb', FLOW);
  const rounds = sidebar(page).getByLabel('rounds', { exact: true });
  await rounds.fill('many');
  await rounds.press('Enter');
  await expect(sidebar(page).getByRole('alert')).toHaveText('This takes a whole number.');
  await expect(sidebar(page).getByRole('button', { name: 'Run as pipeline' })).toBeDisabled();
  await rounds.fill('12');
  await rounds.press('Enter');
  await sidebar(page).getByLabel('pause').fill('0.4');
  await run(page);
  const edges = await sidebar(page).locator('.react-flow__edge').count();
  expect(edges).toBeGreaterThan(0);
  await expect(runView(page).locator('.react-flow__edge-path')).toHaveCount(edges);
  await runStep(page, 'count').click();
  const outputs = runView(page).locator('.mlops-Outputs');
  await expect(outputs).toContainText('counted to 1', { timeout: 90_000 });
  expect(await outputs.textContent()).not.toContain('counted to 11');
  await expect(page.locator('.jp-Notebook .mlops-Status.mlops-mod-running')).toHaveCount(1);
  await ended(page, 'done');
  await expect(outputs).toContainText('counted to 11');
  await expect(page.locator('.jp-Notebook .mlops-Status.mlops-mod-done')).toHaveCount(4);

  await runView(page).getByRole('tab', { name: 'Data' }).click();
  await expect(runView(page).getByText('numbers')).toBeVisible({ timeout: 90_000 });
  await runView(page).getByRole('tab', { name: 'Log' }).click();
  await expect(runView(page).locator('.mlops-Log')).toContainText('counted to 11');
  await runView(page).getByRole('button', { name: 'Put outputs back' }).click();
  await expect(page.locator('.jp-Notebook .jp-OutputArea-output').first()).toContainText('counted to 0');
});

test('a failure is opened where it happened, the run is resumed, and three runs are compared', async ({ page, tmpPath }) => {
  const metrics = { id: 'metrics', tags: ['pipeline-metrics'], source: 'mean' };
  await open(page, tmpPath, 'failing.ipynb', [...FLOW.slice(0, 4), metrics, FLOW[4]]);
  await sidebar(page).getByLabel('broken').check();
  await run(page);
  await ended(page, 'failed');
  await expect(runView(page).getByRole('alert')).toContainText('asked to fail');
  await expect(runStep(page, 'report')).toContainText('skipped');
  await runView(page).getByRole('button', { name: 'Open here' }).click();
  // The inputs of the step are loaded in the kernel of the notebook that was opened.
  const opened = page.locator('.jp-NotebookPanel:visible').filter({ hasText: 'asked to fail' }).last();
  await expect(opened).toBeVisible({ timeout: 90_000 });
  await expect
    .poll(
      () =>
        page.evaluate(() => (window.jupyterapp.shell.currentWidget as any).content.activeCell?.model.sharedModel.getSource()),
      {
        timeout: 90_000
      }
    )
    .toContain('assert not broken');
  const loaded = await page.evaluate(async () => {
    const panel = window.jupyterapp.shell.currentWidget as any;
    await panel.sessionContext.ready;
    let text = '';
    const future = panel.sessionContext.session.kernel.requestExecute({ code: 'print(total)' });
    future.onIOPub = (message: any) => (text += message.content.text ?? message.content.evalue ?? '');
    await future.done;
    return text;
  });
  expect(loaded.trim()).toBe('3');

  await page.notebook.activate('failing.ipynb');
  await page.notebook.setCell(3, 'code', 'mean = total / len(numbers)');
  await sidebar(page)
    .getByRole('button', { name: /^Resume run/ })
    .click();
  await expect(sidebar(page).getByRole('list', { name: 'Runs' }).getByRole('listitem')).toHaveCount(2, { timeout: 90_000 });
  await ended(page, 'done');
  await expect(runStep(page, 'count')).toContainText('cached');

  await sidebar(page).getByLabel('rounds', { exact: true }).fill('5');
  await sidebar(page).getByLabel('rounds', { exact: true }).press('Enter');
  await run(page);
  const history = sidebar(page).getByRole('list', { name: 'Runs' }).getByRole('listitem');
  await expect(history).toHaveCount(3, { timeout: 90_000 });
  await ended(page, 'done');

  const filter = sidebar(page).getByLabel('Filter runs');
  for (const [words, count] of [
    ['failed', 1],
    ['rounds=5', 1],
    ['done mean=2', 1],
    ['nothing like this', 0],
    ['', 3]
  ] as const) {
    await filter.fill(words);
    await expect(history, words).toHaveCount(count);
  }
  for (const box of await sidebar(page)
    .getByLabel(/^Select run/)
    .all()) {
    await box.check();
  }
  await sidebar(page).getByRole('button', { name: 'Compare' }).click();
  const table = page.getByRole('group', { name: 'Table of the runs' });
  const row = (name: RegExp) => table.getByRole('row', { name }).first().getByRole('cell');
  await expect(row(/^rounds/)).toHaveText([/^3/, /^3/, /^5 \+2/], { timeout: 90_000 });
  await expect(row(/mean/)).toHaveText([/^–/, /^1/, /^2/]);
  await expect(row(/^count(?!:)/)).toHaveText([/done/, /cached/, /done/]);
  await expect(table.getByRole('row', { name: /^check \(/ })).toContainText('code changed', { timeout: 90_000 });
  await expect(page.locator('.mlops-Diff')).toContainText('-assert not broken');
  // The outputs of the cells, beside each other: the failure here, nothing there.
  const check = page.locator('.mlops-Compare-step').filter({ hasText: 'Step check' });
  await expect(check.locator('.mlops-Compare-column').first()).toContainText('asked to fail', { timeout: 90_000 });
  await expect(check.locator('.mlops-Compare-column').nth(1)).toContainText('No output.');
  const count = page.locator('.mlops-Compare-step').filter({ hasText: 'Step count' }).locator('.mlops-Compare-column');
  await expect(count).toContainText(['counted to 2', 'counted to 2', 'counted to 4']);
  await page.getByLabel('Only what differs').check();
  await expect(row(/^rounds/)).toHaveCount(3);
  await expect(row(/^pause/)).toHaveCount(0);
  const found = await new AxeBuilder({ page }).include('.mlops-CompareView').analyze();
  expect(found.violations.filter(each => ['serious', 'critical'].includes(each.impact ?? ''))).toEqual([]);
});

test('a run survives a reload, is seen in a second tab, and is cancelled', async ({ page, tmpPath, context, baseURL }) => {
  await open(page, tmpPath, 'long.ipynb', FLOW);
  await noTracking(page);
  await sidebar(page).getByLabel('rounds', { exact: true }).fill('100');
  await sidebar(page).getByLabel('pause').fill('1');
  await sidebar(page).getByLabel('pause').press('Enter');
  await run(page);
  await runStep(page, 'count').click();
  await expect(runView(page).locator('.mlops-Outputs')).toContainText('counted to 1', { timeout: 90_000 });
  await page.notebook.save();

  await page.reload({ waitForIsReady: false } as any);
  await expect(page.locator('.jp-Notebook .mlops-Status.mlops-mod-running')).toHaveCount(1, { timeout: 90_000 });

  const second = await context.newPage();
  await second.goto(`${baseURL}/lab/workspaces/second/tree/${tmpPath}/long.ipynb`);
  await expect(second.locator('.jp-Notebook .mlops-Status.mlops-mod-running')).toHaveCount(1, { timeout: 90_000 });
  await second.locator('[data-id="mlops-lab-sidebar"]').click();
  await sidebar(second).getByRole('button', { name: '■ Cancel' }).click();
  await expect(sidebar(second).locator('.mlops-RunBar').getByRole('status')).toContainText('cancelled', { timeout: 90_000 });
  await expect(page.locator('.jp-Notebook .mlops-Status.mlops-mod-cancelled').first()).toBeVisible({ timeout: 90_000 });

  // What one tab saves is what the other one, without changes of its own, shows and runs.
  await second.locator('.jp-Notebook .jp-CodeCell .cm-content').last().click();
  await second.keyboard.press('Control+End');
  await second.keyboard.type('\n# of the second tab');
  await second.keyboard.press('Control+s');
  await expect(second.locator('.jp-mod-dirty')).toHaveCount(0);
  await run(page);
  await expect(page.locator('.jp-Notebook')).toContainText('# of the second tab');
  await sidebar(page).getByRole('button', { name: '■ Cancel', exact: true }).click();
  await expect(sidebar(page).locator('.mlops-RunBar').getByRole('status')).toContainText('cancelled', { timeout: 90_000 });
  await second.close();
});
