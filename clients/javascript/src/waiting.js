/** Promises with a deadline and a signal, and a deque. */

const MAX_TIMER = 2 ** 31 - 1;

/** A `setTimeout` without the overflow: what exceeds some 25 days is cut to that. */
export const after = (ms, callback) => setTimeout(callback, Math.min(ms, MAX_TIMER));

/** Returns a promise with its two ends; `Promise.withResolvers` is not in Node 20. */
export function deferred() {
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  return ends;
}

/** Settles as `promise` does; before that, rejects with `late()` after `timeout` ms, or with the reason of `signal`. */
export async function within(promise, { timeout, signal } = {}, late) {
  const { promise: end, reject } = deferred();
  const aborted = () => reject(signal.reason);
  const timer = timeout === undefined ? undefined : after(timeout, () => reject(late()));
  signal?.addEventListener("abort", aborted);
  if (signal?.aborted) aborted();
  try {
    return await Promise.race([promise, end]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
  }
}

/** First in, first out. `Array.shift` moves a long array each time. */
export class Deque {
  #items = [];
  #head = 0;
  get length() {
    return this.#items.length - this.#head;
  }
  push(item) {
    this.#items.push(item);
  }
  peek() {
    return this.#items[this.#head];
  }
  shift() {
    if (!this.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 1_000 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }
  unshift(items) {
    this.#items.splice(0, this.#head, ...items);
    this.#head = 0;
  }
  delete(item) {
    const at = this.#items.indexOf(item, this.#head);
    if (at >= 0) this.#items.splice(at, 1);
    return at >= 0;
  }
  /** Removes and returns all items. */
  clear() {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }
  [Symbol.iterator]() {
    return this.#items.slice(this.#head)[Symbol.iterator]();
  }
}
