/** The bus of this program: its followers, and how messages are delivered to them. */
import { identifierOf, matches } from "./identifiers.js";

const MAX_ROUTES = 4_096;

/** A message, as followers and queues get it. */
export class Message {
  constructor({ name, action, namespace, text }, args, kwargs, source, sentAt, past = false) {
    Object.assign(this, { identifier: text, name, action, namespace, args, kwargs, source, sentAt: new Date(sentAt * 1_000), past });
  }
}

/** What `follow` returns. */
export class Follower {
  #handler;
  #end;
  #signal;
  #aborted = () => this.cancel();
  isActive = true;
  answers = true;
  held = null; // messages that arrive while the retained ones are on their way

  /** `end` is called when it is cancelled, also by `signal`. */
  constructor({ text }, handler, end, signal) {
    Object.defineProperty(this, "identifier", { value: text, enumerable: true });
    this.#handler = handler;
    this.#end = end;
    this.#signal = signal;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", this.#aborted);
  }
  /** Cancels it. */
  cancel() {
    if (!this.isActive) return;
    this.isActive = false;
    this.#signal?.removeEventListener("abort", this.#aborted);
    this.#end(this);
  }
  follows(handler) {
    return handler === undefined || handler === this.#handler;
  }
  deliver(message) {
    if (this.held) return void this.held.push(message);
    return this.#handler(message);
  }
  [Symbol.dispose ?? Symbol("dispose")]() {
    this.cancel();
  }
}

/** Delivers messages to followers, in the order in which they began to follow. */
export class Bus {
  #followers = new Set();
  #routes = new Map(); // a cache
  #report;

  /** `report` gets the error of a failed follower, and the identifier. */
  constructor(report) {
    this.#report = report;
  }
  [Symbol.iterator]() {
    return [...this.#followers][Symbol.iterator]();
  }
  add(follower) {
    this.#followers.add(follower);
    this.#routes.clear();
  }
  delete(follower) {
    this.#followers.delete(follower);
    this.#routes.clear();
  }

  #route(message) {
    let route = this.#routes.get(message.identifier);
    if (!route) {
      route = [...this.#followers].filter(({ identifier }) => matches(identifierOf(identifier), message));
      if (this.#routes.size >= MAX_ROUTES) this.#routes.clear();
      this.#routes.set(message.identifier, route);
    }
    return route;
  }

  /** Calls the followers; `reply` gets what each returns, or null and its error. */
  dispatch(message, reply = () => {}) {
    for (const follower of this.#route(message)) if (follower.isActive) this.deliver(follower, message, follower.answers ? reply : undefined);
  }

  /** Calls one follower. */
  deliver(follower, message, reply = () => {}) {
    const failed = (error) => {
      this.#report(error, message.identifier);
      try {
        reply(null, error instanceof Error ? error : new Error(String(error)));
      } catch (another) {
        this.#report(another, message.identifier);
      }
    };
    try {
      const result = follower.deliver(message);
      if (typeof result?.then === "function") result.then(reply).then(undefined, failed);
      else reply(result);
    } catch (error) {
      failed(error);
    }
  }

  /** Calls the followers; resolves to the results of those that answer, as `Promise.allSettled` does. */
  results(message) {
    const results = [];
    for (const follower of this.#route(message)) {
      if (!follower.isActive) continue;
      const result = (async () => follower.deliver(message))();
      if (follower.answers) results.push(result);
    }
    return Promise.allSettled(results);
  }
}
