/** Jest runs the logic that needs no browser: labextension/src/__tests__. */
const jupyterlab = require('@jupyterlab/testing/lib/jest-config')(__dirname);

// JupyterLab's packages are ES modules, so that they are translated, too.
const modules = [
  '@codemirror',
  '@jupyter',
  '@jupyterlab',
  '@lumino',
  '@marijn',
  '@microsoft',
  'exenv-es6',
  'lib0',
  'y-protocols',
  'yjs'
];

module.exports = {
  ...jupyterlab,
  roots: ['<rootDir>/labextension/src'],
  testRegex: '__tests__/.*\\.spec\\.tsx?$',
  transform: { ...jupyterlab.transform, '\\.tsx?$': ['ts-jest', { tsconfig: 'tsconfig.test.json' }] },
  transformIgnorePatterns: [`/node_modules/(?!(${modules.join('|')}))`],
  setupFiles: [...jupyterlab.setupFiles, '<rootDir>/labextension/src/__tests__/setup.js'],
  collectCoverage: false,
  reporters: ['default']
};
