/** A section of the sidebar that can be folded; whether it is, is kept between sessions. */
import { ReactNode, useEffect, useId, useState } from 'react';

import { useServices } from '../context';

export interface ISectionProps {
  name: string;
  title: string;
  badge?: string;
  open?: boolean;
  children: ReactNode;
}

export function Section(props: ISectionProps): JSX.Element {
  const { state } = useServices();
  const [open, setOpen] = useState(props.open ?? true);
  const id = useId();
  const key = `mlops-lab:section:${props.name}`;
  useEffect(() => {
    void state?.fetch(key).then(saved => typeof saved === 'boolean' && setOpen(saved));
  }, []);
  const toggle = () => {
    setOpen(!open);
    void state?.save(key, !open);
  };
  return (
    <section className="mlops-Section" aria-labelledby={id}>
      <h2 className="mlops-Section-title">
        <button id={id} type="button" aria-expanded={open} onClick={toggle}>
          <span aria-hidden="true" className="mlops-Section-arrow">
            {open ? '▾' : '▸'}
          </span>
          {props.title}
          {props.badge && <span className="mlops-Badge">{props.badge}</span>}
        </button>
      </h2>
      {open && <div className="mlops-Section-body">{props.children}</div>}
    </section>
  );
}
