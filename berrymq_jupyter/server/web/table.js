// A table that is sorted by the click of a heading, and whose rows stay the same elements while they are there, so that
// a selection or the focus in them outlives an update. The roles are spelled out, for on a narrow page the rows are cards.

import { h, setAttributes, setText } from "../../widgets/dom.js";

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [kind] a class for its cells
 * @property {function(object): any} order what rows are sorted by; numbers come largest first
 * @property {function(HTMLElement, object): void} draw brings a cell up to date
 */

/**
 * @param {string} label what the table shows
 * @param {Column[]} columns the first one names a row
 * @param {function(object): string} key tells rows apart
 */
export function createTable(label, columns, key) {
  const parts = new Map();
  let groups = [];
  let chosen = 0;
  let upwards = true;

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

  function sortBy(index) {
    upwards = index === chosen ? !upwards : index === 0;
    chosen = index;
    draw();
  }

  function compare(one, other) {
    const order = columns[chosen].order;
    const [a, b] = [order(one), order(other)];
    const difference = typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
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
    groups.forEach((group, index) => {
      if (!parts.has(group.name)) parts.set(group.name, createPart(columns, key));
      const part = parts.get(group.name);
      part.show(group, [...group.rows].sort(compare));
      place(element, part.element, index + 1);
    });
  }

  return {
    element,
    /** Show rows, in groups with a title each, or in one without. */
    show(newGroups) {
      groups = newGroups;
      draw();
    },
  };
}

/** The rows of one group. */
function createPart(columns, key) {
  const title = h("th", { role: "rowheader", scope: "rowgroup", colspan: columns.length });
  const head = h("tr", { role: "row", class: "group" }, title);
  const element = h("tbody", { role: "rowgroup" }, head);
  const rows = new Map();
  return {
    element,
    show(group, sorted) {
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
        if (!rows.has(id)) rows.set(id, createRow(columns));
        const row = rows.get(id);
        columns.forEach((column, number) => column.draw(row.children[number], data));
        place(element, row, index + 1);
      });
    },
  };
}

function createRow(columns) {
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
function place(parent, child, index) {
  if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
}
