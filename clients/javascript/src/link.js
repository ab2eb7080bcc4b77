/** What `link()` returns: its calls, made of the parts. */
import { NDArray } from "./arrays.js";
import { Bus, Follower, Message } from "./bus.js";
import { Calls } from "./calls.js";
import { BerryMQError } from "./errors.js";
import { History } from "./history.js";
import { identifierOf } from "./identifiers.js";
import { Jobs } from "./jobs.js";
import { builtin } from "./node.js";
import { Pulls } from "./pulls.js";
import { Questions } from "./questions.js";
import { Queue } from "./queue.js";
import { encodePayload } from "./values.js";
import { within } from "./waiting.js";
import { Wire } from "./wire.js";

const SILENT = Symbol("the followers here have not answered");

/** A live link to a hub, or to another node. See `Link` in berrymq.d.ts. */
class Link extends EventTarget {
  #wire;
  #bus = new Bus((error, identifier) => this.#report(error, identifier));
  #calls;
  #questions;
  #jobs;
  #history;
  #name;
  #room;
  #dropped = 0; // in this turn
  #shares = new Map();

  constructor(options) {
    super();
    this.#name = options.name || globalThis.document?.title || builtin("node:path")?.basename(process.argv[1] ?? "node") || "javascript";
    this.#room = options.room;
    const wire = new Wire({ ...options, name: this.#name }, {
      message: (message, callback) => this.#dispatch(message, callback),
      state: () => this.dispatchEvent(new Event("state")),
      drop: (count) => this.#drop(count),
      error: (error, identifier) => this.#report(error, identifier),
    });
    this.#wire = wire;
    this.#calls = new Calls(wire);
    this.#questions = new Questions(wire, this.#bus, this.#name);
    this.#jobs = new Jobs(wire);
    this.#history = new History(wire, this.#bus, this.#calls, this.#name);
    new Pulls(wire);
  }

  static async open(options) {
    const { signal } = options;
    signal?.throwIfAborted();
    const bus = new Link(options);
    const aborted = () => bus.#end(signal.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    try {
      await within(bus.#wire.open(), { signal });
      return bus;
    } catch (error) {
      signal?.removeEventListener("abort", aborted);
      bus.#end(error);
      throw error;
    }
  }

