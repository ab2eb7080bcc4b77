// What this page knows of a MessageLog: where everything stands, the counts, and some of the rows. The kernel keeps
// them all; the page holds those near what is looked at, so its memory stays bounded whatever comes.

import { connect } from "./channel.ts";
import { nameOf } from "./format.ts";
import { type Look, createMemory, pageName } from "./page_memory.ts";
import { createPalette } from "./palette.ts";
import type { Count } from "./tree_lines.ts";
import type { DetailEvents } from "./detail.ts";
import { type CommonEvents, createListeners } from "./view.ts";
import type { ChartBody, CopiedBody, LogState, Model, Problem, Remark, Request, Row, Shown } from "./wire.ts";

const MOST_ROWS = 6000;
const KEPT_AROUND = 1500;
const ASKED_AT_ONCE = 300;
const LATE_MS = 1000;
const MOST_NOTED = 200;

/** A row as it comes: place, number, time in ms, identifier, source or null, payload, steps of its numbers, whether it is an alert, whether a hub had retained it, latency in ms or null. */
export const PLACE = 0, NUMBER = 1, TIME = 2, ID = 3, SOURCE = 4, PAYLOAD = 5, STEPS = 6, ALERT = 7, PAST = 8, DELAY = 9;

interface Events extends CommonEvents<LogState>, DetailEvents {
  chart: ChartBody;
  done: Remark;
  filtered: { edit: number };
  exported: Remark;
  tsv: CopiedBody;
  alerted: undefined;
  pins: undefined;
  /** What another page looked like, for one that is new. */
  look: Look;
}

type Tail = Row extends [number, ...infer Rest] ? Rest : never;

export type LogStore = ReturnType<typeof createStore>;

/**
 * @returns the store: `state`, `counts` by identifier, `row(place)`, `want(from, to)`,
 *   `request(body)` and `on(name, listener)` for "update" and for whatever else the kernel answers.
 */
