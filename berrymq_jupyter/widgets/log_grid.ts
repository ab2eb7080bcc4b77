// The rows of a MessageLog: a grid that follows the newest row until its user scrolls away.

import { type Child, fill, h, icon, setAttributes, setText } from "./dom.ts";
import { uniquePrefix } from "./field.ts";
import { type TimeMode, counted, day, fullTime, latency as latencyText, nameOf, safe, sameDay, shortDay, shortLatency, timeText } from "./format.ts";
import { type Marks, type Term, fromTerm, idTerm, marked, marksOf, parseQuery } from "./query.ts";
import { createSplitter } from "./splitter.ts";
import { type LogStore, ALERT, DELAY, ID, NUMBER, PAST, PAYLOAD, SOURCE, STEPS, TIME } from "./log_store.ts";
import { createVirtualList } from "./virtual_list.ts";
import type { LogState, Row, Step } from "./wire.ts";

const CHARACTER = 7.3;
const PREFETCHED = 120;
const SHORTEST = 4;
const TALLEST = 14;
const AGO_MS = 1000;
/** For how long, at most twice, a column stays as wide as what it has shown needed. */
const WIDE_MS = 5000;
/** By how many characters it must be too wide to get narrower. */
const TOO_WIDE = 4;
const TIMES: [mode: TimeMode, title: string, text: string][] = [
  ["clock", "Time", "time of day"],
  ["ago", "Age", "how long ago"],
  ["difference", "Difference", "difference to the row before"],
];
const TITLES = [
  ["time", ""],
  ["delay", ""],
  ["id", "Identifier"],
  ["from", "From"],
  ["payload", "Payload"],
];

/** Columns whose widths can be set, with their smallest widths in pixels; the payload gets the rest. */
const SIZED: [name: string, title: string, least: number][] = [
  ["time", "times", 40],
  ["id", "identifiers", 40],
  ["from", "senders", 30],
];
const DELAY_WIDTH = "72px";
/** What is left to the payload. */
const REST = 160;
/** The least numbers of characters of columns that are as wide as what they show. */
const LEAST = { id: 10, from: 4 };

interface RowElement extends HTMLElement {
  parts: HTMLElement[];
  dayLine: HTMLElement;
  place: number;
  /** What it shows. */
  row: Row | undefined;
}

export interface GridOptions {
  /** Called with the number of a message to show. */
  onOpen(number: number): void;
  onEscape(): void;
  /** Called with a term to filter by. */
  onFilter(term: string): void;
  /** Called with how many rows are selected together. */
  onExtend(count: number): void;
  /** Called to copy the selected rows. */
  onCopy(): void;
}

