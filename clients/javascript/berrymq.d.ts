/**
 * Anything that crosses: JSON values, and Date, Set, Map, bigint, Error, Uint8Array, other typed arrays, `NDArray`,
 * `Table` and `Tagged`.
 */
export type Value = unknown;
export type Keywords = Record<string, any>;
export type TypedArray =
  | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array
  | BigInt64Array | BigUint64Array | Float32Array | Float64Array;

/**
 * What went wrong: nothing answers at the hub's address (`NO_HUB`); the token is wrong, or this program is not allowed
 * (`REFUSED`); others can read the connection file (`PERMISSIONS`); `IDENTIFIER`; a value is too large or too deep
 * (`PAYLOAD`); `TIMEOUT`; a follower failed (`ANSWER`); no program shares that (`NOT_SHARED`); the link or queue is
 * closed (`CLOSED`); the hub is full (`OVERFLOW`); the other side does not keep to the protocol, or refuses a call
 * (`PROTOCOL`); it can't be done here (`UNSUPPORTED`).
 */
export type ErrorCode =
  | "NO_HUB" | "REFUSED" | "PERMISSIONS" | "IDENTIFIER" | "PAYLOAD" | "TIMEOUT" | "ANSWER" | "NOT_SHARED" | "CLOSED"
  | "OVERFLOW" | "PROTOCOL" | "UNSUPPORTED";

/** An error of the bus; `cause` is the underlying error, if there is one. */
export class BerryMQError extends Error {
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
  readonly code: ErrorCode;
  /** Of `ANSWER` and `TIMEOUT`: the answers of the others. */
  readonly answers?: any[];
  /** Of `ANSWER`: what the followers raised. */
  readonly errors?: unknown[];
  /** Of `TIMEOUT`: the names of the nodes that did not answer. */
  readonly unanswered?: string[];
}

/** A message, as handlers and queues get it. */
export interface Message<Args extends unknown[] = any[], Kwargs = Keywords> {
  /** In full, such as `"train:epoch"`. */
  readonly identifier: string;
  readonly name: string;
  readonly action: string;
  readonly namespace: string | undefined;
  readonly args: Args;
  readonly kwargs: Kwargs;
  /** The name of the node that sent it. */
  readonly source: string;
  readonly sentAt: Date;
  /** It was retained by the hub: see `keep`. */
  readonly past: boolean;
}

/** A value for which JavaScript has no type of its own, such as a `Decimal`: sent back as it came. */
export class Tagged {
  constructor($type: string, value: Value);
  readonly $type: string;
  readonly value: any;
  toString(): string;
}

/** An array of numpy. A typed array alone is sent as one with a single dimension (a `Uint8Array` as bytes). */
export class NDArray<Data = TypedArray> {
  constructor(data: Data, shape?: number[], dtype?: string, order?: "C" | "F");
  /** The items in a row; text as strings, complex numbers as pairs, structured ones as bytes. */
  readonly data: Data;
  readonly shape: number[];
  /** The name that numpy has for the type, such as `"<f8"`. */
  readonly dtype: string;
  /** `"C"`: the last index varies fastest. */
  readonly order: "C" | "F";
}

/** A table of pandas, polars or Arrow. */
export class Table {
  constructor(columns: Record<string, TypedArray | any[]>, library?: string, index?: Table["index"]);
  /** By name: a typed array, or an array with null for what is missing. */
  readonly columns: Record<string, TypedArray | any[]>;
  /** That of the sender, such as `"pandas"`. */
  readonly library: string | undefined;
  readonly index: { names: any[]; levels: (TypedArray | any[])[] } | { names: any[]; range: number[] } | null;
  /** Makes an Arrow table: `table.toArrow(await import("apache-arrow"))`. */
  toArrow<T>(arrow: { tableFromArrays(columns: any): T }): T;
}

