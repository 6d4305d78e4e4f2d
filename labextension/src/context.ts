/** What the views need besides their model; index.ts makes it once, React hands it down. */
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IStateDB } from '@jupyterlab/statedb';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { createContext, useContext, useEffect, useReducer, useRef } from 'react';
import type { ISignal } from '@lumino/signaling';

import type { Api } from './api';
import type { Pipelines } from './pipelines';
import type { RunStore } from './runs';

export interface IServices {
  api: Api;
  commands: CommandRegistry;
  pipelines: Pipelines;
  rendermime: IRenderMimeRegistry;
  runs: RunStore;
  state: IStateDB | null;
  trans: TranslationBundle;
}

export const Services = createContext<IServices | null>(null);

export function useServices(): IServices {
  return useContext(Services)!;
}

/** Draws the component again when a signal is emitted. */
export function useSignal<S, A>(signal: ISignal<S, A> | undefined): void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const slot = () => redraw();
    signal?.connect(slot);
    return () => void signal?.disconnect(slot);
  }, [signal]);
}

/**
 * The items, each the object that it was before where it says the same, and the same array where all do: what is drawn of them
 * is then drawn again only where something has changed, and not at each keystroke.
 */
export function useStable<T>(items: readonly T[]): readonly T[] {
  const kept = useRef<{ items: readonly T[]; keys: string[] }>({ items: [], keys: [] });
  const { items: old, keys: oldKeys } = kept.current;
  const keys = items.map(item => JSON.stringify(item));
  const isSame = (at: number) => at < old.length && keys[at] === oldKeys[at];
  if (items.length !== old.length || !keys.every((_, at) => isSame(at))) {
    kept.current = { items: items.map((item, at) => (isSame(at) ? old[at] : item)), keys };
  }
  return kept.current.items;
}
