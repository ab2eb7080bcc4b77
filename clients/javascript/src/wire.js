/** A link as WIRE.md describes it, level 2: frames to and from one other node, over connections that may be cut. */
import { Message } from "./bus.js";
import { Connection } from "./connection.js";
import { Duplicates } from "./duplicates.js";
import { BerryMQError } from "./errors.js";
import { identifierOf, matches } from "./identifiers.js";
import { findHub } from "./node.js";
import { Outbox } from "./outbox.js";
import { hmac, nonce, sha256 } from "./secrets.js";
import { decode, encodePayload, sizeOf } from "./values.js";
import { after, deferred, within } from "./waiting.js";

const INTEREST = 2_000; // ms; a node announces its own right away, or it has just replaced a killed hub
const SILENCE = 5_000; // then ping
const NO_ANSWER = 10_000; // to a ping: the connection is cut
const MAX_BACKOFF = 5_000;
const MAX_HELD = 10_000; // frames of which the messages are not delivered; then the other side has to wait

const bodyOf = (body) => (typeof body === "string" ? body : JSON.stringify(body).slice(1, -1));

export class Wire {
  /** "connecting", "linked", "reconnecting" or "closed". */
  state = "connecting";
  /** While reconnecting: the error of the last attempt. */
  reason = null;
  /** The other node, `{id, hub}`, once there was a connection. */
  peer = null;
  duplicates = new Duplicates();
  stats = { published: 0, received: 0, dropped: 0, lost: 0, connections: 0 };

