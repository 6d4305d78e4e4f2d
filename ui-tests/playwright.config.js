/**
 * The UI tests: JupyterLab in the Chromium that is installed, by Galata. `MLOPS_LAB_CHROMIUM` names another one; without it
 * Debian's is used where it is there, else Playwright's own.
 */
const { existsSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const baseConfig = require('@jupyterlab/galata/lib/playwright-config');

const debian = '/usr/bin/chromium';
const executablePath = process.env.MLOPS_LAB_CHROMIUM ?? (existsSync(debian) ? debian : undefined);
const port = process.env.MLOPS_LAB_UI_PORT ?? '18899';
const asRoot = process.getuid?.() === 0;
const url = `http://127.0.0.1:${port}`;
process.env.TARGET_URL = url;
// Where connections are kept: not the user's own.
process.env.MLOPS_LAB_CONFIG ??= join(tmpdir(), `mlops-lab-ui-${port}`);

module.exports = {
  ...baseConfig,
  testDir: './tests',
  outputDir: './test-results',
  // Far more than it takes: what else the machine does is not what is tested.
  timeout: 240_000,
  expect: { ...baseConfig.expect, timeout: 20_000 },
  retries: 1, // told as flaky
  // Half of a test is waiting for kernels and for the server.
  workers: 2,
  // The longest begin first, so that none is left alone at the end.
  projects: [
    { name: 'widget', testMatch: 'widget.spec.ts' },
    { name: 'sidebar', testIgnore: 'widget.spec.ts' }
  ],
  fullyParallel: true,
  reporter: [['list']],
  use: {
    ...baseConfig.use,
    baseURL: url,
    viewport: { width: 1440, height: 900 },
    video: 'off',
    trace: 'off',
    launchOptions: {
      executablePath,
      args: [
        ...(asRoot ? ['--no-sandbox'] : []),
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-component-update'
      ]
    }
  },
  webServer: {
    command: `jupyter lab --config jupyter_server_test_config.py --ServerApp.port=${port} --ServerApp.port_retries=0 ${asRoot ? '--allow-root' : ''}`,
    cwd: __dirname,
    url: `${url}/lab`,
    timeout: 120_000,
    reuseExistingServer: false,
    stdout: 'ignore',
    stderr: 'ignore'
  }
};
