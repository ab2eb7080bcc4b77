// What passes: a row for each identifier that came lately.

import { h, setText } from "../../widgets/dom.ts";
import { counted, nameOf, rate } from "../../widgets/format.ts";
import { createPalette } from "../../widgets/palette.ts";
import { drawCount, drawName, drawPair } from "./cells.ts";
import { createTable } from "./table.ts";
import { moment } from "./times.ts";
import type { Traffic, HubState } from "./state.ts";

/** The first ones in the order that the table has. */
const SHOWN = 100;

export function createIdentifiers() {
  const table = createTable<Traffic>(
    "Identifiers",
    [
      { title: "Identifier", order: (traffic) => traffic.id, draw: drawIdentifier },
      { title: "Messages", kind: "number", order: (traffic) => traffic.count, draw: (cell, traffic) => drawCount(cell, traffic.count) },
      { title: "Rate", kind: "number rate", order: (traffic) => traffic.rate, draw: drawRate },
      { title: "Last", kind: "time", order: (traffic) => traffic.at, draw: drawLast },
    ],
    (traffic) => `${traffic.id}\n${traffic.room ?? ""}`,
    SHOWN,
  );
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
    h("h2", { id: "identifiers" }, "Identifiers"),
    empty,
    table.element,
    more,
  );
  return {
    element,
    show(state: HubState) {
      const any = state.identifiers.length > 0;
      element.hidden = !any && state.nodes.every((node) => node.here) && state.clients.length === 0;
      empty.hidden = any;
      table.element.hidden = !any;
      setText(since, moment(state.since));
      table.show([{ name: "all", rows: state.identifiers, title: null }]);
      const left = state.identifiers.length - SHOWN;
      more.hidden = left <= 0 && state.identifiers_more === 0;
      const earlier = state.identifiers_more && `${counted(state.identifiers_more, "identifier")} that came earlier`;
      setText(more, ["and", [left > 0 && `${counted(left, "identifier")} further down`, earlier].filter(Boolean).join(", and ")].join(" "));
    },
  };
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
