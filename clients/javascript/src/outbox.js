/** What is sent in numbered frames: buffered, sent in its order as the window allows, kept until acknowledged. */
import { BerryMQError } from "./errors.js";
import { Deque } from "./waiting.js";

const MAX_FRAME = (1 << 20) - 1_000; // bytes of messages; a frame of more than 1 MiB must have a single batch
const BATCH = 40; // bytes that a batch takes beside its head
const MAX_IN_FLIGHT = 65_536; // messages
const MAX_SIZE_IN_FLIGHT = 8 << 20;

export class Outbox {
  #limits;
  #write;
  #waiting = new Deque(); // messages and other frames
  #count = 0; // messages among them
  #size = 0;
  #frames = new Deque(); // in flight
  #inFlight = 0; // messages
  #sizeInFlight = 0;
  #last = 0; // frame

  /** `write` writes a frame if there is a connection. */
  constructor({ maxMessages = 100_000, maxBytes = 64 << 20 }, write) {
    this.#limits = { maxMessages, maxBytes };
    this.#write = write;
  }

  get isEmpty() {
    return !this.#waiting.length && !this.#frames.length;
  }
  get unacknowledged() {
    return this.#count + this.#inFlight;
  }

  /** Enqueues a message; returns the number of the oldest ones that were dropped for it. */
  publish(message) {
    this.push(message);
    const others = [];
    let dropped = 0;
    while (this.#count > this.#limits.maxMessages || this.#size > this.#limits.maxBytes) {
      const oldest = this.#shift();
      if (oldest.sequence) dropped++;
      else others.push(oldest);
    }
    if (others.length) this.#waiting.unshift(others);
    return dropped;
  }

  /**
   * Enqueues a message `{head, sequence, text, size}`, or a frame `{method, body}`, behind what waits. A frame may have a
   * `question`, a function `arrived`, and `again`, see `restart`.
   */
  push(entry) {
    this.#waiting.push(entry);
    if (entry.sequence) [this.#count, this.#size] = [this.#count + 1, this.#size + entry.size];
  }

  #shift() {
    const entry = this.#waiting.shift();
    if (entry.sequence) [this.#count, this.#size] = [this.#count - 1, this.#size - entry.size];
    return entry;
  }

  /** Sends a frame before all that waits. */
  send(frame) {
    frame.n = ++this.#last;
    this.#frames.push(frame);
    this.#write(frame);
  }

  /** Sends what waits, as far as the window allows. */
  pump() {
    for (let next = this.#waiting.peek(); next; next = this.#waiting.peek()) {
      if (next.method) this.send(this.#shift());
      else if (this.#inFlight < MAX_IN_FLIGHT && this.#sizeInFlight < MAX_SIZE_IN_FLIGHT) this.send(this.#frameOfMessages());
      else return;
    }
  }

  /** Takes messages; consecutive ones of one identifier make a batch. */
  #frameOfMessages() {
    const [messages, batches] = [[], []];
    let size = 0;
    for (let next = this.#waiting.peek(); next?.sequence && this.#inFlight < MAX_IN_FLIGHT; next = this.#waiting.peek()) {
      if (size && size + next.size + BATCH > MAX_FRAME) break;
      const last = messages.at(-1);
      if (last?.head === next.head && last.sequence + 1 === next.sequence) batches.at(-1).push(next);
      else batches.push([next]);
      messages.push(this.#shift());
      this.#inFlight++;
      size += next.size + BATCH;
    }
    this.#sizeInFlight += size;
    return { method: "messages", body: `"batches":[${batches.map(batchOf).join()}]`, messages, size };
  }

  /** Forgets the frames that have arrived. */
  settle(ack) {
    if (!(ack <= this.#last)) throw new BerryMQError("PROTOCOL", `frame ${ack} was acknowledged, and ${this.#last} was the last`);
    while (this.#frames.peek()?.n <= ack) {
      const frame = this.#frames.shift();
      this.#forget(frame);
      frame.arrived?.();
    }
  }

  #forget({ messages = [], size = 0 }) {
    this.#inFlight -= messages.length;
    this.#sizeInFlight -= size;
  }

  retransmit() {
    for (const frame of this.#frames) this.#write(frame);
  }

  /** Notes whether the other side refused the oldest frame; at the second time drops it, and returns what it was. */
  refuse(isRefused) {
    const frame = this.#frames.peek();
    const isSecond = isRefused && frame?.refused;
    if (frame) frame.refused = isRefused;
    if (!isSecond) return null;
    const { messages = [], question } = frame;
    this.#forget(frame);
    Object.assign(frame, { method: "dropped", body: `"count":${messages.length}`, question: undefined, messages: [], size: 0 });
    return { count: messages.length, question };
  }

  /**
   * Begins at frame 1, for a new link. Returns what was not acknowledged and is to be pushed again: messages, and frames
   * with `again`; others are void.
   */
  restart() {
    const inFlight = [...this.#frames.clear()].flatMap((frame) => frame.messages ?? [frame]);
    const entries = [...inFlight, ...this.#waiting.clear()];
    this.#last = this.#inFlight = this.#sizeInFlight = this.#count = this.#size = 0;
    return entries.filter((entry) => !entry.method || entry.again);
  }
}

/** Returns consecutive messages of one identifier as a batch in JSON. */
export function batchOf(messages) {
  const [{ head, sequence }] = messages;
  return `[${head},${sequence},${messages.length},[${messages.map(({ text }) => text).join()}]]`;
}
