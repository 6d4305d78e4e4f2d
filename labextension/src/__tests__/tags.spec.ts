import { freeStepName, headingIn, readTags, slug, withAfter, withGate, withRole, withStepRenamed } from '../tags';

test.each([
  [['step:train', 'gate', 'after:load'], { step: 'train', role: 'step', gate: true, after: ['load'] }],
  [['parameters'], { step: '', role: 'parameters', gate: false, after: [] }],
  [['imports', 'hide-input'], { step: '', role: 'setup', gate: false, after: [] }],
  [['step:a', 'prev:b'], { step: 'a', role: 'step', gate: false, after: ['b'] }],
  [['raises-exception'], { step: '', role: '', gate: false, after: [] }]
])('%j is read as a role', (tags, read) => {
  expect(readTags(tags)).toEqual(read);
});

test.each([
  ['a role replaces the one before', withRole(['skip', 'hide-input'], 'setup'), ['setup', 'hide-input']],
  ["Kale's roles are replaced, too", withRole(['functions'], 'skip'), ['skip']],
  [
    'a renamed step keeps its gate and its order',
    withRole(['step:a', 'gate', 'after:b'], 'step', 'c'),
    ['step:c', 'gate', 'after:b']
  ],
  ['what was a step loses gate and order with it', withRole(['step:a', 'gate', 'after:b'], 'skip'), ['skip']],
  ["somebody else's tags are kept", withRole(['step:a', 'hide-input'], ''), ['hide-input']],
  ['a gate is added once', withGate(withGate(['step:a'], true), true), ['step:a', 'gate']],
  ['an order is replaced', withAfter(['step:a', 'prev:x', 'after:y'], ['z', 'z']), ['step:a', 'after:z']],
  [
    'a step is renamed where others wait for it',
    withStepRenamed(['step:b', 'after:a', 'after:ab'], 'a', 'c'),
    ['step:b', 'after:c', 'after:ab']
  ]
])('%s', (_, result, expected) => {
  expect(result).toEqual(expected);
});

test.each([
  ['Load Data', 'load-data'],
  ['  Überblick 2. ', 'uberblick-2'],
  ['3rd step', 'rd-step'],
  ['数据', '']
])('%j becomes the name %j', (text, name) => {
  expect(slug(text)).toBe(name);
});

test('a free name comes from the heading, and never takes one that is there', () => {
  expect(freeStepName([], '1. Load the data of last year')).toBe('load-the-data');
  expect(freeStepName(['load'], 'Load')).toBe('load-2');
  expect(freeStepName(['step-1'])).toBe('step-2');
});

test('the heading of a cell is its last one', () => {
  expect(headingIn('# Title\ntext\n## 2.1 Train\nmore')).toBe('Train');
  expect(headingIn('no heading')).toBe('');
});
