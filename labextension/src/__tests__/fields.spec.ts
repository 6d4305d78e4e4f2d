import { nullTranslator } from '@jupyterlab/translation';

import { readParameter, readSetting, shown } from '../fields';
import type { IParameter, ISettingRule } from '../types';

const trans = nullTranslator.load('mlops_lab');

function parameter(kind: string, more: Partial<IParameter> = {}): IParameter {
  return { name: 'p', type: kind, kind, optional: false, default: 0, description: '', cell: 'c', line: 1, ...more };
}

test.each([
  ['12', parameter('int'), 12],
  ['-3', parameter('int'), -3],
  ['1e-3', parameter('float'), 0.001],
  ['', parameter('float', { optional: true }), null],
  ['', parameter('str', { default: 'x' }), ''],
  ['[1, 2]', parameter('list'), [1, 2]],
  ['{"a": [1]}', parameter('dict'), { a: [1] }],
  ['"text"', parameter('any'), 'text'],
  ['0.5', parameter('float', { bounds: { gt: 0, lt: 1 } }), 0.5]
])('%j is a value', (text, of, value) => {
  expect(readParameter(text, of, trans)).toEqual({ value });
});

test.each([
  ['1.5', parameter('int')],
  ['many', parameter('float')],
  ['', parameter('int')],
  ['9007199254740993', parameter('int')],
  ['[1, 2', parameter('list')],
  ['{"a": 1}', parameter('list')],
  ['[1]', parameter('dict')],
  ['1', parameter('float', { bounds: { gt: 0, lt: 1 } })]
])('%j is refused, with a reason', (text, of) => {
  expect(readParameter(text, of, trans)).toEqual({ problem: expect.stringMatching(/\w/) });
});

function rule(name: string, type: ISettingRule['type'], default_: unknown = null): ISettingRule {
  return { name, type, default: default_ };
}

test.each([
  ['2', rule('retries', 'integer', 0), 2],
  ['0', rule('retries', 'integer', 0), null],
  ['', rule('timeout', 'number'), null],
  ['500m', rule('cpu', 'string'), '500m'],
  ['2', rule('cpu', 'string'), 2],
  ['4Gi', rule('memory', 'string'), '4Gi'],
  ['A=1\nB = x=y', rule('env', 'map', {}), { A: '1', B: 'x=y' }],
  ['TOKEN, KEY TOKEN', rule('secrets', 'list', []), ['TOKEN', 'KEY']]
])('the setting %j is read', (text, of, value) => {
  expect(readSetting(text, of, trans)).toEqual({ value });
});

test.each([
  ['-1', rule('retries', 'integer', 0)],
  ['soon', rule('timeout', 'number')],
  ['no equals sign', rule('env', 'map', {})]
])('the setting %j is refused, with a reason', (text, of) => {
  expect(readSetting(text, of, trans)).toEqual({ problem: expect.stringMatching(/\w/) });
});

test.each([
  [null, 'int', ''],
  [0.1, 'float', '0.1'],
  ['text', 'str', 'text'],
  ['text', 'any', '"text"'],
  [{ A: '1', B: '2' }, 'map', 'A=1\nB=2']
])('%j stands in its field as text', (value, kind, text) => {
  expect(shown(value, kind)).toBe(text);
});
