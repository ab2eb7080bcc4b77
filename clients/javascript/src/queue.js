import { Follower } from "./bus.js";
import { BerryMQError } from "./errors.js";
import { after, Deque } from "./waiting.js";

/** Holds messages until they are taken, by `get` or by `for await`. */
export class Queue extends Follower {
  #store;
  #waiting = new Deque(); // functions that take a message
  #maxsize;
  #closesOnBreak;
  #error = new BerryMQError("CLOSED", "the queue is closed");
  /** The messages that were dropped because the queue was full: the oldest ones. */
  dropped = 0;
  answers = false;

  /** `store` holds the messages; that of a shared queue is its membership in the group, see jobs.js. */
  constructor(identifier, end, { maxsize = 100_000, closesOnBreak = false, store = new Deque(), signal } = {}) {
    super(identifier, (message) => this.#put(message), end, signal);
    this.#maxsize = maxsize;
    this.#closesOnBreak = closesOnBreak;
    this.#store = store;
  }

  /** The number of messages that wait here; of a shared one, in the group, as the hub has reported last. */
  get size() {
    return this.#store.size ?? this.#store.length;
  }

  #put(message) {
    this.#store.push(message);
    this.serve();
    for (; this.#store.length > this.#maxsize; this.dropped++) this.#store.shift();
  }

  /** Hands messages to waiting calls of `get`. */
  serve() {
    while (this.#waiting.length && this.#store.length) this.#waiting.shift()(this.#store.shift());
    this.#store.waits?.(this.#waiting.length);
  }

  /** Resolves to the next message, or to null after `timeout` ms; rejects with CLOSED, or with the reason of `signal`. */
  async get({ timeout, signal } = {}) {
    signal?.throwIfAborted();
    const mayWait = !(timeout <= 0);
    if (!mayWait && this.isActive && !this.#store.length) await this.#store.poll?.();
    if (this.#store.length) return this.#store.shift();
    if (!this.isActive) throw this.#error;
    return mayWait ? this.#wait(timeout, signal) : null;
  }

  #wait(timeout, signal) {
    return new Promise((resolve, reject) => {
      const take = (message, error) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        if (this.#waiting.delete(take)) this.#store.waits?.(this.#waiting.length);
        if (error) reject(error);
        else resolve(message);
      };
      const aborted = () => take(null, signal.reason);
      const timer = timeout === undefined ? undefined : after(timeout, () => take(null));
      signal?.addEventListener("abort", aborted);
      this.#waiting.push(take);
      this.#store.waits?.(this.#waiting.length);
    });
  }

  /** Takes all messages that are here. */
  drain() {
    return Array.from({ length: this.#store.length }, () => this.#store.shift());
  }

  /** Closes it: waiting calls reject with CLOSED, and loops end. */
  close() {
    this.cancel();
  }

  cancel(error = this.#error) {
    this.#error = error;
    super.cancel();
    while (this.#waiting.length) this.#waiting.shift()(null, error);
  }

  [Symbol.asyncIterator]() {
    const done = { done: true, value: undefined };
    return {
      next: async () => {
        try {
          return { done: false, value: await this.get() };
        } catch (error) {
          if (error.code === "CLOSED") return done;
          throw error;
        }
      },
      return: async () => {
        if (this.#closesOnBreak) this.close();
        return done;
      },
    };
  }
}
