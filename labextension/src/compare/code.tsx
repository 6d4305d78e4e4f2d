/** The code that changed from each run to the next, cell by cell, as a diff. */
import { useServices } from '../context';
import type { IComparison } from '../types';

const SIGNS: Record<string, string> = { '+': 'mlops-mod-added', '-': 'mlops-mod-removed', '@': 'mlops-mod-place' };

export function ComparedCode({ code }: { code: IComparison['code'] }): JSX.Element {
  const { trans } = useServices();
  if (code.length === 0) {
    return <p className="mlops-Hint">{trans.__('The same code in all of them.')}</p>;
  }
  return (
    <>
      {code.map((each, at) => {
        const title = each.step ? trans.__('Step %1', each.step) : trans.__('Outside of the steps');
        return (
          <section key={at} aria-label={title}>
            <h3>
              {title} <span className="mlops-Run-detail">{trans.__('%1 → %2', each.from, each.to)}</span>
            </h3>
            <pre className="mlops-Diff" tabIndex={0}>
              {each.diff.split('\n').map((line, number) => (
                <span key={number} className={SIGNS[line[0]] ?? ''}>
                  {line + '\n'}
                </span>
              ))}
            </pre>
          </section>
        );
      })}
    </>
  );
}
