/** The button in a cell's toolbar that opens the menu of its roles; the menu's entries are commands. */
import type { Cell } from '@jupyterlab/cells';
import { ToolbarButton } from '@jupyterlab/ui-components';
import { Menu } from '@lumino/widgets';

import { ownRole } from './cells';
import type { IServices } from './context';
import { pipelineIcon } from './icons';
import { CMD } from './ids';

export function cellMenuButton(services: IServices, cell: Cell): ToolbarButton {
  const { trans } = services;
  const button: ToolbarButton = new ToolbarButton({
    icon: pipelineIcon,
    tooltip: trans.__('Role of the cell in the pipeline'),
    onClick: () => {
      const { left, bottom } = button.node.getBoundingClientRect();
      menu(services, cell).open(left, bottom);
    }
  });
  button.addClass('mlops-CellMenu');
  return button;
}

function menu(services: IServices, cell: Cell): Menu {
  const { commands, pipelines } = services;
  const items = new Menu({ commands });
  items.addItem({ command: CMD.newStep });
  items.addItem({ command: CMD.joinAbove });
  const steps = pipelines.current?.analysis?.steps.filter(step => !step.implicit).map(step => step.group) ?? [];
  for (const step of new Set(steps)) {
    items.addItem({ command: CMD.setRole, args: { role: 'step', step } });
  }
  items.addItem({ type: 'separator' });
  for (const role of ['parameters', 'setup', 'skip', '']) {
    items.addItem({ command: CMD.setRole, args: { role } });
  }
  items.addItem({ type: 'separator' });
  if (ownRole(cell).role === 'step') {
    items.addItem({ command: CMD.gate });
  }
  items.addItem({ command: CMD.rename });
  items.addItem({ command: CMD.fix });
  items.addItem({ type: 'separator' });
  for (const command of [CMD.runFrom, CMD.runTo, CMD.runOnly]) {
    items.addItem({ command });
  }
  return items;
}
