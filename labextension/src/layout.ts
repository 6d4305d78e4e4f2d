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

/** The upper left corner of each step. Edges to steps that do not exist are left out. */
export function place(names: readonly string[], edges: readonly IEdge[]): IPlaced[] {
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
  return names.map(name => {
    const { x, y } = graph.node(name) as unknown as { x: number; y: number };
    return { name, x: x - NODE_WIDTH / 2, y: y - NODE_HEIGHT / 2 };
  });
}

/** What an edge carries, for people: its variables, and why else one step follows the other. */
export function edgeLabel(edge: IEdge): string {
  const others = edge.reasons
    .filter(reason => reason.kind !== 'variable')
    .map(reason => `${reason.kind} ${reason.name}`.trim());
  return [...edge.variables, ...others].join(', ');
}
