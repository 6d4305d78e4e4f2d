/** What is wrong with the notebook as a pipeline: a click goes to the place, a button applies the fix. */
import { useEffect, useRef, useState } from 'react';

import { useServices } from '../context';
import { cannotChange } from '../commands/common';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import { Section } from './section';

export function DiagnosticsSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { commands, trans } = useServices();
  const found = model.isEmpty ? [] : (model.analysis?.diagnostics ?? []); // the graph's section says that there is no code
  const numbers = model.analysis?.cells ?? {};
  if (model.suggestion) {
    return null;
  }
  return (
    <Section name="diagnostics" title={trans.__('Problems')} badge={found.length ? String(found.length) : ''}>
      <Announced text={found.length ? trans._n('%1 problem', '%1 problems', found.length) : trans.__('No problems')} />
      {found.length === 0 && <p className="mlops-Hint">{trans.__('None found.')}</p>}
      <ul className="mlops-List" aria-label={trans.__('Problems')}>
        {found.map((each, index) => {
          const number = each.cell ? numbers[each.cell]?.number : undefined;
          const cell = number ? trans.__('cell %1', number) : '';
          const where = each.cell ? (each.line ? `${cell}, ${trans.__('line %1', each.line)}` : cell) : trans.__('notebook');
          return (
            <li
              key={`${each.code}-${each.cell}-${each.line}-${each.name}-${index}`}
              className={`mlops-Problem mlops-mod-${each.severity}`}
            >
              <button
                type="button"
                className="mlops-Problem-go"
                disabled={!each.cell}
                onClick={() => commands.execute(CMD.goToStep, { cell: each.cell, line: each.line, column: each.column ?? 0 })}
              >
                <span className="mlops-Problem-head">
                  <span aria-hidden="true">{each.severity === 'error' ? '✕' : '▲'}</span>{' '}
                  {each.severity === 'error' ? trans.__('Error') : trans.__('Warning')} {each.code}, {where}
                </span>
                <span className="mlops-Problem-text">{sentence(each.message)}</span>
                <span className="mlops-Problem-advice">{each.advice}</span>
              </button>
              {each.fix && (
                <button
                  type="button"
                  className="mlops-Button mlops-mod-small"
                  disabled={model.readOnly}
                  title={model.readOnly ? cannotChange(trans) : undefined}
                  onClick={() => commands.execute(CMD.fix, { index })}
                >
                  {trans.__('Fix: %1', each.fix.title)}
                </button>
              )}
            </li>
          );
        })}
      </ul>
      {model.history.canUndo && (
        <button type="button" className="mlops-Link" onClick={() => commands.execute(CMD.undo)}>
          {trans.__('Undo: %1', model.history.last)}
        </button>
      )}
    </Section>
  );
}

/** Told to screen readers once it has stayed the same for a moment: not while somebody types. */
function Announced({ text }: { text: string }): JSX.Element {
  const first = useRef(text);
  const [told, setTold] = useState('');
  useEffect(() => {
    const soon = setTimeout(() => text !== first.current && ((first.current = ''), setTold(text)), 1500);
    return () => clearTimeout(soon);
  }, [text]);
  return (
    <span className="mlops-Announced" role="status">
      {told}
    </span>
  );
}

/** The checks' messages go on from `cell 3: `; here they stand alone. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