export interface LinkOptions {
  /** The address of the hub, such as `"http://127.0.0.1:8137"`; by default, in Node, that of its connection file. */
  url?: string;
  /** The access token. It is never sent: both sides prove that they know it. */
  token?: string;
  /** The source of what this program sends; by default the title of the page, or the file of the script. */
  name?: string;
  /** Nodes in one room do not see another room. */
  room?: string;
  /** Milliseconds for which the hub buffers messages while the connection is cut; 1,000,000 by default. */
  ttl?: number;
  /** The most messages that wait to be sent, 100,000 by default; beyond that the oldest are dropped and counted. */
  maxMessages?: number;
  /** The most bytes of them, 64 MiB by default. */
  maxBytes?: number;
  /** Another WebSocket class than the platform's, or in Node this module's own. */
  WebSocket?: new (url: string, protocol: string) => any;
  /** Closes the link when aborted. */
  signal?: AbortSignal;
}

export interface Wait {
  /** Milliseconds. */
  timeout?: number;
  /** Rejects with its reason when aborted. */
  signal?: AbortSignal;
}

export interface FollowOptions {
  /** Begin with the messages that the hub has retained: with all of them, or with this number of the newest. */
  past?: boolean | number;
  /** Cancels it when aborted. */
  signal?: AbortSignal;
}

export interface QueueOptions extends FollowOptions {
  /** The most messages that it holds, 100,000 by default; beyond that the oldest are dropped and counted. */
  maxsize?: number;
}

export interface SharedQueueOptions {
  /** A job queue: of all such queues on the hub, each message goes to one. */
  shared: true;
  /** The most jobs that wait at the hub, the same for all members; unlimited by default. */
  maxsize?: number;
  /** Closes it when aborted. */
  signal?: AbortSignal;
}

/** What is followed, until `cancel()`, the end of a `using` block, or that of the link. */
export interface Follower extends Disposable {
  readonly identifier: string;
  readonly isActive: boolean;
  /** Cancels it. */
  cancel(): void;
}

/** Holds messages until they are taken, by `get` or `for await`. */
export interface Queue extends Follower, AsyncIterable<Message> {
  /** The number of messages that wait here; of a shared one, at the hub as well, some tenths of a second ago. */
  readonly size: number;
  /** The number of messages that were dropped here. */
  readonly dropped: number;
  /** Resolves to the next message, or to null after `timeout` ms; rejects with `CLOSED` when there will be none. */
  get(options?: { timeout?: undefined; signal?: AbortSignal }): Promise<Message>;
  get(options: Wait): Promise<Message | null>;
  /** Takes all messages that are here. */
  drain(): Message[];
  /** Closes it: waiting calls reject with `CLOSED`, and loops end. Jobs that were not taken go to other members. */
  close(): void;
}

/** What a handler returns, or resolves to, answers `ask` and `talk`: null for undefined, and an error for what it throws. */
export type Handler<Args extends unknown[] = any[], Kwargs = Keywords> = (message: Message<Args, Kwargs>) => unknown;

/** A handler failed, or a message could not be read. `preventDefault()` keeps it out of the console. */
export interface FailureEvent extends Event {
  readonly error: unknown;
  readonly identifier: string | undefined;
}
/** The number of messages that were dropped before they could be sent. */
export interface DropEvent extends Event {
  readonly count: number;
}
interface LinkEvents {
  state: Event;
  drop: DropEvent;
  error: FailureEvent;
}

export interface Share {
  readonly name: string;
  /** Stops sharing it. */
  cancel(): void;
}

export interface NodeInfo {
  name: string;
  id: string;
  room: string | null;
  follows: string[];
  hub: boolean;
  here: boolean;
}

export interface Statistics {
  published: number;
  received: number;
  /** Messages that were dropped here before they could be sent. */
  dropped: number;
  /** Messages for this program that were dropped at the hub. */
  lost: number;
  connections: number;
  /** Messages that were sent or wait to be sent, and have not arrived yet. */
  unacknowledged: number;
}

