/** The sidebar: the sections for the notebook that the user looks at. It draws only while it is visible. */
import { PathExt } from '@jupyterlab/coreutils';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { useEffect, useReducer } from 'react';

import { IServices, Services, useServices } from '../context';
import { pipelineIcon } from '../icons';
import { cannotChange } from '../commands/common';
import { CMD } from '../ids';
import { DiagnosticsSection } from './diagnostics';
import { GraphSection } from './graphsection';
import { ParametersSection } from './parameters';
import { RunsSection } from './runlist';
import { RunBar, RunSection } from './runsection';
import { StepSection } from './stepform';
import { SuggestionSection } from './suggestion';

export class Sidebar extends ReactWidget {
  constructor(private readonly _services: IServices) {
    super();
    this.id = 'mlops-lab-sidebar';
    this.title.icon = pipelineIcon;
    this.title.caption = _services.trans.__('MLOps Lab: the notebook as a pipeline');
    this.addClass('mlops-Sidebar');
    this.node.setAttribute('role', 'region');
    this.node.tabIndex = -1;
    this.node.addEventListener('keydown', event => this._onKey(event));
    this.node.setAttribute('aria-label', _services.trans.__('Pipeline'));
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this.update();
  }

  /** Escape leads back to the notebook, but for a field, where it takes back what was typed. */
  private _onKey(event: KeyboardEvent): void {
    const isField = (event.target as HTMLElement).matches('input, textarea, select');
    if (event.key === 'Escape' && !isField && !event.defaultPrevented) {
      this._services.pipelines.current?.panel.content.activate();
      event.preventDefault();
    }
  }

  render(): JSX.Element {
    return (
      <Services.Provider value={this._services}>
        <Panel isVisible={() => this.isVisible} />
      </Services.Provider>
    );
  }
}

function Panel({ isVisible }: { isVisible: () => boolean }): JSX.Element {
  const { commands, pipelines, trans } = useServices();
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const model = pipelines.current;
  useEffect(() => {
    const slot = () => isVisible() && redraw();
    pipelines.currentChanged.connect(slot);
    model?.changed.connect(slot);
    return () => {
      pipelines.currentChanged.disconnect(slot);
      model?.changed.disconnect(slot);
    };
  }, [model]);
  if (!model) {
    return <p className="mlops-Hint">{trans.__('Open a notebook to see it as a pipeline.')}</p>;
  }
  const steps = model.analysis?.steps ?? [];
  const untagged = steps.length > 0 && steps.every(step => step.implicit);
  return (
    <div className="mlops-Panel" key={model.path}>
      <header className="mlops-Panel-head">
        <h1>{model.shown?.name ?? PathExt.basename(model.path, '.ipynb')}</h1>
        {untagged && !model.suggestion && (
          <button type="button" className="mlops-Button" onClick={() => commands.execute(CMD.suggest)}>
            {trans.__('Suggest steps')}
          </button>
        )}
        <RunBar model={model} />
      </header>
      {model.readOnly && (
        <p className="mlops-ReadOnly" role="status">
          {cannotChange(trans)}{' '}
          <button type="button" className="mlops-Link" onClick={() => commands.execute('docmanager:save-as')}>
            {trans.__('Save as…')}
          </button>
        </p>
      )}
      {model.problem && (
        <div className="mlops-Problem mlops-mod-error" role="alert">
          {model.problem}{' '}
          {!model.isNoPipeline && (
            <button type="button" className="mlops-Link" onClick={() => model.refresh()}>
              {trans.__('Try again')}
            </button>
          )}
        </div>
      )}
      {model.openedAt && (
        <p className="mlops-Hint">
          {trans.__(
            'Here a step of a run can be tried out: the first cell loads what it read. This is no pipeline of its own.'
          )}{' '}
          <button
            type="button"
            className="mlops-Link"
            onClick={() => commands.execute(CMD.openRun, { run: model.openedAt!.run })}
          >
            {trans.__('Step %1 of run %2', model.openedAt.step, model.openedAt.run)}
          </button>
        </p>
      )}
      {!model.analysis && !model.problem && !model.isNoPipeline && (
        <p className="mlops-Hint">{trans.__('Reading the notebook…')}</p>
      )}
      <SuggestionSection model={model} />
      <GraphSection model={model} />
      {!model.isNoPipeline && (
        <>
          <DiagnosticsSection model={model} />
          <StepSection model={model} />
          <ParametersSection model={model} />
          <RunSection model={model} />
        </>
      )}
      {!model.openedAt && <RunsSection model={model} />}
    </div>
  );
}
