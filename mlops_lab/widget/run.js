/**
 * Draws the picture of a run (view.py) that the kernel keeps up to date, and asks the kernel for what the user wants:
 * outputs of a step, to cancel, to resume, MLflow's UI. Plain DOM without a build step: every front end that has widgets
 * loads this file as it is.
 */

const MARKS = { waiting: '·', running: '▶', retrying: '↻', done: '✓', cached: '=', skipped: '-' };
const BUSY = new Set(['running', 'retrying']);
const RESUMABLE = new Set(['failed', 'rejected', 'cancelled', 'interrupted']);
const UNDERWAY = new Set(['starting', 'sending', 'running']);
const EXTENSION = '@mlops-lab/labextension';

/** An element with properties (`on…` are listeners, others attributes) and children; text is always text, never HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** What the Jupyter page says of itself; empty in VS Code and other pages that have no server behind them. */
function page() {
  try {
    return JSON.parse(document.getElementById('jupyter-config-data').textContent);
  } catch {
    return {};
  }
}

function baseUrl() {
  const { baseUrl: base } = page();
  return base ? new URL(base, location.href).href.replace(/\/?$/, '/') : '';
}

function hasExtension() {
  return (page().federated_extensions ?? []).some(({ name }) => name === EXTENSION);
}

const seconds = value => (value < 10 ? value.toFixed(1) : value.toFixed(0)) + ' s';
const number = value => (typeof value === 'number' ? String(Number(value.toPrecision(6))) : value);

function spent(step, now) {
  return Math.max(0, now - step.started);
}

/** A step's status in words, with what is left of a running one if it ran before. */
function describe(step, now) {
  const { status, failure } = step;
  let said = status;
  if (status === 'running') {
    const left = step.expected ? step.expected - spent(step, now) : null;
    const where = step.position ? `cell ${step.position} of ${step.total}` : 'starting';
    said = `${where}, ${seconds(spent(step, now))}` + (left === null ? '' : left > 1 ? `, about ${seconds(left)} left` : ', nearly done');
  } else if (status === 'done') {
    said = `done in ${seconds(step.seconds)}`;
  } else if (status === 'failed' || status === 'rejected') {
    said = `${status} after ${seconds(step.seconds)}`;
  } else if (status === 'cached') {
    said = `cached from run ${step.from_run}`;
  }
  if (failure && status !== 'done') {
    const where = failure.cell ? `cell ${failure.cell}${failure.line ? `, line ${failure.line}` : ''}: ` : '';
    said += `; ${where}${failure.message}`;
  }
  return said;
}

/** How far a step is, from 0 to 1: by time where it ran before, else by its cells. */
function share(step, now) {
  if (!BUSY.has(step.status)) {
    return null;
  }
  if (step.expected) {
    return Math.min(0.97, spent(step, now) / step.expected);
  }
  return step.total ? Math.max(0, step.position - 1) / step.total : 0;
}

class RunView {
  constructor(model, el) {
    this.model = model;
    this.windows = {}; // opened by a click, filled when the kernel answers: a page may only open one on a click
    this.skew = 0;
    this.rows = new Map();
    this.build(el);
    this.handlers = [
      ['change:picture', () => this.later('picture')],
      ['change:graph', () => this.drawGraph()],
      ['change:shown', () => this.later('outputs')],
      ['change:watched', () => this.later('outputs')],
      ['change:notice', () => this.drawNotice()],
      ['msg:custom', message => this.receive(message)]
    ];
    this.handlers.forEach(([name, handler]) => model.on(name, handler));
    this.pending = new Set();
    this.timer = setInterval(() => this.tick(), 500);
    this.drawGraph();
    this.drawPicture();
    this.drawOutputs();
    this.drawNotice();
  }

  dispose() {
    clearInterval(this.timer);
    this.handlers.forEach(([name, handler]) => this.model.off(name, handler));
    this.hideStatic(false);
  }

  /** However many messages arrive, a page draws once a frame; a hidden page draws when it is looked at. */
  later(what) {
    if (!this.pending.size) {
      requestAnimationFrame(() => {
        const now = new Set(this.pending);
        this.pending.clear();
        if (now.has('picture')) {
          this.drawPicture();
        }
        if (now.has('outputs') || now.has('picture')) {
          this.drawOutputs();
        }
      });
    }
    this.pending.add(what);
  }

  /** The static drawing beside the widget is for saved notebooks; where both are shown, one is enough. */
  hideStatic(hidden) {
    const id = (this.model.get('picture') ?? {}).id;
    document.querySelectorAll(`.mlops-run-static[data-run="${id}"]`).forEach(drawing => {
      drawing.style.display = hidden ? 'none' : '';
    });
  }

