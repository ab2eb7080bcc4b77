// Run by tests/clients/test_javascript.py, which starts a hub and a Python program (tests/clients/peer.py) on it.
import assert from "node:assert/strict";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createServer, connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { BerryMQError, link, NDArray, parse, stringify, Table, Tagged } from "berrymq";

const LIMIT = { timeout: 20_000 };
const directory = process.env.BERRYMQ_RUNTIME_DIR;
const hub = () => JSON.parse(readFileSync(join(directory, "hub.json"), "utf8"));
const rejects = (promise, code) => assert.rejects(promise, (error) => error instanceof BerryMQError && error.code === code);
const throws = (call, code) => assert.throws(call, (error) => error instanceof BerryMQError && error.code === code);
const event = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));

/** Waits until each of two links knows what the other follows. */
async function settle(...links) {
  for (const [index, one] of links.entries()) {
    const done = links[(index + 1) % links.length].queue(`settled:n${index}`);
    do one.twitter(`settled:n${index}`);
    while (!(await done.get({ timeout: 20 })));
    done.close();
  }
}

describe("a link", LIMIT, () => {
  let bus;
  let other;
  before(async () => {
    bus = await link({ name: "bus" });
    other = await link({ url: hub().url, token: hub().access_token, name: "other" });
  });
  beforeEach(() => settle(bus, other));
  after(() => Promise.all([bus.close(), other.close()]));

  it("delivers here and elsewhere, in order", async () => {
    const here = bus.queue("some:*");
    const there = other.queue("some:*");
    await settle(bus, other);
    for (let n = 0; n < 3_000; n++) bus.twitter(`some:${n % 3}`, [n], { twice: 2 * n });
    for (const queue of [here, there])
      for (let n = 0; n < 3_000; n++) {
        const message = await queue.get();
        assert.deepEqual([message.args, message.kwargs, message.action], [[n], { twice: 2 * n }, String(n % 3)]);
      }
    assert.equal((await there.get({ timeout: 5 })), null);
    here.close();
    there.close();
  });

  it("keeps frames small, whatever is in them", async () => {
    const queue = other.queue("frame:*");
    await settle(bus, other);
    for (let n = 0; n < 6_000; n++) bus.twitter(`frame:${"ü".repeat(50 * (n % 2))}x`, [n, "☃".repeat(50)]);
    for (let n = 0; n < 6_000; n++) assert.equal((await queue.get()).args[0], n);
    assert.equal(bus.stats().dropped, 0);
    queue.close();
  });

  it("tells the source and the time", async () => {
    const queue = other.queue("about:*");
    await settle(bus, other);
    bus.twitter("about:me");
    const message = await queue.get();
    assert.match(message.source, /^bus/);
    assert.ok(Math.abs(message.sentAt - Date.now()) < 10_000);
    assert.equal(message.past, false);
    queue.close();
  });

  it("matches wildcards on either side, and namespaces exactly", async () => {
    const got = [];
    const jobs = bus.queue("job:*", { shared: true }); // of the README: it gets the message to *:b
    const followers = ["a:*", "*:b", "a:b", "a@n:*", "a@n:b", "*:*"].map((one) => bus.follow(one, () => void got.push(one)));
    bus.twitter("a:b");
    assert.deepEqual(got.splice(0), ["a:*", "*:b", "a:b", "*:*"]);
    bus.twitter("*:b");
    assert.deepEqual(got.splice(0), ["a:*", "*:b", "a:b", "*:*"]);
    bus.twitter("a@n:b");
    assert.deepEqual(got.splice(0), ["a@n:*", "a@n:b"]);
    for (const one of followers) one.cancel();
    bus.twitter("a:b");
    assert.deepEqual(got, []);
    assert.equal((await jobs.get()).identifier, "*:b");
    jobs.close();
  });

  it("keeps local names to itself", async () => {
    const [here, there] = [bus.queue("_own:*"), other.queue("_own:*")];
    await settle(bus, other);
    bus.twitter("_own:x", [1]);
    assert.deepEqual((await here.get()).args, [1]);
    assert.equal(await there.get({ timeout: 20 }), null);
    here.close();
    there.close();
  });

  for (const bad of ["", "a:b:c", "a@*:b", "a@b@c:d", "a:b@c", " a:b", "a:", "x".repeat(256), "a\n:b", "a*:b", 5])
    it(`refuses the identifier ${JSON.stringify(bad).slice(0, 20)}`, () => {
      throws(() => bus.twitter(bad), "IDENTIFIER");
      throws(() => bus.follow(bad, () => {}), "IDENTIFIER");
    });

  it("cancels followers: by handle, identifier, handler and signal", () => {
    const got = [];
    const [one, two] = [() => void got.push(1), () => void got.push(2)];
    const controller = new AbortController();
    bus.follow("gone:*", one);
    bus.follow("gone:*", two);
    bus.follow("gone:*", () => got.push(3), { signal: controller.signal });
    controller.abort();
    assert.equal(bus.unfollow("gone:*", one), 1);
    bus.twitter("gone:x");
    assert.deepEqual(got, [2]);
    assert.equal(bus.unfollow("gone:*"), 1);
    bus.twitter("gone:x");
    assert.deepEqual(got, [2]);
  });

  it("reports a failing handler, and calls the others", async () => {
    const got = [];
    const reports = [];
    const report = (event) => {
      event.preventDefault();
      reports.push(event.error.message);
    };
    bus.addEventListener("error", report);
    const followers = [
      bus.follow("bad:*", () => {
        throw new Error("at once");
      }),
      bus.follow("bad:*", async () => {
        throw new Error("later");
      }),
      bus.follow("bad:*", () => void got.push(1)),
    ];
    bus.twitter("bad:x");
    await new Promise(setImmediate);
    assert.deepEqual([got, reports], [[1], ["at once", "later"]]);
    bus.removeEventListener("error", report);
    for (const one of followers) one.cancel();
  });

  it("asks: values, promises, errors and silence", async () => {
    const followers = [
      other.follow("calc:add", ({ args }) => args[0] + args[1]),
      bus.follow("calc:add", async ({ args }) => 10 * (args[0] + args[1])),
      other.follow("calc:fail", () => {
        throw new RangeError("too far");
      }),
      other.follow("calc:hang", () => new Promise(() => {})),
      other.queue("calc:*"), // does not answer
    ];
    await settle(bus, other);
    assert.deepEqual((await bus.ask("calc:add", [1, 2])).sort(), [3, 30]);
    assert.deepEqual(await bus.ask("calc:unknown"), []);
    await assert.rejects(bus.ask("calc:fail"), { code: "ANSWER", message: "RangeError: too far" });
    await assert.rejects(bus.ask("calc:hang", [], {}, { timeout: 50 }), { code: "TIMEOUT", unanswered: ["other"] });
    followers.push(bus.follow("calc:some", () => new Promise(() => {})), other.follow("calc:some", () => 1));
    await settle(bus, other);
    await assert.rejects(bus.ask("calc:some", [], {}, { timeout: 50 }), { code: "TIMEOUT", unanswered: ["bus"], answers: [1] });
    await assert.rejects(bus.ask("calc:hang", [], {}, { signal: AbortSignal.timeout(20) }), { name: "TimeoutError" });
    for (const one of followers) one.cancel();
  });

  it("talks: what followers return is sent on", async () => {
    const sums = bus.queue("calc:sum");
    const one = other.follow("calc:plus", async ({ args }) => args[0] + args[1]);
    const own = bus.follow("calc:plus", ({ args }) => -args[0]);
    await settle(bus, other);
    bus.talk("calc:plus", "calc:sum", [1, 2]);
    assert.deepEqual(new Set([(await sums.get()).args[0], (await sums.get()).args[0]]), new Set([3, -1]));
    const failed = other.follow("calc:never", () => {
      throw new RangeError("never");
    });
    other.addEventListener("error", (event) => event.preventDefault(), { once: true });
    await settle(bus, other);
    bus.talk("calc:never", "calc:sum");
    const { args, kwargs } = await sums.get();
    assert.deepEqual([args, kwargs.error.message], [[null], "never"]);
    bus.addEventListener("error", (event) => event.preventDefault(), { once: true });
    bus.follow("calc:odd", () => Promise.reject("no error"));
    bus.talk("calc:odd", "calc:sum");
    assert.equal((await sums.get()).kwargs.error.message, "no error");
    bus.unfollow("calc:odd");
    for (const follower of [one, own, sums, failed]) follower.cancel();
  });

  it("has queues: get, timeout, signal, iteration, bounds, close", async () => {
    const queue = bus.queue("item:*", { maxsize: 3 });
    assert.equal(await queue.get({ timeout: 0 }), null);
    assert.equal(await queue.get({ timeout: 5 }), null);
    await assert.rejects(queue.get({ signal: AbortSignal.timeout(5) }), { name: "TimeoutError" });
    for (let n = 0; n < 5; n++) bus.twitter("item:x", [n]);
    assert.deepEqual([queue.size, queue.dropped], [3, 2]);
    const got = [];
    for await (const { args } of queue) {
      got.push(args[0]);
      if (got.length === 2) break;
    }
    assert.deepEqual(got, [2, 3]);
    assert.deepEqual(queue.drain().map(({ args }) => args[0]), [4]);
    const waiting = queue.get();
    queue.close();
    await rejects(waiting, "CLOSED");
    await rejects(queue.get(), "CLOSED");
    for await (const _ of queue) assert.fail("it is closed");
  });

  it("iterates over what it follows, until a break", async () => {
    const messages = bus.follow("loop:*");
    bus.twitter("loop:x", [1]);
    for await (const { args } of messages) {
      assert.deepEqual(args, [1]);
      break;
    }
    assert.equal(messages.isActive, false);
  });

  it("shares jobs: each goes to one queue", async () => {
    const name = `job${process.pid}`; // the hub still has the groups of other runs
    const [one, two] = [bus, other].map((each) => each.queue(`${name}:*`, { shared: true }));
    for (let n = 0; n < 20; n++) bus.twitter(`${name}:x`, [n]);
    const first = (await one.get({ timeout: 0 })) ?? (await one.get());
    const got = [...first.args];
    const work = async (queue) => {
      for await (const { args } of queue) if (got.push(args[0]) === 20) return;
    };
    await Promise.race([work(one), work(two)]);
    assert.equal(new Set(got).size, 20);
    assert.equal(await two.get({ timeout: 0 }), null);
    throws(() => bus.queue(`${name}:*`, { shared: true }), "UNSUPPORTED");
    one.close();
    two.close();
  });

  it("keeps history: past, latest, and followers that begin with it", async () => {
    await bus.keep("train:*", { last: 5 });
    for (let n = 0; n < 7; n++) bus.twitter("train:epoch", [n]);
    await bus.flush();
    assert.deepEqual((await other.past("train:*")).map(({ args, past }) => [...args, past]), [2, 3, 4, 5, 6].map((n) => [n, true]));
    assert.deepEqual((await other.past("train:*", { last: 2 })).map(({ args }) => args[0]), [5, 6]);
    assert.deepEqual((await other.latest("train:epoch")).args, [6]);
    assert.equal(await other.latest("train:unknown"), null);
    const queues = [other.queue("train:*", { past: true }), bus.follow("train:*", { past: 2 })];
    for (let n = 7; n < 20; n++) bus.twitter("train:epoch", [n]);
    for (const [queue, first] of [[queues[0], 2], [queues[1], 5]])
      for (let n = first; n < 20; n++) assert.deepEqual((await queue.get()).args, [n]);
    for (const queue of queues) {
      assert.equal(await queue.get({ timeout: 20 }), null);
      queue.close();
    }
    await bus.keep("train:*", { last: 0 });
    assert.deepEqual(await other.past("train:*"), []);
  });

  it("shares values and takes them", async () => {
    const share = bus.share("prices", new Float64Array([1, 2, 3]));
    await settle(bus, other);
    const prices = await other.take("prices");
    assert.ok(prices instanceof NDArray);
    assert.deepEqual([prices.data, prices.shape, prices.dtype], [new Float64Array([1, 2, 3]), [3], "<f8"]);
    share.cancel();
    await settle(bus, other);
    await rejects(other.take("prices"), "NOT_SHARED");
  });

  it("refuses what can't cross, and loses no other message", async () => {
    const queue = other.queue("deep:*");
    await settle(bus, other);
    const cycle = [];
    cycle.push(cycle);
    throws(() => bus.twitter("deep:x", [cycle]), "PAYLOAD");
    assert.throws(() => bus.twitter("deep:x", 5), TypeError);
    throws(() => bus.twitter("deep:x", ["x".repeat(16 << 20)]), "PAYLOAD");
    assert.throws(() => bus.twitter("deep:x", [new Float64Array(2 << 20)]), /and this one has 21\.3 MiB/);
    bus.twitter("deep:x", [Symbol("own"), undefined, "half \ud83d", new Date(NaN)]);
    assert.deepEqual((await queue.get()).args, [new Tagged("Opaque", ["symbol", "Symbol(own)"]), null, "half \ufffd", null]);
    queue.close();
  });
});

