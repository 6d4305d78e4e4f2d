/** What a step read and what it left: type, size, shape, schema, the first rows. Values are loaded when they are asked for. */
import { useEffect, useState } from 'react';

import { useServices } from '../context';
import { bytes } from '../icons';
import type { IPreview, IPreviews } from '../types';

export function Data({ run, step, version }: { run: string; step: string; version: string }): JSX.Element {
  const { api, trans } = useServices();
  const [data, setData] = useState<IPreviews | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let wanted = true;
    setData(null);
    setProblem('');
    api.previews(run, step).then(
      found => wanted && setData(found),
      error => wanted && setProblem(String(error.message ?? error))
    );
    return () => {
      wanted = false;
    };
  }, [run, step, version]);
  if (problem) {
    return <p className="mlops-Problem mlops-mod-error">{problem}</p>;
  }
  if (!data) {
    return <p className="mlops-Hint">{trans.__('Loading the values…')}</p>;
  }
  return (
    <>
      <Values title={trans.__('Inputs')} values={data.inputs} />
      <Values title={trans.__('Outputs')} values={data.outputs} />
    </>
  );
}

function Values({ title, values }: { title: string; values: Record<string, IPreview> }): JSX.Element {
  const { trans } = useServices();
  const names = Object.keys(values).sort();
  return (
    <section>
      <h3>{title}</h3>
      {names.length === 0 && <p className="mlops-Hint">{trans.__('None.')}</p>}
      {names.map(name => (
        <Value key={name} name={name} value={values[name]} />
      ))}
    </section>
  );
}

function Value({ name, value }: { name: string; value: IPreview }): JSX.Element {
  const { trans } = useServices();
  const shape = value.shape?.length ? value.shape.join(' × ') : '';
  const facts = [value.type, shape, bytes(value.bytes), value.step ? trans.__('from %1', value.step) : ''];
  return (
    <details className="mlops-Value">
      <summary>
        <code>{name}</code> <span className="mlops-Value-facts">{facts.filter(Boolean).join(' · ')}</span>{' '}
        <span className="mlops-Value-preview">{value.preview}</span>
      </summary>
      {value.error && <p className="mlops-Hint">{value.error}</p>}
      {value.image && <img src={`data:image/png;base64,${value.image}`} alt={trans.__('Preview of %1', name)} />}
      {value.head && value.schema ? (
        <Table columns={value.schema} rows={value.head as Record<string, unknown>[]} />
      ) : value.text ? (
        <pre>{value.text}</pre>
      ) : value.head ? (
        <pre>{value.head.map(each => JSON.stringify(each)).join('\n')}</pre>
      ) : null}
    </details>
  );
}

function Table({ columns, rows }: { columns: NonNullable<IPreview['schema']>; rows: Record<string, unknown>[] }): JSX.Element {
  const cell = (value: unknown) =>
    value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return (
    <div className="mlops-TableBox" tabIndex={0}>
      <table className="mlops-Table">
        <thead>
          <tr>
            {columns.map(column => (
              <th key={column.name} scope="col">
                {column.name}
                <span className="mlops-Table-type">{column.type}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={at}>
              {columns.map((column, place) => (
                <td key={column.name}>{cell(Array.isArray(row) ? row[place] : row[column.name])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