  build(el) {
    this.title = make('h3');
    this.about = make('span', { class: 'mr-dim' });
    this.status = make('span', { role: 'status' });
    this.actions = make('span', { class: 'mr-actions' });
    this.notice = make('p', { class: 'mr-notice', role: 'alert' });
    this.offer = make('p', { role: 'status' });
    this.messages = make('div');
    this.graph = make('div', { class: 'mr-graph', tabindex: '0', role: 'region', 'aria-label': 'Graph of the steps' });
    this.steps = make('tbody');
    const head = ['step', 'status', '', 'left', 'links'].map(text => make('th', { scope: 'col' }, text));
    this.outputs = make('div');
    this.metrics = make('div');
    this.root = make(
      'section',
      { class: 'mlops-run', 'aria-label': 'Run of a pipeline' },
      make('header', {}, this.title, this.status, this.about, this.actions),
      this.notice,
      this.offer,
      this.messages,
      make(
        'div',
        { class: 'mr-body' },
        this.graph,
        make('div', { class: 'mr-main' }, make('table', { class: 'mr-table' }, make('thead', {}, make('tr', {}, ...head)), this.steps), this.metrics)
      ),
      this.outputs
    );
    el.append(this.root);
  }

  get now() {
    return Date.now() / 1000 - this.skew;
  }

  drawGraph() {
    // An SVG of our own making, whose texts are escaped (graph.py).
    this.graph.innerHTML = this.model.get('graph') ?? '';
    this.graph.querySelectorAll('.step').forEach(step => {
      step.addEventListener('click', () => this.watch(step.dataset.step));
    });
    this.colourGraph();
  }

  colourGraph() {
    const statuses = new Map((this.model.get('picture').steps ?? []).map(step => [step.name, step.status]));
    this.graph.querySelectorAll('.step').forEach(step => {
      const status = statuses.get(step.dataset.step) ?? '';
      step.setAttribute('class', `step ${status}`);
      const line = step.querySelector('.cells');
      line.dataset.plain ??= line.textContent;
      line.textContent = status && status !== 'waiting' ? `${line.dataset.plain}, ${status}` : line.dataset.plain;
    });
  }

  drawPicture() {
    const picture = this.model.get('picture') ?? {};
    this.skew = Date.now() / 1000 - picture.now;
    const names = picture.steps.map(({ name }) => name).join(' ');
    if (this.steps.dataset.names !== names) {
      this.rows.clear();
      this.steps.replaceChildren();
      this.steps.dataset.names = names;
    }
    this.root.dataset.run = picture.id;
    this.hideStatic(true);
    this.root.dataset.status = picture.status;
    this.title.textContent = picture.pipeline;
    this.drawHead(picture);
    this.drawActions(picture);
    picture.steps.forEach(step => this.drawStep(step));
    this.drawMetrics(picture);
    this.colourGraph();
  }

  drawHead(picture) {
    const running = UNDERWAY.has(picture.status);
    const took = running ? this.now - picture.started : picture.seconds;
    const left = running ? remaining(picture.steps, this.now) : null;
    const status = picture.status + (took ? ` ${running ? 'for' : 'in'} ${seconds(took)}` : '');
    this.say(this.status, status + (left ? `, about ${seconds(left)} left` : ''));
    const given = Object.entries(picture.parameters).map(([name, value]) => `${name}=${value}`);
    this.say(this.about, [picture.id && `run ${picture.id}`, picture.target === 'local' ? '' : `on ${picture.target}`, ...given].filter(Boolean).join('  '));
    const told = [...(picture.message ? [{ level: 'error', text: picture.message }] : []), ...picture.messages];
    const text = JSON.stringify(told);
    if (this.messages.dataset.shown !== text) {
      this.messages.dataset.shown = text;
      this.messages.replaceChildren(...told.map(({ level, text: said }) => make('p', { class: level === 'error' ? 'mr-failure' : 'mr-dim' }, said)));
    }
  }

  /** Text that did not change is left alone: screen readers would say it again. */
  say(element, text) {
    if (element.textContent !== text) {
      element.textContent = text;
    }
  }

