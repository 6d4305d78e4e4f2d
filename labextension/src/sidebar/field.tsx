/** One field of a form: a label, a control for the kind of value, help, and what is wrong with what stands in it. */
import { KeyboardEvent, useEffect, useId, useState } from 'react';

import type { Read } from '../fields';

export interface ITextFieldProps {
  label: string;
  text: string;
  help?: string;
  placeholder?: string;
  numeric?: boolean;
  lines?: number;
  suggestions?: string[];
  read: (text: string) => Read;
  /** Called with a value that was read, once the user leaves the field or presses Enter. */
  onValue: (value: unknown) => void;
  /** Called with what is wrong, or '' once nothing is. */
  onProblem?: (problem: string) => void;
}

export function TextField(props: ITextFieldProps): JSX.Element {
  const id = useId();
  const [text, setText] = useState(props.text);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    setText(props.text);
    setProblem('');
    props.onProblem?.('');
  }, [props.text]);
  const take = () => {
    const found = props.read(text);
    const wrong = 'problem' in found ? found.problem : '';
    setProblem(wrong);
    props.onProblem?.(wrong);
    if ('value' in found && text !== props.text) {
      props.onValue(found.value);
    }
  };
  const shared = {
    id,
    value: text,
    placeholder: props.placeholder,
    'aria-invalid': problem !== '',
    'aria-describedby': problem ? `${id}-problem` : props.help ? `${id}-help` : undefined,
    onBlur: take,
    onChange: (event: { target: { value: string } }) => setText(event.target.value),
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key === 'Enter' && !props.lines) {
        take();
      } else if (event.key === 'Escape') {
        setText(props.text);
        setProblem('');
        props.onProblem?.('');
      }
    }
  };
  return (
    <div className="mlops-Field">
      <label htmlFor={id}>{props.label}</label>
      {props.lines ? (
        <textarea className="jp-mod-styled" rows={props.lines} spellCheck={false} {...shared} />
      ) : (
        <input
          className="jp-mod-styled"
          type="text"
          inputMode={props.numeric ? 'decimal' : 'text'}
          list={props.suggestions ? `${id}-list` : undefined}
          spellCheck={false}
          autoComplete="off"
          {...shared}
        />
      )}
      {props.suggestions && (
        <datalist id={`${id}-list`}>
          {props.suggestions.map(each => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
      {problem ? (
        <span className="mlops-Field-problem" id={`${id}-problem`} role="alert">
          {problem}
        </span>
      ) : (
        props.help && (
          <span className="mlops-Field-help" id={`${id}-help`}>
            {props.help}
          </span>
        )
      )}
    </div>
  );
}

export interface ISelectProps {
  label: string;
  value: string;
  choices: { value: string; label: string; disabled?: boolean }[];
  help?: string;
  onValue: (value: string) => void;
}

export function SelectField(props: ISelectProps): JSX.Element {
  const id = useId();
  return (
    <div className="mlops-Field">
      <label htmlFor={id}>{props.label}</label>
      <select id={id} className="jp-mod-styled" value={props.value} onChange={event => props.onValue(event.target.value)}>
        {props.choices.map(each => (
          <option key={each.value} value={each.value} disabled={each.disabled}>
            {each.label}
          </option>
        ))}
      </select>
      {props.help && <span className="mlops-Field-help">{props.help}</span>}
    </div>
  );
}

export function CheckField(props: {
  label: string;
  value: boolean;
  help?: string;
  onValue: (value: boolean) => void;
}): JSX.Element {
  return (
    <div className="mlops-Field mlops-mod-check">
      <label>
        <input type="checkbox" checked={props.value} onChange={event => props.onValue(event.target.checked)} /> {props.label}
      </label>
      {props.help && <span className="mlops-Field-help">{props.help}</span>}
    </div>
  );
}
