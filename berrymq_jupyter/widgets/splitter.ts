// A bar between two panes that is dragged, or moved by the arrow keys, to make the one beside it wider.

import { h, setAttributes } from "./dom.ts";

const STEP = 16;
const LEAST = 110;
/** What is left to the other panes. */
const REST = 220;

export interface SplitterOptions {
  /** What it separates, for screen readers. */
  label: string;
  /** The pane whose width it changes; it takes it from the custom property. */
  pane: HTMLElement;
  property: string;
  /** The element that has the custom property, if not the pane. */
  holder?: HTMLElement;
  /** Whether the pane is right of the bar. */
  isRight?: boolean;
  /** The least width of the pane, and what is left to the others beside it. */
  least?: number;
  rest?: number;
  /** Called with the width in pixels that its user has chosen; 0 for the default. */
  onChange(width: number): void;
}

export function createSplitter({ label, pane, property, holder = pane, isRight = false, least = LEAST, rest = REST, onChange }: SplitterOptions) {
  const element = h("div", {
    class: "bmq-splitter",
    role: "separator",
    tabindex: 0,
    "aria-orientation": "vertical",
    "aria-label": label,
    "aria-valuemin": least,
    "aria-valuenow": least,
    title: `${label}: drag, or use the arrow keys; double click for the usual width`,
    onpointerdown: start,
    ondblclick: () => choose(0),
    onkeydown: keys,
    onfocus: tell,
  });
  const direction = isRight ? -1 : 1;

  const limit = () => Math.max(least, (pane.parentElement?.clientWidth ?? 0) - rest);

  /** Set a width; 0 for the usual one. */
  function set(width: number) {
    if (width > 0) holder.style.setProperty(property, `${Math.round(Math.max(least, width))}px`);
    else holder.style.removeProperty(property);
  }

  function choose(width: number) {
    const to = width > 0 ? Math.round(Math.min(Math.max(least, width), limit())) : 0;
    set(to);
    tell();
    onChange(to);
  }

  function tell() {
    setAttributes(element, { "aria-valuenow": Math.round(pane.offsetWidth), "aria-valuemax": Math.round(limit()) });
  }

  function start(event: PointerEvent) {
    if (event.button !== 0) return;
    const [from, width] = [event.clientX, pane.offsetWidth];
    const move = (moved: PointerEvent) => choose(width + (moved.clientX - from) * direction);
    element.setPointerCapture(event.pointerId);
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", () => element.removeEventListener("pointermove", move), { once: true });
    event.preventDefault();
  }

  function keys(event: KeyboardEvent) {
    const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
    if (by !== undefined) choose(pane.offsetWidth + by * direction);
    else if (event.key === "Home") choose(0);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return { element, set };
}
