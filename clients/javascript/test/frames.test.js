// A link whose other side is the test: frames that a hub sends seldom.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { link } from "berrymq";

const LIMIT = { timeout: 10_000 };
const OTHER = "0123456789abcdef";
const BIG = '{"$type":"bytes","value":{"$type":"buffer","value":0}}';

/** A hub, as the class of WebSockets that lead to it. */
function fakeHub() {
  const hub = { id: OTHER, sockets: [], frames: [], n: 0, received: 0, resumed: false, waiting: null };
  hub.Socket = class {
    constructor() {
      hub.sockets.push(this);
      queueMicrotask(() => this.onopen());
    }
    send(text) {
      const { id, method, params } = JSON.parse(text);
      const reply = (result) => this.onmessage({ data: JSON.stringify({ jsonrpc: "2.0", id, result }) });
      if (method === "hello") reply({ nonce: "s", proof: "", port: 1, id: hub.id, hub: true });
      else if (method === "interconnect") {
        if (hub.isSilent) return;
        reply({ id: hub.id, name: "hub", hub: true, resumed: hub.resumed, received: hub.received, lost: 0 });
        if (!hub.resumed) hub.frame("interest", { add: ["up:*"], remove: [], reset: true });
        hub.resumed = true;
      } else if (method !== "ack") {
        if (params.n) hub.received = params.n;
        hub.frames.push({ method, ...params });
        hub.waiting?.();
      }
    }
    close() {
      queueMicrotask(() => this.onclose({ code: 1000, reason: "" }));
    }
  };
  hub.frame = (method, params) => {
    const text = JSON.stringify({ jsonrpc: "2.0", method, params: { n: ++hub.n, ack: hub.received, ...params } });
    hub.sockets.at(-1).onmessage({ data: text.replaceAll('"BIG"', BIG) });
  };
  hub.message = (sequence, text, size) => {
    const batch = [`down:${text}`, OTHER, "other", sequence, 1, [[1, [size ? "BIG" : text], {}]]];
    if (size) hub.frame("buffers", { batch, memory: sequence, sizes: [size] });
    else hub.frame("messages", { batches: [batch] });
  };
  hub.piece = ({ memory, offset, size }, fill = memory) => {
    const bytes = new Uint8Array(16 + size).fill(fill, 16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(memory));
    view.setBigUint64(8, BigInt(offset));
    hub.sockets.at(-1).onmessage({ data: bytes.buffer });
  };
  hub.cut = (code = 1006) => hub.sockets.at(-1).onclose({ code, reason: "" });
  /** Waits for the next frame of a method. */
  hub.next = async (method) => {
    for (;;) {
      const at = hub.frames.findIndex((frame) => frame.method === method);
      if (at >= 0) return hub.frames.splice(at, 1)[0];
      await new Promise((resolve) => {
        hub.waiting = resolve;
      });
    }
  };
  return hub;
}

