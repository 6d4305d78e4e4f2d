/** The run button with the status of the run, and below where to run and how. */
import { useEffect, useState } from 'react';

import { useServices } from '../context';
import { mark, runText } from '../icons';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import type { ITarget } from '../types';
import { CheckField, SelectField, TextField } from './field';
import { Section } from './section';

export function RunSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { api, commands, trans } = useServices();
  const [targets, setTargets] = useState<ITarget[]>([]);
  const ask = () => void api.targets().then(setTargets, () => undefined);
  useEffect(ask, []);
  if (model.suggestion) {
    return null;
  }
  const { options } = model;
  const choices = targets.length
    ? targets
    : [{ name: 'local', label: trans.__('This machine'), available: true, kind: 'local' }];
  return (
    <Section name="run" title={trans.__('Where and how to run')}>
      <SelectField
        label={trans.__('Where')}
        value={options.target}
        choices={choices.map(each => ({
          value: each.name,
          label: each.available ? each.label : trans.__('%1 (not available)', each.label),
          disabled: !each.available
        }))}
        onValue={target => model.setOptions({ target })}
      />
      {choices
        .filter(each => !each.available && each.message)
        .map(each => (
          <details key={each.name} className="mlops-Details">
            <summary>{trans.__('%1 is not available', each.label)}</summary>
            <p className="mlops-Hint">{each.message}</p>
            <button type="button" className="mlops-Link" onClick={ask}>
              {trans.__('Look again')}
            </button>
          </details>
        ))}
      <details className="mlops-Details">
        <summary>{trans.__('Options')}</summary>
        <CheckField
          label={trans.__('Take unchanged steps from the cache')}
          value={options.cache}
          onValue={cache => model.setOptions({ cache })}
        />
        <CheckField
          label={trans.__('Stop everything when a step fails')}
          value={options.fail_fast}
          onValue={fail_fast => model.setOptions({ fail_fast })}
        />
        <CheckField
          label={trans.__('Track with MLflow')}
          value={options.tracking}
          onValue={tracking => model.setOptions({ tracking })}
        />
        <TextField
          label={trans.__('Steps at once')}
          text={options.workers ? String(options.workers) : ''}
          placeholder={trans.__('one a core')}
          numeric
          read={text =>
            /^\d{0,3}$/.test(text.trim()) ? { value: Number(text || 0) } : { problem: trans.__('A whole number.') }
          }
          onValue={value => model.setOptions({ workers: Number(value) })}
        />
        <TextField
          label={trans.__('MLflow experiment')}
          text={options.experiment}
          placeholder={model.analysis?.name}
          read={text => ({ value: text.trim() })}
          onValue={value => model.setOptions({ experiment: String(value) })}
        />
      </details>
      <button type="button" className="mlops-Link" disabled={model.errors > 0} onClick={() => commands.execute(CMD.compile)}>
        {trans.__('Compile for Kubeflow Pipelines')}
      </button>
    </Section>
  );
}

/** Stands at the top of the sidebar, whatever is scrolled. */
export function RunBar({ model }: { model: NotebookModel }): JSX.Element | null {
  const { commands, trans } = useServices();
  const { errors, run } = model;
  if (model.suggestion || !model.analysis) {
    return null;
  }
  const running = run !== null && !run.finished;
  const wrong = Object.keys(model.problems);
  return (
    <div className="mlops-RunBar">
      <div className="mlops-Row">
        <button
          type="button"
          className="mlops-Button mlops-mod-primary"
          disabled={running || errors > 0 || wrong.length > 0 || model.analysis.steps.length === 0}
          onClick={() => commands.execute(CMD.run)}
        >
          ▶ {trans.__('Run as pipeline')}
        </button>
        {running && (
          <button type="button" className="mlops-Button" onClick={() => commands.execute(CMD.cancel, { run: run.id })}>
            ■ {trans.__('Cancel')}
          </button>
        )}
      </div>
      {errors > 0 && !model.isEmpty && (
        <p className="mlops-Hint">{trans._n('Correct the error below first.', 'Correct the %1 errors below first.', errors)}</p>
      )}
      {wrong.length > 0 && <p className="mlops-Hint">{trans.__('Correct the parameter %1 below first.', wrong.join(', '))}</p>}
      {run && (
        <div className="mlops-Row" role="status">
          <button type="button" className="mlops-Link" onClick={() => commands.execute(CMD.openRun, { run: run.id })}>
            {mark(run.picture.status)} {runText(run.picture, trans)}
          </button>
          <button
            type="button"
            className="mlops-Link"
            onClick={() => model.follow(null)}
            title={trans.__('Take the status of the run off the cells')}
          >
            {trans.__('Clear status')}
          </button>
        </div>
      )}
    </div>
  );
}
