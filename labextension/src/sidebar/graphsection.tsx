/** The live graph of the notebook's steps, and the same as a tree. */
import { lazy, Suspense, useCallback } from 'react';

import { useServices, useStable } from '../context';
import { stepStatus } from '../fold';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import { StepTree } from '../tree';
import { Section } from './section';

// React Flow is loaded when a graph is first shown, not with JupyterLab.
const StepGraph = lazy(() => import('../graph').then(module => ({ default: module.StepGraph })));

export function GraphSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { commands, trans } = useServices();
  const analysis = model.shown;
  const issues = (cells: string[]) => analysis!.diagnostics.filter(each => each.cell && cells.includes(each.cell)).length;
  const picture = model.suggestion ? undefined : model.run?.picture;
  const steps = (analysis?.steps ?? []).map(step => ({
    name: step.name,
    gate: step.gate,
    cells: step.cells.length,
    issues: issues(step.cells),
    status: picture && stepStatus(picture, step.name),
    seconds: picture?.steps[step.name]?.seconds
  }));
  const select = useCallback((step: string) => void commands.execute(CMD.goToStep, { step }), [commands]);
  const [stable, edges] = [useStable(steps), useStable(analysis?.edges ?? [])];
  if (!analysis) {
    return null;
  }
  const shared = { steps: stable, edges, selected: model.activeStep, onSelect: select };
  return (
    <Section
      name="graph"
      title={model.suggestion ? trans.__('Suggested steps') : trans.__('Steps')}
      badge={String(steps.length)}
    >
      {steps.length > 0 ? (
        <>
          <Suspense fallback={<div className="mlops-Graph" />}>
            <StepGraph label={trans.__('Graph of steps')} {...shared} />
          </Suspense>
          <StepTree label={trans.__('Steps')} {...shared} />
        </>
      ) : (
        <p className="mlops-Hint">
          {model.body().cells.some(cell => cell.cell_type === 'code' && cell.source.trim())
            ? trans.__('There is no code to run: all of it is left out of the pipeline.')
            : trans.__('There is no code yet. Write some, and mark the cells that begin a step.')}
        </p>
      )}
    </Section>
  );
}