describe("with Python", LIMIT, () => {
  let bus;
  before(async () => {
    bus = await link();
  });
  after(() => bus.close());

  const VALUES = {
    "numbers of JSON": [0, -1, 1.5, 1e300, -0, Number.MAX_SAFE_INTEGER],
    "numbers beyond": [NaN, Infinity, -Infinity],
    "large integers": [2n ** 63n, -(2n ** 64n), 9007199254740993n],
    "texts": ["", "ü☃😀\u0000", '"12345678901234567890"', "\\\"1234567890123456789,"],
    "nothing, truth and lists": [null, true, false, [], [[1, [2]]]],
    "objects": [{ a: { b: 1 } }, {}, JSON.parse('{"__proto__": 1}')],
    "objects with a $type": [{ $type: "bytes", value: "x" }, { $type: 1 }],
    "sets and maps": [new Set([1, "a"]), new Map([[1, 2], ["a", new Map([[null, 1]])]])],
    "dates": [new Date(1_700_000_000_123)],
    "bytes": [new Uint8Array([0, 255, 3]), new Uint8Array()],
    "arrays": [
      new NDArray(new Float64Array([1, 2, 3, 4, 5, 6]), [2, 3]),
      new NDArray(new BigInt64Array([1n, -(2n ** 63n)])),
      new NDArray(new Uint8Array([1, 2])),
      new NDArray(new Int16Array([1, 2, 3, 4]), [2, 2], "<i2", "F"),
      new NDArray(new Float32Array(0), [0, 3]),
    ],
    "types of Python": [new Tagged("Decimal", "1.10"), new Tagged("complex", [1, 2]), new Tagged("timedelta", [1, 2, 3])],
  };
  for (const [what, values] of Object.entries(VALUES))
    it(`sends and receives ${what}`, async () => {
      const [[args]] = await bus.ask("peer:echo", values);
      assert.deepEqual(args, values);
    });

  it("sends and receives a large buffer", async () => {
    const bytes = new Uint8Array(200_000).map((_, i) => i);
    const [[[given]]] = await bus.ask("peer:echo", [bytes]);
    assert.ok(given instanceof Uint8Array && Buffer.compare(given, bytes) === 0, String(given).slice(0, 100));
  });

  it("reads arrays of other types", async () => {
    const [arrays] = await bus.ask("peer:arrays");
    assert.deepEqual(arrays.map(({ data }) => Array.from(data)), [
      [1, -0.5, Infinity], [1, 2], [1, 0], ["ab", "ü☃"], [1, 2, 3, 4], [1_000n], [1, 97, 2, 98],
    ]);
    assert.deepEqual(arrays[1].shape, [2, 1]);
    assert.equal(arrays[4].dtype, "<c8");
  });

  it("takes a table as columns, also into Arrow", async () => {
    const table = await bus.take("peer-table");
    assert.ok(table instanceof Table);
    assert.deepEqual({ ...table.columns }, {
      n: new BigInt64Array([1n, 2n, 3n]),
      text: ["x", null, "ü"],
      at: [new Date("2026-01-01T00:00:00Z"), null, new Date("2026-01-03T00:00:00Z")],
      kind: ["u", "v", "u"],
      flag: [true, false, true],
      maybe: [1n, null, 3n],
    });
    const arrow = table.toArrow(await import("apache-arrow"));
    assert.deepEqual([arrow.numRows, arrow.get(2).text], [3, "ü"]);
  });

  it("finds large integers beside much text", () => {
    const [text, backslashes] = ["x".repeat(5 << 20), '\\"1234567890123456789,'.repeat(1 << 18)];
    assert.deepEqual(parse(stringify([text, 12345678901234567890n, backslashes])), [text, 12345678901234567890n, backslashes]);
  });

  it("shows what followers there raise", async () => {
    await assert.rejects(bus.ask("peer:fail"), (error) => {
      assert.deepEqual([error.code, error.message, error.cause.name], ["ANSWER", "ValueError: no good", "ValueError"]);
      return error.cause.notes.some((note) => note.includes("peer.py"));
    });
  });

  it("answers Python, with errors too", async () => {
    const followers = [
      bus.follow("js:double", async ({ args }) => 2 * args[0]),
      bus.follow("js:fail", () => {
        throw new TypeError("not here");
      }),
    ];
    await bus.flush();
    const ask = async (identifier, ...args) => {
      for (;;) {
        const [answer] = await bus.ask("peer:ask", [identifier, ...args]);
        if (answer.length) return answer;
      }
    };
    assert.deepEqual(await ask("js:double", 21), [42]);
    assert.match((await ask("js:fail"))[0], /not here/);
    for (const one of followers) one.cancel();
  });

  it("links to a node that is no hub", async () => {
    const [[url, token]] = await bus.ask("peer:address");
    const direct = await link({ url, token, name: "direct" });
    assert.deepEqual(await direct.ask("peer:echo", [1]), [[[1], {}]]);
    const queue = direct.queue("js:direct");
    await direct.flush();
    while (!(await queue.get({ timeout: 20 }))) direct.talk("peer:echo", "js:direct", [1]);
    throws(() => direct.queue("job:*", { shared: true }), "UNSUPPORTED");
    assert.ok(await direct.close());
  });

  it("takes a value of 8 MB", async () => {
    const { data } = await bus.take("peer-large");
    assert.deepEqual([data.length, data[999_999]], [1_000_000, 999_999]);
  });
});

