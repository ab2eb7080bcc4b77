// Compiled by `make check`: uses of the client as they should type-check, and some that should not.
import { BerryMQError, type Link, link, type Message, NDArray, Table, Tagged } from "../berrymq.js";

export async function uses(signal: AbortSignal): Promise<void> {
  const bus: Link = await link({ url: "http://127.0.0.1:8137", token: "t", name: "types", room: "r", ttl: 1_000, signal });
  bus.twitter("train:epoch", [3], { loss: 0.12 });
  bus.talk("calc:add", "calc:sum", [1, 2]);
  const follower = bus.follow("train:*", (message: Message) => message.args[0], { past: 10 });
  follower.cancel();
  for await (const { identifier, sentAt } of bus.follow("train:*", { signal })) console.log(identifier, sentAt.getTime());
  const sums: number[] = await bus.ask("calc:add", [1, 2], {}, { timeout: 1_000, signal });
  bus.follow("calc:add", ({ args }) => args.reduce((sum, number) => sum + number));
  bus.follow("calc:add", ({ args: [x, y] }: Message<[number, number]>) => x + y);
  using jobs = bus.queue("job:*", { shared: true, maxsize: 100, signal });
  const job = await jobs.get({ timeout: 100 });
  const { identifier } = await bus.queue("train:*", { maxsize: 10, past: true }).get({ signal });
  const texts: string[] = await bus.ask<string>(identifier);
  console.log(sums, texts, job?.kwargs.path, bus.unfollow("train:*"));
  await bus.keep("train:*", { last: 10 });
  const values: any = [await bus.take("prices"), (await bus.past("train:*"))[0], await bus.latest("train:epoch")];
  if (values[0] instanceof NDArray) console.log(values[0].shape.length, values[0].data.length);
  if (values[0] instanceof Table) console.log(Object.keys(values[0].columns));
  bus.share("pair", [new NDArray(new Float64Array(4), [2, 2]), new Tagged("Decimal", "1.5")]).cancel();
  bus.addEventListener("error", (event) => console.log(event.error, event.identifier));
  bus.addEventListener("state", () => console.log(bus.state === "linked"));
  try {
    await bus.close({ timeout: 100 });
  } catch (error) {
    if (error instanceof BerryMQError && error.code === "TIMEOUT") console.log(error.unanswered);
  }
  await using another = await link();
  // @ts-expect-error: there may be none in time
  console.log((await jobs.get({ timeout: 100 })).args, another.id);
  // @ts-expect-error: shared queues have no past
  bus.queue("job:*", { shared: true, past: true });
  // @ts-expect-error: arguments are an array
  bus.twitter("train:epoch", 3);
  // @ts-expect-error: no such state
  console.log(bus.state === "open");
}
