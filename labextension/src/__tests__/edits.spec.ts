import { YNotebook } from '@jupyter/ydoc';

import { applyChanges, changedSettings, History, renameStep, settingsOf } from '../edits';

function notebook(): any {
  const shared = YNotebook.create() as YNotebook;
  shared.insertCells(0, [
    { cell_type: 'code', id: 'a', source: 'x = 1\ny = sun(x)', metadata: { tags: ['step:one', 'mine'] } },
    { cell_type: 'code', id: 'b', source: 'z = y', metadata: { tags: ['step:two', 'after:one'] } }
  ]);
  shared.setMetadata('mlops_lab', { name: 'p', steps: { one: { retries: 2 } } });
  return { sharedModel: shared };
}

const state = (model: any) => ({
  tags: model.sharedModel.cells.map((cell: any) => cell.getMetadata('tags') ?? []),
  sources: model.sharedModel.cells.map((cell: any) => cell.getSource()),
  settings: settingsOf(model)
});

test('a fix of several edits is one change, and one undo takes it back to the letter', () => {
  const model = notebook();
  const before = state(model);
  const history = new History(model);
  history.do('fix', [
    { kind: 'replace', cell: 'a', line: 2, column: 4, end_column: 7, text: 'sum' },
    { kind: 'set_tags', cell: 'b', tags: [] },
    { kind: 'set_setting', step: 'two', key: 'cache', value: false },
    { kind: 'rename_settings', step: 'one', to: 'first' }
  ]);
  expect(state(model)).toEqual({
    tags: [['step:one', 'mine'], []],
    sources: ['x = 1\ny = sum(x)', 'z = y'],
    settings: { name: 'p', steps: { two: { cache: false }, first: { retries: 2 } } }
  });
  expect(history.last).toBe('fix');
  history.undo();
  expect(state(model)).toEqual(before);
  expect(history.canUndo).toBe(false);
});

test("the notebook's own undo and redo take a change back and make it again, and the history knows", () => {
  const model = notebook();
  const before = state(model);
  const history = new History(model);
  history.do('tag', [
    { kind: 'set_tags', cell: 'b', tags: ['skip'] },
    { kind: 'set_setting', step: 'two', key: 'cache', value: false }
  ]);
  history.do('rename', renameStep(model, 'one', 'first'));
  const after = state(model);
  model.sharedModel.undo();
  expect(history.last).toBe('tag');
  model.sharedModel.undo();
  expect(state(model)).toEqual(before);
  expect(history.canUndo).toBe(false);
  model.sharedModel.redo();
  model.sharedModel.redo();
  expect(state(model)).toEqual(after);
  expect(history.last).toBe('rename');
  history.undo();
  history.undo();
  expect(state(model)).toEqual(before);
});

test('a change is undone alone, whatever was done to the notebook since, and not twice', () => {
  const model = notebook();
  const history = new History(model);
  const entry = history.do('tag', [{ kind: 'set_tags', cell: 'b', tags: ['skip'] }]);
  model.sharedModel.insertCell(0, { cell_type: 'code', id: 'new', source: 'w = 0', metadata: {} });
  history.undo(entry);
  expect(state(model).tags).toEqual([[], ['step:one', 'mine'], ['step:two', 'after:one']]);
  expect(history.undo(entry)).toBe('');
  // The undoing can be undone by the notebook, as anything can.
  model.sharedModel.undo();
  expect(state(model).tags[2]).toEqual(['skip']);
  model.sharedModel.redo();
  model.sharedModel.undo();
  model.sharedModel.undo();
  expect(model.sharedModel.cells).toHaveLength(2);
});

test('a step is renamed in its tags, in what waits for it, and in its settings', () => {
  const model = notebook();
  applyChanges(model, renameStep(model, 'one', 'load'));
  expect(state(model).tags).toEqual([
    ['step:load', 'mine'],
    ['step:two', 'after:load']
  ]);
  expect(settingsOf(model).steps).toEqual({ load: { retries: 2 } });
});

test('a change of a cell that is gone is left out', () => {
  expect(applyChanges(notebook(), [{ kind: 'set_tags', cell: 'gone', tags: ['skip'] }])).toEqual([]);
});

test('settings that are empty leave nothing behind', () => {
  expect(
    changedSettings({ steps: { one: { retries: 2 } } }, { kind: 'set_setting', step: 'one', key: 'retries', value: null })
  ).toEqual({});
});
