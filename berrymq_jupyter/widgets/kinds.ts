// Alternative renderings of a value, next to its tree. kinds.py computes their content; a new kind needs a function in
// `FORMS`.

import { fill, h, setAttributes } from "./dom.ts";
import { counted, whole } from "./format.ts";

export interface TableForm {
  as: "table";
  columns: string[];
  /** A missing cell is null. */
  rows: (string | null)[][];
  moreRows: number;
  moreColumns: number;
}

/** The first rows of a table of a library. */
export interface FrameForm extends Omit<TableForm, "as"> {
  as: "frame";
  facts: string;
  types: string[];
}

/** A small picture that the kernel made: a `data:` address, its size in pixels, and what it shows. */
export type Picture = [source: string, width: number, height: number, words: string];

export interface PictureForm<K extends string> {
  as: K;
  facts: string[];
  pictures: Picture[];
}

/** What could not cross a link. */
export interface OpaqueForm {
  as: "opaque";
  type: string;
  text: string;
}

export interface HexForm {
  as: "hex";
  lines: string[];
  /** Bytes that are not shown. */
  more: number;
}

export type ValueForm = TableForm | HexForm | FrameForm | PictureForm<"array"> | PictureForm<"image"> | OpaqueForm | { as: "" };
export type FormKind = Exclude<ValueForm["as"], "">;

const FORMS: { [K in FormKind]: (form: Extract<ValueForm, { as: K }>, label: string) => HTMLElement } = {
  table,
  hex,
  frame,
  array: pictured,
  image: pictured,
  opaque,
};

/** The label of the button that shows a form. */
export const FORM_NAMES: Record<FormKind, string> = { table: "Table", hex: "Bytes", frame: "First rows", array: "Picture", image: "Thumbnail", opaque: "Origin" };

/** @param label names the form for screen readers */
export function showForm(form: ValueForm, label: string): HTMLElement | null {
  return form.as ? (FORMS[form.as] as (form: ValueForm, label: string) => HTMLElement)(form, label) : null;
}

function hex({ lines, more }: HexForm, label: string) {
  return h(
    "div",
    { class: "bmq-form", onkeydown: stay },
    h("pre", { class: "bmq-hex", tabindex: 0, role: "region", "aria-label": label }, lines.join("\n")),
    more > 0 && h("div", { class: "bmq-faint" }, `${counted(more, "more byte")} not shown`),
  );
}

function pictured({ facts, pictures }: PictureForm<string>, label: string) {
  return h(
    "div",
    { class: "bmq-form", role: "group", "aria-label": label },
    ...facts.map((fact) => h("div", { class: "bmq-faint" }, fact)),
    h("div", { class: "bmq-pictures" }, ...pictures.map(picture)),
  );
}

function picture([source, width, height, words]: Picture) {
  // The kernel writes them from pixels and numbers; whatever else stood there is not shown.
  const safe = /^data:image\/(png|svg\+xml);base64,[\w+/=]*$/.test(source);
  return h(
    "figure",
    { class: "bmq-picture" },
    safe && h("img", { src: source, width, height, alt: words }),
    h("figcaption", { class: "bmq-faint", "aria-hidden": "true" }, words),
  );
}

function opaque({ type, text }: OpaqueForm, label: string) {
  return h(
    "div",
    { class: "bmq-form", role: "group", "aria-label": label },
    h("div", { class: "bmq-faint" }, `A ${type}, which could not cross the link. What its sender saw of it:`),
    h("div", { class: "bmq-opaque" }, text),
  );
}

function frame({ facts, types, ...rest }: FrameForm, label: string) {
  const made = table({ ...rest, as: "table" }, label);
  made.querySelectorAll("th button").forEach((head, index) => head.append(h("span", { class: "bmq-type" }, types[index])));
  made.prepend(h("div", { class: "bmq-faint" }, facts));
  return made;
}

function table({ columns, rows, moreRows, moreColumns }: TableForm, label: string) {
  const body = h("tbody", {});
  const heads = columns.map((name, index) =>
    h("th", { scope: "col", "aria-sort": "none" }, h("button", { type: "button", onclick: () => sort(index) }, name)),
  );
  let by = -1;
  let order = 1;

  function sort(index: number) {
    order = by === index ? -order : 1;
    by = index;
    heads.forEach((head, at) => setAttributes(head, { "aria-sort": at !== by ? "none" : order > 0 ? "ascending" : "descending" }));
    draw(sortedBy(rows, by, order));
  }

  function draw(sorted: (string | null)[][]) {
    fill(body, ...sorted.map((row) => h("tr", {}, ...row.map((cell) => h("td", { class: numberOf(cell) === null ? "" : "bmq-right", title: cell }, cell)))));
  }

  draw(rows);
  const left = [moreRows > 0 && `${counted(moreRows, "more row")} not shown: sorted are the first ${whole(rows.length)}`, moreColumns > 0 && `${counted(moreColumns, "more column")} not shown`];
  return h(
    "div",
    { class: "bmq-form", onkeydown: stay },
    h("div", { class: "bmq-table-box", tabindex: 0, role: "region", "aria-label": label }, h("table", { class: "bmq-value-table" }, h("thead", {}, h("tr", {}, ...heads)), body)),
    left.some(Boolean) && h("div", { class: "bmq-faint" }, left.filter(Boolean).join(" · ")),
  );
}

/** Keep key presses in a form from the tree around it, but let Escape through. */
function stay(event: KeyboardEvent) {
  if (event.key !== "Escape") event.stopPropagation();
}

const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

/** Sort rows by a column: numbers by value, before text; missing cells come last in either order. */
export function sortedBy(rows: (string | null)[][], column: number, order: number): (string | null)[][] {
  return rows.toSorted((one, other) => {
    const [a, b] = [one[column], other[column]];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    const [first, second] = [numberOf(a), numberOf(b)];
    if (first === null && second === null) return order * inOrder(a, b);
    if (first === null || second === null) return order * (Number(first === null) - Number(second === null));
    return order * (first - second);
  });
}

function numberOf(text: string | null): number | null {
  return text !== null && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : null;
}
