/** What the hub retains: keep, past, latest, and followers that begin with it. */
import { Message } from "./bus.js";
import { identifierOf } from "./identifiers.js";
import { decode, fromBase64 } from "./values.js";

const MAX_QUERIES = 32; // without an answer

export class History {
  #wire;
  #bus;
  #calls;
  #name;
  #keeps = new Map();
  #queries = new Map(); // by number: the follower, and the messages that have come
  #last = 0; // query

  constructor(wire, bus, calls, name) {
    this.#wire = wire;
    this.#calls = calls;
    this.#bus = bus;
    this.#name = name;
    wire.parts.push(this);
    wire.frames.past = ({ query, batches = [], end, ...large }) =>
      wire.inOrder(`past ${query}`, large, (buffers) => {
        const replay = this.#queries.get(query);
        if (!replay) return;
        for (const batch of batches) for (const [message, origin, sequence] of wire.read(batch, buffers, true)) replay.past.set(`${origin} ${sequence}`, message);
        if (end) this.#end(query, replay);
      });
  }

  /** Has the hub retain the newest `last` messages of each identifier that matches; 0 ends it. */
  async keep(identifier, { last = 1_000, ...options } = {}) {
    const id = identifierOf(identifier);
    const result = await this.#calls.make("keep", { identifier: id.text, last, name: this.#name }, options);
    if (last && result !== "stored") this.#keeps.set(id.text, last);
    else this.#keeps.delete(id.text);
    this.#wire.attract(`keep ${id.text}`, last ? id : null);
  }

  /** Resolves to the retained messages, oldest first: the newest `last` of them, or all. */
  async past(identifier, { last, ...options } = {}) {
    const params = { identifier: identifierOf(identifier).text, last };
    const messages = [];
    for (;;) {
      const page = await this.#calls.make("history", params, options);
      for (const one of page.messages) messages.push(await this.#read(one));
      if (!page.more || !page.messages.length) return messages;
      params.after = page.messages.at(-1).n;
      delete params.last;
    }
  }

  async #read({ id, args, kwargs, source, sent_at, buffers, ...large }) {
    const beside = (await this.#wire.buffers(large)) ?? buffers?.map((one) => (typeof one === "string" ? fromBase64(one) : undefined));
    return new Message(identifierOf(id), decode(args, beside), decode(kwargs, beside), source, sent_at, true);
  }

  /** Delivers the newest `last` retained messages, or all, to a follower; until then it holds what arrives live. */
  replay(follower, last) {
    follower.held = [];
    const query = ++this.#last;
    this.#queries.set(query, { follower, last: last === true ? null : last, past: new Map(), isSent: false });
    this.#wire.keys ??= new WeakMap();
    this.#send();
  }

  #send() {
    for (const [query, replay] of [...this.#queries].slice(0, MAX_QUERIES)) {
      if (replay.isSent) continue;
      replay.isSent = true;
      if (this.#wire.peer.hub) this.#wire.frame("replay", { query, identifier: replay.follower.identifier, last: replay.last });
      else this.#end(query, replay);
    }
  }

  #end(query, { follower, past }) {
    const { keys } = this.#wire;
    this.#queries.delete(query);
    if (!this.#queries.size) this.#wire.keys = null;
    const live = follower.held.filter((message) => !past.has(keys.get(message)));
    follower.held = null;
    for (const message of [...past.values(), ...live]) if (follower.isActive) this.#bus.deliver(follower, message);
    this.#send();
  }

  restarted() {
    for (const replay of this.#queries.values()) Object.assign(replay, { isSent: false, past: new Map() });
    this.#send();
    for (const [identifier, last] of this.#keeps) this.#calls.make("keep", { identifier, last, name: this.#name }).catch(() => {});
  }
}