describe("frames", LIMIT, () => {
  let bus;
  let hub;
  const join = async () => {
    hub = fakeHub();
    bus = await link({ url: "http://hub.example/", name: "test", WebSocket: hub.Socket });
  };
  afterEach(() => bus.close({ timeout: 0 }));

  it("drops a frame that is refused twice, and sends the others", async (test) => {
    test.mock.method(console, "error", () => {});
    await join();
    bus.twitter("up:bad");
    const bad = await hub.next("messages");
    bus.twitter("up:good");
    await hub.next("messages");
    hub.received = bad.n - 1;
    hub.cut(1002);
    const [again] = [await hub.next("messages"), await hub.next("messages")];
    assert.equal(again.batches[0][0], "up:bad");
    hub.received = again.n - 1;
    hub.cut(1009);
    const [dropped, good] = [await hub.next("dropped"), await hub.next("messages")];
    assert.deepEqual([dropped.n, dropped.count, good.batches[0][0]], [again.n, 1, "up:good"]);
    hub.frame("interest", { add: [], remove: [] });
    assert.ok(await bus.flush({ timeout: 1_000 }));
    assert.equal(bus.stats().dropped, 1);
  });

  it("gives up a node that does not answer", async (test) => {
    await join();
    test.mock.timers.enable({ apis: ["setTimeout"] });
    const silent = fakeHub();
    silent.isSilent = true;
    const linking = link({ url: "http://hub.example/", WebSocket: silent.Socket });
    let ended = false;
    const rejected = assert.rejects(linking, { code: "NO_HUB" }).finally(() => {
      ended = true;
    });
    while (!ended) {
      await new Promise(setImmediate);
      test.mock.timers.tick(1_000);
    }
    await rejected;
    test.mock.timers.reset();
  });

  it("reports a message that can't be read, and delivers the next one", async () => {
    await join();
    const queue = bus.queue("down:*");
    const reported = new Promise((resolve) => {
      bus.addEventListener("error", (event) => resolve([event.preventDefault(), event.error.code, event.identifier]));
    });
    const deep = JSON.parse("[".repeat(700) + "]".repeat(700));
    hub.frame("messages", { batches: [["down:x", OTHER, "other", 1, 2, [[1, deep, {}], [1, ["next"], {}]]]] });
    assert.deepEqual((await reported).slice(1), ["PAYLOAD", "down:x"]);
    assert.deepEqual((await queue.get()).args, ["next"]);
  });

  it("pulls large buffers in growing pieces, while others pass", async () => {
    await join();
    const queue = bus.queue("down:*");
    hub.message(1, "large", 300_000);
    hub.message(2, "small");
    hub.frame("messages", { batches: [["down:other", "f".repeat(16), "another", 1, 1, [[1, ["at once"], {}]]]] });
    assert.deepEqual((await queue.get()).args, ["small"]);
    assert.deepEqual((await queue.get()).args, ["at once"]);
    let offset = 0;
    const sizes = [];
    while (offset < 300_000) {
      const pull = await hub.next("pull");
      assert.deepEqual([pull.memory, pull.offset], [1, offset]);
      offset += pull.size;
      sizes.push(pull.size);
      hub.piece(pull);
    }
    assert.ok(sizes[0] === 2_048 && Math.max(...sizes) > 16_384, sizes);
    const large = await queue.get();
    assert.ok(large.args[0].length === 300_000 && large.args[0].every((byte) => byte === 1));
    assert.deepEqual((await hub.next("release")).memory, [1]);
  });

  it("pulls again after a cut", async () => {
    await join();
    const queue = bus.queue("down:*");
    hub.message(1, "large", 4_000);
    await hub.next("pull");
    await hub.next("pull");
    hub.cut();
    for (const size of [2_048, 4_000 - 2_048]) {
      const pull = await hub.next("pull");
      assert.equal(pull.size, size);
      hub.piece(pull);
    }
    assert.equal((await queue.get()).args[0].length, 4_000);
  });

  it("delivers a message whose buffers are gone, also those of a former link", async () => {
    await join();
    const queue = bus.queue("down:*");
    hub.message(1, "gone", 70_000);
    await hub.next("pull");
    hub.sockets.at(-1).onmessage({ data: '{"jsonrpc":"2.0","method":"gone","params":{"memory":1,"reason":"no memory"}}' });
    assert.equal((await queue.get()).args[0].$type, "Opaque");
    await hub.next("pull");
    hub.message(2, "former", 70_000);
    hub.message(3, "queued", 70_000);
    await hub.next("pull");
    Object.assign(hub, { resumed: false, n: 0, received: 0 });
    hub.cut();
    for (const _ of [2, 3]) assert.equal((await queue.get()).args[0].$type, "Opaque");
    hub.message(4, "new", 70_000);
    for (let left = 70_000; left > 0; ) {
      const pull = await hub.next("pull");
      if (pull.memory !== 4) continue;
      left -= pull.size;
      hub.piece(pull);
    }
    assert.equal((await queue.get()).args[0].length, 70_000);
  });

  it("has at most 32 unanswered queries for the past", async () => {
    await join();
    const queues = Array.from({ length: 40 }, (_, n) => bus.queue(`down:n${n}`, { past: true }));
    await bus.flush({ timeout: 0 });
    const sent = () => hub.frames.filter(({ method }) => method === "replay").map(({ query }) => query);
    assert.equal(sent().length, 32);
    for (const query of sent()) hub.frame("past", { query, end: true });
    await new Promise(setImmediate);
    assert.equal(sent().length, 40);
    for (const queue of queues) queue.close();
  });

  it("answers a question once, and leaves out what has a bad callback", async () => {
    await join();
    const [asked, reports] = [[], []];
    bus.addEventListener("error", (event) => reports.push([event.preventDefault(), event.error.code][1]));
    bus.follow("down:*", ({ args }) => asked.push(...args));
    const batch = ["down:ask", OTHER, "other", 7, 1, [[1, ["asked"], {}]]];
    for (const question of [1, 2]) hub.frame("ask", { question, batch });
    const answers = [await hub.next("answer"), await hub.next("answer")].map(({ question, answers }) => [question, answers.length]);
    assert.deepEqual(answers.sort(), [[1, 1], [2, 0]]);
    hub.frame("messages", { batches: [["down:x", OTHER, "other", 8, 2, [[1, ["bad"], {}, "a:b:c"], [1, ["good"], {}]]]] });
    assert.deepEqual([asked, reports], [["asked", "good"], ["IDENTIFIER"]]);
  });

  it("cuts a link on which it gets an answer that it can't read, and goes on", async (test) => {
    test.mock.method(console, "error", () => {});
    await join();
    for (const answers of [5, [5], null]) {
      const linked = new Promise((resolve) => bus.addEventListener("state", () => bus.state === "linked" && resolve()));
      hub.frame("answer", { question: 99, answers });
      hub.n--;
      await linked;
    }
    const [queue] = [bus.queue("down:*"), hub.message(1, "next")];
    assert.deepEqual((await queue.get()).args, ["next"]);
  });
});

