/** Questions to the other side, and answers to its own. */
import { BerryMQError } from "./errors.js";
import { batchOf } from "./outbox.js";
import { decode, encode, encodePayload } from "./values.js";
import { after, deferred, within } from "./waiting.js";

const CONCLUDE = 2_000; // ms for the hub to pass on, after the timeout, the answers that it has

export class Questions {
  #wire;
  #bus;
  #name;
  #open = new Map(); // by number
  #last = 0;

  constructor(wire, bus, name) {
    this.#wire = wire;
    this.#bus = bus;
    this.#name = name;
    wire.parts.push(this);
    wire.frames.ask = ({ question, batch, ...large }) =>
      wire.inOrder(`ask ${batch[1]} ${batch[0]}`, large, (buffers) => void this.#answer(question, [...wire.read(batch, buffers)]));
    wire.frames.answer = ({ question, answers, unanswered = [] }) => {
      const resolve = (buffers) => {
        const values = answers.flatMap(([, values], i) => decode(values, buffers[i]));
        return [values, answers.flatMap(([, , errors]) => decode(errors)), unanswered];
      };
      const buffers = Promise.all(answers.map(([, , , large]) => wire.buffers(large ?? {})));
      this.#open.get(question)?.resolve(buffers.then(resolve));
    };
  }

  /** Resolves to values, errors, and names of nodes that have not answered. */
  async ask(message, { timeout, signal }) {
    const wire = this.#wire;
    if (!wire.isWanted(message.identifier)) return [[], [], []];
    const question = ++this.#last;
    const answer = deferred();
    const late = () => new BerryMQError("TIMEOUT", `no answer to ${message.identifier} in ${timeout} ms`);
    const conclude = () => (wire.peer.hub && wire.connection ? wire.frame("conclude", { question }) : answer.reject(late()));
    wire.frame("ask", `"question":${question},"batch":${batchOf([wire.compose(message)])}`, { question, again: true });
    this.#open.set(question, answer);
    const timer = after(timeout, conclude);
    return within(answer.promise, { timeout: timeout + CONCLUDE, signal }, late).finally(() => {
      clearTimeout(timer);
      this.#open.delete(question);
    });
  }

  /** Sends what the followers here return, or raise, as one answer; an empty one if there are none. */
  async #answer(question, messages) {
    const [values, errors] = [[], []];
    for (const [message, origin, sequence] of messages) {
      if (this.#wire.duplicates.check(`ask ${origin}`, sequence)) continue;
      for (const { value, reason, status } of await this.#bus.results(message)) {
        try {
          if (status === "fulfilled") values.push(encodePayload(value));
          else errors.push(encodePayload(reason instanceof Error ? reason : new Error(String(reason))));
        } catch (error) {
          errors.push(encode(error));
        }
      }
    }
    const answers = values.length || errors.length ? `[${JSON.stringify(this.#name)},[${values}],[${errors}]]` : "";
    if (this.#wire.state !== "closed") this.#wire.frame("answer", `"question":${question},"answers":[${answers}]`);
  }

  refused(question, error) {
    this.#open.get(question)?.reject(error);
  }
  restarted(again) {
    const asked = new Set(again.map(({ question }) => question));
    const error = new BerryMQError("TIMEOUT", "the hub ended before it had passed on the answers");
    for (const [question, { reject }] of this.#open) if (!asked.has(question)) reject(error);
  }
  closed(error) {
    for (const { reject } of this.#open.values()) reject(error);
  }
}
