/** The outputs of runs side by side, a row a cell, drawn by JupyterLab's rendermime as in the notebook. */
import type { INotebookContent } from '@jupyterlab/nbformat';
import { useEffect, useMemo, useState } from 'react';

import { useServices } from '../context';
import { Outputs } from '../runview/outputs';
import type { IRunDetails, IRunSummary } from '../types';
import { IOutputRow, IStepRows, outputRows } from './rows';

interface ILoaded {
  notebook: INotebookContent | null;
  details: IRunDetails | null;
}

export function ComparedOutputs({ runs, onlyChanges }: { runs: IRunSummary[]; onlyChanges: boolean }): JSX.Element {
  const { api, trans } = useServices();
  const [loaded, setLoaded] = useState<ILoaded[] | null>(null);
  const ids = runs.map(run => run.id);
  useEffect(() => {
    let wanted = true;
    // A run whose notebook is lost leaves its column empty, and is no reason not to show the others.
    const ask = async (id: string): Promise<ILoaded> => ({
      notebook: await api.notebook(id).catch(() => null),
      details: await api.run(id).catch(() => null)
    });
    void Promise.all(ids.map(ask)).then(found => wanted && setLoaded(found));
    return () => {
      wanted = false;
    };
  }, [ids.join()]);
  const steps = useMemo(() => {
    const states = (loaded ?? []).flatMap(each => each.details?.step_states ?? []);
    const owners = Object.fromEntries(states.flatMap(step => step.cells.map(cell => [cell, step.name])));
    return outputRows(
      (loaded ?? []).map(each => each.notebook),
      owners
    );
  }, [loaded]);
  if (!loaded) {
    return <p className="mlops-Hint">{trans.__('Loading the outputs…')}</p>;
  }
  const shown = steps.filter(({ rows }) => !onlyChanges || rows.some(row => !row.same));
  if (shown.length === 0) {
    return <p className="mlops-Hint">{onlyChanges ? trans.__('No difference.') : trans.__('No cell has put out anything.')}</p>;
  }
  const numbers = new Map(loaded.flatMap(each => Object.entries(each.details?.cells ?? {}).map(([n, id]) => [id, n])));
  return (
    <>
      {shown.map(step => (
        <StepOutputs key={step.step} step={step} runs={runs} numbers={numbers} onlyChanges={onlyChanges} />
      ))}
    </>
  );
}

interface IStepProps {
  step: IStepRows;
  runs: IRunSummary[];
  numbers: Map<string, string>;
  onlyChanges: boolean;
}

function StepOutputs({ step, runs, numbers, onlyChanges }: IStepProps): JSX.Element {
  const { trans } = useServices();
  const differs = step.rows.some(row => !row.same);
  // What is the same is drawn when it is asked for: outputs can be large.
  const [open, setOpen] = useState(differs);
  return (
    <details className="mlops-Compare-step" open={open} onToggle={event => setOpen(event.currentTarget.open)}>
      <summary>
        {step.step ? trans.__('Step %1', step.step) : trans.__('Outside of the steps')}{' '}
        <span className="mlops-Chip mlops-mod-role">{differs ? trans.__('differs') : trans.__('the same')}</span>
      </summary>
      {open &&
        step.rows
          .filter(row => !onlyChanges || !row.same)
          .map(row => <CellRow key={row.cell} row={row} runs={runs} number={numbers.get(row.cell) ?? ''} />)}
    </details>
  );
}

function CellRow({ row, runs, number }: { row: IOutputRow; runs: IRunSummary[]; number: string }): JSX.Element {
  const { trans } = useServices();
  const title = trans.__('Cell %1', number);
  return (
    <section className="mlops-Compare-cell" aria-label={title}>
      <h3>
        {title} {!row.same && <span className="mlops-Chip mlops-mod-role">{trans.__('differs')}</span>}
      </h3>
      <div
        className="mlops-Compare-columns"
        style={{ ['--mlops-columns' as string]: runs.length }}
        tabIndex={0} // scrolled by the keyboard where the columns don't fit
        role="group"
        aria-label={trans.__('%1 in each run', title)}
      >
        {row.outputs.map((outputs, at) => (
          <div key={runs[at].id} className="mlops-Compare-column" role="group" aria-label={trans.__('Run %1', runs[at].id)}>
            <span className="mlops-Run-detail">{runs[at].id}</span>
            {outputs === null ? (
              <p className="mlops-Hint">{trans.__('Not run.')}</p>
            ) : outputs.length === 0 ? (
              <p className="mlops-Hint">{trans.__('No output.')}</p>
            ) : (
              <Outputs outputs={outputs} />
            )}
          </div>
        ))}
      </div>
    </section>
  );
}
