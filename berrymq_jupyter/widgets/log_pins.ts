// The pinned messages of a MessageLog, above its rows: the kernel keeps them whatever is evicted, cleared or filtered.

import { button, fill, h } from "./dom.ts";
import { fullTime, safe } from "./format.ts";
import { type LogStore, ID, NUMBER, PAYLOAD, SOURCE, TIME } from "./log_store.ts";
import type { Row } from "./wire.ts";

/** @param onOpen called with the number of the message to show */
export function createPins(store: LogStore, onOpen: (number: number) => void) {
  const list = h("ul", { class: "bmq-pin-list" });
  const element = h("div", { class: "bmq-pins", role: "group", "aria-label": "Pinned messages", hidden: true }, list);

  function show() {
    const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
    fill(list, ...[...store.pins.values()].map(item));
    element.hidden = store.pins.size === 0;
    if (focused >= 0) list.children[Math.min(focused, list.children.length - 1)]?.querySelector("button")?.focus();
  }

  function item(row: Row) {
    const name = `${safe(row[ID])}, ${row[PAYLOAD]}`;
    return h(
      "li",
      { class: "bmq-pin" },
      h(
        "button",
        { type: "button", class: "bmq-pin-open", title: `${fullTime(row[TIME])}, ${safe(row[SOURCE] ?? "here")}`, onclick: () => onOpen(row[NUMBER]) },
        h("span", { class: "bmq-faint" }, fullTime(row[TIME]).slice(11, 19)),
        h("strong", {}, safe(row[ID])),
        h("span", { class: "bmq-pin-payload" }, row[PAYLOAD]),
      ),
      button("close", `Unpin ${name}`, () => store.request({ t: "pin", number: row[NUMBER], on: false }), { class: "bmq-button bmq-icon-only bmq-small", title: "Unpin", "aria-label": `Unpin ${name}` }),
    );
  }

  const off = store.on("pins", show);
  show();
  return { element, close: off };
}