  drawActions(picture) {
    const key = `${picture.id} ${picture.status} ${picture.mlflow?.run ?? ''}`;
    if (this.actions.dataset.key === key) {
      return;
    }
    this.actions.dataset.key = key;
    const made = [];
    if (UNDERWAY.has(picture.status)) {
      made.push(this.button('Cancel', button => this.ask(button, { type: 'cancel' })));
    }
    if (!picture.id) {
      this.actions.replaceChildren(...made); // there is nothing yet to resume or to open
      return;
    }
    if (RESUMABLE.has(picture.status)) {
      made.push(this.button('Resume', button => this.ask(button, { type: 'resume' })));
    }
    if (hasExtension()) {
      // JupyterLab runs the command of a clicked element that says so.
      const command = name => ({ type: 'button', 'data-commandlinker-command': name, 'data-commandlinker-args': JSON.stringify({ run: picture.id }) });
      made.push(make('button', command('mlops-lab:open-executed-notebook'), 'Executed notebook'), make('button', command('mlops-lab:open-run'), 'Run view'));
    } else {
      made.push(this.button('Executed notebook', () => this.open({ type: 'notebook' }, 'the executed notebook'), `In ${picture.folder}`));
    }
    made.push(this.mlflowLink(picture.mlflow, 'MLflow', false));
    this.actions.replaceChildren(...made.filter(Boolean));
  }

  button(label, action, title) {
    const made = make('button', { type: 'button', title, onclick: () => action(made) }, label);
    return made;
  }

  /** A plain link to a remote store; to a local one a button, since its UI has to be started first. */
  mlflowLink(run, label, small = true) {
    if (!run) {
      return null;
    }
    if (run.address) {
      return make('a', { href: run.address + run.place, target: '_blank', rel: 'noopener' }, label);
    }
    const ask = () => this.open({ type: 'mlflow', origin: location.origin, place: run.place }, 'MLflow');
    return make('button', { type: 'button', class: small ? 'mr-link' : null, onclick: ask, 'data-mlflow': run.place }, label);
  }

  drawStep(step) {
    let row = this.rows.get(step.name);
    if (!row) {
      row = this.makeRow(step.name);
      this.rows.set(step.name, row);
    }
    row.step = step;
    row.element.dataset.status = step.status;
    this.say(row.mark, `${MARKS[step.status] ?? '✗'} `);
    this.tickRow(row);
    const left = step.outputs.map(({ name, type, preview }) => `${name}: ${preview || type}`);
    this.say(row.left, left.slice(0, 4).join('\n') + (left.length > 4 ? `\nand ${left.length - 4} more` : ''));
    row.left.title = left.join('\n');
    const key = JSON.stringify([step.mlflow, step.models]);
    if (row.links.dataset.key !== key) {
      row.links.dataset.key = key;
      const link = this.mlflowLink(step.mlflow, 'MLflow');
      link?.setAttribute('aria-label', `MLflow run of step ${step.name}`);
      const models = step.models.map(({ name, place }) => this.mlflowLink({ ...step.mlflow, place }, `model ${name}`));
      row.links.replaceChildren(...[link, ...models].filter(Boolean).flatMap((each, i) => (i ? [make('br'), each] : [each])));
    }
  }

  makeRow(name) {
    const row = { mark: make('span', { 'aria-hidden': 'true' }), status: make('td'), left: make('td', { class: 'mr-dim', style: 'white-space: pre-line' }), links: make('td') };
    row.name = make('button', { type: 'button', class: 'mr-link', 'aria-expanded': 'false', title: 'Show what this step put out', onclick: () => this.watch(name) }, name);
    row.progress = make('progress', { max: '1', 'aria-label': `Progress of step ${name}` });
    row.bar = make('td', {}, row.progress);
    row.element = make('tr', { 'data-step': name }, make('td', {}, row.mark, row.name), row.status, row.bar, row.left, row.links);
    this.steps.append(row.element);
    return row;
  }

  tickRow(row) {
    this.say(row.status, describe(row.step, this.now));
    const part = share(row.step, this.now);
    row.progress.style.visibility = part === null ? 'hidden' : '';
    row.progress.value = part ?? 0;
  }

  tick() {
    const picture = this.model.get('picture') ?? {};
    this.hideStatic(true); // it is drawn anew now and then
    if (!UNDERWAY.has(picture.status) || document.hidden) {
      return;
    }
    this.drawHead(picture);
    this.rows.forEach(row => BUSY.has(row.step.status) && this.tickRow(row));
  }

