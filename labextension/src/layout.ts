/** Where the steps of a graph stand: dagre, from top to bottom. Pure; graph.tsx draws what it gives. */
import { Graph, layout as dagre } from '@dagrejs/dagre';

import type { IEdge } from './types';

export const NODE_WIDTH = 152;
export const NODE_HEIGHT = 46;

export interface IPlaced {
  name: string;
  x: number;
  y: number;
}

export interface IPoint {
  x: number;
  y: number;
}

export interface ILayout {
  /** The upper left corner of each step. */
  steps: IPlaced[];
  /** By `source→target`, the points that an edge goes through, around the steps that stand between. */
  edges: Record<string, IPoint[]>;
  width: number;
  height: number;
}

/** Edges to steps that do not exist are left out. */
export function place(names: readonly string[], edges: readonly IEdge[]): ILayout {
  const graph = new Graph();
  graph.setGraph({ rankdir: 'TB', nodesep: 24, ranksep: 44, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(names);
  names.forEach(name => graph.setNode(name, { width: NODE_WIDTH, height: NODE_HEIGHT }));
  for (const edge of edges) {
    if (known.has(edge.source) && known.has(edge.target)) {
      graph.setEdge(edge.source, edge.target);
    }
  }
  dagre(graph);
  const steps = names.map(name => {
    const { x, y } = graph.node(name) as unknown as IPoint;
    return { name, x: x - NODE_WIDTH / 2, y: y - NODE_HEIGHT / 2 };
  });
  const points = graph
    .edges()
    .map(each => [`${each.v}→${each.w}`, (graph.edge(each) as unknown as { points: IPoint[] }).points]);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return {
    steps,
    edges: Object.fromEntries(points),
    width: Math.max(width, NODE_WIDTH),
    height: Math.max(height, NODE_HEIGHT)
  };
}

/** A smooth SVG path through points, with its middle, where its label stands. */
export function smoothPath(points: readonly IPoint[]): { path: string; middle: IPoint } {
  const between = (a: IPoint, b: IPoint) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const last = points[points.length - 1];
  let path = `M${points[0].x},${points[0].y}`;
  for (let at = 1; at < points.length - 1; at++) {
    const end = at === points.length - 2 ? last : between(points[at], points[at + 1]);
    path += ` Q${points[at].x},${points[at].y} ${end.x},${end.y}`;
  }
  if (points.length === 2) {
    path += ` L${last.x},${last.y}`;
  }
  const half = points.length / 2;
  const middle = Number.isInteger(half) ? between(points[half - 1], points[half]) : points[Math.floor(half)];
  return { path, middle };
}

/** What an edge carries, for people: its variables, and why else one step follows the other. */
export function edgeLabel(edge: IEdge): string {
  const others = edge.reasons
    .filter(reason => reason.kind !== 'variable')
    .map(reason => `${reason.kind} ${reason.name}`.trim());
  return [...edge.variables, ...others].join(', ');
}
