/** The extension's plugin: it makes the services, and wires them to JupyterLab. What it does is in the modules it imports. */
import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from './api';
import { cellMenuButton } from './cellmenu';
import { CellDecorator, IDecorations } from './cells';
import { add, TEXT } from './commands/common';
import { addRunCommands } from './commands/running';
import { addTaggingCommands } from './commands/tagging';
import type { CompareView } from './compare';
import type { IServices } from './context';
import { executor, findPanelsBy } from './executor';
import { CMD } from './ids';
import { Pipelines } from './pipelines';
import { RunStore } from './runs';
import type { RunView } from './runview';
import { Sidebar } from './sidebar';
import { IPipelines, PLUGIN_ID } from './tokens';

export { IPipelines } from './tokens';

const plugin: JupyterFrontEndPlugin<IPipelines> = {
  id: PLUGIN_ID,
  description: 'Shows the notebook as a pipeline, runs it, and shows its runs.',
  autoStart: true,
  provides: IPipelines,
  requires: [INotebookTracker, IRenderMimeRegistry, IDocumentManager],
  optional: [ITranslator, ISettingRegistry, IStateDB, ICommandPalette, ILayoutRestorer, ILabShell, IToolbarWidgetRegistry],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    rendermime: IRenderMimeRegistry,
    docs: IDocumentManager,
    translator: ITranslator | null,
    settings: ISettingRegistry | null,
    state: IStateDB | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
    toolbars: IToolbarWidgetRegistry | null
  ): IPipelines => {
    const trans = (translator ?? nullTranslator).load('mlops_lab');
    const api = new Api(app.serviceManager.serverSettings);
    const runs = new RunStore(api);
    const pipelines = new Pipelines(notebooks, api, runs, state);
    findPanelsBy(model => notebooks.find(panel => panel.context.model === model) ?? null);
    const services: IServices = { api, commands: app.commands, pipelines, rendermime, runs, state, trans };

    const sidebar = new Sidebar(services);
    app.shell.add(sidebar, 'left', { rank: 700, type: 'MLOps Lab' });
    restorer?.add(sidebar, sidebar.id);
    addTaggingCommands(services);
    addRunCommands(services, docs);
    // Notebook 7 has room for one document in its main area: the views stand beside it.
    addViews(app, services, restorer, labShell ? 'main' : 'right');
    add(services, CMD.show, {
      label: trans.__('Show the Pipeline'),
      caption: trans.__('Show the sidebar with the notebook as a pipeline'),
      args: { focus: { type: 'boolean', description: 'Whether the keys go there, too; by default they do' } },
      enabled: () => true,
      execute: ({ focus }: { focus?: boolean }) => {
        app.shell.activateById(sidebar.id);
        if (focus !== false) {
          sidebar.node.focus();
        }
      }
    });

    let decorations: IDecorations = { rail: true, chips: true, status: true };
    const decorators = new Set<CellDecorator>();
    pipelines.added.connect((_, model) => {
      const decorator = new CellDecorator(model, trans, decorations, cell => {
        void app.commands.execute(CMD.goToStep, { cell });
        void app.commands.execute(CMD.show, { focus: false });
      });
      decorators.add(decorator);
      model.panel.disposed.connect(() => decorators.delete(decorator));
    });
    toolbars?.addFactory<Cell>('Cell', 'mlops-lab-role', cell => cellMenuButton(services, cell));

    const restore = settings?.load(PLUGIN_ID).then(
      loaded => {
        const apply = () => {
          const get = (key: string) => loaded.get(key).composite as any;
          decorations = { rail: get('rail'), chips: get('chips'), status: get('status') };
          decorators.forEach(each => (each.options = decorations));
          pipelines.delay = get('delay');
        };
        loaded.changed.connect(apply);
        apply();
      },
      reason => console.error('The settings of MLOps Lab could not be loaded.', reason)
    );
    void restore;

    const category = trans.__('MLOps Lab');
    const inPalette = Object.values(CMD).filter(id => !NOT_IN_PALETTE.includes(id));
    inPalette.forEach(command => palette?.addItem({ command, category }));
    // What can be done depends on the cell, the analysis and the run: menus and the palette ask again.
    let soon = 0;
    const refresh = () => {
      soon ||= window.setTimeout(() => {
        soon = 0; // once, however many keystrokes and events there were
        inPalette.forEach(id => app.commands.notifyCommandChanged(id));
      }, 100);
    };
    pipelines.currentChanged.connect((_, model) => {
      model?.changed.connect(refresh);
      refresh();
    });
    labShell?.layoutModified.connect(() => sidebar.isVisible && sidebar.update());
    return pipelines;
  }
};

