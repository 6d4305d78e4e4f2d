/** A cell's outputs, rendered by JupyterLab's own rendermime: untrusted, so that HTML is sanitised and no script runs. */
import type { IOutput } from '@jupyterlab/nbformat';
import { OutputAreaModel, SimplifiedOutputArea } from '@jupyterlab/outputarea';
import { Widget } from '@lumino/widgets';
import { useLayoutEffect, useRef } from 'react';

import { useServices } from '../context';

export function Outputs({ outputs }: { outputs: readonly IOutput[] }): JSX.Element {
  const { rendermime } = useServices();
  const host = useRef<HTMLDivElement>(null);
  const area = useRef<{ model: OutputAreaModel; shown: IOutput[]; widget: SimplifiedOutputArea } | null>(null);
  useLayoutEffect(() => {
    const model = new OutputAreaModel({ trusted: false });
    const widget = new SimplifiedOutputArea({ model, rendermime });
    area.current = { model, shown: [], widget };
    Widget.attach(widget, host.current!);
    // A layout effect ends while its node is still in the document, as Lumino wants it.
    return () => {
      area.current = null;
      widget.dispose();
      model.dispose();
    };
  }, [rendermime]);
  useLayoutEffect(() => {
    const { model, shown } = area.current!;
    if (outputs.length < shown.length) {
      model.clear();
      shown.length = 0;
    }
    outputs.forEach((output, at) => {
      if (at >= shown.length) {
        model.add(output);
      } else if (shown[at] !== output) {
        model.set(at, output); // a stream that has become longer
      }
      shown[at] = output;
    });
  });
  return <div className="mlops-Outputs" ref={host} />;
}