  get id() {
    return this.#wire.id;
  }
  get name() {
    return this.#name;
  }
  get state() {
    return this.#wire.state;
  }
  get reason() {
    return this.#wire.reason;
  }
  stats() {
    return { ...this.#wire.stats, unacknowledged: this.#wire.outbox.unacknowledged };
  }

  twitter(identifier, args, kwargs) {
    this.#publish(identifier, args, kwargs);
  }

  talk(identifier, callback, args, kwargs) {
    this.#publish(identifier, args, kwargs, identifierOf(callback).text);
  }

  follow(identifier, handler, options) {
    if (typeof handler !== "function") return this.#queue(identifier, { ...handler, closesOnBreak: true });
    return this.#attach(new Follower(identifierOf(identifier), handler, this.#detach, options?.signal), options);
  }

  unfollow(identifier, handler) {
    const { text } = identifierOf(identifier);
    const ours = [...this.#bus].filter((one) => one.answers && one.identifier === text && one.follows(handler));
    for (const one of ours) one.cancel();
    return ours.length;
  }

  queue(identifier, options = {}) {
    if (!options.shared) return this.#queue(identifier, options);
    this.#wire.checkOpen();
    return this.#jobs.queue(identifierOf(identifier), options);
  }

  async ask(identifier, args, kwargs, { timeout = 25_000, signal } = {}) {
    this.#wire.checkOpen();
    signal?.throwIfAborted();
    const message = this.#message(identifier, args, kwargs);
    const here = within(this.#bus.results(message), { timeout, signal }, () => SILENT).catch((error) => {
      if (error === SILENT) return [error];
      throw error;
    });
    const [[answers, errors, unanswered], results] = await Promise.all([this.#questions.ask(message, { timeout, signal }), here]);
    for (const result of results)
      if (result === SILENT) unanswered.push(this.#name);
      else if (result.status === "fulfilled") answers.push(result.value);
      else errors.push(result.reason);
    if (errors.length) {
      const [cause] = errors;
      const text = errors.length === 1 ? `${cause?.name ?? "Error"}: ${cause?.message ?? cause}` : `${errors.length} followers failed`;
      throw Object.assign(new BerryMQError("ANSWER", text, { cause }), { errors, answers });
    }
    if (unanswered.length) {
      const text = `${unanswered.join(", ")} did not answer ${message.identifier} in ${timeout} ms`;
      throw Object.assign(new BerryMQError("TIMEOUT", text), { unanswered, answers });
    }
    return answers;
  }

  keep(identifier, options) {
    return this.#history.keep(identifier, options);
  }
  past(identifier, options) {
    return this.#history.past(identifier, options);
  }
  async latest(identifier, options) {
    return (await this.past(identifier, { ...options, last: 1 })).at(-1) ?? null;
  }

  nodes(options) {
    return this.#calls.make("nodes", { room: this.#room }, options);
  }

  async take(name, options) {
    const answers = await this.ask(`${name}@berrymq:take`, [], {}, options);
    if (!answers.length) throw new BerryMQError("NOT_SHARED", `no program shares ${JSON.stringify(name)}`);
    return answers.reduce((newest, one) => (one[0] > newest[0] ? one : newest))[1];
  }

  share(name, value) {
    const data = ArrayBuffer.isView(value) && !(value instanceof Uint8Array) ? new NDArray(value) : value;
    const [at, bytes] = [Date.now() / 1_000, encodePayload(data).length];
    const about = [name, data?.constructor?.name ?? typeof data, data?.shape ?? [], bytes];
    this.#shares.get(name)?.cancel();
    const followers = [
      this.follow(`${name}@berrymq:take`, () => [at, data]),
      this.follow(`${name}@berrymq:describe`, () => [...about, this.#name, at]),
    ];
    const share = { name, cancel: () => followers.forEach((one) => one.cancel()) };
    this.#shares.set(name, share);
    this.twitter(`${name}@berrymq:shared`, about.slice(1));
    return share;
  }

  flush({ timeout = 10_000 } = {}) {
    return this.#wire.flush(timeout);
  }

  async close({ timeout = 2_000 } = {}) {
    if (this.state === "closed") return true;
    const flushed = await this.#wire.flush(timeout);
    this.#end(new BerryMQError("CLOSED", "the link was closed"));
    return flushed;
  }

  [Symbol.asyncDispose ?? Symbol("asyncDispose")]() {
    return this.close();
  }

  #end(error) {
    this.#wire.close(error);
    for (const follower of this.#bus) follower.cancel();
  }

  #message(identifier, args = [], kwargs = {}) {
    if (!Array.isArray(args)) throw new TypeError("args is an array, as in twitter('test:run', [1], { x: 2 })");
    return new Message(identifierOf(identifier), args, { ...kwargs }, this.#name, Date.now() / 1_000);
  }

  #publish(identifier, args, kwargs, callback) {
    this.#wire.checkOpen();
    const message = this.#message(identifier, args, kwargs);
    this.#wire.publish(message, callback);
    this.#dispatch(message, callback);
  }

  /** Calls the followers here; sends what they return to the identifier `callback`. */
  #dispatch(message, callback) {
    const reply = (result, error) => this.state !== "closed" && this.#publish(callback, [result], error && { error });
    this.#bus.dispatch(message, callback && reply);
  }

  #queue(identifier, options) {
    return this.#attach(new Queue(identifierOf(identifier), this.#detach, options), options);
  }

  #attach(follower, { past } = {}) {
    this.#wire.checkOpen();
    this.#bus.add(follower);
    this.#wire.follow(follower.identifier, 1);
    if (past) this.#history.replay(follower, past);
    return follower;
  }

  #detach = (follower) => {
    this.#bus.delete(follower);
    this.#wire.follow(follower.identifier, -1);
  };

  /** Reports dropped messages by one event for those of one turn. */
  #drop(count) {
    if (!this.#dropped)
      queueMicrotask(() => {
        this.dispatchEvent(Object.assign(new Event("drop"), { count: this.#dropped }));
        this.#dropped = 0;
      });
    this.#dropped += count;
  }

  #report(error, identifier) {
    const event = Object.assign(new Event("error", { cancelable: true }), { error, identifier });
    if (this.dispatchEvent(event)) console.error(`berryMQ: ${identifier ?? "link"}:`, error);
  }
}

/**
 * Joins the bus: the hub at `url` with its access `token`, or, in Node, the hub of this user on this machine.
 * Resolves once linked. Reconnects after a cut, and loses nothing within `ttl`.
 */
export const link = (options = {}) => Link.open(options);