describe("connecting", LIMIT, () => {
  const elsewhere = (make) => {
    const path = mkdtempSync(join(tmpdir(), "js-"));
    make?.(path);
    return path;
  };
  const linkIn = async (path) => {
    process.env.BERRYMQ_RUNTIME_DIR = path;
    try {
      return await link();
    } finally {
      process.env.BERRYMQ_RUNTIME_DIR = directory;
    }
  };
  const copy = (path) => cpSync(join(directory, "hub.json"), join(path, "hub.json"));

  it("says when there is no hub", async () => {
    await rejects(linkIn(elsewhere()), "NO_HUB");
    await rejects(link({ url: "http://127.0.0.1:9", token: "x" }), "NO_HUB");
    await rejects(link({ url: "no address", token: "x" }), "NO_HUB");
  });

  it("finds a hub that the environment names", async () => {
    Object.assign(process.env, { BERRYMQ_HUB_URL: hub().url, BERRYMQ_HUB_TOKEN: hub().access_token });
    const bus = await linkIn(elsewhere());
    delete process.env.BERRYMQ_HUB_URL;
    assert.equal(bus.state, "linked");
    await bus.close();
  });

  it("takes the WebSocket class that it is given", async (test) => {
    if (!globalThis.WebSocket) return test.diagnostic("this Node has none");
    const bus = await link({ WebSocket: globalThis.WebSocket });
    assert.deepEqual(await bus.ask("peer:echo", [1]), [[[1], {}]]);
    assert.ok(await bus.close());
  });

  it("refuses a connection file that others can read or replace", async () => {
    const open = elsewhere(copy);
    chmodSync(join(open, "hub.json"), 0o644);
    await rejects(linkIn(open), "PERMISSIONS");
    const shared = elsewhere(copy);
    chmodSync(shared, 0o777);
    await rejects(linkIn(shared), "PERMISSIONS");
    await rejects(linkIn(elsewhere((path) => symlinkSync(join(directory, "hub.json"), join(path, "hub.json")))), "PERMISSIONS");
    await rejects(linkIn(elsewhere((path) => mkdirSync(join(path, "hub.json"), 0o700))), "PERMISSIONS");
    const place = join(elsewhere(), "link");
    symlinkSync(directory, place);
    await rejects(linkIn(place), "PERMISSIONS");
  });

  it("refuses a hub that does not know the token, and sends it nothing", async () => {
    await rejects(link({ url: hub().url, token: "wrong" }), "REFUSED");
  });

  it("refuses one that proves itself by relaying to another port", async () => {
    const proxy = await relay();
    await rejects(link({ url: proxy.url, token: hub().access_token }), "REFUSED");
    proxy.close();
  });

  it("can be aborted", async () => {
    await assert.rejects(link({ signal: AbortSignal.abort(new Error("no")) }), { message: "no" });
    const controller = new AbortController();
    const bus = await link({ signal: controller.signal });
    controller.abort();
    assert.equal(bus.state, "closed");
    throws(() => bus.twitter("a:b"), "CLOSED");
    await rejects(bus.ask("a:b"), "CLOSED");
  });

  it("keeps rooms apart", async () => {
    const [one, two] = await Promise.all([link({ room: "one" }), link()]);
    const queue = two.queue("room:*");
    await two.flush();
    one.twitter("room:x");
    await one.flush();
    assert.equal(await queue.get({ timeout: 100 }), null);
    assert.ok(await one.close());
    assert.ok(await two.close());
  });

  it("bounds what waits during a cut, counts the rest, and resumes", async () => {
    const sockets = [];
    const collect = ({ socket }) => sockets.push(socket);
    subscribe("net.client.socket", collect);
    const bus = await link({ maxMessages: 10 });
    unsubscribe("net.client.socket", collect);
    const other = await link();
    const queue = other.queue("cut:*");
    await settle(bus, other);
    const drop = event(bus, "drop");
    for (const socket of sockets) socket.destroy();
    await event(bus, "state");
    assert.equal(bus.state, "reconnecting");
    for (let n = 0; n < 15; n++) bus.twitter("cut:x", [n]);
    assert.equal((await drop).count, 5);
    for (let n = 5; n < 15; n++) assert.deepEqual((await queue.get()).args, [n]);
    assert.equal(bus.state, "linked");
    assert.deepEqual([bus.stats().dropped, bus.stats().connections], [5, 2]);
    await Promise.all([bus.close(), other.close()]);
  });
});

/** A port that leads to the hub. */
async function relay() {
  const { port } = new URL(hub().url);
  const server = createServer((one) => {
    const two = dial(port, "127.0.0.1");
    one.pipe(two).pipe(one);
    for (const socket of [one, two]) socket.on("error", () => {});
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
