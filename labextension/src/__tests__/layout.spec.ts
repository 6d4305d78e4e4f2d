import { edgeLabel, NODE_HEIGHT, NODE_WIDTH, place, smoothPath } from '../layout';
import type { IEdge } from '../types';

const edge = (source: string, target: string): IEdge => ({
  source,
  target,
  variables: ['x'],
  reasons: [{ kind: 'variable', name: 'x' }]
});

test('a step stands below those that it follows, and none stands on another', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const edges = [edge('a', 'b'), edge('a', 'c'), edge('b', 'd'), edge('c', 'd')];
  const places = new Map(place(names, edges).steps.map(each => [each.name, each]));
  for (const each of edges) {
    expect(places.get(each.target)!.y).toBeGreaterThan(places.get(each.source)!.y + NODE_HEIGHT);
  }
  for (const one of places.values()) {
    for (const other of places.values()) {
      const apart = Math.abs(one.x - other.x) >= NODE_WIDTH || Math.abs(one.y - other.y) >= NODE_HEIGHT;
      expect(one === other || apart).toBe(true);
    }
  }
});

test('an edge to a step that does not exist is left out', () => {
  expect(place(['a'], [edge('a', 'gone')])).toMatchObject({ steps: [{ name: 'a' }], edges: {} });
});

test('an edge tells its variables, and its other reasons by their kind', () => {
  const reasons = [
    { kind: 'variable', name: 'x' },
    { kind: 'file', name: 'data.csv' },
    { kind: 'gate', name: '' }
  ];
  expect(edgeLabel({ source: 'a', target: 'b', variables: ['x'], reasons })).toBe('x, file data.csv, gate');
});

test('an edge goes around the step that stands between its ends', () => {
  const { steps, edges } = place(['a', 'b', 'c'], [edge('a', 'b'), edge('b', 'c'), edge('a', 'c')]);
  const between = steps[1];
  const inside = edges['a→c'].some(
    ({ x, y }) => x > between.x && x < between.x + NODE_WIDTH && y > between.y && y < between.y + NODE_HEIGHT
  );
  expect(inside).toBe(false);
  const { path } = smoothPath(edges['a→c']);
  const last = edges['a→c'][edges['a→c'].length - 1];
  expect(path.endsWith(`${last.x},${last.y}`)).toBe(true);
});
