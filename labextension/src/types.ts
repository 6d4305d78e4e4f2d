/**
 * The shapes that the server sends and takes (docs/openapi.yaml), and the events of a run's log (docs/events.md).
 * Nothing but types: what is computed from them is in fold.ts, model.ts and runs.ts.
 */

/** One row of the table of cell tags; a tag that ends in a colon takes a name. */
export interface IRole {
  tag: string;
  role: string;
  help: string;
  kale?: boolean;
}

export interface IStepSettings {
  cpu?: number | string | null;
  memory?: string | null;
  gpu?: number | string | null;
  retries?: number;
  timeout?: number | null;
  cache?: boolean;
  image?: string | null;
  env?: Record<string, string>;
  secrets?: string[];
  changes?: string[];
  uses?: string[];
}

export interface ISettingRule {
  name: string;
  type: 'number' | 'integer' | 'boolean' | 'string' | 'map' | 'list';
  default: unknown;
  help?: string;
}

export interface IRoles {
  roles: IRole[];
  settings: ISettingRule[];
  step_name?: string;
  version?: string;
}

export interface IStep {
  name: string;
  /** The name in the tags; the parts of a step that is cut in two share it. */
  group: string;
  /** The ids of its cells, in notebook order. */
  cells: string[];
  gate: boolean;
  implicit: boolean;
  after: string[];
  /** null: all there are. */
  reads: string[] | null;
  writes: string[];
  /** Its results for people: what it binds first or changes for a later step. */
  leaves: string[];
  prelude: string[];
  settings: IStepSettings;
  cost?: number | null;
}

export interface IReason {
  kind: string;
  name: string;
}

export interface IEdge {
  source: string;
  target: string;
  variables: string[];
  reasons: IReason[];
}

export interface IParameter {
  name: string;
  type: string;
  /** What values it takes: int, float, str, bool, list, dict, any; other kinds can't be given from outside. */
  kind: string;
  given?: boolean;
  optional: boolean;
  default: unknown;
  description: string;
  choices?: unknown[];
  bounds?: Partial<Record<'ge' | 'gt' | 'le' | 'lt', number>>;
  element?: string;
  cell: string;
  line: number;
}

/** One change that a fix makes; see `Edit` in docs/openapi.yaml. `cell` is a cell's id. */
export type Edit =
  | { kind: 'set_tags'; cell: string; tags: string[] }
  | { kind: 'replace'; cell: string; line: number; column: number; end_column: number; text: string }
  | { kind: 'set_setting'; step: string; key: string; value: unknown }
  | { kind: 'rename_settings'; step: string; to: string | null };

export interface IFix {
  title: string;
  edits: Edit[];
}

export interface IDiagnostic {
  code: string;
  severity: 'error' | 'warning';
  message: string;
  /** null: the notebook as a whole. */
  cell: string | null;
  line: number;
  column?: number;
  end_column?: number;
  name: string;
  advice: string;
  url?: string;
  fix?: IFix;
}

export interface ICellRole {
  role: string;
  step: string | null;
  begins: boolean;
  number?: number;
}

export interface IAnalysis {
  name: string;
  description?: string;
  steps: IStep[];
  edges: IEdge[];
  parameters: IParameter[];
  diagnostics: IDiagnostic[];
  cells: Record<string, ICellRole>;
  milliseconds?: number;
  version?: string;
}

/** At a place of a list as it was, how many items go away, and which come instead. */
export interface ISplice<T> {
  at: number;
  remove: number;
  items: T[];
}

/** What has changed since another analysis; what is missing is as it was. */
export interface IAnalysisChanges {
  version: string;
  since: string;
  name?: string;
  description?: string;
  steps?: ISplice<IStep>[];
  edges?: ISplice<IEdge>[];
  parameters?: ISplice<IParameter>[];
  diagnostics?: ISplice<IDiagnostic>[];
  cells?: Record<string, ICellRole | null>;
  milliseconds?: number;
}

export interface ISuggestion {
  tags: Record<string, string[]>;
  reasons: Record<string, string>;
  steps: string[];
  analysis?: IAnalysis;
}

