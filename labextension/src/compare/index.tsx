/** Runs side by side, in the main area: parameters, metrics, durations, code changes, outputs. */
import { ReactWidget } from '@jupyterlab/ui-components';
import { useEffect, useState } from 'react';

import { IServices, Services, useServices } from '../context';
import { duration, mark, pipelineIcon, statusText } from '../icons';
import { CMD } from '../ids';
import type { IComparison, IRow } from '../types';
import { ComparedCode } from './code';
import { ComparedOutputs } from './outputs';
import { difference } from './rows';

export class CompareView extends ReactWidget {
  constructor(
    readonly runs: string[],
    private readonly _services: IServices
  ) {
    super();
    this.addClass('mlops-CompareView');
    this.title.icon = pipelineIcon;
    this.title.label = _services.trans.__('Compare %1 runs', runs.length);
  }

  render(): JSX.Element {
    return (
      <Services.Provider value={this._services}>
        <Comparison runs={this.runs} />
      </Services.Provider>
    );
  }
}

function Comparison({ runs }: { runs: string[] }): JSX.Element {
  const { api, commands, trans } = useServices();
  const [found, setFound] = useState<IComparison | null>(null);
  const [problem, setProblem] = useState('');
  const [onlyChanges, setOnlyChanges] = useState(false);
  useEffect(() => {
    api.compare(runs).then(setFound, error => setProblem(String(error.message ?? error)));
  }, [runs.join()]);
  if (problem) {
    return <p className="mlops-Problem mlops-mod-error">{problem}</p>;
  }
  if (!found) {
    return <p className="mlops-Hint">{trans.__('Loading the runs…')}</p>;
  }
  const keep = (rows: IRow[]) => (onlyChanges ? rows.filter(row => !row.same) : rows);
  const metrics = found.metrics.map(row => ({ ...row, name: row.step ? `${row.step}: ${row.name}` : row.name }));
  const steps: IRow[] = found.steps.map(step => ({
    name: step.name + (step.changed ? ` (${trans.__('code changed')})` : ''),
    same: !step.changed && new Set(step.status).size < 2,
    values: step.seconds.map((seconds, at) =>
      step.status[at] === null
        ? null
        : `${mark(step.status[at]!)} ${statusText(step.status[at]!, trans)}${seconds ? ` ${duration(seconds, trans)}` : ''}`
    )
  }));
  const outputs = found.steps.flatMap(step => (step.outputs ?? []).map(row => ({ ...row, name: `${step.name}: ${row.name}` })));
  const tables: [string, IRow[]][] = [
    [trans.__('Parameters'), keep(found.parameters)],
    [trans.__('Metrics'), keep(metrics)],
    [trans.__('Steps'), keep(steps)],
    [trans.__('Values'), keep(outputs)]
  ];
  return (
    <div className="mlops-Compare">
      <h1>{trans.__('Compare runs')}</h1>
      <label>
        <input type="checkbox" checked={onlyChanges} onChange={event => setOnlyChanges(event.target.checked)} />{' '}
        {trans.__('Only what differs')}
      </label>
      <div className="mlops-TableBox" tabIndex={0} role="group" aria-label={trans.__('Table of the runs')}>
        <table className="mlops-Table mlops-mod-compare">
          <thead>
            <tr>
              <td />
              {found.runs.map(run => (
                <th key={run.id} scope="col">
                  <button type="button" className="mlops-Link" onClick={() => commands.execute(CMD.openRun, { run: run.id })}>
                    {run.id}
                  </button>
                  <br />
                  {mark(run.status)} {statusText(run.status, trans)}, {duration(run.seconds, trans)}
                </th>
              ))}
            </tr>
          </thead>
          {tables.map(([title, rows]) => (
            <tbody key={title}>
              <tr>
                <th colSpan={found.runs.length + 1} scope="colgroup" className="mlops-Table-group">
                  {title}
                </th>
              </tr>
              {rows.length === 0 && (
                <tr>
                  <td colSpan={found.runs.length + 1}>{onlyChanges ? trans.__('No difference.') : trans.__('None.')}</td>
                </tr>
              )}
              {rows.map((row, at) => (
                <tr key={`${row.name}-${at}`} className={row.same ? '' : 'mlops-mod-differs'}>
                  <th scope="row">
                    {row.name}
                    {!row.same && <span className="mlops-Chip mlops-mod-role">{trans.__('differs')}</span>}
                  </th>
                  {row.values.map((value, place) => (
                    <td key={place}>
                      {text(value)} <span className="mlops-Run-detail">{difference(value, row.values[0])}</span>
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          ))}
        </table>
      </div>
      <h2>{trans.__('Code')}</h2>
      <ComparedCode code={found.code} />
      <h2>{trans.__('Outputs of the cells')}</h2>
      <ComparedOutputs runs={found.runs} onlyChanges={onlyChanges} />
    </div>
  );
}

function text(value: unknown): string {
  if (value === null || value === undefined) {
    return '–';
  }
  if (typeof value === 'number') {
    return String(Number(value.toPrecision(6)));
  }
  if (typeof value === 'object') {
    const { preview, type } = value as { preview?: string; type?: string };
    const number = /^-?\d+\.\d{7,}(e[-+]\d+)?$/.test(preview ?? '') ? String(Number(Number(preview).toPrecision(6))) : preview;
    return number || type || JSON.stringify(value);
  }
  return String(value);
}
