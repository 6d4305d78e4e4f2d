/** The form for the active cell and its step: role, name, order, and what the step asks of the machine that runs it. */
import { useEffect, useState } from 'react';

import { useServices } from '../context';
import { settingsOf, tagsOf } from '../edits';
import { readSetting, shown } from '../fields';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import { readTags, slug, STEP_NAME, withAfter, withGate, withRole } from '../tags';
import type { ISettingRule, IStepSettings } from '../types';
import { CheckField, SelectField, TextField } from './field';
import { Section } from './section';

export function StepSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { api, trans } = useServices();
  const [rules, setRules] = useState<ISettingRule[]>([]);
  useEffect(() => {
    void api.roles().then(
      answer => setRules(answer.settings),
      () => undefined // the panel says already that the server does not answer
    );
  }, []);
  const cell = model.panel.content.activeCell;
  if (!cell || cell.model.type !== 'code' || model.suggestion) {
    return null;
  }
  const step = model.analysis?.steps.find(each => each.name === model.activeStep);
  // What the cell itself says holds at once: the form of a step that was renamed just now must not wait for the analysis.
  const own = readTags(tagsOf(cell.model.metadata));
  const known = step && !step.implicit ? step.group : '';
  const group = known && own.role === 'step' && STEP_NAME.test(own.step) ? own.step : known;
  return (
    <Section name="cell" title={group ? trans.__('Cell and step: %1', group) : trans.__('Cell')}>
      <fieldset className="mlops-Plain" disabled={model.readOnly}>
        <CellForm model={model} step={group} />
      </fieldset>
      {group && (
        <details className="mlops-Details">
          <summary>{trans.__('What the step needs')}</summary>
          <fieldset className="mlops-Plain" disabled={model.readOnly}>
            {rules.map(rule => (
              <SettingField key={`${group}-${rule.name}`} model={model} step={group} rule={rule} />
            ))}
          </fieldset>
        </details>
      )}
      {step && <Flow model={model} />}
    </Section>
  );
}

function CellForm({ model, step }: { model: NotebookModel; step: string }): JSX.Element {
  const { commands, trans } = useServices();
  const cell = model.panel.content.activeCell!;
  const id = cell.model.id;
  const tags = tagsOf(cell.model.metadata);
  const own = readTags(tags);
  const names = [...new Set((model.analysis?.steps ?? []).filter(each => !each.implicit).map(each => each.group))];
  const none = step
    ? trans.__('Continues step %1', step)
    : model.analysis?.cells[id]?.role === 'outside'
      ? trans.__('None (magics of MLOps Lab are no part of the pipeline)')
      : trans.__('None (runs before the first step)');
  const setTags = (title: string, changed: string[]) =>
    model.history.do(title, [{ kind: 'set_tags', cell: id, tags: changed }]);
  return (
    <>
      <SelectField
        label={trans.__('Role')}
        value={own.role}
        choices={[
          { value: '', label: none },
          { value: 'step', label: trans.__('Begins a step') },
          { value: 'parameters', label: trans.__('Parameters') },
          { value: 'setup', label: trans.__('Setup: repeated in every step') },
          { value: 'skip', label: trans.__('Skip: not in the pipeline') },
          ...(own.role === 'metrics' ? [{ value: 'metrics', label: trans.__('Metrics') }] : [])
        ]}
        onValue={role => commands.execute(CMD.setRole, { role })}
      />
      {own.role === 'step' && (
        <>
          <TextField
            label={trans.__('Step name')}
            text={own.step}
            suggestions={names}
            help={trans.__('Lower-case letters, digits and dashes')}
            read={text =>
              STEP_NAME.test(text)
                ? { value: text }
                : { problem: trans.__('This is no step name. Try "%1".', slug(text) || 'step') }
            }
            onValue={value => {
              const name = String(value);
              // The name of another step: this cell goes to it. A new name: the step gets it, with all its cells.
              return names.includes(name)
                ? setTags(trans.__('Move to step %1', name), withRole(tags, 'step', name))
                : commands.execute(CMD.rename, { step: own.step, name });
            }}
          />
          <CheckField
            label={trans.__('Gate')}
            help={trans.__('A failing assertion rejects the run')}
            value={own.gate}
            onValue={gate => setTags(trans.__('Gate'), withGate(tags, gate))}
          />
          <fieldset className="mlops-Field">
            <legend>{trans.__('Also runs after')}</legend>
            {names.filter(name => name !== own.step).length === 0 && (
              <span className="mlops-Field-help">{trans.__('No other step.')}</span>
            )}
            {names
              .filter(name => name !== own.step)
              .map(name => (
                <label key={name} className="mlops-Choice">
                  <input
                    type="checkbox"
                    checked={own.after.includes(name)}
                    onChange={event =>
                      setTags(
                        trans.__('Order'),
                        withAfter(tags, event.target.checked ? [...own.after, name] : own.after.filter(each => each !== name))
                      )
                    }
                  />{' '}
                  {name}
                </label>
              ))}
          </fieldset>
        </>
      )}
    </>
  );
}

function SettingField({ model, step, rule }: { model: NotebookModel; step: string; rule: ISettingRule }): JSX.Element {
  const { trans } = useServices();
  const notebook = model.panel.content.model!;
  const mine = (settingsOf(notebook).steps?.[step] ?? {}) as Record<string, unknown> & IStepSettings;
  const value = mine[rule.name];
  const set = (next: unknown) =>
    model.history.do(trans.__('Set %1 of step %2', rule.name, step), [
      { kind: 'set_setting', step, key: rule.name, value: next }
    ]);
  if (rule.type === 'boolean') {
    const on = (value ?? rule.default) as boolean;
    return (
      <CheckField label={rule.name} help={rule.help} value={on} onValue={next => set(next === rule.default ? null : next)} />
    );
  }
  return (
    <TextField
      label={rule.name}
      text={rule.type === 'list' && Array.isArray(value) ? value.join(' ') : shown(value, rule.type)}
      help={rule.help}
      placeholder={rule.type === 'map' ? trans.__('NAME=value') : shown(rule.default, rule.type).replace('[]', '')}
      numeric={rule.type === 'number' || rule.type === 'integer'}
      lines={rule.type === 'map' ? 2 : undefined}
      read={text => readSetting(text, rule, trans)}
      onValue={set}
    />
  );
}

/** What the step reads of others and leaves for them, as the analysis sees it. */
function Flow({ model }: { model: NotebookModel }): JSX.Element {
  const { trans } = useServices();
  const step = model.analysis!.steps.find(each => each.name === model.activeStep)!;
  return (
    <dl className="mlops-Facts">
      <dt>{trans.__('Reads')}</dt>
      <dd>{step.reads === null ? trans.__('all variables') : step.reads.join(', ') || '–'}</dd>
      <dt>{trans.__('Leaves')}</dt>
      <dd>{step.leaves.join(', ') || '–'}</dd>
      {step.prelude.length > 0 && (
        <>
          <dt>{trans.__('Begins with')}</dt>
          <dd>
            <pre>{step.prelude.join('\n')}</pre>
          </dd>
        </>
      )}
    </dl>
  );
}