export function createGrid(store: LogStore, { onOpen, onEscape, onFilter, onExtend, onCopy }: GridOptions) {
  const prefix = uniquePrefix();
  const times = h(
    "select",
    { class: "bmq-times", "aria-label": "Times as", onchange: chooseTimes, onkeydown: (event) => event.stopPropagation() },
    ...TIMES.map(([value, title, text]) => h("option", { value, title: text }, title)),
  );
  const heads = TITLES.map(([name, title]) => h("div", { class: `bmq-cell bmq-${name}`, role: "columnheader" }, title));
  heads[0].append(times);
  const head = h("div", { class: "bmq-row bmq-head", role: "row", "aria-rowindex": 1 }, ...heads);
  const latency = h("button", { type: "button", class: "bmq-link bmq-latency", "aria-label": "Show latency", title: "Show the latency of messages from other processes", onclick: () => flipLatency(true) }, "latency");
  const noLatency = h("button", { type: "button", class: "bmq-link", "aria-label": "Hide latency", title: "The latency of messages from other processes: hide it", onclick: () => flipLatency(false) }, "Latency");
  heads[TITLES.findIndex(([name]) => name === "delay")].append(noLatency);
  heads[heads.length - 1].append(latency);
  const headGroup = h("div", { class: "bmq-headgroup", role: "rowgroup" }, head);
  const scroller = h(
    "div",
    { class: "bmq-grid", role: "grid", tabindex: 0, "aria-label": "Messages", "aria-rowcount": 1, "aria-multiselectable": "true", onkeydown },
    headGroup,
  );
  const empty = h("div", { class: "bmq-empty" });
  const newer = h("button", { type: "button", class: "bmq-newer", hidden: true, onclick: followAgain });
  const element = h("div", { class: "bmq-gridbox" }, scroller, empty, newer);
  const splitters = SIZED.map(([name, title, least]) => {
    const cell = heads[TITLES.findIndex(([other]) => other === name)];
    const splitter = createSplitter({
      label: `Width of the column of ${title}`,
      pane: cell,
      property: `--bmq-${name}-set`,
      holder: element,
      least,
      rest: REST,
      onChange: (width) => store.memory.set({ columns: { ...store.memory.look.columns, [name]: width } }),
    });
    cell.append(splitter.element);
    return { name, set: splitter.set };
  });
  const list = createVirtualList({
    scroller,
    head: headGroup,
    role: "rowgroup",
    create: createRow,
    show: showRow,
    onRange: (first: number, last: number) => {
      fit();
      const at = selected === null ? -1 : indexOf(selected);
      setAttributes(scroller, { "aria-activedescendant": at >= first && at < last ? `${prefix}-${selected}` : null });
      const places = [placeOf(first), placeOf(last - 1)];
      // Who scrolls soon sees what is beside it; who follows does not.
      const beside = following ? 0 : PREFETCHED;
      // The row before it says how long after it a row came, and whether that was on another day.
      store.want(Math.min(...places) - beside - 1, Math.max(...places) + 1 + beside);
    },
    onScroll: () => {
      following = atNewest();
      if (following) seen = range[1];
      showNewer();
    },
    onResize: () => {
      if (following) toNewest();
    },
  });

  let mode: TimeMode = "clock";
  let aging: ReturnType<typeof setInterval> | undefined;
  let query = "";
  let marks: Marks = marksOf([]);
  // The browser writes the height that its user drags it to into the style.
  const dragged = new MutationObserver(() => {
    const pixels = parseFloat(element.style.height);
    if (pixels > 0) store.memory.set({ height: pixels });
  });
  dragged.observe(element, { attributes: true, attributeFilter: ["style"] });
  let newestFirst = false;
  let following = true;
  let range: [number, number] = [0, 0];
  let seen = 0;
  let epoch: number | null = null;
  let selected: number | null = null;
  /** The other end of the rows that are selected together. */
  let anchor: number | null = null;
  let sized = 0;
  /** The characters of the longest text of the rows that are being drawn. */
  let shown: Record<"id" | "from", number> | null = null;
  /** How many characters columns are wide, and what was needed in this while and in the one before. */
  const lengths = { id: { now: 0, before: 0, set: 0 }, from: { now: 0, before: 0, set: 0 } };
  let lengthsSince = performance.now();
  /** The rows that come are others than those that were there. */
  let others = false;
  let narrow: ReturnType<typeof setTimeout> | undefined;

  const count = () => range[1] - range[0];
  const placeOf = (index: number) => (newestFirst ? range[1] - 1 - index : range[0] + index);
  const indexOf = (place: number) => (newestFirst ? range[1] - 1 - place : place - range[0]);
  const atNewest = () => (newestFirst ? list.atTop() : list.atBottom());

  function createRow(): RowElement {
    const cells = TITLES.map(([name]) => h("div", { class: `bmq-cell bmq-${name}`, role: "gridcell" }));
    const dayLine = h("span", { class: "bmq-day", hidden: true });
    cells[0].append(h("span"), h("span", { class: "bmq-ms" }), h("span", { class: "bmq-only-read" }), dayLine);
    const row: RowElement = Object.assign(h("div", { class: "bmq-row", role: "row" }, ...cells), { parts: cells, dayLine, place: -1, row: undefined });
    row.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault()); // which would select text
    row.addEventListener("click", (event) => {
      const part = event.altKey ? TITLES[cells.findIndex((cell) => cell.contains(event.target as Node))]?.[0] : "";
      if (part === "id" || part === "from") filterBy(row.row, part === "id" ? ID : SOURCE);
      else if (event.shiftKey) extend(row.place);
      else if (row.row && store.row(row.place)?.[NUMBER] !== row.row[NUMBER]) onOpen(row.row[NUMBER]); // places have changed since it was drawn
      else select(row.place, true);
    });
    return row;
  }

  function showRow(element: RowElement, index: number) {
    const place = placeOf(index);
    const row = store.row(place);
    element.place = place;
    element.row = row;
    const isSelected = place >= chosen()[0] && place < chosen()[1];
    setAttributes(element, {
      id: `${prefix}-${place}`,
      "aria-rowindex": index + 2,
      "aria-selected": String(isSelected),
    });
    const [time, delay, id, from, payload] = element.parts;
    if (row) need(row);
    element.classList.toggle("bmq-absent", !row);
    element.classList.toggle("bmq-alert", row?.[ALERT] === 1);
    element.classList.toggle("bmq-pinned", row !== undefined && store.pins.has(row[NUMBER]));
    const past = row?.[PAST] === 1;
    element.classList.toggle("bmq-past", past);
    const before = place > range[0] ? store.row(place - 1)?.[TIME] : null;
    const moment = row ? timeText(mode, row[TIME], Date.now(), before) : "…";
    const cut = mode === "clock" ? 8 : moment.length; // where it is narrow, the milliseconds are left out
    setText(time.children[0], moment.slice(0, cut));
    setText(time.children[1], moment.slice(cut));
    setText(time.children[2], past ? " retained" : "");
    const older = newestFirst ? (place + 1 < range[1] ? store.row(place + 1)?.[TIME] : null) : before;
    // The oldest row stands below nothing: it is compared with today.
    const beside = older ?? (place === range[0] ? Date.now() : null);
    const isNewDay = row !== undefined && beside !== null && !sameDay(beside, row[TIME]);
    element.classList.toggle("bmq-new-day", isNewDay);
    element.dayLine.hidden = !isNewDay;
    setText(element.dayLine, isNewDay ? shortDay(row[TIME]) : "");
    element.dayLine.title = isNewDay ? day(row[TIME]) : "";
    setText(delay, row && row[DELAY] !== null ? shortLatency(row[DELAY]) : "");
    delay.title = row && row[DELAY] !== null ? latencyText(row[DELAY]) : "";
    setMarked(id, row ? safe(row[ID]) : "", marks.id);
    setMarked(from, row ? safe(row[SOURCE] ?? "here") : "", marks.from);
    setMarked(payload, row ? row[PAYLOAD] : "", marks.payload, row?.[STEPS]);
    if (!row) return;
    time.title = past ? `${fullTime(row[TIME])}, retained by the hub` : fullTime(row[TIME]);
    id.title = `${safe(row[ID])}\nAlt-click, or i: filter by it`;
    from.title = `${safe(row[SOURCE] ?? "sent in this kernel")}\nAlt-click, or f: filter by it`;
    from.classList.toggle("bmq-faint", row[SOURCE] === null);
    const mark = store.markOf(nameOf(row[ID]));
    element.style.setProperty("--bmq-mark", mark.color);
    element.style.setProperty("--bmq-mark-style", mark.border);
  }

  function need(row: Row) {
    shown ??= { ...LEAST };
    shown.id = Math.max(shown.id, row[ID].length);
    shown.from = Math.max(shown.from, (row[SOURCE] ?? "here").length);
  }

  /**
   * Make columns as wide as what they show needs, up to a limit that the style sheet sets. What is too wide stays so for a
   * while: what comes and goes would have them jump.
   */
  function fit() {
    if (!shown) return;
    const isOver = performance.now() - lengthsSince > WIDE_MS;
    if (isOver) lengthsSince = performance.now();
    let isTooWide = false;
    for (const name of ["id", "from"] as const) {
      const column = lengths[name];
      if (isOver || others) column.before = others ? 0 : column.now;
      column.now = isOver || others ? shown[name] : Math.max(column.now, shown[name]);
      const length = Math.max(column.now, column.before);
      if (length > column.set || length <= column.set - TOO_WIDE) {
        column.set = length;
        // Identifiers are bold, of a font in which each character has one width.
        element.style.setProperty(`--bmq-${name}-width`, `${Math.ceil(length * CHARACTER) + 14}px`);
      }
      isTooWide ||= column.now <= column.set - TOO_WIDE;
    }
    shown = null;
    others = false;
    if (isTooWide) narrow ??= setTimeout(() => {
      narrow = undefined;
      list.redraw();
    }, WIDE_MS);
  }

  function update(state: LogState) {
    const before = range;
    const fresh = state.epoch !== epoch;
    epoch = state.epoch;
    range = state.range;
    if (state.query !== query) {
      query = state.query;
      marks = marksOf(termsOf(query));
    }
    if (fresh) {
      following = true;
      selected = anchor = null;
      seen = range[1];
      others = true;
    }
    size();
    scroller.setAttribute("aria-rowcount", String(count() + 1));
    // Older rows keep their index: what goes, goes below them.
    const amongOlder = !newestFirst && list.firstInSight() < state.older[0];
    const shift = following || fresh || amongOlder ? 0 : newestFirst ? range[1] - before[1] : before[0] - range[0];
    list.resize(count(), shift);
    if (following) toNewest();
    showEmpty(state);
    showNewer();
  }

  /** Grow with the rows up to a limit; from there on the grid scrolls, and its user may drag it taller. */
  function size() {
    const rows = Math.min(Math.max(count(), SHORTEST), TALLEST);
    if (rows <= sized) return;
    sized = rows;
    element.style.setProperty("--bmq-rows", String(rows));
  }

  function showEmpty(state: LogState) {
    empty.hidden = count() > 0;
    if (count() > 0) return;
    const text = state.unsearched
      ? "Searching…"
      : state.query
        ? nothing(state)
        : state.cleared
          ? "Cleared. New messages appear here."
          : `No message yet. Send one: %twitter ${example(state.follows)} 1, x=2`;
    setText(empty, text);
  }

  /** Why no row is shown; of an identifier whose messages are gone, that they are. */
  function nothing(state: LogState) {
    const terms = termsOf(state.query);
    const [pattern, ...more] = terms.length === 1 && terms[0].kind === "id" && !terms[0].not ? terms[0].any : [];
    let came = 0;
    for (const [id, [count]] of store.counts) if (id === pattern || `${nameOf(id)}:*` === pattern) came += count;
    if (came > 0 && !more.length) return `None of its ${counted(came, "message")} is kept any more.`;
    return `None of ${counted(state.kept, "message")} passes the filter.`;
  }

  function showNewer() {
    if (following) seen = range[1];
    const more = range[1] - seen;
    newer.hidden = following || more <= 0;
    if (newer.hidden) return;
    newer.replaceChildren(icon(newestFirst ? "up" : "down"), ` ${counted(more, "new message")}`);
  }

  function chooseTimes() {
    setTimes(times.value as TimeMode);
    store.memory.set({ time: times.value });
  }

  function setTimes(to: TimeMode) {
    mode = to;
    times.value = to;
    element.dataset.times = to;
    clearInterval(aging);
    if (mode === "ago") aging = setInterval(list.redraw, AGO_MS);
    list.redraw();
  }

  function toNewest() {
    if (newestFirst) list.toTop();
    else list.toBottom();
  }

  function flipLatency(visible: boolean) {
    showLatency(visible);
    store.memory.set({ latency: visible });
    (visible ? noLatency : latency).focus();
  }

  function showLatency(visible: boolean) {
    element.classList.toggle("bmq-has-delay", visible);
    if (visible) element.style.setProperty("--bmq-delay-column", DELAY_WIDTH);
    else element.style.removeProperty("--bmq-delay-column");
  }

  function followAgain() {
    following = true;
    toNewest();
    showNewer();
    list.redraw();
    scroller.focus({ preventScroll: true });
  }

  /** The places of the selected rows: the first, and the one after the last. */
  const chosen = (): [number, number] => {
    if (selected === null) return [0, 0];
    const other = anchor ?? selected;
    return [Math.max(range[0], Math.min(selected, other)), Math.max(selected, other) + 1];
  };

  /** Select all rows up to this one. */
  function extend(place: number) {
    const from = anchor ?? selected ?? place;
    select(place, false);
    anchor = from;
    list.redraw();
    const [begin, end] = chosen();
    onExtend(end - begin);
  }

  function select(place: number, open: boolean) {
    anchor = null;
    selected = place;
    list.reveal(indexOf(place));
    following = atNewest() && place === range[1] - 1;
    const row = store.row(place);
    if (open && row) onOpen(row[NUMBER]);
  }

  function flipPin(place: number) {
    const row = store.row(place);
    if (row) store.request({ t: "pin", number: row[NUMBER], on: !store.pins.has(row[NUMBER]) });
  }

  function filterBy(row: Row | undefined, part: typeof ID | typeof SOURCE) {
    if (row) onFilter(part === ID ? idTerm(row[ID]) : fromTerm(row[SOURCE]));
  }

  function onkeydown(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = count() - 1;
    const page = list.rowsInSight();
    const now = selected === null ? -1 : indexOf(selected);
    const target = {
      ArrowDown: now + 1,
      ArrowUp: now < 0 ? last : now - 1,
      PageDown: now + page,
      PageUp: now - page,
      Home: 0,
      End: last,
    }[event.key];
    const place = target === undefined ? -1 : placeOf(Math.min(Math.max(target, 0), last));
    if (target !== undefined && last < 0) return;
    if (target !== undefined && event.shiftKey) extend(place);
    else if (target !== undefined) select(place, openFollows());
    else if (event.key === "c" && selected !== null) onCopy();
    else if ((event.key === "Enter" || event.key === " ") && selected !== null) select(selected, true);
    else if (event.key === "f" && selected !== null) filterBy(store.row(selected), SOURCE);
    else if (event.key === "s" && selected !== null) flipPin(selected);
    else if (event.key === "i" && selected !== null) filterBy(store.row(selected), ID);
    else if (event.key === "Escape") onEscape();
    else return;
    event.preventDefault();
  }

  const openFollows = () => element.closest(".bmq-log")?.classList.contains("bmq-has-detail") ?? false;

  return {
    element,
    update,
    focus: () => scroller.focus({ preventScroll: true }),
    isNewestFirst: () => newestFirst,
    setHeight(pixels: number) {
      element.style.height = `${pixels}px`;
    },
    turn() {
      newestFirst = !newestFirst;
      following = true;
      list.resize(count(), 0);
      toNewest();
      showNewer();
    },
    setTimes,
    /** The selected rows, for a request; nothing for fewer than two: looking at a row selects it. */
    selection(least = 2): { from?: number; to?: number; epoch?: number } {
      const [from, to] = chosen();
      return to - from >= least && epoch !== null ? { from, to, epoch } : {};
    },
    /** Make columns as wide as they were. */
    setColumns(widths: Record<string, number>) {
      for (const { name, set } of splitters) set(widths[name] ?? 0);
    },
    showLatency,
    deselect() {
      selected = anchor = null;
      scroller.removeAttribute("aria-activedescendant");
      list.redraw();
    },
    close() {
      clearInterval(aging);
      clearTimeout(narrow);
      dragged.disconnect();
      list.close();
    },
  };
}

