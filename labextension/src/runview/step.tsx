/** One step of a run: why it ran, its cells with their outputs as they come, its data, metrics and log. */
import type { ICodeCell, IOutput } from '@jupyterlab/nbformat';
import { useEffect, useState } from 'react';

import { useServices } from '../context';
import { cellStatus, stepStatus } from '../fold';
import { duration, mark, statusText } from '../icons';
import { CMD } from '../ids';
import type { RunModel } from '../runmodel';
import type { IStepState } from '../types';
import { Data } from './data';
import { MlflowLink } from './mlflow';
import { Outputs } from './outputs';

type Tab = 'outputs' | 'data' | 'log';

export function StepView({ run, step }: { run: RunModel; step: IStepState }): JSX.Element {
  const { commands, trans } = useServices();
  const [tab, setTab] = useState<Tab>('outputs');
  const path = run.details?.path ?? '';
  const status = stepStatus(run.picture, step.name) ?? step.status;
  const partly: [string, string][] = [
    [CMD.runFrom, trans.__('Run from here')],
    [CMD.runTo, trans.__('Run up to here')],
    [CMD.runOnly, trans.__('Run only this')]
  ];
  const tabs: [Tab, string][] = [
    ['outputs', trans.__('Outputs')],
    ['data', trans.__('Data')],
    ['log', trans.__('Log')]
  ];
  const tracking = run.details?.step_states.find(each => each.name === step.name)?.tracking;
  return (
    <article className="mlops-Step" aria-label={trans.__('Step %1', step.name)}>
      <header>
        <h2>
          {step.name}{' '}
          <span className={`mlops-Status mlops-mod-${status}`}>{`${mark(status)} ${statusText(status, trans)}`}</span>
          {step.seconds > 0 && <span className="mlops-Step-time">{duration(step.seconds, trans)}</span>}
          {step.attempt > 1 && <span className="mlops-Step-time">{trans.__('attempt %1', step.attempt)}</span>}
        </h2>
        <p className="mlops-Step-reason">{reason(step, trans)}</p>
        <div className="mlops-Row">
          {partly.map(([id, label]) => (
            <button
              key={id}
              type="button"
              className="mlops-Button mlops-mod-small"
              disabled={!run.finished}
              onClick={() => commands.execute(id, { step: step.name, path })}
            >
              {label}
            </button>
          ))}
          {['failed', 'rejected'].includes(step.status) && (
            <button
              type="button"
              className="mlops-Button mlops-mod-small mlops-mod-primary"
              onClick={() => commands.execute(CMD.openStep, { run: run.id, step: step.name })}
            >
              {trans.__('Open here')}
            </button>
          )}
          {step.tracking && <MlflowLink run={run.id} step={step.name} url={tracking?.url} />}
        </div>
      </header>
      {step.failure && <Failure step={step} />}
      <Metrics step={step} />
      <div className="mlops-Tabs" role="tablist" aria-label={trans.__('About the step')}>
        {tabs.map(([name, label]) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`mlops-tab-${run.id}-${name}`}
            aria-selected={tab === name}
            aria-controls={`mlops-tabpanel-${run.id}`}
            tabIndex={tab === name ? 0 : -1}
            onClick={() => setTab(name)}
            onKeyDown={event => {
              const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
              if (turn) {
                const next = tabs[(tabs.findIndex(each => each[0] === tab) + turn + tabs.length) % tabs.length][0];
                setTab(next);
                document.getElementById(`mlops-tab-${run.id}-${next}`)?.focus();
              }
            }}
          >
            {label}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id={`mlops-tabpanel-${run.id}`}
        aria-labelledby={`mlops-tab-${run.id}-${tab}`}
        tabIndex={0}
        className="mlops-TabPanel"
      >
        {tab === 'outputs' && <CellOutputs run={run} step={step} />}
        {tab === 'data' && <Data run={run.id} step={step.name} version={`${step.attempt}-${step.status}`} />}
        {tab === 'log' && <Log run={run.id} step={step.name} version={`${step.attempt}-${step.status}-${step.position}`} />}
      </div>
    </article>
  );
}

function reason(step: IStepState, trans: ReturnType<typeof useServices>['trans']): string {
  if (step.status === 'cached') {
    return trans.__('Taken from run %1: nothing that it depends on has changed.', step.from_run);
  }
  if (step.status === 'waiting') {
    return step.overtaken ? trans.__('Runs again, since what it read has changed meanwhile.') : '';
  }
  return step.status === 'skipped'
    ? trans.__('Not run: %1', step.reason)
    : step.reason && trans.__('Why it ran: %1', step.reason);
}

function Failure({ step }: { step: IStepState }): JSX.Element {
  const { trans } = useServices();
  const { message, cell, line, code } = step.failure!;
  const where = cell ? trans.__('Cell %1', cell) + (line ? `, ${trans.__('line %1', line)}` : '') : '';
  return (
    <div className="mlops-Failure" role="alert">
      <strong>{[code, where].filter(Boolean).join(', ')}</strong>
      <pre>{message}</pre>
    </div>
  );
}

function Metrics({ step }: { step: IStepState }): JSX.Element | null {
  const entries = Object.entries(step.metrics);
  if (entries.length === 0) {
    return null;
  }
  return (
    <dl className="mlops-Metrics">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{typeof value === 'number' ? Number(value.toPrecision(6)) : '–'}</dd>
        </div>
      ))}
    </dl>
  );
}

