import { callsMagic } from '../magic';

test.each([
  ['%mlops run', true],
  ['%load_ext mlops_lab\nrun = %mlops run --no-tracking', true],
  ['%%mlops step load\nx = 1', true],
  ['  %mlops runs', true],
  ['%load_ext mlops_lab', false],
  ['# %mlops run', false],
  ['print("%mlops run")', false],
  ['x = 5 %mlops_count', false]
])('%j calls a magic of ours: %p', (source, expected) => {
  expect(callsMagic(source)).toBe(expected);
});
