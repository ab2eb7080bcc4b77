/** Shared queues: those of one identifier, in all programs on the hub, are a group; each message is a job for one of them. */
import { BerryMQError } from "./errors.js";
import { batchOf } from "./outbox.js";
import { Queue } from "./queue.js";
import { after, Deque, deferred } from "./waiting.js";

const TICK = 20; // ms; as many jobs are prefetched as were taken in two of these
const MAX_AHEAD = 1_000;
const RECENT = 2_000; // ms; when a hub is killed, its successor may be sent the jobs of the last seconds again
const MAX_RECENT = 1_000; // ranges of jobs
const POLL = 1_000; // ms

export class Jobs {
  #wire;
  #members = new Map(); // by group
  #left = new Set(); // groups; until the hub knows, it may send jobs that it then gives to others

  constructor(wire) {
    this.#wire = wire;
    wire.parts.push(this);
    wire.frames.jobs = ({ group, jobs, ...large }) => {
      const member = this.#members.get(group);
      const membership = member?.joined;
      if (membership) for (const [, batch] of jobs) member.remember(batch);
      wire.inOrder(`group ${group}`, large, (buffers) => {
        if (!membership || this.#members.get(group) !== member) return;
        for (const [number, batch] of jobs) {
          const [, , , first, , { length }] = batch;
          const messages = new Map(Array.from(wire.read(batch, buffers), ([message, , sequence]) => [sequence - first, message]));
          for (let i = 0; i < length; i++) member.add(number + i, messages.get(i), membership);
        }
        member.queue.serve();
      });
    };
    wire.frames.group = ({ group, state, refused, question, stored = false, expired = [] }) => {
      const member = this.#members.get(group);
      if (refused) member?.queue.cancel(new BerryMQError("REFUSED", String(refused)));
      else if (member) Object.assign(member, { state, stored });
      if (member && expired.length) {
        member.expire(expired);
        wire.inOrder(`group ${group}`, {}, () => member.expired.delete(expired)); // behind those that wait for their buffers
      }
      if (question) member?.questions.get(question)?.resolve();
    };
  }

  /** Joins the group of an identifier; returns its queue. */
  queue(identifier, { maxsize = 0, signal }) {
    const group = identifier.text;
    if (!this.#wire.peer.hub) throw new BerryMQError("UNSUPPORTED", "shared queues are those of a hub");
    if (this.#members.has(group)) throw new BerryMQError("UNSUPPORTED", `this link has a shared queue for ${group} already`);
    const member = new Member(this.#wire, group, maxsize);
    member.queue = new Queue(identifier, () => this.#leave(member), { maxsize: Infinity, store: member, signal });
    this.#members.set(group, member);
    this.#wire.attract(`group ${group}`, identifier);
    if (!this.#left.has(group)) member.join();
    return member.queue;
  }

  #leave(member) {
    const { group } = member;
    this.#members.delete(group);
    this.#wire.attract(`group ${group}`, null);
    const taken = member.end();
    if (!member.joined || this.#wire.state === "closed") return;
    this.#left.add(group);
    const arrived = () => {
      this.#left.delete(group);
      this.#members.get(group)?.join();
    };
    this.#wire.frame("leave", { group, taken }, { arrived });
  }

  flushing() {
    for (const member of this.#members.values()) member.flush();
  }
  cut() {
    for (const member of this.#members.values()) member.isCut = true;
  }
  resumed() {
    for (const member of this.#members.values()) member.resume();
  }
  restarting(isAnother) {
    this.#left.clear();
    for (const member of this.#members.values()) member.restart(isAnother);
  }
  closed() {
    for (const { queue } of [...this.#members.values()]) queue.cancel();
  }
}

/** The membership in a group: holds the prefetched jobs of its queue, and reports to the hub. */
class Member {
  #wire;
  #maxsize;
  #jobs = new Deque(); // [number, message]; the number is undefined for those of a killed hub, which are ours
  #waiting = 0; // consumers
  #ahead = 0; // jobs to be prefetched
  #reported = { waiting: 0, ahead: 0 };
  #taken = [];
  #returned = [];
  #recent = []; // ranges of jobs: [time, origin, first, count]
  #took = 0; // jobs in this tick
  #tickedAt = 0;
  #timer;
  #isDue = false;
  #lastQuestion = 0;
  joined = 0; // how often
  isCut = false;
  questions = new Map();
  state = null;
  stored = false; // on NATS: the jobs do not end with the hub
  keepsFormer = false; // the jobs of the former membership
  expired = new Set(); // lists of ranges of jobs
  queue = null;

  constructor(wire, group, maxsize) {
    this.#wire = wire;
    this.group = group;
    this.#maxsize = maxsize;
  }

  // -- for the queue

  /** The jobs that may be taken now: none that came over a link that is cut. */
  get length() {
    return this.isCut ? 0 : this.#jobs.length;
  }

  get size() {
    return this.state ? this.state[0] + this.state[1] : this.length;
  }

  shift() {
    const [number, message] = this.#jobs.shift();
    if (number !== undefined) this.#taken.push(number);
    this.#took++;
    if (this.#taken.length >= Math.max(1, this.#reported.ahead / 10)) this.#report();
    this.#startTicks();
    return message;
  }

  /** Notes how many consumers wait. */
  waits(count) {
    this.#waiting = count;
    if (!this.length && count !== this.#reported.waiting) this.#report();
  }

  /** Fetches a job beyond the credit, if the hub has one. */
  async poll() {
    if (this.isCut) return;
    const question = ++this.#lastQuestion;
    const answered = deferred();
    const timer = after(POLL, answered.resolve);
    this.questions.set(question, answered);
    this.#want({ question, now: 1 });
    await answered.promise;
    clearTimeout(timer);
    this.questions.delete(question);
  }

  // -- frames

  /** Adds a job of a membership; one without a message, which can't be read, counts as taken. */
  add(number, message, membership) {
    if (membership !== this.joined) {
      if (this.keepsFormer && message) this.#jobs.push([undefined, message]);
      return;
    }
    for (const expired of this.expired) if (isIn(expired, number)) return;
    if (message) this.#jobs.push([number, message]);
    else this.#taken.push(number);
    this.#startTicks();
  }

  /** Forgets jobs, also those whose buffers have not come yet: the hub was cut from NATS, and others may get them. */
  expire(ranges) {
    this.expired.add(ranges);
    for (const job of this.#jobs.clear()) if (!isIn(ranges, job[0])) this.#jobs.push(job);
  }

  /** Remembers a batch for a hub that replaces this one. */
  remember([, origin, , first, count]) {
    const [recent, now] = [this.#recent, Date.now()];
    const last = recent.at(-1);
    if (last?.[1] === origin && last[2] + last[3] === first) [last[0], last[3]] = [now, last[3] + count];
    else recent.push([now, origin, first, count]);
    while (recent.length > MAX_RECENT || now - recent[0][0] > RECENT) recent.shift();
  }

  join() {
    this.joined++;
    const had = this.stored ? [] : this.#recent.map(([, ...range]) => range);
    this.#wire.frame("join", { group: this.group, maxsize: this.#maxsize, had });
    if (this.#waiting) this.#report();
    for (const question of this.questions.keys()) this.#want({ question, now: 1 });
  }

  /** Forgets the jobs that were not taken, which return to the group; returns the ranges of those that were. */
  end() {
    clearTimeout(this.#timer);
    for (const [number, message] of this.#jobs.clear())
      if (number === undefined) this.#wire.frame("put", `"group":${JSON.stringify(this.group)},"batch":${batchOf([this.#wire.compose(message)])}`);
    for (const { resolve } of this.questions.values()) resolve();
    return ranges(this.#taken);
  }

  /** Reports at once what was taken. */
  flush() {
    if (this.#taken.length) this.#want();
  }

  #report() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#want();
    });
  }

  #want(more) {
    if (!this.queue.isActive || !this.joined || !this.#wire.connection) return;
    this.#reported = { waiting: this.#waiting, ahead: this.#ahead };
    const [taken, returned] = [ranges(this.#taken.splice(0)), ranges(this.#returned.splice(0))];
    this.#wire.frame("want", { group: this.group, ...this.#reported, taken, returned, ...more });
  }

  // -- prefetching: as fast as jobs are taken, so that a slow consumer takes none from an idle one elsewhere

  #startTicks() {
    if (this.#timer || this.isCut) return;
    this.#tickedAt = Date.now();
    this.#timer = setTimeout(() => this.#tick(), TICK);
  }

  #tick() {
    const [took, now] = [this.#took, Date.now()];
    const rate = (took * TICK) / Math.max(1, now - this.#tickedAt);
    this.#ahead = Math.max(0, Math.min(MAX_AHEAD, Math.floor(2 * rate) - 2));
    this.#took = 0;
    this.#tickedAt = now;
    this.#timer = undefined;
    if (!took && !this.isCut)
      for (const job of this.#jobs.clear())
        if (job[0] === undefined) this.#jobs.push(job);
        else this.#returned.push(job[0]);
    const { waiting, ahead } = this.#reported;
    if (this.#taken.length || this.#returned.length || waiting > this.#waiting || Math.abs(this.#ahead - ahead) > ahead / 4) this.#report();
    if (took) this.#startTicks();
  }

  // -- cuts

  resume() {
    this.isCut = false;
    this.queue.serve();
    this.#report();
    if (this.#jobs.length) this.#startTicks();
  }

  /** Joins again. Jobs that are here are ours if they ended with their hub; else they were given to others. */
  restart(isAnother) {
    const jobs = this.#jobs.clear();
    this.keepsFormer = isAnother && !this.stored;
    if (this.keepsFormer) for (const [, message] of jobs) this.#jobs.push([undefined, message]);
    Object.assign(this, { state: null, isCut: false });
    this.#taken = [];
    this.#returned = [];
    this.#reported = { waiting: 0, ahead: 0 };
    this.#ahead = 0;
    this.join();
    this.queue.serve();
  }
}

const isIn = (ranges, number) => ranges.some(([first, count]) => number >= first && number < first + count);

/** Returns numbers as ranges `[first, count]`. */
function ranges(numbers) {
  const found = [];
  for (const number of numbers.sort((one, other) => one - other)) {
    const last = found.at(-1);
    if (last && last[0] + last[1] === number) last[1]++;
    else found.push([number, 1]);
  }
  return found;
}
