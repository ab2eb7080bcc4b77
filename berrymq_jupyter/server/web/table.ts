// A table that is sorted by the click of a heading, and whose rows stay the same elements while they are there, so that
// a selection or the focus in them outlives an update. The roles are spelled out, for on a narrow page the rows are cards.

import { h, setAttributes, setText } from "../../widgets/dom.ts";

export interface Column<T> {
  title: string;
  /** A class for its cells. */
  kind?: string;
  /** What rows are sorted by; numbers come largest first. */
  order(row: T): string | number;
  /** Brings a cell up to date. */
  draw(cell: HTMLElement, row: T): void;
}

export interface Group<T> {
  name: string;
  rows: T[];
  title: string | null;
}

/**
 * @param label what the table shows
 * @param columns the first one names a row
 * @param key identifies a row
 * @param most rows of a group that are shown: the first ones in the order of the table
 * @param onDrawn called when other rows may be shown
 */
export function createTable<T>(label: string, columns: Column<T>[], key: (row: T) => string, most = Infinity, onDrawn = () => {}) {
  const parts = new Map<string, ReturnType<typeof createPart<T>>>();
  let groups: Group<T>[] = [];
  let chosen = 0;
  let upwards = true;
  let shown: T[] = [];

  const headings = columns.map((column, index) =>
    h(
      "th",
      { role: "columnheader", scope: "col", class: column.kind },
      h("button", { type: "button", class: "sort", onclick: () => sortBy(index) }, column.title),
    ),
  );
  const element = h(
    "table",
    { role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...headings)),
  );

  function sortBy(index: number) {
    upwards = index === chosen ? !upwards : index === 0;
    chosen = index;
    draw();
  }

  function compare(one: T, other: T): number {
    const order = columns[chosen].order;
    const [a, b] = [order(one), order(other)];
    const difference = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    return (upwards ? difference : -difference) || (key(one) < key(other) ? -1 : 1);
  }

  function draw() {
    headings.forEach((heading, index) => {
      setAttributes(heading, { "aria-sort": index !== chosen ? null : upwards ? "ascending" : "descending" });
    });
    const names = new Set(groups.map((group) => group.name));
    for (const [name, part] of parts) {
      if (!names.has(name)) {
        part.element.remove();
        parts.delete(name);
      }
    }
    shown = [];
    groups.forEach((group, index) => {
      const part = parts.get(group.name) ?? createPart(columns, key);
      parts.set(group.name, part);
      const sorted = [...group.rows].sort(compare).slice(0, most);
      shown.push(...sorted);
      part.show(group, sorted);
      place(element, part.element, index + 1);
    });
    onDrawn();
  }

  return {
    element,
    /** The rows that are shown. */
    shown: () => shown,
    /** Show rows, in groups with a title each, or in one without. */
    show(newGroups: Group<T>[]) {
      groups = newGroups;
      draw();
    },
  };
}

/** The rows of one group. */
function createPart<T>(columns: Column<T>[], key: (row: T) => string) {
  const title = h("th", { role: "rowheader", scope: "rowgroup", colspan: columns.length });
  const head = h("tr", { role: "row", class: "group" }, title);
  const element = h("tbody", { role: "rowgroup" }, head);
  const rows = new Map<string, HTMLElement>();
  return {
    element,
    show(group: Group<T>, sorted: T[]) {
      head.hidden = !group.title;
      setText(title, group.title ?? "");
      const there = new Set(sorted.map(key));
      for (const [id, row] of rows) {
        if (!there.has(id)) {
          row.remove();
          rows.delete(id);
        }
      }
      sorted.forEach((data, index) => {
        const id = key(data);
        const row = rows.get(id) ?? createRow(columns);
        rows.set(id, row);
        columns.forEach((column, number) => column.draw(row.children[number] as HTMLElement, data));
        place(element, row, index + 1);
      });
    },
  };
}

function createRow<T>(columns: Column<T>[]): HTMLElement {
  return h(
    "tr",
    { role: "row" },
    ...columns.map((column, index) =>
      index === 0
        ? h("th", { role: "rowheader", scope: "row", class: column.kind })
        : h("td", { role: "cell", class: column.kind, "data-label": column.title }),
    ),
  );
}

/** Put a child at a place, unless it is there. */
function place(parent: Element, child: Element, index: number) {
  if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
}
