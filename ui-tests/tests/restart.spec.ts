/** The Jupyter server goes away during a run and comes back: one of the test's own, with a token as a user's has. */
import { ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@jupyterlab/galata';

import { ended, ICell, notebookOf, run, runStep, runView, sidebar, steps } from './help';

const TOKEN = 'only-for-tests';

/** Each step waits for a file, so that the test says what happens when. */
function waiting(step: string, file: string): ICell {
  const source = `import os, time\nprint("${step} begins", flush=True)\nwhile not os.path.exists("${file}"):\n    time.sleep(0.1)`;
  return { id: step, tags: [`step:${step}`], source: `${source}\nprint("${step} ends", flush=True)` };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

async function serve(folder: string, port: number): Promise<ChildProcess> {
  const options = [`--ServerApp.root_dir=${folder}`, `--ServerApp.port=${port}`, '--ServerApp.port_retries=0'];
  const server = spawn('jupyter', ['lab', '--no-browser', '--allow-root', `--IdentityProvider.token=${TOKEN}`, ...options], {
    env: { ...process.env, JUPYTER_CONFIG_DIR: join(folder, '.jupyter'), JUPYTER_RUNTIME_DIR: join(folder, '.runtime') },
    stdio: 'ignore'
  });
  const answers = () =>
    fetch(`http://127.0.0.1:${port}/api`).then(
      answer => answer.ok,
      () => false
    );
  await expect.poll(answers, { timeout: 120_000 }).toBe(true);
  return server;
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode === null && server.signalCode === null) {
    const gone = once(server, 'exit');
    server.kill('SIGTERM');
    await gone;
  }
}

/** What the run has written of its events. */
function events(folder: string): string {
  const runs = join(folder, '.mlops_lab', 'runs');
  return readdirSync(runs)
    .map(run => readFileSync(join(runs, run, 'events.jsonl'), 'utf-8'))
    .join('');
}

test('a run goes on while the server is away, and is followed to its end when it is back', async ({ browser }) => {
  const folder = mkdtempSync(join(tmpdir(), 'mlops-lab-restart-'));
  const cells = [waiting('early', 'go'), { ...waiting('late', 'end'), tags: ['step:late', 'after:early'] }];
  writeFileSync(join(folder, 'held.ipynb'), notebookOf(cells));
  const port = await freePort();
  let server = await serve(folder, port);
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  try {
    const page = await context.newPage();
    await page.goto(`http://127.0.0.1:${port}/lab/tree/held.ipynb?token=${TOKEN}`);
    await page.locator('[data-id="mlops-lab-sidebar"]').click({ timeout: 90_000 });
    await expect(steps(page)).toHaveCount(2, { timeout: 90_000 });
    await run(page);
    await expect(runView(page).locator('.mlops-Outputs')).toContainText('early begins', { timeout: 90_000 });
    await expect(runView(page)).not.toContainText('connection lost');

    await stop(server);
    await expect(runView(page)).toContainText('connection lost', { timeout: 90_000 });
    writeFileSync(join(folder, 'go'), '');
    await expect.poll(() => events(folder), { timeout: 90_000 }).toMatch(/"step_finished".*early/);

    server = await serve(folder, port);
    await expect(runStep(page, 'early')).toContainText('done', { timeout: 90_000 });
    await expect(runStep(page, 'late')).toContainText('running', { timeout: 90_000 });
    // The step that runs says nothing, and yet it shows that the connection is back.
    await expect(runView(page)).not.toContainText('connection lost');
    writeFileSync(join(folder, 'end'), '');
    await ended(page, 'done');
    await expect(sidebar(page).locator('.mlops-RunBar').getByRole('status')).toContainText('done');
  } finally {
    await context.close();
    await stop(server);
    rmSync(folder, { recursive: true, force: true });
  }
});