interface IShown {
  key: string;
  number: number;
  status: string;
  seconds: number;
  outputs: readonly IOutput[];
}

function CellOutputs({ run, step }: { run: RunModel; step: IStepState }): JSX.Element {
  const { api, trans } = useServices();
  const [cached, setCached] = useState<IShown[] | null>(null);
  const ids = run.details?.step_states.find(each => each.name === step.name)?.cells ?? [];
  const isCached = step.status === 'cached';
  useEffect(() => {
    setCached(null);
    if (!isCached || ids.length === 0) {
      return;
    }
    let wanted = true;
    // A cached step has no events of its own; its outputs are in the executed notebook.
    void api.notebook(run.id).then(
      notebook => {
        const cells = notebook.cells.filter(cell => ids.includes(String(cell.id))) as ICodeCell[];
        const shown = cells.map(cell => ({
          key: String(cell.id),
          number: cell.execution_count ?? 0,
          status: 'cached',
          seconds: 0,
          outputs: cell.outputs
        }));
        wanted && setCached(shown);
      },
      () => wanted && setCached([])
    );
    return () => {
      wanted = false;
    };
  }, [run.id, step.name, isCached, ids.join()]);
  const live = (run.picture.cells[step.name] ?? []).map(cell => ({
    ...cell,
    status: cellStatus(run.picture, step.name, cell),
    key: `${step.attempt}-${cell.number}`
  }));
  const cells: IShown[] = isCached ? (cached ?? []) : live;
  if (cells.length === 0) {
    return (
      <p className="mlops-Hint">{isCached && cached === null ? trans.__('Loading…') : trans.__('No cell has run yet.')}</p>
    );
  }
  return (
    <>
      {cells.map(cell => (
        <section key={cell.key} className="mlops-RunCell" aria-label={trans.__('Cell %1', cell.number)}>
          <h3>
            {trans.__('Cell %1', cell.number)}{' '}
            <span className={`mlops-Status mlops-mod-${cell.status}`}>
              {mark(cell.status)} {statusText(cell.status, trans)}
            </span>{' '}
            {cell.seconds > 0 && <span className="mlops-Step-time">{duration(cell.seconds, trans)}</span>}
          </h3>
          <Outputs outputs={cell.outputs} />
        </section>
      ))}
    </>
  );
}

function Log({ run, step, version }: { run: string; step: string; version: string }): JSX.Element {
  const { api, trans } = useServices();
  const [text, setText] = useState<string | null>(null);
  useEffect(() => {
    let wanted = true;
    api.log(run, step).then(
      found => wanted && setText((found.cut ? '…\n' : '') + found.text),
      error => wanted && setText(String(error.message ?? error))
    );
    return () => {
      wanted = false;
    };
  }, [run, step, version]);
  return <pre className="mlops-Log">{text === null ? trans.__('Loading…') : text || trans.__('Nothing was written.')}</pre>;
}
