/** A JSON value, or one of the types that cross: Date, Set, Map, bigint, bytes, typed arrays, NDArray, Tagged. */
export type Value = unknown;
export type Keywords = Record<string, Value>;
export type TypedArray =
  | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array
  | BigInt64Array | BigUint64Array | Float32Array | Float64Array;

export type ErrorCode =
  | "NO_HUB" | "REFUSED" | "PERMISSIONS" | "IDENTIFIER" | "PAYLOAD" | "TIMEOUT" | "ANSWER" | "NOT_SHARED" | "CLOSED"
  | "OVERFLOW" | "PROTOCOL" | "UNSUPPORTED";

export class BerryMQError extends Error {
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
  readonly code: ErrorCode;
  /** Of ANSWER and TIMEOUT: the answers of the others. */
  readonly answers?: Value[];
  /** Of ANSWER: what the followers raised. */
  readonly errors?: Error[];
  /** Of TIMEOUT: the names of the nodes that did not answer. */
  readonly unanswered?: string[];
}

export interface Message {
  readonly identifier: string;
  readonly name: string;
  readonly action: string;
  readonly namespace: string | undefined;
  readonly args: Value[];
  readonly kwargs: Keywords;
  readonly source: string;
  readonly sentAt: Date;
  /** It was retained by the hub, see `keep`. */
  readonly past: boolean;
}

/** A value for which JavaScript has no type of its own, such as a `Decimal`: sent back as it came. */
export class Tagged {
  constructor($type: string, value: Value);
  readonly $type: string;
  readonly value: Value;
}

/** An array of numpy. */
export class NDArray<Data = TypedArray> {
  constructor(data: Data, shape?: number[], dtype?: string, order?: "C" | "F");
  /** The items in a row; text as strings, complex numbers as pairs, structured ones as bytes. */
  readonly data: Data;
  readonly shape: number[];
  /** The name that numpy has for the type, such as "<f8". */
  readonly dtype: string;
  /** "C": the last index varies fastest. */
  readonly order: "C" | "F";
}

export class Table {
  readonly columns: Record<string, TypedArray | Value[]>;
  /** That of the sender, such as "pandas". */
  readonly library: string;
  readonly index: { names: Value[]; levels: (TypedArray | Value[])[] } | { names: Value[]; range: number[] } | null;
  /** Makes an Arrow table; pass the module `apache-arrow`. */
  toArrow<T>(arrow: { tableFromArrays(columns: any): T }): T;
}

export interface LinkOptions {
  /** The address of the hub, such as "http://127.0.0.1:8137"; by default, in Node, that of its connection file. */
  url?: string;
  /** The access token. It is never sent: both sides prove that they know it. */
  token?: string;
  /** The source of what this node sends. */
  name?: string;
  /** Nodes in one room do not see another room. */
  room?: string;
  /** Ms for which the hub buffers messages while the connection is cut; 1,000,000 by default. */
  ttl?: number;
  /** The most messages and bytes that wait to be sent; beyond that the oldest are dropped and counted. */
  maxMessages?: number;
  maxBytes?: number;
  /** Another WebSocket class than that of the platform. */
  WebSocket?: new (url: string, protocol: string) => any;
  /** Closes the link when aborted. */
  signal?: AbortSignal;
}

export interface Wait {
  /** Milliseconds. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface FollowOptions {
  /** Begin with the messages that the hub has retained: all, or the last so many. */
  past?: boolean | number;
  signal?: AbortSignal;
}

export interface QueueOptions extends FollowOptions {
  /** A job queue: of all such queues on the hub, each message goes to one. */
  shared?: boolean;
  /** The most messages that it holds; 100,000 by default. */
  maxsize?: number;
}

export interface Follower {
  readonly identifier: string;
  readonly isActive: boolean;
  cancel(): void;
}

export interface Queue extends Follower, AsyncIterable<Message> {
  readonly size: number;
  readonly dropped: number;
  /** Resolves to the next message, or to null after `timeout` ms. */
  get(options?: Wait): Promise<Message | null>;
  /** Takes all messages that are here. */
  drain(): Message[];
  close(): void;
}

/** What a handler returns, or resolves to, answers `ask` and `talk`. */
export type Handler = (message: Message) => unknown;

export interface FollowerErrorEvent extends Event {
  readonly error: unknown;
  readonly identifier: string;
}
export interface DropEvent extends Event {
  readonly count: number;
}
interface LinkEvents {
  state: Event;
  drop: DropEvent;
  error: FollowerErrorEvent;
}

export interface Link extends EventTarget, AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly state: "linked" | "reconnecting" | "closed";
  /** While reconnecting: the error of the last attempt. */
  readonly reason: BerryMQError | null;
  twitter(identifier: string, args?: Value[], kwargs?: Keywords): void;
  talk(identifier: string, callback: string, args?: Value[], kwargs?: Keywords): void;
  ask(identifier: string, args?: Value[], kwargs?: Keywords, options?: Wait): Promise<any[]>;
  follow(identifier: string, handler: Handler, options?: FollowOptions): Follower;
  follow(identifier: string, options?: FollowOptions): Queue;
  unfollow(identifier: string, handler?: Handler): number;
  queue(identifier: string, options?: QueueOptions): Queue;
  keep(identifier: string, options?: Wait & { last?: number }): Promise<void>;
  past(identifier: string, options?: Wait & { last?: number }): Promise<Message[]>;
  latest(identifier: string, options?: Wait): Promise<Message | null>;
  nodes(options?: Wait): Promise<{ name: string; id: string; room: string | null; follows: string[]; hub: boolean; here: boolean }[]>;
  take(name: string, options?: Wait): Promise<any>;
  share(name: string, value: Value): { readonly name: string; cancel(): void };
  flush(options?: { timeout?: number }): Promise<boolean>;
  close(options?: { timeout?: number }): Promise<boolean>;
  stats(): { published: number; received: number; dropped: number; lost: number; connections: number; unacknowledged: number };
  addEventListener<K extends keyof LinkEvents>(type: K, listener: (event: LinkEvents[K]) => void, options?: AddEventListenerOptions): void;
}

/** Returns a value as JSON, as it crosses the wire: with a `$type` where JSON lacks one. */
export function stringify(value: Value): string;
/** Returns the value of such a text. */
export function parse(text: string): any;

/** Joins the bus. Resolves once linked; rejects with NO_HUB, REFUSED or PERMISSIONS. */
export function link(options?: LinkOptions): Promise<Link>;
