// Identifiers that have passed the hub: a row for each, with its newest payload.

import { h, setText } from "../../widgets/dom.ts";
import { counted, nameOf, rate } from "../../widgets/format.ts";
import { createPalette } from "../../widgets/palette.ts";
import { drawCount, drawName, drawPair } from "./cells.ts";
import { createNewest, getNewest } from "./newest.ts";
import { createTable } from "./table.ts";
import { moment } from "./times.ts";
import type { Traffic, HubState } from "./state.ts";

/** The first ones in the order that the table has. */
const SHOWN = 100;
/** With fewer identifiers there is nothing to search. */
const SEARCHED = 8;

export function createIdentifiers() {
  const table = createTable<Traffic>(
    "Identifiers",
    [
      { title: "Identifier", order: (traffic) => traffic.id, draw: drawIdentifier },
      { title: "Messages", kind: "number", order: (traffic) => traffic.count, draw: (cell, traffic) => drawCount(cell, traffic.count) },
      { title: "Rate", kind: "number rate", order: (traffic) => traffic.rate, draw: drawRate },
      { title: "Last", kind: "time", order: (traffic) => traffic.at, draw: drawLast },
      { title: "Newest", kind: "newest", order: (traffic) => newest.text(traffic) ?? "", draw: drawNewest },
    ],
    (traffic) => `${traffic.id}\n${traffic.room ?? ""}`,
    SHOWN,
    () => newest.look(table.shown()),
  );
  const newest = createNewest(getNewest, () => state && show(state));
  let state: HubState | null = null;
  const find = h("input", { type: "search", class: "find", "aria-label": "Find identifiers", placeholder: "Find", spellcheck: "false", title: "In identifiers, rooms and sources", oninput: () => state && show(state) });
  const more = h("p", { class: "soft note" });
  const since = h("span", {});
  const empty = h(
    "p",
    { class: "note" },
    "Nothing has passed since ",
    since,
    ", when this page began to count. A message comes by here when a node elsewhere follows it: ",
    h("code", {}, "%follow test:*"),
    " in one notebook, then ",
    h("code", {}, "%twitter test:run 1, x=2"),
    " in another.",
  );
  const element = h(
    "section",
    { class: "card identifiers", "aria-labelledby": "identifiers" },
    h("div", { class: "head" }, h("h2", { id: "identifiers" }, "Identifiers"), find),
    empty,
    table.element,
    more,
  );

  function show(news: HubState) {
    state = news;
    const any = news.identifiers.length > 0;
    element.hidden = !any && news.nodes.every((node) => node.here) && news.clients.length === 0;
    empty.hidden = any;
    table.element.hidden = !any;
    find.hidden = news.identifiers.length <= SEARCHED && !find.value;
    setText(since, moment(news.since));
    const needle = find.value.trim().toLowerCase();
    const found = news.identifiers.filter((one) => [one.id, one.room ?? "", one.source].some((text) => text.toLowerCase().includes(needle)));
    table.show([{ name: "all", rows: found, title: null }]);
    const left = found.length - SHOWN;
    const rest = [
      any && found.length === 0 && `None of ${counted(news.identifiers.length, "identifier")} has that.`,
      left > 0 && `${counted(left, "identifier")} further down.`,
      news.identifiers_more > 0 && `${counted(news.identifiers_more, "identifier")} that came earlier, neither searched nor sorted.`,
    ];
    setText(more, rest.filter(Boolean).join(" "));
    more.hidden = !more.textContent;
  }

  /** The newest payload on a line, which a click opens. */
  function drawNewest(cell: HTMLElement, traffic: Traffic) {
    const text = newest.text(traffic) ?? "";
    if (cell.children.length === 0) {
      const open = () => line.setAttribute("aria-expanded", String(line.getAttribute("aria-expanded") !== "true"));
      const line = h("button", { type: "button", class: "payload", "aria-expanded": "false", onclick: open });
      cell.append(line);
    }
    const line = cell.children[0] as HTMLElement;
    setText(line, text);
    line.hidden = text === "";
  }

  return { element, show };
}

const markOf = createPalette();

function drawIdentifier(cell: HTMLElement, traffic: Traffic) {
  const dot = drawName(cell, traffic.id, traffic.room === null ? "" : `room ${traffic.room}`);
  const mark = markOf(nameOf(traffic.id));
  dot.style.setProperty("--mark", mark.color);
  dot.style.setProperty("--mark-style", mark.border);
  cell.parentElement?.classList.toggle("active", traffic.rate >= 0.1);
}

function drawRate(cell: HTMLElement, traffic: Traffic) {
  drawPair(cell, rate(traffic.rate) || "–", "");
}

function drawLast(cell: HTMLElement, traffic: Traffic) {
  drawPair(cell, moment(traffic.at), traffic.source);
}
