/** The widget of a run in real pages: JupyterLab and Notebook 7, with MLflow's own UI opened by its link. */
import { expect, test } from '@jupyterlab/galata';
import type { Locator, Page } from '@playwright/test';

const CELLS = [
  { id: 'go', source: '%load_ext mlops_lab\nrun = %mlops run', tags: [] },
  { id: 'settings', source: 'rounds: int = 3', tags: ['parameters'] },
  {
    id: 'count',
    source: 'import time\nfor n in range(rounds):\n    print("counted to", n, flush=True)\n    time.sleep(0.1)\ntotal = rounds',
    tags: ['step:count']
  },
  {
    id: 'score',
    source:
      'import mlflow\nfor n in range(3):\n    mlflow.log_metric("loss", 1 / (n + 1), step=n)\nmlflow.log_metric("auc", 0.93)\nprint(total)',
    tags: ['step:score']
  }
];

function notebook(cells: { id: string; source: string; tags: string[] }[]): string {
  return JSON.stringify({
    cells: cells.map(({ id, source, tags }) => ({
      id,
      cell_type: 'code',
      source,
      metadata: { tags },
      outputs: [],
      execution_count: null
    })),
    metadata: { kernelspec: { name: 'python3', display_name: 'Python 3 (ipykernel)', language: 'python' } },
    nbformat: 4,
    nbformat_minor: 5
  });
}

function widget(page: Page): Locator {
  return page.locator('.mlops-run:visible').first();
}

async function ended(page: Page, status = 'done'): Promise<void> {
  await expect(widget(page)).toHaveAttribute('data-status', status, { timeout: 90_000 });
}

test.setTimeout(420_000);

test('a run is shown live, survives a reload of the page, and its link opens MLflow', async ({ page, tmpPath, baseURL }) => {
  const list = { id: 'list', source: '%mlops runs', tags: [] };
  await page.contents.uploadContent(notebook([...CELLS, list]), 'text', `${tmpPath}/live.ipynb`);
  await page.notebook.openByPath(`${tmpPath}/live.ipynb`);
  await page.notebook.activate('live.ipynb');
  await page.notebook.runCell(0);
  await expect(widget(page)).toBeVisible({ timeout: 60_000 });
  await widget(page).getByRole('button', { name: 'count', exact: true }).click();
  await expect(widget(page).getByRole('region', { name: 'Outputs of step count' })).toContainText('counted to 2', {
    timeout: 60_000
  });
  await ended(page);
  await expect(page.locator('.mlops-run-static:visible')).toHaveCount(0);
  const rows = widget(page).locator('tr[data-step]');
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText('done in');
  await expect(widget(page).locator('.mr-metrics')).toContainText('0.93');
  await expect(widget(page).getByRole('img', { name: /score: loss, 3 points/ })).toBeVisible();
  await expect(widget(page).locator('.mlops-graph .step.done')).toHaveCount(2);

  await page.notebook.save();
  await page.reload({ waitForIsReady: false } as any);
  await ended(page);
  await expect(widget(page).locator('tr[data-step=count]')).toContainText('done in');
  await expect(widget(page).getByRole('region', { name: 'Outputs of step count' })).toContainText('counted to 2');

  const opened = page.context().waitForEvent('page');
  await widget(page).getByRole('button', { name: 'MLflow', exact: true }).click();
  const mlflow = await opened;
  await mlflow.waitForURL(/\/proxy\/\d+\/#\/experiments\/\d+\/runs\/\w+/, { timeout: 120_000 });
  expect(mlflow.url().startsWith(`${baseURL}/`)).toBe(true);
  await expect(mlflow.getByText('rounds').first()).toBeVisible({ timeout: 60_000 });
  const address = mlflow.url();
  await mlflow.close();

  // A page that may open no window, as VS Code's, has a link in the widget.
  await page.evaluate(() => {
    const { open } = window;
    window.open = () => ((window.open = open), null);
  });
  await widget(page).getByRole('button', { name: 'MLflow', exact: true }).click();
  await expect(widget(page).getByRole('link', { name: 'Open MLflow' })).toHaveAttribute('href', address, { timeout: 60_000 });

  // The list of runs leads there, too.
  await page.notebook.runCell(4);
  const again = page.context().waitForEvent('page');
  await page.getByRole('button', { name: 'Open MLflow' }).click();
  const store = await again;
  await store.waitForURL(/\/proxy\/\d+\//, { timeout: 120_000 });
  expect(store.url().startsWith(`${baseURL}/`)).toBe(true);
  await expect(store.getByText('live').first()).toBeVisible({ timeout: 60_000 });
  await store.close();

  // The run's view in the sidebar leads to the same page.
  await page.evaluate(() => window.jupyterapp.commands.execute('mlops-lab:show-sidebar'));
  await page.getByRole('list', { name: 'Runs' }).getByRole('button', { name: /done/ }).click();
  const shown = page.context().waitForEvent('page');
  await page.locator('.mlops-RunView-head').getByRole('button', { name: 'MLflow run' }).click({ timeout: 30_000 });
  const second = await shown;
  await second.waitForURL(address, { timeout: 120_000 });
  await second.close();
});

test('ten thousand outputs leave the page usable', async ({ page, tmpPath }) => {
  const flood = [
    { ...CELLS[0], source: '%load_ext mlops_lab\nrun = %mlops run --no-tracking' },
    { id: 'flood', source: 'for i in range(10_000):\n    print("line", i, flush=True)', tags: ['step:flood'] }
  ];
  await page.contents.uploadContent(notebook(flood), 'text', `${tmpPath}/flood.ipynb`);
  await page.notebook.openByPath(`${tmpPath}/flood.ipynb`);
  await page.notebook.activate('flood.ipynb');
  await page.notebook.runCell(0);
  await expect(widget(page)).toBeVisible({ timeout: 60_000 });
  await widget(page).getByRole('button', { name: 'flood', exact: true }).click();
  const outputs = widget(page).getByRole('region', { name: 'Outputs of step flood' });
  await expect(outputs).toContainText('line', { timeout: 60_000 });
  // While they come, the page answers: its longest pause is measured, frame by frame.
  const pause = await page.evaluate(
    () =>
      new Promise<number>(resolve => {
        let [longest, last] = [0, performance.now()];
        const end = last + 3000;
        const frame = (now: number) => {
          longest = Math.max(longest, now - last);
          last = now;
          now < end ? requestAnimationFrame(frame) : resolve(longest);
        };
        requestAnimationFrame(frame);
      })
  );
  expect(pause).toBeLessThan(1500);
  await ended(page);
  await expect(outputs).toContainText('line 9999');
  expect((await outputs.textContent())!.length).toBeLessThan(30_000);
});

test('Notebook 7 shows the same widget', async ({ page, tmpPath, baseURL }) => {
  const plain = [{ ...CELLS[0], source: '%load_ext mlops_lab\nrun = %mlops run --no-tracking' }, CELLS[1], CELLS[2]];
  await page.contents.uploadContent(notebook(plain), 'text', `${tmpPath}/seven.ipynb`);
  const seven = await page.context().newPage();
  await seven.goto(`${baseURL}/notebooks/${tmpPath}/seven.ipynb`);
  await seven.locator('.jp-Notebook .jp-CodeCell').first().click({ timeout: 60_000 });
  await expect(seven.getByText('Python 3 (ipykernel)').first()).toBeVisible();
  await seven.keyboard.press('Shift+Enter');
  await expect(widget(seven)).toBeVisible({ timeout: 60_000 });
  await ended(seven);
  await expect(widget(seven).locator('tr[data-step=count]')).toContainText('done in');
  await seven.close();
});
