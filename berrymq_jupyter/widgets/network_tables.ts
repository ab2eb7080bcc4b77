// What a hub counts and holds, as tables below the nodes: identifiers with their newest message, shared queues, keeps.

import { h, setAttributes, setText } from "./dom.ts";
import { byteSize, counted, fullTime, rate, safe, whole } from "./format.ts";
import type { NetworkIdentifier, NetworkKept, NetworkNewest, NetworkQueue, NetworkState } from "./wire.ts";

/** Rows of a table that are shown: the first ones in its order. */
const SHOWN = 100;
const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

interface Column<T> {
  title: string;
  kind?: string;
  /** What rows are sorted by: texts begin with the first, numbers with the largest; none for a fixed column. */
  by?(row: T): string | number;
  text(row: T): string;
}

/**
 * A table whose rows stay the same elements, so that they keep focus and selection.
 * @param name its accessible name
 * @param key identifies a row
 * @param onDrawn called with the rows that are shown
 */
function createTable<T>(name: string, columns: Column<T>[], key: (row: T) => string, onDrawn: (rows: T[]) => void = () => {}) {
  const heads = columns.map((column, index) =>
    h(
      "th",
      { role: "columnheader", scope: "col", class: column.kind },
      column.by ? h("button", { type: "button", class: "bmq-sort", onclick: () => sort(index) }, column.title) : column.title,
    ),
  );
  const body = h("tbody", { role: "rowgroup" });
  const caption = h("caption", {});
  const more = h("div", { class: "bmq-faint bmq-note" });
  const element = h("div", { class: "bmq-held-table", hidden: true }, h("table", { role: "table" }, caption, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)), body), more);
  const shown = new Map<string, HTMLElement>();
  let all: T[] = [];
  let found: T[] = [];
  let left = 0;
  let sorted = 0;
  let isTurned = false;

  function sort(index: number) {
    [sorted, isTurned] = [index, sorted === index && !isTurned];
    draw();
  }

  function compare(one: T, other: T) {
    const by = columns[sorted].by ?? columns[0].text;
    const [a, b] = [by(one), by(other)];
    const order = typeof a === "number" && typeof b === "number" ? b - a : inOrder(String(a), String(b));
    return (isTurned ? -order : order) || inOrder(key(one), key(other));
  }

  function draw() {
    element.hidden = all.length === 0;
    heads.forEach((head, index) => {
      const isUp = (columns[index].kind === "bmq-number") === isTurned;
      setAttributes(head, { "aria-sort": index !== sorted ? null : isUp ? "ascending" : "descending" });
    });
    const number = whole(all.length + left);
    setText(caption, `${name} (${found.length < all.length ? `${whole(found.length)} of ${number}` : number})`);
    const rows = found.toSorted(compare).slice(0, SHOWN);
    const there = new Set(rows.map(key));
    for (const [id, row] of shown) {
      if (there.has(id)) continue;
      row.remove();
      shown.delete(id);
    }
    rows.forEach((data, index) => {
      const row = shown.get(key(data)) ?? createRow(columns);
      shown.set(key(data), row);
      columns.forEach((column, number) => show(row.children[number], column.text(data)));
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    const rest = [
      found.length === 0 && "None has that.",
      found.length > SHOWN && `${whole(found.length - SHOWN)} further down.`,
      left > 0 && `${whole(left)} more, neither searched nor sorted.`,
    ];
    setText(more, rest.filter(Boolean).join(" "));
    more.hidden = !more.textContent;
    onDrawn(rows);
  }

  return {
    element,
    /** Show the rows that have a text in one of their columns that are no numbers. */
    show(rows: T[], rest: number, needle: string) {
      [all, left] = [rows, rest];
      found = rows.filter((row) => columns.some((column) => column.kind !== "bmq-number" && column.text(row).toLowerCase().includes(needle)));
      draw();
    },
  };
}

/** The roles are spelled out: where it is narrow, rows are no boxes of a table. The first cell names the row; a payload is a button that opens its line. */
function createRow<T>(columns: Column<T>[]): HTMLElement {
  const open = ({ currentTarget: line }: { currentTarget: HTMLElement }) => {
    line.setAttribute("aria-expanded", String(line.getAttribute("aria-expanded") !== "true"));
  };
  const cell = ({ kind, title }: Column<T>, index: number) => {
    if (index === 0) return h("th", { role: "rowheader", scope: "row" });
    if (kind !== "bmq-newest") return h("td", { role: "cell", class: kind, "data-label": title });
    return h("td", { role: "cell", class: kind, "data-label": title }, h("button", { type: "button", class: "bmq-newest-text", "aria-expanded": "false", onclick: open, hidden: true }));
  };
  return h("tr", { role: "row" }, ...columns.map(cell));
}

function show(cell: Element, text: string) {
  const button = cell.firstElementChild;
  setText(button ?? cell, text);
  if (button) (button as HTMLElement).hidden = text === "";
}

/** @param request asks for the newest messages of identifiers, by link and text */
export function createTables(request: (rows: [number, string][]) => void) {
  const texts = new Map<string, { count: number; text: string }>();
  const keyOf = ([link, id]: readonly [number, string, ...unknown[]]) => `${link}\n${id}`;

  /** Request the newest messages of those that have changed since. */
  function look(rows: NetworkIdentifier[]) {
    const there = new Set(rows.map(keyOf));
    for (const key of texts.keys()) if (!there.has(key)) texts.delete(key);
    const changed = rows.filter((row) => texts.get(keyOf(row))?.count !== row[2]);
    for (const row of changed) texts.set(keyOf(row), { count: row[2], text: texts.get(keyOf(row))?.text ?? "" });
    if (changed.length) request(changed.map(([link, id]) => [link, id]));
  }

  const identifiers = createTable<NetworkIdentifier>(
    "Identifiers",
    [
      { title: "Identifier", by: ([, id]) => id, text: ([, id]) => safe(id) },
      { title: "Messages", kind: "bmq-number", by: ([, , count]) => count, text: ([, , count]) => whole(count) },
      { title: "Rate", kind: "bmq-number", by: ([, , , perSecond]) => perSecond, text: ([, , , perSecond]) => rate(perSecond) },
      { title: "Last", kind: "bmq-number", by: ([, , , , at]) => at, text: ([, , , , at]) => fullTime(at).slice(11, 19) },
      { title: "From", kind: "bmq-sender", by: ([, , , , , source]) => source, text: ([, , , , , source]) => source },
      { title: "Newest", kind: "bmq-newest", text: (row) => texts.get(keyOf(row))?.text ?? "" },
    ],
    keyOf,
    look,
  );
  const queues = createTable<NetworkQueue>(
    "Shared queues",
    [
      { title: "Shared queue", by: ([id]) => id, text: ([id]) => safe(id) },
      { title: "Waiting", kind: "bmq-number", by: ([, waiting]) => waiting, text: ([, waiting]) => whole(waiting) },
      { title: "Taken", kind: "bmq-number", by: ([, , taken]) => taken, text: ([, , taken]) => whole(taken) },
      { title: "Dropped", kind: "bmq-number", by: (row) => row[5], text: (row) => whole(row[5]) },
      { title: "Members", text: ([, , , members, rest]) => membersOf(members, rest) },
    ],
    ([id]) => id,
  );
  const kept = createTable<NetworkKept>(
    "Retained messages",
    [
      { title: "Keeps", by: ([id]) => id, text: ([id]) => safe(id) },
      { title: "Messages", kind: "bmq-number", by: ([, count]) => count, text: ([, count]) => whole(count) },
      { title: "Size", kind: "bmq-number", by: (row) => row[4], text: (row) => byteSize(row[4]) },
      { title: "Dropped", kind: "bmq-number", by: (row) => row[6], text: (row) => whole(row[6]) },
      { title: "Limit", text: ([, , last, matching]) => `last ${whole(last)}${matching > 1 ? ` of each of ${counted(matching, "identifier")}` : ""}` },
      { title: "By", text: (row) => row[5] },
    ],
    ([id]) => id,
  );
  const element = h(
    "div",
    { class: "bmq-held", tabindex: 0, role: "region", "aria-label": "Messages, shared queues and history at the hub" },
    queues.element,
    kept.element,
    identifiers.element, // last, for they are many
  );
  return {
    element,
    show(state: NetworkState, needle: string) {
      element.hidden = !state.identifiers.length && !state.queues.length && !state.kept.length;
      identifiers.show(state.identifiers, state.identifiersMore, needle);
      queues.show(state.queues, 0, needle);
      kept.show(state.kept, 0, needle);
    },
    /** Take the answer of a request. */
    take({ rows }: NetworkNewest) {
      for (const row of rows) {
        const known = texts.get(keyOf(row));
        if (known) known.text = row[2];
      }
    },
  };
}

function membersOf(members: [name: string, taken: number][], rest: number) {
  const texts = members.map(([name, taken]) => `${name}: ${whole(taken)}`);
  return [...texts, rest > 0 && `${whole(rest)} more`].filter(Boolean).join(", ") || "none";
}
