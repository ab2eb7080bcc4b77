// The driver of the JavaScript client; README.md describes the protocol.
import { createInterface } from "node:readline";
import { BerryMQError, link, NDArray, parse, stringify, Table } from "../../../clients/javascript/berrymq.js";

const put = (event) => process.stdout.write(`${stringify(event)}\n`);
const plain = ({ identifier, args, kwargs, source, past }) => ({ identifier, args, kwargs, source, past });
const described = (message) => message && plain(message);
const deliver = (message) => {
  put({ message: plain(message) });
  return null;
};
const ANSWERS = {
  sum: ({ args }) => args.reduce((sum, item) => sum + item, 0),
  echo: ({ args }) => args,
  fail() {
    throw new RangeError("the follower was told to fail");
  },
};

let bus;
const queues = [];
const ms = (seconds) => (seconds === undefined || seconds === null ? undefined : 1_000 * seconds);

const COMMANDS = {
  async link({ url, token, name, room, ttl }) {
    bus = await link({ url: url ?? undefined, token, name, room, ttl: ms(ttl) });
    const report = () => put({ state: bus.state });
    bus.addEventListener("state", report);
    report();
    return { id: bus.id };
  },
  follow: ({ identifier, past }) => void bus.follow(identifier, deliver, { past }),
  unfollow: ({ identifier }) => bus.unfollow(identifier),
  twitter({ identifier, args = [], kwargs = {}, count }) {
    if (count === undefined) bus.twitter(identifier, args, kwargs);
    else for (let n = 0; n < count; n++) bus.twitter(identifier, [n, ...args], kwargs);
  },
  answer: ({ identifier, with: how }) => void bus.follow(identifier, ANSWERS[how]),
  ask: ({ identifier, args, kwargs, timeout }) => bus.ask(identifier, args, kwargs, { timeout: ms(timeout) }),
  talk: ({ identifier, callback, args }) => bus.talk(identifier, callback, args),
  queue: ({ identifier, shared, past }) => queues.push(bus.queue(identifier, { shared, past })),
  get: async ({ queue, timeout = 0 }) => described(await queues[queue - 1].get({ timeout: ms(timeout) })),
  close_queue: ({ queue }) => queues[queue - 1].close(),
  keep: ({ identifier, last }) => bus.keep(identifier, { last }),
  latest: async ({ identifier }) => described(await bus.latest(identifier)),
  past: async ({ identifier, last }) => (await bus.past(identifier, { last })).map(plain),
  async take({ name }) {
    const value = await bus.take(name);
    if (value instanceof Table) return { columns: Object.fromEntries(Object.entries(value.columns).map(([key, column]) => [key, [...column]])) };
    if (value instanceof NDArray) return { dtype: value.dtype, shape: value.shape, values: [...value.data] };
    return value;
  },
  flush: ({ timeout }) => bus.flush({ timeout: ms(timeout) }),
  stats: () => bus.stats(),
  async close() {
    queues.length = 0;
    await bus?.close();
    bus = undefined;
  },
};

async function run({ do: name, n, ...parameters }) {
  try {
    if (!COMMANDS[name]) throw new BerryMQError("UNSUPPORTED", `no command ${name}`);
    if (!bus && name !== "link" && name !== "close") throw new BerryMQError("CLOSED", "there is no link");
    put({ n, ok: await COMMANDS[name](parameters) });
  } catch (error) {
    put({ n, error: { kind: (error.code ?? "protocol").toLowerCase(), message: error.message } });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = parse(line);
  const done = run(command);
  if (!["get", "ask"].includes(command.do)) await done; // these may wait for what a later one does
}
await COMMANDS.close();
