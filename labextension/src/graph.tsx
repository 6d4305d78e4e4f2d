/**
 * The graph of steps: React Flow, placed by layout.ts. Used by the sidebar (the notebook as it is) and by the run view (the
 * notebook as it was run). It is for the pointer; tree.tsx shows the same for the keyboard and for screen readers.
 */
import {
  BaseEdge,
  Controls,
  Edge,
  EdgeLabelRenderer,
  EdgeProps,
  Handle,
  MarkerType,
  Node,
  NodeHandle,
  NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow
} from '@xyflow/react';
import { memo, useEffect, useMemo, useRef, useState } from 'react';

import { stepColour } from './colours';
import { useServices } from './context';
import { duration, mark, statusText } from './icons';
import { edgeLabel, ILayout, IPoint, NODE_HEIGHT, NODE_WIDTH, place, smoothPath } from './layout';
import type { IEdge } from './types';

export interface IGraphStep {
  name: string;
  gate: boolean;
  /** The number of its cells. */
  cells: number;
  issues?: number;
  status?: string;
  seconds?: number;
}

type StepNode = Node<IGraphStep & { position: number; current: boolean } & Record<string, unknown>>;
type StepEdge = Edge<{ label: string; points: IPoint[] }>;

export interface IGraphProps {
  label: string;
  steps: readonly IGraphStep[];
  edges: readonly IEdge[];
  selected: string;
  onSelect: (step: string) => void;
}

function StepBox({ data }: NodeProps<StepNode>): JSX.Element {
  const { trans } = useServices();
  const cells = trans._n('%1 cell', '%1 cells', data.cells);
  const time = data.seconds ? ` ${duration(data.seconds, trans)}` : '';
  return (
    <div
      className={`mlops-Node mlops-mod-${data.status ?? 'idle'} ${data.gate ? 'mlops-mod-gate' : ''} ${data.current ? 'mlops-mod-selected' : ''}`}
      style={{ width: NODE_WIDTH, height: NODE_HEIGHT, ['--mlops-step-color' as string]: stepColour(data.position) }}
    >
      <Handle type="target" position={Position.Top} isConnectable={false} />
      <div className="mlops-Node-name" title={data.name}>
        {data.name}
        {data.issues ? (
          <span className="mlops-Node-issue" title={trans._n('%1 problem', '%1 problems', data.issues)}>
            {' '}
            !
          </span>
        ) : null}
      </div>
      <div className="mlops-Node-detail">
        {data.status
          ? `${mark(data.status)} ${statusText(data.status, trans)}${time}`
          : data.gate
            ? `${trans.__('gate')}, ${cells}`
            : cells}
      </div>
      <Handle type="source" position={Position.Bottom} isConnectable={false} />
    </div>
  );
}

function VariableEdge(props: EdgeProps<StepEdge>): JSX.Element {
  const [hovered, setHovered] = useState(false);
  const { path, middle } = useMemo(() => smoothPath(props.data!.points), [props.data!.points]);
  return (
    <>
      <g onMouseEnter={() => setHovered(true)} onMouseLeave={() => setHovered(false)}>
        <BaseEdge
          path={path}
          markerEnd={props.markerEnd}
          interactionWidth={18}
          className={hovered ? 'mlops-mod-hovered' : ''}
        />
      </g>
      {hovered && (
        <EdgeLabelRenderer>
          <div
            className="mlops-EdgeLabel"
            style={{ transform: `translate(-50%, -50%) translate(${middle.x}px, ${middle.y}px)` }}
          >
            {props.data?.label}
          </div>
        </EdgeLabelRenderer>
      )}
    </>
  );
}

/** Below this zoom the names of steps can't be read. */
const READABLE = 0.6;

const NODE_TYPES = { step: StepBox };
/** Where edges begin and end. Known without measuring, which a panel that is not shown yet would put off. */
const HANDLES: NodeHandle[] = [
  { type: 'target', position: Position.Top, x: NODE_WIDTH / 2, y: 0 },
  { type: 'source', position: Position.Bottom, x: NODE_WIDTH / 2, y: NODE_HEIGHT }
];
const EDGE_TYPES = { variables: VariableEdge };

