// The bar above the rows of a MessageLog: what it follows, filters, and buttons.

import { button, flip, h, setText } from "./dom.ts";
import { rate } from "./format.ts";
import { createAlert } from "./log_alert.ts";
import { type RowRange, createExport } from "./log_export.ts";
import type { LogStore } from "./log_store.ts";
import { createQueryLine } from "./query_line.ts";
import type { LogState } from "./wire.ts";

export interface ToolbarOptions {
  /** Shows or hides the identifiers. */
  onTree(): void;
  /** Turns the order round; returns whether the newest come first now. */
  onTurn(): boolean;
  /** Opens the log in a panel of its own. */
  onPanel(): void;
  /** Called with the number of a message to show. */
  onOpen(number: number): void;
  /** Which rows are selected together, as a request has it. */
  selection(): RowRange;
}

export function createToolbar(store: LogStore, { onTree, onTurn, onPanel, onOpen, selection }: ToolbarOptions) {
  const follows = h("span", { class: "bmq-title" });
  const speed = h("span", { class: "bmq-total", title: "messages a second" });
  const filter = createQueryLine({ onQuery: (query, edit) => store.request({ t: "filter", query, edit }), known: store.known });
  const exporting = createExport(store, selection);
  const panel = button("whole", "Open in a panel", onPanel, { class: "bmq-button bmq-icon-only", hidden: true });
  const alert = createAlert(store, onOpen);
  const pause = flip(button("pause", "Pause", flipPause));
  const order = flip(button("up", "Newest first", () => order.press(onTurn())));
  const treeButton = button("tree", "Identifiers", onTree, { class: "bmq-button bmq-icon-only", "aria-expanded": "true" });

  function flipPause() {
    store.request({ t: "pause", on: store.state?.heldBack === null });
  }

  const off = [
    store.on("filtered", ({ edit }) => filter.filtered(edit)),
    store.on("exported", exporting.exported),
    store.on("alerted", alert.done),
  ];

  return {
    filter,
    flipPause,
    /** What was to be exported has been. */
    exported: exporting.exported,
    element: h(
      "div",
      { class: "bmq-bar", role: "toolbar", "aria-label": "Message log" },
      h("div", { class: "bmq-names" }, treeButton, follows, speed),
      filter.element,
      h(
        "div",
        { class: "bmq-actions" },
        pause,
        order,
        button("clear", "Clear", () => store.request({ t: "clear" })),
        alert.element,
        exporting.element,
        panel,
      ),
    ),
    /** Show on its button in which order the rows are. */
    turned: (newestFirst: boolean) => order.press(newestFirst),
    /** Offer a panel of its own, or not. */
    offerPanel(offered: boolean) {
      panel.hidden = !offered;
    },
    /** Show on its button whether the tree is visible. */
    showTree: (visible: boolean) => treeButton.setAttribute("aria-expanded", String(visible)),
    /** Show what is wrong with one of the fields here; return whether there is such a field. */
    complain(field: string, words: string) {
      if (field === "alert") return alert.complain(field, words);
      if (field !== "query") return exporting.complain(field, words);
      filter.complain(words);
      return true;
    },
    update(state: LogState) {
      setText(follows, state.follows);
      follows.title = state.follows;
      setText(speed, rate(state.rate));
      pause.press(state.heldBack !== null);
      filter.update(state.query, state);
      alert.update(state);
    },
    close() {
      filter.close();
      off.forEach((stop) => stop());
    },
  };
}
