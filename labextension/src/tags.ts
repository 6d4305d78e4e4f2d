/**
 * Cell tags as roles: what a cell's tags say, and the tags that a cell gets when its role is set. Pure functions on lists of
 * tags; which cells they are put on is for edits.ts. Tags that are not ours (`hide-input`, ...) are always kept.
 */

/** The roles that a user can give to a cell, in the order of the menu. `step` takes a name. */
export const CELL_ROLES = ['step', 'parameters', 'setup', 'skip'] as const;
export type CellRole = (typeof CELL_ROLES)[number];

/** Kale's names, so that changing the role of a Kale cell replaces its tag instead of adding a second role. */
const KALE: Record<string, string> = {
  imports: 'setup',
  functions: 'setup',
  'pipeline-parameters': 'parameters',
  'pipeline-metrics': 'metrics'
};

export interface ITagged {
  /** The name in the cell's first `step:` tag, or '' if it has none. */
  step: string;
  role: CellRole | 'metrics' | '';
  gate: boolean;
  after: string[];
}

/** What a cell's tags say. */
export function readTags(tags: readonly string[]): ITagged {
  const steps = named(tags, 'step:');
  const plain = tags.map(tag => KALE[tag] ?? tag);
  const role =
    steps.length > 0 ? 'step' : (['parameters', 'setup', 'skip', 'metrics'] as const).find(name => plain.includes(name));
  return {
    step: steps[0] ?? '',
    role: role ?? '',
    gate: tags.includes('gate'),
    after: [...named(tags, 'after:'), ...named(tags, 'prev:')]
  };
}

function named(tags: readonly string[], prefix: string): string[] {
  return tags.filter(tag => tag.startsWith(prefix)).map(tag => tag.slice(prefix.length).trim());
}

/** True for a tag that gives a cell its role; `gate` and `after:` belong to a step and go with it. */
function isRoleTag(tag: string): boolean {
  return /^(step|after|prev):/.test(tag) || ['parameters', 'setup', 'skip', 'gate'].includes(tag) || tag in KALE;
}

/** The tags of a cell once its role is `role`; '' takes its role away. A step that is renamed keeps its gate and its order. */
export function withRole(tags: readonly string[], role: CellRole | '', step = ''): string[] {
  const before = readTags(tags);
  const kept = tags.filter(tag => !isRoleTag(tag) || (role === 'step' && before.role === 'step' && isPartOfStep(tag)));
  if (role === 'step') {
    return [`step:${step}`, ...kept];
  }
  return role ? [role, ...kept] : kept;
}

function isPartOfStep(tag: string): boolean {
  return tag === 'gate' || /^(after|prev):/.test(tag);
}

/** The tags with `gate` added or taken away. */
export function withGate(tags: readonly string[], gate: boolean): string[] {
  const kept = tags.filter(tag => tag !== 'gate');
  return gate ? [...kept, 'gate'] : kept;
}

/** The tags with exactly these `after:` names. */
export function withAfter(tags: readonly string[], names: readonly string[]): string[] {
  const kept = tags.filter(tag => !/^(after|prev):/.test(tag));
  return [...kept, ...[...new Set(names)].map(name => `after:${name}`)];
}

/** The tags of any cell once a step has another name: its own cells, and those of the steps that run after it. */
export function withStepRenamed(tags: readonly string[], from: string, to: string): string[] {
  return tags.map(tag =>
    tag.replace(/^(step|after|prev):\s*(.*)$/, (whole, head, name) => (name.trim() === from ? `${head}:${to}` : whole))
  );
}

export const STEP_NAME = /^[a-z](?:[a-z0-9-]*[a-z0-9])?$/;

/** A valid step name made from any text; '' if nothing of it can be used. */
export function slug(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/[^\x00-\x7f]/g, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[0-9-]+|-+$/g, '');
}

/** A step name that is not taken: from the heading above the cell where there is one, else `step-1`, `step-2`, ... */
export function freeStepName(taken: readonly string[], heading = ''): string {
  const wish = slug(heading).split('-').slice(0, 3).join('-');
  if (wish && !taken.includes(wish)) {
    return wish;
  }
  for (let number = wish ? 2 : 1; ; number++) {
    const name = `${wish || 'step'}-${number}`;
    if (!taken.includes(name)) {
      return name;
    }
  }
}

/** The last Markdown heading in a cell's source, or ''. */
export function headingIn(source: string): string {
  const headings = source.match(/^#{1,6}\s+.*$/gm);
  return headings ? headings[headings.length - 1].replace(/^#+\s+/, '').replace(/^[\d.]+\s*/, '') : '';
}
