/** What the commands share: how they are added, what they act on, how they tell that something went wrong. */
import { Notification } from '@jupyterlab/apputils';
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
  toggled?: (model: NotebookModel | null, args: ReadonlyPartialJSONObject) => boolean;
  title?: (args: ReadonlyPartialJSONObject) => string;
  execute: (args: any) => unknown;
}

/** Adds a command whose errors are shown as one message. */
export function add(services: IServices, id: string, command: ICommand): void {
  const { commands, pipelines } = services;
  const enabled = command.enabled ?? (model => model !== null);
  commands.addCommand(id, {
    label: args => command.title?.(args) ?? command.label,
    caption: command.caption ?? command.label,
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

export const TEXT = { type: 'string' } as const;