export interface IFailure {
  kind: string;
  message: string;
  cell?: number;
  line?: number;
  code?: string;
  traceback?: string;
}

export interface IOutputInfo {
  version: string;
  type?: string;
  bytes?: number;
  preview?: string;
}

export interface ITracking {
  run_id: string;
  uri?: string;
  experiment_id?: string;
  url?: string;
}

export interface IStepState {
  name: string;
  status: string;
  attempt: number;
  position: number;
  total: number;
  cell: number;
  seconds: number;
  started: number;
  reason: string;
  overtaken: number;
  committed: boolean;
  failure: IFailure | null;
  from_run: string;
  inputs: Record<string, string>;
  outputs: Record<string, IOutputInfo>;
  metrics: Record<string, number>;
  tracking: ITracking | null;
}

export interface IMessage {
  text: string;
  level?: string;
  step?: string;
}

export interface IRunState {
  id: string;
  notebook: string;
  pipeline: string;
  experiment: string;
  target: string;
  status: string;
  started: number;
  seconds: number;
  resumed_from: string;
  message: string;
  parameters: Record<string, unknown>;
  steps: Record<string, IStepState>;
  messages: IMessage[];
  tracking: ITracking | null;
}

/** One run as a line of the list of runs. */
export interface IRunSummary {
  id: string;
  status: string;
  path: string;
  pipeline: string;
  target: string;
  started: number;
  seconds: number;
  steps: number;
  steps_done: number;
  failed_step?: string;
  message?: string;
  experiment?: string;
  resumed_from?: string;
  parameters: Record<string, unknown>;
  metrics: Record<string, number | null>;
}

/** What the server knows of a run beyond its events: the graph of the notebook as it was run, and where its cells are. */
export interface IRunDetails extends IRunSummary {
  last: number;
  active?: boolean;
  cancelling?: boolean;
  edges: IEdge[];
  /** Cell number, as in events, to cell id. */
  cells: Record<string, string>;
  step_states: { name: string; gate: boolean; cells: string[]; tracking?: ITracking }[];
  tracking?: ITracking;
  /** For a run on another engine. */
  remote?: { run_id: string; url: string };
}

/** One line of a run's log. */
export interface IEvent {
  type: string;
  seq: number;
  time: number;
  [field: string]: any;
}

export interface IRunRequest {
  path: string;
  target?: string;
  parameters?: Record<string, unknown>;
  start?: string;
  end?: string;
  only?: string[];
  cache?: boolean;
  workers?: number;
  experiment?: string;
  fail_fast?: boolean;
  tracking?: boolean;
}

export interface IPreview {
  type: string;
  bytes: number;
  preview: string;
  version: string;
  step?: string;
  shape?: number[];
  schema?: { name: string; type: string; nulls?: number }[];
  head?: unknown[];
  text?: string;
  image?: string;
  error?: string;
}

export interface IPreviews {
  inputs: Record<string, IPreview>;
  outputs: Record<string, IPreview>;
}

export interface ITarget {
  name: string;
  kind: string;
  label: string;
  host?: string;
  available: boolean;
  message?: string;
}

export interface IOpened {
  path: string;
  created: boolean;
  kernel: { name: string; display_name?: string };
  cell: number;
  cell_id?: string;
  line?: number;
  run_first: number[];
}

/** What a run saw that its notebook doesn't say, and the edits that write it into the notebook's settings. */
export interface ILessons {
  lessons: { step: string; key: string; name: string; seen_by: string[]; text: string }[];
  edits: Edit[];
}

/** Where a run is shown in MLflow: an address, or a port of the server's machine. */
export interface ITrackedPage {
  url?: string;
  port?: number;
  place: string;
}

export interface IRow {
  name: string;
  step?: string;
  values: unknown[];
  same: boolean;
}

export interface IComparison {
  runs: IRunSummary[];
  parameters: IRow[];
  metrics: IRow[];
  steps: { name: string; status: (string | null)[]; seconds: (number | null)[]; changed: boolean; outputs?: IRow[] }[];
  code: { step: string | null; cell?: string; from: string; to: string; diff: string }[];
}
