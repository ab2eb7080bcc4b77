// What the cells of several tables look like. Each function brings a cell up to date, and fills it the first time.

import { h, setAttributes, setText } from "../../widgets/dom.ts";
import { rate, whole } from "../../widgets/format.ts";

/** The name of a row, with a mark before it and a remark below; gives the mark. */
export function drawName(cell: HTMLElement, name: string, remark: string) {
  if (cell.children.length === 0) cell.append(...["dot", "name", "remark"].map((kind) => h("span", { class: kind })));
  const [dot, text, below] = cell.children as HTMLCollectionOf<HTMLElement>;
  setText(text, name);
  setAttributes(text, { title: name.length > 60 ? name : null });
  setText(below, remark);
  return dot;
}

/** A value, and something less important below it. */
export function drawPair(cell: HTMLElement, value: string, more: string) {
  if (cell.children.length === 0) cell.append(h("span", { class: "main" }), " ", h("span", { class: "more" }));
  setText(cell.children[0], value);
  setText(cell.children[1], more);
}

/** A number of messages, which is faint when it is none, and how many more there are a second. */
export function drawCount(cell: HTMLElement, count: number, perSecond = 0) {
  drawPair(cell, whole(count), rate(perSecond));
  cell.classList.toggle("zero", count === 0);
}

/** A number that should be 0. */
export function drawLoss(cell: HTMLElement, count: number) {
  drawCount(cell, count);
  cell.classList.toggle("warn", count > 0);
}