export function createStore(model: Model) {
  const rows = new Map<number, Row>();
  const counts = new Map<string, Count>();
  const sources = new Map<string, Count>();
  const { on, emit } = createListeners<Events>();
  const page = pageName();
  const memory = createMemory(String(model.get("static_class")), (look) => channel.post({ t: "remember", look }));
  const noted = { sources: new Set<string>(), fields: new Set<string>() };
  const store = {
    state: null as LogState | null,
    counts,
    /** The counts by source, which is "here" for this kernel, as in a query. */
    sources,
    /** Counts the changes of the sets of identifiers and sources: the tree is rebuilt when this changes. */
    countsVersion: 0,
    /** The mark of an identifier's name. */
    markOf: createPalette(),
    /** The pinned messages by number. */
    pins: new Map<number, Row>(),
    /** What this page remembers over a reload. */
    memory,
    /** What completes the words of a query. */
    known: () => ({ identifiers: counts.keys(), ...noted }),
    row: (place: number) => rows.get(place),
    want,
    request: (body: Request) => channel.post(body),
    /** Have the chart shown by a view that is new. */
    showChart: () => chart && showChart(chart),
    /** Whether rows that were asked for have been waited for remarkably long. */
    isLate: () => asked !== null && performance.now() - askedAt > LATE_MS,
    on,
    close() {
      memory.close();
      channel.close();
    },
  };
  let asked: [number, number] | null = null;
  let askedAt = 0;
  let chart: ChartBody | null = null;
  /** Whether the kernel was sent the selection of this page, and has not applied it yet. */
  let restoring = ownSelection() !== null;

  /** Whether it has got a snapshot. */
  let opened = false;

  /** What this page shows for itself. */
  function ownSelection() {
    const { query, generation, pausedAt } = memory.look;
    return query === undefined || generation === undefined ? null : { query, generation, pausedAt: pausedAt ?? null };
  }

  function received(body: LogState) {
    const shown: Shown | undefined = body.pages[page];
    const own = ownSelection();
    if (shown) {
      restoring = false;
      memory.set({ query: shown.query, pausedAt: shown.pausedAt, generation: body.generation });
    } else if (own && own.generation !== body.generation) {
      restoring = false;
      memory.set({ query: undefined, pausedAt: undefined, generation: undefined });
    } else if (own) {
      // The kernel has forgotten it, as after a long silence. While it is busy, its snapshots are better than nothing.
      const isNew = !restoring;
      restoring = true;
      if (isNew) channel.hello();
      if (!body.full) return;
    }
    update({ ...body, ...shown });
    if (!opened && body.full && body.look && memory.isNew) adopt(body.look);
    opened ||= body.full;
  }

  /** Look like the page that was changed last, in another browser. */
  function adopt(look: Look) {
    const { query, pausedAt: _, generation: __, ...rest } = look;
    memory.set(rest);
    if (query) channel.post({ t: "filter", query });
    emit("look", rest);
  }

  function update(body: LogState) {
    if (store.state?.epoch !== body.epoch) {
      rows.clear();
      asked = null;
    }
    const before = store.state?.pausedAt;
    if (body.full) {
      if (store.state?.alert?.query !== body.alert?.query) rows.clear(); // they come again, marked as they are now
      counts.clear();
      sources.clear();
      store.countsVersion += 1;
      asked = null;
    }
    for (const [id, ...count] of body.counts) {
      if (!counts.has(id)) store.countsVersion += 1;
      store.markOf(nameOf(id)); // in the order in which they appeared
      counts.set(id, count);
    }
    for (const [name, total, perSecond] of body.sources) {
      const source = name || "here";
      if (!sources.has(source)) store.countsVersion += 1;
      sources.set(source, [total, perSecond, total, -1, ""]);
    }
    if (store.state?.epoch === body.epoch) moveOlder(store.state, body);
    store.state = body;
    if (body.pins) {
      store.pins = new Map(body.pins.map((row) => [row[NUMBER], row]));
      emit("pins", undefined);
    }
    keep(body.rows);
    emit("update", body);
    if (chart && before !== body.pausedAt) showChart(chart);
  }

  /** A pause holds the chart, too: the kernel goes on with it for other pages. */
  function showChart(body: ChartBody) {
    chart = body;
    const end = store.state?.pausedAt ?? null;
    if (end === null) {
      emit("chart", body);
      return;
    }
    const lines = body.lines.map((line) => {
      const until = line.numbers.findIndex((number) => number >= end);
      if (until < 0) return line;
      const cut = <T>(column: T[]) => column.slice(0, until);
      return { ...line, count: until, numbers: cut(line.numbers), times: cut(line.times), values: cut(line.values), x: line.x && cut(line.x) };
    });
    emit("chart", { ...body, lines });
  }

  /** Older rows move up when rows beside them go; those that became older ones have places that are not known. */
  function moveOlder(before: LogState, now: LogState) {
    const shift = now.range[0] - before.range[0];
    const tail = before.range[0] + before.older[0];
    const newTail = now.range[0] + now.older[0];
    if (tail === newTail && shift === 0 && before.older[1] === now.older[1]) return;
    const moved: Row[] = [];
    for (const [place, row] of rows) {
      if (place >= newTail) continue;
      rows.delete(place);
      if (place < tail && before.older[1] === now.older[1]) moved.push([place + shift, ...(row.slice(1) as Tail)]);
    }
    for (const row of moved) rows.set(row[PLACE], row);
  }

  function answered(body: { epoch: number; rows: Row[] }) {
    if (!store.state || body.epoch !== store.state.epoch) return;
    asked = null;
    keep(body.rows);
    emit("update", store.state);
  }

  /** Perhaps it was the rows that could not be brought: they may be asked for again. */
  function refused(body: Problem) {
    asked = null;
    emit("problem", body);
  }

  function keep(some: Row[]) {
    for (const row of some) {
      rows.set(row[PLACE], row);
      note(row);
    }
    if (rows.size <= MOST_ROWS) return;
    const newest = store.state?.range[1] ?? 0;
    const middle = some.length ? some[0][PLACE] : 0;
    for (const place of rows.keys()) {
      if (Math.abs(place - middle) > KEPT_AROUND && place < newest - KEPT_AROUND) rows.delete(place);
    }
  }

  function note(row: Row) {
    if (noted.sources.size < MOST_NOTED) noted.sources.add(row[SOURCE] ?? "here");
    if (noted.fields.size >= MOST_NOTED) return;
    for (const [, field] of row[PAYLOAD].matchAll(/(?:^|, )([^\W\d]\w*)=/gu)) noted.fields.add(field);
  }

  /** See to it that the rows at these places come. One question at a time: a kernel that is busy answers later. */
  function want(from: number, to: number) {
    if (asked !== null || !store.state) return;
    const [begin, end] = store.state.range;
    from = Math.max(from, begin);
    to = Math.min(to, end);
    while (from < to && rows.has(from)) from += 1;
    while (to > from && rows.has(to - 1)) to -= 1;
    if (from >= to) return;
    // What surrounds it comes along, for scrolling on in either direction.
    const around = Math.floor(Math.max(0, ASKED_AT_ONCE - (to - from)) / 2);
    asked = [Math.max(begin, from - around), Math.min(end, to + around)];
    askedAt = performance.now();
    channel.post({ t: "rows", from: asked[0], to: asked[1] });
  }

  const pass =
    <K extends keyof Events>(name: K) =>
    (body: Events[K]) =>
      emit(name, body);
  const handlers = {
    update: received,
    rows: answered,
    detail: pass("detail"),
    node: pass("node"),
    text: pass("text"),
    form: pass("form"),
    chart: showChart,
    problem: refused,
    done: pass("done"),
    filtered: pass("filtered"),
    exported: pass("exported"),
    tsv: pass("tsv"),
    alerted: pass("alerted"),
    gone: pass("gone"),
  };
  const channel = connect(model, handlers, page, () => (restoring && ownSelection()) || {});
  return store;
}
