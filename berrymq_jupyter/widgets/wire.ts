// The types of the messages between the kernel and a page. The Python side makes them in *_view.py,
// message_log.py, detail.py, tree.py and network_state.py.

import type { Count } from "./tree_lines.ts";
import type { FormKind, ValueForm } from "./kinds.ts";
import type { Look } from "./page_memory.ts";

/** anywidget's model, as far as it is used. */
export interface Model {
  get(name: string): unknown;
  send(body: object): void;
  on(name: string, listener: (...given: any[]) => void): void;
  off(name: string, listener: (...given: any[]) => void): void;
}

/** A request of a page: `t` is its kind, on which the rest depends. */
export interface Request {
  t: string;
  [name: string]: unknown;
}

export interface Problem {
  t: "problem";
  text: string;
  field?: string;
}

export interface Remark {
  text: string;
}

/** Where in a payload a number ends that has changed since the message before, and by what: "▼0.025". */
export type Step = [end: number, text: string];

/** A row of a log: place, number, time in ms, identifier, source or null, payload, what changed there, whether it is an alert, whether a hub had retained it, and the latency in ms if that is known. */
export type Row = [place: number, number: number, time: number, id: string, source: string | null, payload: string, steps: Step[], alert: number, past: number, delay: number | null];

/** A row of a short list: number, time in ms, identifier, source or null, payload. */
export type ListRow = [number: number, time: number, id: string, source: string | null, payload: string];

/** What one page shows of a log. */
export interface Shown {
  epoch: number;
  range: [begin: number, end: number];
  /** How many of the rows are older ones, of whose time others are gone; and how many times some of these went. */
  older: [count: number, removed: number];
  unsearched: number;
  /** Payloads too large to be searched as a whole. */
  partly: number;
  query: string;
  /** The number of the page's edit that made this query; null if none did. */
  edit: number | null;
  /** The number of the first message that is held back. */
  pausedAt: number | null;
  heldBack: number | null;
  rows: Row[];
}

export interface LogState extends Shown {
  full: boolean;
  follows: string;
  total: number;
  kept: number;
  maxlen: number;
  maxBytes: number;
  cleared: boolean;
  missed: number;
  /** It is not followed any more. */
  ended: boolean;
  rate: number;
  /** Of identifiers: how many came, how many a second, how many are kept, the latest one's number and payload. */
  counts: [id: string, ...count: Count][];
  others: number;
  /** Of sources, "" for this kernel: how many came, and how many a second. */
  sources: [source: string, count: number, rate: number][];
  /** The clear that can be undone: the number of the next message then, and how many messages were cleared. */
  undo: [at: number, count: number] | null;
  replay: Replay | null;
  /** How many times the kernel has changed what all pages show. */
  generation: number;
  /** What pages show that filter or pause for themselves, by their names; the others show what stands above. */
  pages: Record<string, Shown>;
  /** How the page looks that was changed last; with a snapshot. */
  look: Look | null;
  /** The pinned messages; null if they are those that were sent last. */
  pins: Row[] | null;
  /** What raises an alert, how many messages did so since that was set, and number and text of the latest of them. */
  alert: { query: string; count: number; number: number | null; latest: string } | null;
}

/** Messages that are sent again: how many of them were, and how many followers failed at; with the latest error. */
export interface Replay {
  sent: number;
  of: number;
  speed: number;
  running: boolean;
  failed: number;
  error: string;
}

export interface CopiedBody {
  text: string;
  /** What to say when it is on the clipboard. */
  said: string;
}

/** A value in a payload: kind, one line of text, number of children; children that came along, from a position on. */
export interface TreeNode {
  k: "word" | "number" | "text" | "bytes" | "list" | "map" | "object";
  s: string;
  n: number;
  /** It has a form beside the tree. */
  as?: FormKind;
  long?: number;
  /** It has several lines. */
  lines?: boolean;
  from?: number;
  c?: [label: string, node: TreeNode][];
}

export type Change = [path: string, kind: "added" | "removed" | "changed", old: string, now: string];

