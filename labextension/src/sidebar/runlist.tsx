/** The notebook's runs: filter, open, compare, resume, delete. */
import { useState } from 'react';

import { useServices } from '../context';
import { duration, mark, statusText } from '../icons';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import { Section } from './section';

const RESUMABLE = ['failed', 'cancelled', 'interrupted', 'rejected'];

export function RunsSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { commands, trans } = useServices();
  const [filter, setFilter] = useState('');
  const [chosen, setChosen] = useState<string[]>([]);
  if (model.suggestion) {
    return null;
  }
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const runs = model.runs.filter(run => {
    const text = [
      run.id,
      run.status,
      statusText(run.status, trans),
      run.target,
      run.failed_step ?? '',
      ...[run.parameters, run.metrics].flatMap(Object.entries).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    ]
      .join(' ')
      .toLowerCase();
    return words.every(word => text.includes(word));
  });
  // The oldest first, so that changes are told in the order in which they were made.
  const picked = model.runs
    .filter(run => chosen.includes(run.id))
    .map(run => run.id)
    .reverse();
  const toggle = (id: string) => setChosen(picked.includes(id) ? picked.filter(each => each !== id) : [...picked, id]);
  return (
    <Section name="runs" title={trans.__('Runs')} badge={model.runs.length ? String(model.runs.length) : ''}>
      {model.runs.length === 0 ? (
        <p className="mlops-Hint">{trans.__('This notebook has not been run as a pipeline yet.')}</p>
      ) : (
        <>
          <div className="mlops-Row">
            <input
              type="search"
              className="jp-mod-styled mlops-Filter"
              placeholder={trans.__('Filter: failed, lr=0.1…')}
              aria-label={trans.__('Filter runs')}
              value={filter}
              onChange={event => setFilter(event.target.value)}
            />
            <button
              type="button"
              className="mlops-Button"
              disabled={picked.length < 2}
              title={trans.__('Select two or more runs')}
              onClick={() => commands.execute(CMD.compare, { runs: picked })}
            >
              {trans.__('Compare')}
            </button>
          </div>
          {runs.length === 0 && <p className="mlops-Hint">{trans.__('No run matches the filter.')}</p>}
          <ul className="mlops-List" aria-label={trans.__('Runs')}>
            {runs.map(run => (
              <li key={run.id} className={`mlops-Run mlops-mod-${run.status}`}>
                <input
                  type="checkbox"
                  checked={picked.includes(run.id)}
                  aria-label={trans.__('Select run %1', run.id)}
                  onChange={() => toggle(run.id)}
                />
                <button type="button" className="mlops-Run-open" onClick={() => commands.execute(CMD.openRun, { run: run.id })}>
                  <span className={`mlops-Status mlops-mod-${run.status}`}>
                    {mark(run.status)} {statusText(run.status, trans)}
                  </span>
                  <span>{new Date(run.started * 1000).toLocaleString()}</span>
                  <span className="mlops-Run-detail">
                    {run.status === 'running'
                      ? trans.__('%1 of %2 steps', run.steps_done, run.steps)
                      : run.failed_step
                        ? trans.__('at %1', run.failed_step)
                        : duration(run.seconds, trans)}
                    {Object.entries(run.metrics)
                      .slice(0, 2)
                      .map(([name, value]) => ` · ${name} ${typeof value === 'number' ? Number(value.toPrecision(4)) : '–'}`)}
                  </span>
                </button>
                {RESUMABLE.includes(run.status) && (
                  <button
                    type="button"
                    className="mlops-Link"
                    aria-label={trans.__('Resume run %1', run.id)}
                    onClick={() => commands.execute(CMD.resume, { run: run.id })}
                  >
                    {trans.__('Resume')}
                  </button>
                )}
                {run.status === 'running' ? (
                  <button
                    type="button"
                    className="mlops-Link"
                    aria-label={trans.__('Cancel run %1', run.id)}
                    onClick={() => commands.execute(CMD.cancel, { run: run.id })}
                  >
                    {trans.__('Cancel')}
                  </button>
                ) : (
                  <button
                    type="button"
                    className="mlops-Link"
                    aria-label={trans.__('Delete run %1', run.id)}
                    onClick={() => commands.execute(CMD.deleteRun, { run: run.id })}
                  >
                    {trans.__('Delete')}
                  </button>
                )}
              </li>
            ))}
          </ul>
        </>
      )}
    </Section>
  );
}
