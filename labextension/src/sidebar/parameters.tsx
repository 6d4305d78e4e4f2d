/** The parameters form: a control for each parameter by its type, checked as the server will check it. */
import { useEffect } from 'react';

import { useServices } from '../context';
import { readParameter, shown } from '../fields';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import type { IParameter } from '../types';
import { CheckField, SelectField, TextField } from './field';
import { Section } from './section';

export function ParametersSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { trans } = useServices();
  const parameters = model.shown?.parameters ?? [];
  if (parameters.length === 0) {
    return null;
  }
  const changed = parameters.filter(each => each.name in model.values).length;
  return (
    <Section name="parameters" title={trans.__('Parameters')} badge={changed ? trans.__('%1 changed', changed) : ''}>
      {parameters.map(each => (
        <ParameterField key={each.name} model={model} parameter={each} />
      ))}
      {changed > 0 && (
        <button
          type="button"
          className="mlops-Link"
          onClick={() => parameters.forEach(each => model.setValue(each.name, undefined))}
        >
          {trans.__('Reset all to the notebook’s values')}
        </button>
      )}
    </Section>
  );
}

function ParameterField({ model, parameter }: { model: NotebookModel; parameter: IParameter }): JSX.Element {
  const { commands, trans } = useServices();
  const { name, kind } = parameter;
  const value = name in model.values ? model.values[name] : parameter.default;
  const set = (next: unknown) => model.setValue(name, same(next, parameter.default) ? undefined : next);
  useEffect(() => () => model.setProblem(name, ''), [model, name]);
  const help = [parameter.description, parameter.type].filter(Boolean).join(' · ');
  if (parameter.given === false) {
    return (
      <div className="mlops-Field">
        <button
          type="button"
          className="mlops-Link"
          onClick={() => commands.execute(CMD.goToStep, { cell: parameter.cell, line: parameter.line })}
        >
          {name}
        </button>
        <span className="mlops-Field-help">{trans.__('%1: can only be set in the notebook', help)}</span>
      </div>
    );
  }
  if (parameter.choices?.length) {
    const texts = parameter.choices.map(each => JSON.stringify(each));
    const none = parameter.optional ? [{ value: 'null', label: trans.__('none') }] : [];
    return (
      <SelectField
        label={name}
        help={help}
        value={JSON.stringify(value)}
        choices={[...none, ...texts.map((text, at) => ({ value: text, label: String(parameter.choices![at]) }))]}
        onValue={text => set(JSON.parse(text))}
      />
    );
  }
  if (kind === 'bool' && !parameter.optional) {
    return <CheckField label={name} help={help} value={Boolean(value)} onValue={set} />;
  }
  if (kind === 'bool') {
    return (
      <SelectField
        label={name}
        help={help}
        value={JSON.stringify(value)}
        choices={[
          { value: 'null', label: trans.__('none') },
          { value: 'true', label: trans.__('true') },
          { value: 'false', label: trans.__('false') }
        ]}
        onValue={text => set(JSON.parse(text))}
      />
    );
  }
  return (
    <TextField
      label={name}
      help={help}
      text={shown(value, kind)}
      placeholder={shown(parameter.default, kind)}
      numeric={kind === 'int' || kind === 'float'}
      lines={kind === 'dict' ? 2 : undefined}
      read={text => readParameter(text, parameter, trans)}
      onValue={set}
      onProblem={problem => model.setProblem(name, problem)}
    />
  );
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
