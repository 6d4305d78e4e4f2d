/** What the commands share: how they are added, what they act on, how they tell that something went wrong. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyJSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { IServices } from '../context';
import type { NotebookModel } from '../model';

export interface ICommand {
  label: string;
  caption?: string;
  /** JSON schema of the arguments' properties. */
  args?: Record<string, ReadonlyPartialJSONObject>;
  /** Whether it can be done now; without it, whenever a notebook is open. */
  enabled?: (model: NotebookModel | null, args: ReadonlyPartialJSONObject) => boolean;
  /** True if it changes the notebook: it can't be done in one that is read-only. */
  changes?: boolean;
  toggled?: (model: NotebookModel | null, args: ReadonlyPartialJSONObject) => boolean;
  title?: (args: ReadonlyPartialJSONObject) => string;
  execute: (args: any) => unknown;
}

/** Adds a command whose errors are shown as one message. */
export function add(services: IServices, id: string, command: ICommand): void {
  const { commands, pipelines } = services;
  const possible = command.enabled ?? ((model: NotebookModel | null) => model !== null);
  const enabled: typeof possible = (model, args) => possible(model, args) && !(command.changes && model?.readOnly);
  commands.addCommand(id, {
    label: args => command.title?.(args) ?? command.label,
    caption: () =>
      (command.changes && pipelines.current?.readOnly && cannotChange(services.trans)) || command.caption || command.label,
    isEnabled: args => enabled(pipelines.current, args),
    ...(command.toggled ? { isToggled: args => command.toggled!(pipelines.current, args) } : {}),
    describedBy: { args: { type: 'object', properties: (command.args ?? {}) as ReadonlyJSONObject } },
    execute: async args => {
      try {
        return await command.execute(args);
      } catch (error) {
        Notification.error(error instanceof Error ? error.message : String(error), { autoClose: 10_000 });
        return undefined;
      }
    }
  });
}

/** Why nothing can be changed in a notebook. */
export function cannotChange(trans: TranslationBundle): string {
  return trans.__('The notebook is read-only: save it under another name to change it.');
}

export const TEXT = { type: 'string' } as const;
