/** Level 3: large buffers beside messages, fetched in pieces, those of one frame after the other. */
import { fromBase64 } from "./values.js";
import { deferred } from "./waiting.js";

const MAX_BUFFERS = 1 << 30; // bytes of one message
const MIN_PIECE = 2 << 10; // two are on their way
const MAX_PIECE = 1 << 20;
const FAST = 10; // ms beside the round trip in which a piece should arrive, for it delays what is behind it
const ALIGNMENT = 64;

export class Pulls {
  #wire;
  #turn = Promise.resolve(); // after the pulls before
  #current = null;
  #session = 0; // the numbers of buffers are valid on one link
  #turns = new Map(); // by key, the promise after which the next message may be delivered

  constructor(wire) {
    this.#wire = wire;
    wire.parts.push(this);
    wire.onbinary = (data) => this.#arrived(data);
    wire.notices.gone = ({ memory }) => this.#current?.memory === memory && this.#current.done.resolve(undefined);
    wire.buffers = (large) => this.#buffers(large);
    wire.inOrder = (key, large, deliver) => {
      const [before, buffers] = [this.#turns.get(key), this.#buffers(large)];
      if (!before && !(buffers instanceof Promise)) return deliver(buffers);
      const turn = Promise.all([buffers, before])
        .then(([all]) => deliver(all))
        .catch((error) => wire.on.error(error, key))
        .finally(() => {
          if (this.#turns.get(key) === turn) this.#turns.delete(key);
          wire.held--;
          wire.allowAck();
        });
      this.#turns.set(key, turn);
      wire.held++;
      return turn;
    };
  }

  /** Returns the buffers of a frame, which lie in a row, each at a multiple of 64 bytes; a promise where they are pulled. */
  #buffers({ memory, sizes, reason = "its buffers are gone" }) {
    if (!sizes) return undefined;
    const offsets = [];
    let total = 0;
    for (const size of sizes) {
      offsets.push(Math.ceil(total / ALIGNMENT) * ALIGNMENT);
      total = offsets.at(-1) + size;
    }
    const split = (all) => sizes.map((size, i) => all.subarray(offsets[i], offsets[i] + size));
    if (typeof memory === "string") return split(fromBase64(memory));
    if (typeof memory !== "number" || !(total <= MAX_BUFFERS)) return { reason };
    const session = this.#session;
    const pull = () => (session === this.#session ? this.#pull(memory, total) : undefined);
    this.#turn = this.#turn.then(pull).catch(() => undefined); // no memory for them here
    return this.#turn.then((all) => (all ? split(all) : { reason }));
  }

  /** Resolves to all bytes, or to undefined when they are gone. */
  async #pull(memory, total) {
    const session = this.#session;
    // `asked`: offset, size and time of the pieces on their way
    this.#current = { memory, all: new Uint8Array(total), asked: [], next: 0, piece: MIN_PIECE, shortest: Infinity, done: deferred() };
    this.#ask();
    const all = await this.#current.done.promise;
    this.#current = null;
    if (session === this.#session) this.#wire.frame("release", { memory: [memory] });
    return all;
  }

  #ask() {
    const current = this.#current;
    while (current.asked.length < 2 && current.next < current.all.length) {
      const size = Math.min(current.piece, current.all.length - current.next);
      current.asked.push({ offset: current.next, size, at: Date.now() });
      this.#wire.connection?.notify("pull", { memory: current.memory, offset: current.next, size });
      current.next += size;
    }
    if (!current.asked.length) current.done.resolve(current.all);
  }

  /** Takes a piece: number and offset, each as 8 bytes, then the bytes. Pieces grow while they are fast. */
  #arrived(data) {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const [memory, offset, piece] = [Number(view.getBigUint64(0)), Number(view.getBigUint64(8)), data.subarray(16)];
    const current = this.#current;
    const first = current?.asked[0];
    if (current?.memory !== memory || first?.offset !== offset || first.size !== piece.length) return; // of a former one
    current.all.set(piece, offset);
    current.asked.shift();
    const took = Date.now() - first.at;
    current.shortest = Math.min(current.shortest, took);
    const grown = current.piece * (took - current.shortest < FAST ? 2 : 0.5);
    current.piece = Math.max(MIN_PIECE, Math.min(MAX_PIECE, grown));
    this.#ask();
  }

  /** Asks again for the pieces that were on their way. */
  resumed() {
    const { memory, asked = [] } = this.#current ?? {};
    for (const { offset, size } of asked) this.#wire.connection?.notify("pull", { memory, offset, size });
  }

  restarting() {
    this.#session++;
    this.#current?.done.resolve(undefined);
  }

  closed() {
    this.restarting();
  }
}
