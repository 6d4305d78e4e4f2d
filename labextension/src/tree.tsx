/**
 * The steps as a tree, for the keyboard and for screen readers: arrows move, right and left open and close, Enter goes to the
 * cells. Below each step stand the steps that it follows, with the variables that come from them.
 */
import { KeyboardEvent, memo, useRef, useState } from 'react';

import { stepColour } from './colours';
import { useServices } from './context';
import type { IGraphStep } from './graph';
import { duration, mark, statusText } from './icons';
import { edgeLabel } from './layout';
import type { IEdge } from './types';

export interface ITreeProps {
  label: string;
  steps: readonly IGraphStep[];
  edges: readonly IEdge[];
  selected: string;
  onSelect: (step: string) => void;
}

export const StepTree = memo(function StepTree(props: ITreeProps): JSX.Element {
  const { trans } = useServices();
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const [focused, setFocused] = useState('');
  const tree = useRef<HTMLUListElement>(null);
  const toggle = (name: string, on: boolean) => {
    const next = new Set(open);
    on ? next.add(name) : next.delete(name);
    setOpen(next);
  };
  const stops = props.steps.flatMap(step => [
    step.name,
    ...(open.has(step.name) ? props.edges.filter(e => e.target === step.name).map(e => `${e.target}←${e.source}`) : [])
  ]);
  const stop = stops.includes(focused) ? focused : stops.includes(props.selected) ? props.selected : (stops[0] ?? '');

  const move = (to: string | undefined) => {
    if (to) {
      setFocused(to);
      tree.current?.querySelector<HTMLElement>(`[data-stop="${CSS.escape(to)}"]`)?.focus();
    }
  };
  const onKey = (event: KeyboardEvent) => {
    const at = stops.indexOf(stop);
    const [step, source] = stop.split('←');
    const actions: Record<string, () => void> = {
      ArrowDown: () => move(stops[at + 1]),
      ArrowUp: () => move(stops[at - 1]),
      Home: () => move(stops[0]),
      End: () => move(stops[stops.length - 1]),
      ArrowRight: () => (source ? undefined : open.has(step) ? move(stops[at + 1]) : toggle(step, true)),
      ArrowLeft: () => (source ? move(step) : toggle(step, false)),
      Enter: () => props.onSelect(source ?? step),
      ' ': () => props.onSelect(source ?? step)
    };
    if (actions[event.key]) {
      actions[event.key]();
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <ul className="mlops-Tree" role="tree" aria-label={props.label} ref={tree} onKeyDown={onKey}>
      {props.steps.map((step, position) => {
        const sources = props.edges.filter(edge => edge.target === step.name);
        const status = step.status ? `${mark(step.status)} ${statusText(step.status, trans)}` : '';
        return (
          <li key={step.name} role="none">
            <div
              role="treeitem"
              data-stop={step.name}
              aria-level={1}
              aria-selected={step.name === props.selected}
              aria-expanded={sources.length ? open.has(step.name) : undefined}
              tabIndex={stop === step.name ? 0 : -1}
              className={`mlops-TreeItem ${step.name === props.selected ? 'mlops-mod-selected' : ''}`}
              style={{ ['--mlops-step-color' as string]: stepColour(position) }}
              onFocus={() => setFocused(step.name)}
              onClick={() => props.onSelect(step.name)}
            >
              <span
                className="mlops-TreeItem-toggle"
                aria-hidden="true"
                onClick={event => {
                  event.stopPropagation();
                  toggle(step.name, !open.has(step.name));
                }}
              >
                {sources.length ? (open.has(step.name) ? '▾' : '▸') : ''}
              </span>
              <span className="mlops-Dot" />
              <span className="mlops-TreeItem-name">{step.name}</span>
              {step.gate && <span className="mlops-Chip mlops-mod-role">{trans.__('gate')}</span>}
              {step.issues ? (
                <span className="mlops-TreeItem-issue">{trans._n('%1 problem', '%1 problems', step.issues)}</span>
              ) : null}
              <span className="mlops-TreeItem-detail">
                {status || trans._n('%1 cell', '%1 cells', step.cells)} {step.seconds ? duration(step.seconds, trans) : ''}
              </span>
            </div>
            {open.has(step.name) && sources.length > 0 && (
              <ul role="group">
                {sources.map(edge => {
                  const id = `${edge.target}←${edge.source}`;
                  return (
                    <li key={edge.source} role="none">
                      <div
                        role="treeitem"
                        data-stop={id}
                        aria-level={2}
                        aria-selected={false}
                        tabIndex={stop === id ? 0 : -1}
                        className="mlops-TreeItem mlops-mod-edge"
                        onFocus={() => setFocused(id)}
                        onClick={() => props.onSelect(edge.source)}
                      >
                        {trans.__('after %1: %2', edge.source, edgeLabel(edge))}
                      </div>
                    </li>
                  );
                })}
              </ul>
            )}
          </li>
        );
      })}
    </ul>
  );
});