  // What the parts beside this one add: handlers of frames and of notifications, where messages are sent beside the
  // interest of the other side, and themselves, for their methods of these names: `linked`, `flushing`, `cut`, `resumed`,
  // `restarting` (a new link, before the interest is announced), `restarted` (after it), `refused` and `closed`.
  parts = [];
  notices = { __proto__: null, ack: ({ ack }) => this.#settle(ack) };
  attracted = new Map();
  /** Calls `deliver`, after what had the same key before, with the buffers beside a message; see pulls.js. */
  inOrder = (_key, _large, deliver) => deliver();
  buffers = () => undefined;
  onbinary = () => {};
  held = 0; // frames whose messages are held for buffers
  keys = null; // while history is read: messages with their origin and number

  connection = null;
  #options;
  #key = nonce();
  #cuts = 0;
  #attempts = 0; // to connect, since the last frame arrived
  #interested = deferred();
  #silence;
  #sequence = 0;
  #isPumping = false;
  #unreported = 0; // dropped messages, of which the other side does not know
  #received = 0; // the last frame
  #ackable = 0;
  #acknowledged = 0;
  #ackTimer;
  #followed = new Map(); // the number of followers here, by identifier
  #changes = new Map(); // by identifier, whether it was added: not announced yet
  #interest = new Map();
  #everything = false;
  #wanted = new Map(); // a cache

  /** `on` has functions: `message`, `question`, which resolves to settled results, `state`, `drop` and `error`. */
  constructor(options, on) {
    this.#options = options;
    this.on = on;
    this.outbox = new Outbox(options, (frame) => this.#write(frame));
  }

  // -- the connection

  async open() {
    this.id = (await sha256(`berrymq node ${this.#key}`)).slice(0, 16);
    await this.#connect();
    await within(this.#interested.promise, { timeout: INTEREST }, Error).catch(() => {}); // so that what is published next is sent
    if (this.state !== "closed") this.#silence = setInterval(() => this.#checkSilence(), SILENCE / 5);
  }

  #connect() {
    const { url, token, room, ttl = 1_000_000, name, WebSocket } = this.#options;
    return Connection.open(url === undefined ? findHub() : { url, token }, WebSocket, async (connection, isHub, address) => {
      if (this.state === "closed") return connection.close(1000);
      const params = { name, key: this.#key, room, ttl: Math.ceil(ttl / 1_000), pull: true };
      if (!isHub) Object.assign(params, { id: this.id, key: await hmac(this.#key, `berrymq direct ${address}`) });
      if (this.peer) params.resume = { id: this.peer.id, received: this.#received };
      connection.onframe = (method, frame) => this.#receive(method, frame);
      connection.onclose = (code) => this.connection === connection && this.#cut(code);
      connection.onbinary = (data) => this.onbinary(data);
      const interconnect = () => connection.call("interconnect", params, (result) => this.#linked(connection, result));
      try {
        return await interconnect();
      } catch (error) {
        if (error.code !== "PROTOCOL" || !params.resume) throw error;
        delete params.resume; // it was refused
        return interconnect();
      }
    });
  }

  #linked(connection, { id, hub, resumed, received, lost = 0 }) {
    this.connection = connection;
    this.stats.connections++;
    this.stats.lost += lost;
    if (resumed) {
      this.#settle(received);
      this.outbox.retransmit();
      this.#each("resumed");
    } else this.#restart({ id, hub });
    this.reason = null;
    this.#setState("linked");
    this.#each("linked");
    this.#pump();
  }

  /** Begins a new link: announces everything, then sends what was not acknowledged. */
  #restart(peer) {
    const [isFirst, isAnother] = [this.peer === null, this.peer?.id !== peer.id];
    this.peer = peer;
    const again = this.outbox.restart();
    this.#received = this.#ackable = this.#acknowledged = 0;
    this.#changes.clear();
    this.#each("restarting", isAnother);
    this.frame("interest", { add: [...this.#followed.keys()], remove: [], reset: true });
    for (const entry of again) this.outbox.push(entry);
    if (!isFirst) this.#each("restarted", again);
  }

  async #cut(code) {
    this.connection = null;
    const refused = this.outbox.refuse(code === 1002 || code === 1009);
    if (refused) {
      this.stats.dropped += refused.count;
      const error = new BerryMQError("PAYLOAD", `the hub has refused a frame twice; it is dropped, with ${refused.count} messages`);
      this.#each("refused", refused.question, error);
      this.on.error(error);
    }
    if (this.state === "closed") return;
    this.#each("cut");
    this.#setState("reconnecting");
    const cut = ++this.#cuts; // the handshake of a link may time out just when it is cut: then the later cut goes on
    const isCut = () => this.state === "reconnecting" && cut === this.#cuts;
    while (isCut()) {
      const backoff = Math.min(MAX_BACKOFF, 50 * 2 ** Math.min(this.#attempts, 10)) * (0.5 + Math.random() / 2);
      if (this.#attempts++) await new Promise((resolve) => after(backoff, resolve));
      try {
        if (isCut()) return await this.#connect();
      } catch (error) {
        this.reason = error;
      }
    }
  }

  /** Pings after some silence. Timers of hidden pages are late, so only a ping without an answer proves a cut. */
  #checkSilence() {
    const { connection } = this;
    if (!connection || connection.isPinged || Date.now() - connection.receivedAt < SILENCE) return;
    connection.isPinged = true;
    const timer = after(NO_ANSWER, () => connection.close(1001));
    const answered = () => {
      clearTimeout(timer);
      connection.isPinged = false;
    };
    connection.call("ping", {}).then(answered, answered);
  }

  #setState(state) {
    if (this.state === state || this.state === "closed") return;
    this.state = state;
    this.on.state();
  }

  #each(event, ...args) {
    for (const part of this.parts) part[event]?.(...args);
  }

  checkOpen() {
    if (this.state === "closed") throw new BerryMQError("CLOSED", "the link is closed");
  }

  /** Resolves to whether the other side has everything that was sent before, after `timeout` ms at most. */
  async flush(timeout) {
    this.#each("flushing");
    this.#pump();
    const isIdle = this.outbox.isEmpty && !this.#changes.size;
    if (isIdle || timeout <= 0) return isIdle;
    const { promise, resolve } = deferred();
    this.frame("interest", { add: [], remove: [] }, { arrived: () => resolve(true), again: true }); // changes nothing
    return within(promise, { timeout }, Error).catch(() => false);
  }

  close(error) {
    clearInterval(this.#silence);
    if (this.#ackTimer) this.#acknowledge();
    const connection = this.connection;
    this.connection = null;
    this.#setState("closed");
    connection?.close(1000);
    this.#each("closed", error);
    this.#interested.resolve();
  }

  // -- frames to the other side

  #write({ n, method, body }) {
    if (!this.connection) return;
    this.#clearAck();
    this.connection.send(`{"jsonrpc":"2.0","method":"${method}","params":{"n":${n},"ack":${this.#ackable},${body}}}`);
  }

  /** Sends a numbered frame after what was published before; `body` is an object, or its JSON without the braces. */
  frame(method, body, more) {
    this.outbox.push({ method, body: bodyOf(body), ...more });
    this.#schedule();
  }

  #schedule() {
    if (this.#isPumping) return;
    this.#isPumping = true;
    queueMicrotask(() => this.#pump());
  }

  #pump() {
    this.#isPumping = false;
    if (!this.connection) return;
    if (this.#changes.size) {
      const changed = (added) => [...this.#changes].filter(([, isAdded]) => isAdded === added).map(([text]) => text);
      this.outbox.send({ method: "interest", body: bodyOf({ add: changed(true), remove: changed(false) }) });
      this.#changes.clear();
    }
    if (this.#unreported) this.outbox.send({ method: "dropped", body: `"count":${this.#unreported}` });
    this.#unreported = 0;
    this.outbox.pump();
  }

  #settle(ack) {
    this.outbox.settle(ack);
    this.#schedule();
  }

  /** Returns a message as an entry of the outbox, with the next number. */
  compose({ identifier, args, kwargs }, callback) {
    const head = `${JSON.stringify(identifier)},"${this.id}",${JSON.stringify(this.#options.name)}`;
    const text = `[${Date.now() / 1_000},${encodePayload([args, kwargs]).slice(1, -1)}${callback ? `,${JSON.stringify(callback)}` : ""}]`;
    return { head, text, size: sizeOf(head) + sizeOf(text), sequence: ++this.#sequence };
  }

  /** Publishes a message if it is wanted there; what followers return is sent to the identifier `callback`. */
  publish(message, callback) {
    if (!this.isWanted(message.identifier)) return;
    const entry = this.compose(message, callback);
    this.keys?.set(message, `${this.id} ${entry.sequence}`);
    this.stats.published++;
    const dropped = this.outbox.publish(entry);
    this.stats.dropped += dropped;
    this.#unreported += dropped;
    if (dropped) this.on.drop(dropped);
    this.#schedule();
  }

  isWanted(text) {
    let wanted = this.#wanted.get(text);
    if (wanted === undefined) {
      const identifier = identifierOf(text);
      const some = [...this.#interest.values(), ...this.attracted.values()].some((one) => matches(one, identifier));
      wanted = !identifier.local && (this.#everything || some);
      if (this.#wanted.size >= 4_096) this.#wanted.clear();
      this.#wanted.set(text, wanted);
    }
    return wanted;
  }

  /** Has messages sent that match an identifier, for a `reason` other than interest; or no more, if that is null. */
  attract(reason, identifier) {
    if (identifier) this.attracted.set(reason, identifier);
    else this.attracted.delete(reason);
    this.#wanted.clear();
  }

  /** Follows an identifier: `by` is 1, or -1 for one follower less. */
  follow(text, by) {
    if (identifierOf(text).local) return;
    const count = this.#followed.get(text) ?? 0;
    if (count + by) this.#followed.set(text, count + by);
    else this.#followed.delete(text);
    if (count && count + by) return;
    if (!this.#changes.delete(text)) this.#changes.set(text, by > 0);
    this.#schedule();
  }

  // -- frames of the other side

  #receive(method, params) {
    if (this.notices[method]) return this.notices[method](params);
    const { n } = params;
    if (n === undefined) return;
    if (n > this.#received + 1) throw new BerryMQError("PROTOCOL", `frame ${n} after ${this.#received}`);
    if (n === this.#received + 1) {
      this.#settle(params.ack);
      this.frames[method]?.(params);
      this.#received = n;
      this.#attempts = 0;
    }
    this.allowAck();
  }

  /** Has frames acknowledged soon, unless very much is held. */
  allowAck() {
    if (this.held > MAX_HELD) return;
    this.#ackable = this.#received;
    if (this.#ackable - this.#acknowledged >= 32) this.#acknowledge();
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), 5);
  }

  #clearAck() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#acknowledged = this.#ackable;
  }

  #acknowledge() {
    this.#clearAck();
    this.connection?.notify("ack", { ack: this.#ackable });
  }

  frames = {
    __proto__: null,
    messages: ({ batches }) => batches.forEach((batch) => this.#accept(batch)),
    buffers: ({ batch, ...large }) => this.#accept(batch, large),
    interest: ({ add = [], remove = [], reset, everything = false }) => {
      if (reset) this.#interest.clear();
      this.#everything = everything;
      for (const text of remove) this.#interest.delete(text);
      for (const text of add) this.#interest.set(text, identifierOf(text));
      this.#wanted.clear();
      this.#interested.resolve();
    },
    dropped: ({ count }) => {
      this.stats.lost += count;
    },
  };

  /** Yields the messages of a batch, with origin, number and the identifier of a callback. One that can't be read is left out. */
  *read([text, origin, source, first, , messages], buffers, past = false) {
    const identifier = identifierOf(text);
    for (const [index, [sentAt, args, kwargs, callback]] of messages.entries()) {
      let found;
      try {
        const message = new Message(identifier, decode(args, buffers), decode(kwargs, buffers), source, sentAt, past);
        found = [message, origin, first + index, callback && identifierOf(callback).text];
      } catch (error) {
        this.on.error(error, text); // the payload is its sender's alone
        continue;
      }
      yield found;
    }
  }

  #accept(batch, large = {}) {
    const key = `${batch[1]} ${batch[0]}`;
    const { hub } = this.peer; // over one the numbers ascend; a node that passes on may mix those of several ways
    return this.inOrder(key, large, (buffers) => {
      for (const [message, origin, sequence, callback] of this.read(batch, buffers)) {
        if (this.duplicates.check(hub ? key : origin, sequence, hub)) continue;
        this.keys?.set(message, `${origin} ${sequence}`);
        this.stats.received++;
        this.on.message(message, callback);
      }
    });
  }
}