/** The terms of a query; none if it was made by another version of this page. */
function termsOf(query: string): Term[] {
  try {
    return parseQuery(query);
  } catch {
    return [];
  }
}

/** Set the text of an element, with marks where something was found, and what its numbers have changed by. */
function setMarked(element: HTMLElement, text: string, found: RegExp | null, steps: Step[] = []) {
  if (!found && !steps.length) {
    if (element.childElementCount) element.textContent = text;
    else setText(element, text);
    return;
  }
  const children: Child[] = [];
  let at = 0;
  let next = 0;
  for (const [part, hit] of marked(text, found)) {
    let rest = part;
    while (next < steps.length && steps[next][0] <= at + rest.length) {
      const [end, step] = steps[next++];
      const head = rest.slice(0, end - at);
      const title = step.startsWith("▲") ? `${step.slice(1)} more than in the message before` : `${step.slice(1)} less than in the message before`;
      children.push(hit && head ? h("mark", { class: "bmq-hit" }, head) : head, h("span", { class: "bmq-step", title }, ` ${step}`));
      rest = rest.slice(end - at);
      at = end;
    }
    if (rest) children.push(hit ? h("mark", { class: "bmq-hit" }, rest) : rest);
    at += rest.length;
  }
  fill(element, ...children);
}

function example(pattern: string) {
  const [name, action] = [nameOf(pattern), pattern.slice(pattern.lastIndexOf(":") + 1)];
  const id = `${name === "*" ? "test" : name}:${action === "*" ? "run" : action}`;
  return id.includes(" ") ? `"${id}"` : id;
}