/** Commands that make no sense without arguments. */
const NOT_IN_PALETTE: string[] = [
  CMD.setRole,
  CMD.goToStep,
  CMD.deleteRun,
  CMD.compare,
  CMD.openStep,
  CMD.openExecuted,
  CMD.learn,
  CMD.openMlflow
];

/** The views in the main area, which come back when the page is loaded again. */
function addViews(app: JupyterFrontEnd, services: IServices, restorer: ILayoutRestorer | null, area: string): void {
  const { trans, runs } = services;
  const runViews = new WidgetTracker<MainAreaWidget<RunView>>({ namespace: 'mlops-lab-runs' });
  const compareViews = new WidgetTracker<MainAreaWidget<CompareView>>({ namespace: 'mlops-lab-compare' });
  add(services, CMD.openRun, {
    label: trans.__('Open Run'),
    args: { run: { ...TEXT, description: "The run's id; by default the one on the cells, else the last one" } },
    enabled: (model, args) => Boolean(args.run || model?.run || model?.runs.length),
    execute: async (args: { run?: string }) => {
      const { RunView } = await import('./runview');
      const model = services.pipelines.current;
      const run = args.run ?? model?.run?.id ?? model!.runs[0].id;
      let view = runViews.find(each => each.content.run.id === run);
      if (!view) {
        // eslint-disable-next-line jupyter/require-disposable-ownership -- the shell owns it
        view = new MainAreaWidget({ content: new RunView(runs.get(run), services) });
        view.id = `mlops-lab-run-${run}`;
        // Beside the notebook; further runs are tabs of the same place, so that the notebook keeps its room.
        const beside = runViews.find(each => each.isAttached);
        const place = beside ? { mode: 'tab-after' as const, ref: beside.id } : { mode: 'split-right' as const };
        void runViews.add(view);
        app.shell.add(view, area, { ...place, type: 'MLOps Lab run' });
      }
      app.shell.activateById(view.id);
    }
  });
  add(services, CMD.compare, {
    label: trans.__('Compare Runs'),
    args: { runs: { type: 'array', items: { type: 'string' } } },
    enabled: (_, args) => Array.isArray(args.runs) && args.runs.length > 1,
    execute: async ({ runs: ids }: { runs: string[] }) => {
      const { CompareView } = await import('./compare');
      const id = `mlops-lab-compare-${ids.join('-')}`;
      let view = compareViews.find(each => each.id === id);
      if (!view) {
        // eslint-disable-next-line jupyter/require-disposable-ownership -- the shell owns it
        view = new MainAreaWidget({ content: new CompareView(ids, services) });
        view.id = id;
        void compareViews.add(view);
        app.shell.add(view, area, { type: 'MLOps Lab comparison' });
      }
      app.shell.activateById(id);
    }
  });
  void restorer?.restore(runViews, {
    command: CMD.openRun,
    args: view => ({ run: view.content.run.id }),
    name: view => view.content.run.id
  });
  void restorer?.restore(compareViews, {
    command: CMD.compare,
    args: view => ({ runs: view.content.runs }),
    name: view => view.content.runs.join('-')
  });
}

export default [plugin, executor];
