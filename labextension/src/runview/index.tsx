/** The view of one run, in the main area: its graph with the live status, and the step that is looked at. */
import { ReactWidget } from '@jupyterlab/ui-components';
import { useState } from 'react';

import { IServices, Services, useServices, useSignal } from '../context';
import { progress, stepStatus } from '../fold';
import { StepGraph } from '../graph';
import { duration, mark, pipelineIcon, runText, statusText } from '../icons';
import { CMD } from '../ids';
import type { RunModel } from '../runmodel';
import { StepTree } from '../tree';
import { MlflowLink } from './mlflow';
import { StepView } from './step';

const RESUMABLE = ['failed', 'cancelled', 'interrupted', 'rejected'];

export class RunView extends ReactWidget {
  constructor(
    readonly run: RunModel,
    private readonly _services: IServices
  ) {
    super();
    this.addClass('mlops-RunView');
    this.title.icon = pipelineIcon;
    this.title.label = _services.trans.__('Run %1', run.id);
    run.changed.connect(this._onChanged, this);
  }

  dispose(): void {
    this.run.changed.disconnect(this._onChanged, this);
    super.dispose();
  }

  render(): JSX.Element {
    return (
      <Services.Provider value={this._services}>
        <View run={this.run} />
      </Services.Provider>
    );
  }

  private _onChanged(): void {
    const { pipeline, status } = this.run.picture;
    this.title.label = pipeline ? `${mark(status)} ${pipeline}` : this.title.label;
    this.title.caption = `${this.run.id}: ${statusText(status, this._services.trans)}`;
  }
}

function View({ run }: { run: RunModel }): JSX.Element {
  const { commands, trans } = useServices();
  const [chosen, setChosen] = useState('');
  useSignal(run.changed);
  const { picture, details } = run;
  const steps = Object.values(picture.steps);
  if (steps.length === 0) {
    return <p className="mlops-Hint">{run.problem || trans.__('Loading the run…')}</p>;
  }
  // Until the user chooses, the view follows the run: what failed first, what runs now, else what ended last.
  const busy = steps.find(step => step.status === 'running');
  const failed = steps.find(step => ['failed', 'rejected'].includes(step.status));
  const last = [...steps].reverse().find(step => !['waiting', 'skipped'].includes(step.status));
  const current = picture.steps[chosen] ?? failed ?? busy ?? last ?? steps[0];
  const shown = steps.map(step => {
    const known = details?.step_states.find(each => each.name === step.name);
    return {
      name: step.name,
      gate: known?.gate ?? false,
      cells: known?.cells.length ?? step.total,
      status: stepStatus(picture, step.name),
      seconds: step.seconds
    };
  });
  const shared = { steps: shown, edges: details?.edges ?? [], selected: current.name, onSelect: setChosen };
  return (
    <div className="mlops-RunView-body">
      <header className="mlops-RunView-head">
        <h1>
          {picture.pipeline}{' '}
          <span className={`mlops-Status mlops-mod-${picture.status}`} role="status">
            {mark(picture.status)} {runText(picture, trans)}
          </span>
        </h1>
        <progress max={1} value={progress(picture)} aria-label={trans.__('Progress of the run')} />
        <span className="mlops-Step-time">
          {run.id} · {new Date(picture.started * 1000).toLocaleString()}
          {picture.seconds > 0 && ` · ${duration(picture.seconds, trans)}`}
          {run.reconnecting && ` · ${trans.__('connection lost, trying again…')}`}
        </span>
        <div className="mlops-Row">
          {!run.finished && (
            <button type="button" className="mlops-Button" onClick={() => commands.execute(CMD.cancel, { run: run.id })}>
              ■ {trans.__('Cancel')}
            </button>
          )}
          {RESUMABLE.includes(picture.status) && (
            <button
              type="button"
              className="mlops-Button mlops-mod-primary"
              onClick={() => commands.execute(CMD.resume, { run: run.id })}
            >
              {trans.__('Resume')}
            </button>
          )}
          <button type="button" className="mlops-Button" onClick={() => commands.execute(CMD.outputsBack, { run: run.id })}>
            {trans.__('Put outputs back')}
          </button>
          <button type="button" className="mlops-Button" onClick={() => commands.execute(CMD.openExecuted, { run: run.id })}>
            {trans.__('Open executed notebook')}
          </button>
          {run.finished && picture.target === 'local' && (
            <button
              type="button"
              className="mlops-Button"
              title={trans.__('Write what the run saw and the graph does not show into the settings of the steps')}
              onClick={() => commands.execute(CMD.learn, { run: run.id })}
            >
              {trans.__('Learn from this run')}
            </button>
          )}
          {details?.remote?.url && (
            <a href={details.remote.url} target="_blank" rel="noreferrer" className="mlops-Link">
              {trans.__('Kubeflow run')}
            </a>
          )}
          {picture.tracking && <MlflowLink run={run.id} url={details?.tracking?.url} />}
        </div>
        <Facts run={run} />
      </header>
      <nav className="mlops-RunView-graph" aria-label={trans.__('Steps of the run')}>
        <StepGraph label={trans.__('Graph of the run')} {...shared} />
        <StepTree label={trans.__('Steps of the run')} {...shared} />
      </nav>
      <StepView key={current.name} run={run} step={current} />
    </div>
  );
}

function Facts({ run }: { run: RunModel }): JSX.Element | null {
  const { trans } = useServices();
  const { parameters, messages, message, resumed_from } = run.picture;
  const given = Object.entries(parameters);
  return (
    <>
      {message && <p className="mlops-Problem mlops-mod-error">{message}</p>}
      {resumed_from && <p className="mlops-Step-reason">{trans.__('Goes on with run %1.', resumed_from)}</p>}
      {messages.length > 0 && (
        <ul className="mlops-List" aria-label={trans.__('Messages')}>
          {messages.map((each, at) => (
            <li key={at} className={`mlops-Message mlops-mod-${each.level}`}>
              {each.step ? `${each.step}: ` : ''}
              {each.text}
            </li>
          ))}
        </ul>
      )}
      {given.length > 0 && (
        <details className="mlops-Details">
          <summary>{trans.__('Parameters')}</summary>
          <dl className="mlops-Facts">
            {given.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{JSON.stringify(value)}</dd>
              </div>
            ))}
          </dl>
        </details>
      )}
    </>
  );
}