export interface DetailBody {
  number: number;
  id: string;
  source: string | null;
  time: number;
  tree: TreeNode;
  code: string;
  remark: string;
  before?: { time: number } | null;
  /** The latency in ms, if that is known. */
  delay?: number | null;
  changes?: Change[];
}

export interface NodeBody {
  number: number;
  path: number[];
  node: TreeNode;
}

export interface TextBody {
  number: number;
  path: number[];
  text: string;
}

export interface FormBody {
  number: number;
  path: number[];
  form: ValueForm;
}

export interface ChartBody {
  tracks: [id: string, field: string[]][];
  /** The labels of the field that says where points stand. */
  x: string[] | null;
  /** When the first point of all was, in ms since 1970. */
  begin: number;
  /** Lines that are more than a chart has. */
  leftOut: number;
  lines: ChartLine[];
  /** The labels of the fields with numbers in the latest messages. */
  fields: string[][];
}

/** The points of a line in columns: numbers of the messages, times in ms, values with null for a gap. */
export interface ChartLine {
  id: string;
  field: string[];
  source: string | null;
  /** The number of its colour. */
  mark: number;
  count: number;
  numbers: number[];
  times: number[];
  values: (number | null)[];
  x: number[] | null;
}

export interface QueueState {
  follows: string;
  shared: boolean;
  maxsize: number;
  overflow: "drop_oldest" | "drop_newest" | "raise" | "block";
  closed: boolean;
  size: number;
  received: number;
  dropped: number;
  getters: number;
  highest: number;
  inRate: number;
  outRate: number;
  depths: number[];
  points: number;
  seconds: number;
  rows: ListRow[];
  taken: ListRow[];
  takenHere: number;
  members: QueueMember[];
}

/** A member of a shared queue: messages a second, taken, held, and waiting consumers. */
export type QueueMember = [name: string, rate: number, taken: number, held: number, waiting: number];

export interface NetworkNode {
  id: string;
  name: string;
  room: string | null;
  hub: boolean;
  here: boolean;
  follows: string[];
  followsMore: number;
}

/** A number of messages, and how many a second. */
export type Amounts = [total: number, perSecond: number];

export interface NetworkEdge {
  between: [one: string, other: string];
  cut: boolean;
  flow: [there: Amounts, back: Amounts] | null;
}

export interface NetworkLink {
  url: string;
  foundBy: string;
  state: string;
  room: string | null;
  dropped: number;
  waiting: number;
  cuts: number;
}

export interface NetworkState {
  links: NetworkLink[];
  nodes: NetworkNode[];
  edges: NetworkEdge[];
  more: number;
  identifiers: NetworkIdentifier[];
  identifiersMore: number;
  queues: NetworkQueue[];
  kept: NetworkKept[];
}

/** An identifier that passed a hub: by the place of its link, and its text. */
export type NetworkIdentifier = [link: number, id: string, count: number, perSecond: number, at: number, source: string];
export type NetworkQueue = [id: string, waiting: number, taken: number, members: [name: string, taken: number][], membersMore: number, dropped: number];
export type NetworkKept = [id: string, count: number, last: number, identifiers: number, bytes: number, by: string, dropped: number];

/** The newest messages of identifiers. */
export interface NetworkNewest {
  rows: [link: number, id: string, text: string][];
}

export interface Bar {
  number: number;
  id: string;
  source: string | null;
  description: string;
  n: number;
  total: number | null;
  share: number | null;
  rate: number;
  elapsed: number | null;
  remaining: number | null;
  silent: number;
  end: "" | "done" | "stopped" | "failed";
  reason: string;
}

export interface ProgressState {
  follows: string;
  bars: Bar[];
}

export interface SentEntry {
  time: number;
  id: string;
  payload: string;
  as: Notation;
  error: string;
}

export type Notation = "python" | "json";

export interface FormState {
  id: string;
  payload: string;
  as: Notation;
  sent: SentEntry[];
}

export interface Checked {
  idProblem: string;
  payloadProblem: string;
  ready: boolean;
  known: string[];
  reach: string;
}

export interface Sent extends Checked {
  id: string;
  error: string;
}