  drawMetrics(picture) {
    const key = JSON.stringify(picture.steps.map(({ name, metrics, curves }) => [name, metrics, curves]));
    if (this.metrics.dataset.key === key) {
      return;
    }
    this.metrics.dataset.key = key;
    const rows = picture.steps.flatMap(step =>
      Object.entries(step.metrics).map(([name, value]) =>
        make('tr', {}, make('td', {}, step.name), make('td', {}, name), make('td', { class: 'mr-number' }, number(value)))
      )
    );
    const head = ['step', 'metric', 'value'].map(text => make('th', { scope: 'col' }, text));
    const table = make('table', { class: 'mr-table mr-metrics', style: 'margin-top: 8px' }, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...rows));
    const plots = picture.steps.flatMap(step => Object.entries(step.curves).map(([name, points]) => drawCurve(`${step.name}: ${name}`, points)));
    this.metrics.replaceChildren(...(rows.length ? [table] : []), ...(plots.length ? [make('div', { class: 'mr-plots' }, ...plots)] : []));
  }

  drawNotice() {
    this.say(this.notice, this.model.get('notice') ?? '');
    this.notice.style.display = this.notice.textContent ? '' : 'none';
  }

  watch(name) {
    this.model.set('watched', this.model.get('watched') === name ? '' : name);
    this.model.save_changes();
    this.drawOutputs();
  }

  drawOutputs() {
    const watched = this.model.get('watched');
    this.rows.forEach((row, name) => row.name.setAttribute('aria-expanded', String(name === watched)));
    if (!watched) {
      this.outputs.replaceChildren();
      return;
    }
    const shown = this.model.get('shown') ?? {};
    const ours = shown.step === watched ? shown : { outputs: [], cut: 0 };
    let area = this.outputs.firstElementChild;
    if (area?.dataset.step !== watched) {
      area = make('div', { class: 'mr-outputs', role: 'region', tabindex: '0', 'aria-label': `Outputs of step ${watched}`, 'data-step': watched });
      this.outputs.replaceChildren(area);
      this.drawn = [];
    }
    const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 30;
    this.patch(area, ours);
    if (atEnd) {
      area.scrollTop = area.scrollHeight;
    }
  }

  /** Draws what is new; what is there already stays, so that a long output costs its new lines only. */
  patch(area, { outputs, cut }) {
    const wanted = outputs.map((output, i) => ({ key: `${cut + i}`, output }));
    const traceback = this.rows.get(area.dataset.step)?.step.failure;
    const hasError = outputs.some(({ kind }) => kind === 'error');
    if (traceback && !hasError) {
      wanted.push({ key: 'failure', output: { kind: 'error', cell: traceback.cell, text: traceback.traceback || traceback.message } });
    }
    if (!wanted.length) {
      wanted.push({ key: 'none', output: { kind: 'data', text: 'This step has put nothing out.' } });
    }
    if (cut) {
      wanted.unshift({ key: 'cut', output: { kind: 'data', text: `${cut} earlier outputs are in the executed notebook.` } });
    }
    const known = new Map(this.drawn.map(each => [each.key, each]));
    this.drawn = wanted.map(({ key, output }, i) => {
      const before = known.get(key);
      known.delete(key);
      const headed = output.cell && output.cell !== wanted[i - 1]?.output.cell;
      const same = before && before.headed === headed && before.output.kind === output.kind;
      if (same && before.output.kind === 'stream') {
        this.say(before.element.querySelector('pre'), plain(output.text));
        return { ...before, output };
      }
      if (same && JSON.stringify(before.output) === JSON.stringify(output)) {
        return before;
      }
      before?.element.remove();
      const element = make('div', {}, headed ? make('div', { class: 'mr-cell' }, `cell ${output.cell}`) : null, drawOutput(output));
      return { key, output, headed, element };
    });
    known.forEach(({ element }) => element.remove());
    this.drawn.forEach(({ element }, i) => area.children[i] !== element && area.insertBefore(element, area.children[i] ?? null));
  }

  ask(button, message) {
    button.disabled = true;
    this.model.send(message);
  }

  /** Opens a page for what the kernel will send: only a click may. */
  open(message, what) {
    const opened = window.open('', '_blank');
    if (opened) {
      opened.document.title = what;
      opened.document.body.textContent = `Waiting for ${what} …`;
    }
    this.windows[message.type] = opened;
    this.model.send(message);
  }

  async receive(message) {
    const opened = this.windows[message.type === 'refused' ? message.asked : message.type];
    if (message.type === 'refused') {
      opened?.close();
      this.actions.querySelectorAll('button').forEach(button => (button.disabled = false));
    } else if (message.type === 'mlflow') {
      this.lead(opened, (await proxied(message.port)) + message.place.replace(/^\//, ''), { target: '_blank', rel: 'noopener' }, 'Open MLflow');
    } else if (message.type === 'notebook') {
      const href = URL.createObjectURL(new Blob([message.html], { type: 'text/html' }));
      this.lead(opened, href, { download: 'executed.html' }, 'Save the executed notebook');
    }
    delete this.windows[message.type];
  }

  /** Fills the page that was opened; one that may open none, as VS Code's, gets a link, which VS Code follows or saves. */
  lead(opened, href, properties, label) {
    if (opened) {
      opened.location.href = href;
    } else {
      this.offer.replaceChildren(make('a', { href, ...properties }, label));
    }
  }
}

/** The address of a port of the kernel's machine: through the Jupyter server, with the hub's prefix, where it passes ports on. */
async function proxied(port) {
  const base = baseUrl();
  if (base) {
    const through = `${base}proxy/${port}/`;
    const answer = await fetch(through, { method: 'HEAD', credentials: 'same-origin' }).catch(() => null);
    if (answer?.ok) {
      return through;
    }
  }
  return `http://127.0.0.1:${port}/`;
}

/** Seconds that the steps which run are still expected to take; null if one of them never ran. */
function remaining(steps, now) {
  const running = steps.filter(({ status }) => status === 'running');
  const left = running.map(step => (step.expected ? Math.max(0, step.expected - spent(step, now)) : null));
  return left.length && !left.includes(null) ? Math.max(...left) : null;
}

function plain(text) {
  return text.replace(/\u001b\[[0-9;]*[A-Za-z]/g, '');
}

/** A metric over its steps, with its least and greatest value beside it. */
function drawCurve(title, points) {
  const [width, height] = [180, 60];
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const at = ([x, y]) => [4 + ((x - x0) / (x1 - x0 || 1)) * (width - 8), height - 4 - ((y - y0) / (y1 - y0 || 1)) * (height - 8)];
  const path = points.map(point => at(point).map(each => each.toFixed(1)).join(' ')).join(' L');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('width', width);
  svg.setAttribute('height', height);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}, ${points.length} points, last ${number(ys.at(-1))}, from ${number(y0)} to ${number(y1)}`);
  const line = document.createElementNS(svg.namespaceURI, 'path');
  line.setAttribute('d', `M${path}`);
  svg.append(line);
  const about = `${number(ys.at(-1))}  (${number(y0)} to ${number(y1)})`;
  return make('div', { class: 'mr-plot' }, make('div', {}, title), svg, make('div', { class: 'mr-dim' }, about));
}

function drawOutput({ kind, name, text, mime, data, html }) {
  if (kind === 'picture') {
    const source = mime === 'image/svg+xml' ? `data:${mime},${encodeURIComponent(data)}` : `data:${mime};base64,${data.replace(/\s/g, '')}`;
    return make('img', { src: source, alt: text || 'picture' });
  }
  if (kind === 'data' && html) {
    // Somebody's HTML: in a frame without scripts, whose style can't reach the page either.
    const frame = make('iframe', { sandbox: 'allow-same-origin', title: text || 'output', srcdoc: `<base target="_blank"><body style="margin:0;font:13px sans-serif">${html}</body>` });
    frame.addEventListener('load', () => (frame.style.height = `${Math.min(400, frame.contentDocument.documentElement.scrollHeight + 4)}px`));
    return frame;
  }
  return make('pre', { class: kind === 'error' || name === 'stderr' ? 'mr-stderr' : null }, plain(text));
}

/** The link to MLflow (link.py), whose UI starts once the page has said where it is: at once, or by a click. */
function drawLink(model, el) {
  const line = make('p', { role: 'status' });
  let opened = null; // by a click, filled when the UI is there: a page may only open one on a click
  const start = () => {
    model.set('origin', location.origin);
    model.save_changes();
  };
  const click = () => {
    opened = window.open('', '_blank');
    opened?.document.body.append('Waiting for MLflow …');
    start();
  };
  const draw = async () => {
    const [port, failure] = [model.get('port'), model.get('failure')];
    const address = model.get('address') || (port ? await proxied(port) : '');
    if (opened && (address || failure)) {
      address ? (opened.location.href = address) : opened.close();
      opened = null;
    }
    const button = model.get('by_click') && !model.get('origin') && make('button', { type: 'button', onclick: click }, 'Open MLflow');
    const link = address && make('a', { href: address, target: '_blank', rel: 'noopener', class: 'mlops-mlflow' }, 'Open MLflow');
    line.replaceChildren(failure || link || button || 'MLflow starts …');
  };
  model.on('change', draw);
  el.append(line);
  draw();
  if (!model.get('origin') && !model.get('by_click')) {
    start();
  }
  return () => model.off('change', draw);
}

export default {
  render({ model, el }) {
    if (model.get('picture') === undefined) {
      return drawLink(model, el);
    }
    const view = new RunView(model, el);
    return () => view.dispose();
  }
};