describe("jobs", LIMIT, () => {
  let bus;
  let hub;
  let queue;
  const GROUP = "job:*";
  const job = (number) => [number, ["job:run", OTHER, "other", number, 1, [[1, [number], {}]]]];
  const send = (...numbers) => hub.frame("jobs", { group: GROUP, jobs: numbers.map(job) });
  const state = (wanted) => new Promise((resolve) => bus.addEventListener("state", () => bus.state === wanted && resolve()));
  const numbers = () => queue.drain().map(({ args }) => args[0]);

  beforeEach(async () => {
    hub = fakeHub();
    bus = await link({ url: "http://hub.example/", name: "test", WebSocket: hub.Socket });
    queue = bus.queue(GROUP, { shared: true });
    await hub.next("join");
  });
  afterEach(() => bus.close({ timeout: 0 }));

  it("are prefetched as fast as they are taken, and returned when they are not", async (test) => {
    test.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    for (let n = 1; n <= 10; n++) {
      const taken = queue.get();
      assert.deepEqual((await hub.next("want")).ahead, 0);
      send(n);
      assert.deepEqual((await taken).args, [n]);
      assert.deepEqual((await hub.next("want")).taken, [[n, 1]]);
    }
    test.mock.timers.tick(20);
    assert.equal((await hub.next("want")).ahead, 18);
    send(11, 12, 13, 14);
    assert.deepEqual((await queue.get()).args, [11]);
    await bus.flush({ timeout: 0 });
    assert.deepEqual((await hub.next("want")).taken, [[11, 1]]);
    test.mock.timers.tick(20);
    await hub.next("want");
    test.mock.timers.tick(20);
    const { ahead, taken, returned } = await hub.next("want");
    assert.deepEqual([ahead, taken, returned, queue.drain()], [0, [], [[12, 3]], []]);
  });

  it("that came over a link which is cut are not taken until it is resumed", async () => {
    send(1, 2);
    hub.cut();
    assert.deepEqual([bus.state, numbers()], ["reconnecting", []]);
    await state("linked");
    assert.deepEqual(numbers(), [1, 2]);
  });

  it("are given back when the link has expired", async () => {
    send(1, 2);
    Object.assign(hub, { resumed: false, n: 0, received: 0 });
    hub.cut();
    assert.deepEqual((await hub.next("join")).had, [[OTHER, 1, 2]]);
    assert.deepEqual(numbers(), []);
  });

  it("are its own when the hub was killed", async () => {
    send(1, 2);
    Object.assign(hub, { id: "f".repeat(16), resumed: false, n: 0, received: 0 });
    hub.cut();
    assert.deepEqual((await hub.next("join")).had, [[OTHER, 1, 2]]);
    assert.deepEqual((await queue.get()).args, [1]);
    queue.close();
    assert.deepEqual((await hub.next("put")).batch.at(-1)[0][1], [2]);
    assert.deepEqual((await hub.next("leave")).taken, []);
  });

  it("of a former membership are not taken", async () => {
    queue.close();
    const { n } = await hub.next("leave");
    queue = bus.queue(GROUP, { shared: true });
    const polled = queue.get({ timeout: 0 });
    hub.frame("jobs", { ack: n - 1, group: GROUP, jobs: [job(1)] });
    assert.deepEqual(numbers(), []);
    hub.frame("interest", {}); // acknowledges
    await hub.next("join");
    const { question } = await hub.next("want");
    send(2);
    hub.frame("group", { group: GROUP, question, state: [0, 1, 2, 0, 1, 0, []] });
    assert.deepEqual((await polled).args, [2]);
  });

  it("that can't be read count as taken", async (test) => {
    test.mock.method(console, "error", () => {});
    const deep = JSON.parse("[".repeat(700) + "]".repeat(700));
    hub.frame("jobs", { group: GROUP, jobs: [[1, ["job:run", OTHER, "other", 1, 2, [[1, [deep], {}], [1, ["next"], {}]]]]] });
    assert.deepEqual(numbers(), ["next"]);
    queue.close();
    assert.deepEqual((await hub.next("leave")).taken, [[1, 2]]);
  });
});