/** A live link to a hub. It reconnects after a cut, and loses, doubles and reorders nothing within `ttl`. */
export interface Link extends EventTarget, AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly state: "linked" | "reconnecting" | "closed";
  /** While reconnecting: the error of the last attempt. */
  readonly reason: BerryMQError | null;

  /** Sends a message to all followers, here and elsewhere. Never waits. Throws `IDENTIFIER`, `PAYLOAD` or `CLOSED`. */
  twitter(identifier: string, args?: Value[], kwargs?: Keywords): void;
  /** Sends a message; what each follower returns is sent on to the identifier `callback`. */
  talk(identifier: string, callback: string, args?: Value[], kwargs?: Keywords): void;
  /**
   * Resolves to what all followers return, at the latest after `timeout` ms (25,000 by default). Rejects with `ANSWER`
   * when one fails, and with `TIMEOUT` when some are silent; both have the `answers` of the others.
   */
  ask<Answer = any>(identifier: string, args?: Value[], kwargs?: Keywords, options?: Wait): Promise<Answer[]>;

  /** Calls `handler` for each message. The link holds it until it is cancelled. */
  follow<Args extends unknown[] = any[], Kwargs = Keywords>(identifier: string, handler: Handler<Args, Kwargs>, options?: FollowOptions): Follower;
  /** Returns a queue for one `for await` loop, and closes it when the loop is left. */
  follow(identifier: string, options?: FollowOptions): Queue;
  /** Cancels all followers of exactly this identifier, or those with this handler; returns their number. */
  unfollow(identifier: string, handler?: Handler<any, any>): number;
  /** Returns a queue, which collects messages from now on. */
  queue(identifier: string, options?: QueueOptions): Queue;
  /** Returns a job queue: of all shared queues of this identifier on the hub, each message goes to one. */
  queue(identifier: string, options: SharedQueueOptions): Queue;

  /** Has the hub retain the newest `last` messages (1,000 by default) of each identifier that matches; 0 ends it. */
  keep(identifier: string, options?: Wait & { last?: number }): Promise<void>;
  /** Resolves to the retained messages, oldest first: the newest `last` of them, or all. */
  past(identifier: string, options?: Wait & { last?: number }): Promise<Message[]>;
  /** Resolves to the newest retained message, or null. */
  latest(identifier: string, options?: Wait): Promise<Message | null>;

  /** Resolves to the newest value that a program shares by this name; rejects with `NOT_SHARED` when none does. */
  take<T = any>(name: string, options?: Wait): Promise<T>;
  /** Shares a value: others take it by name, until it is cancelled or shared again. */
  share(name: string, value: Value): Share;

  /** Resolves to the nodes on the hub. */
  nodes(options?: Wait): Promise<NodeInfo[]>;
  /** Returns counters of messages. */
  stats(): Statistics;
  /** Resolves to true once the hub has everything that was sent before; to false after `timeout` ms, 10,000 by default. */
  flush(options?: { timeout?: number }): Promise<boolean>;
  /** Flushes for `timeout` ms at most (2,000 by default), and ends the link; resolves to whether the hub has everything. */
  close(options?: { timeout?: number }): Promise<boolean>;

  addEventListener<K extends keyof LinkEvents>(type: K, listener: (event: LinkEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof LinkEvents>(type: K, listener: (event: LinkEvents[K]) => void, options?: boolean | EventListenerOptions): void;
}

/** Returns a value as JSON, as it crosses the wire: with a `$type` where JSON lacks one. */
export function stringify(value: Value): string;
/** Returns the value of such a text. */
export function parse(text: string): any;

/**
 * Joins the bus: the hub at `url` with its access `token`, or, in Node, the hub of this user on this machine. Resolves
 * once linked; rejects with `NO_HUB`, `REFUSED` or `PERMISSIONS`, or with the reason of `signal`.
 */
export function link(options?: LinkOptions): Promise<Link>;