function Flow(props: IGraphProps): JSX.Element {
  const { trans } = useServices();
  const { fitView, setViewport } = useReactFlow();
  const box = useRef<HTMLDivElement>(null);
  const drawn = useRef(new Map<string, { step: IGraphStep; places: ILayout; node: StepNode }>());
  // Where the steps stand depends on names and edges only: typing in a cell, or a status, moves nothing.
  const shape = JSON.stringify([props.steps.map(step => step.name), props.edges.map(edge => [edge.source, edge.target])]);
  const places = useMemo(
    () =>
      place(
        props.steps.map(step => step.name),
        props.edges
      ),
    [shape]
  );
  const nodes = useMemo<StepNode[]>(
    () =>
      props.steps.map((step, position) => {
        const current = step.name === props.selected;
        const before = drawn.current.get(step.name);
        if (before?.step === step && before.places === places && before.node.data.current === current) {
          return before.node; // React Flow draws only those that are new objects
        }
        const node = nodeOf(step, position, current);
        drawn.current.set(step.name, { step, places, node });
        return node;
      }),
    [props.steps, places, props.selected]
  );
  function nodeOf(step: IGraphStep, position: number, current: boolean): StepNode {
    return {
      id: step.name,
      type: 'step',
      position: places.steps[position] ?? { x: 0, y: 0 },
      width: NODE_WIDTH,
      height: NODE_HEIGHT,
      measured: { width: NODE_WIDTH, height: NODE_HEIGHT },
      handles: HANDLES,
      data: { ...step, position, current },
      ariaLabel: trans.__('Step %1', step.name),
      draggable: false
    };
  }
  const edges = useMemo<StepEdge[]>(
    () =>
      props.edges
        .filter(edge => places.edges[`${edge.source}→${edge.target}`])
        .map(edge => ({
          id: `${edge.source}→${edge.target}`,
          source: edge.source,
          target: edge.target,
          type: 'variables',
          focusable: false,
          ariaLabel: trans.__('%1 comes after %2', edge.target, edge.source),
          markerEnd: { type: MarkerType.ArrowClosed, color: 'var(--jp-ui-font-color1)' },
          data: { label: edgeLabel(edge), points: places.edges[`${edge.source}→${edge.target}`] }
        })),
    [props.edges, places]
  );
  // The controls and the attribution stand below the graph, not on it.
  const options = { padding: { x: '8px', top: '8px', bottom: '40px' }, maxZoom: 1, minZoom: 0.1 } as const;
  const selected = places.steps.find(step => step.name === props.selected) ?? places.steps[0];
  // A graph that would be too small to be read is shown around the step that is looked at; a button shows all of it.
  const fit = useRef(() => undefined as void);
  fit.current = () => {
    const { clientWidth, clientHeight } = box.current!;
    const all = Math.min((clientWidth - 16) / places.width, (clientHeight - 48) / places.height);
    if (all >= READABLE || !selected) {
      void fitView(options);
      return;
    }
    const shift = (at: number, size: number, whole: number, room: number) =>
      whole * READABLE <= room
        ? (room - whole * READABLE) / 2
        : Math.min(0, Math.max(room - whole * READABLE, room / 2 - (at + size / 2) * READABLE));
    void setViewport({
      x: shift(selected.x, NODE_WIDTH, places.width, clientWidth),
      y: shift(selected.y, NODE_HEIGHT, places.height, clientHeight - 40),
      zoom: READABLE
    });
  };
  useEffect(() => {
    const soon = setTimeout(() => fit.current(), 30);
    return () => clearTimeout(soon);
  }, [shape, selected?.name]);
  useEffect(() => {
    const observer = new ResizeObserver(() => fit.current());
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <div className="mlops-Graph" ref={box} role="group" aria-label={props.label}>
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        minZoom={0.1}
        maxZoom={2}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        onlyRenderVisibleElements={nodes.length > 100}
        zoomOnDoubleClick={false}
        deleteKeyCode={null}
        onNodeClick={(_, node) => props.onSelect(node.id)}
        ariaLabelConfig={{
          // What React Flow says of keys holds for graphs that are edited; the tree below is for the keyboard.
          'node.a11yDescription.default': '',
          'node.a11yDescription.keyboardDisabled': '',
          'edge.a11yDescription.default': '',
          'controls.zoomIn.ariaLabel': trans.__('Zoom in'),
          'controls.zoomOut.ariaLabel': trans.__('Zoom out'),
          'controls.fitView.ariaLabel': trans.__('Fit the graph into view'),
          'controls.ariaLabel': trans.__('Zoom')
        }}
      >
        <Controls fitViewOptions={options} showInteractive={false} orientation="horizontal" position="bottom-right" />
      </ReactFlow>
    </div>
  );
}

export const StepGraph = memo(function StepGraph(props: IGraphProps): JSX.Element {
  return (
    <ReactFlowProvider>
      <Flow {...props} />
    </ReactFlowProvider>
  );
});
