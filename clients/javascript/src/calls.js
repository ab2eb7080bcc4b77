/** Calls of methods of the hub, which are made again after a cut. */
import { BerryMQError } from "./errors.js";
import { deferred, within } from "./waiting.js";

export class Calls {
  #wire;
  #open = new Set();

  constructor(wire) {
    this.#wire = wire;
    wire.parts.push(this);
  }

  async make(method, params, { timeout = 25_000, signal } = {}) {
    this.#wire.checkOpen();
    signal?.throwIfAborted();
    const call = deferred();
    const failed = (error) => error.code === "NO_HUB" || call.reject(error); // else it was a cut
    call.make = () => this.#wire.connection?.call(method, params).then(call.resolve, failed);
    this.#open.add(call);
    call.make();
    const late = () => new BerryMQError("TIMEOUT", `the hub has not answered ${method} in ${timeout} ms`);
    return within(call.promise, { timeout, signal }, late).finally(() => this.#open.delete(call));
  }

  linked() {
    for (const { make } of this.#open) make();
  }
  closed(error) {
    for (const { reject } of this.#open) reject(error);
  }
}
