// Who is there: a row for each node, by rooms where there are several.

import { fill, h, setText } from "../../widgets/dom.ts";
import { counted, rate, whole } from "../../widgets/format.ts";
import { drawCount, drawLoss, drawName, drawPair } from "./cells.ts";
import { createTable } from "./table.ts";
import { moment } from "./times.ts";
import type { HubNode, HubState } from "./state.ts";

const FOLLOWS_SHOWN = 6;

export function createNodes() {
  const table = createTable<HubNode>(
    "Nodes",
    [
      { title: "Node", order: (node) => node.name, draw: drawNode },
      { title: "Follows", kind: "follows", order: (node) => node.follows.join(" "), draw: drawFollows },
      { title: "Sent", kind: "number", order: (node) => node.sent, draw: drawSent },
      { title: "Received", kind: "number", order: (node) => node.received, draw: drawReceived },
      { title: "Dropped", kind: "number", order: (node) => node.dropped, draw: drawDropped },
      { title: "Since", kind: "time", order: (node) => node.since, draw: drawSince },
    ],
    (node) => node.id,
  );
  const more = h("p", { class: "soft note" });
  const heading = h("h2", { id: "nodes" }, "Nodes");
  const element = h("section", { class: "card nodes", "aria-labelledby": "nodes" }, heading, table.element, more);
  return {
    element,
    show(state: HubState) {
      const others = state.nodes.filter((node) => !node.here);
      element.hidden = others.length === 0;
      table.show(byRooms(others));
      more.hidden = state.nodes_more === 0;
      setText(more, `and ${counted(state.nodes_more, "node")} more`);
    },
  };
}

/** Those in no room are a room of their own. */
function byRooms(nodes: HubNode[]) {
  const rooms = new Map<string, HubNode[]>();
  for (const node of nodes) {
    const name = node.room === null ? "none" : `room ${node.room}`;
    rooms.set(name, [...(rooms.get(name) ?? []), node]);
  }
  const titled = rooms.size > 1 || [...rooms.keys()].some((name) => name.startsWith("room "));
  return [...rooms].sort(([one], [other]) => one.localeCompare(other)).map(([name, rows]) => ({
    name,
    rows,
    title: titled ? describe(name, rows) : null,
  }));
}

function describe(name: string, rows: HubNode[]) {
  const speed = rate(rows.reduce((sum, node) => sum + node.sent_rate, 0));
  const title = name === "none" ? "Without a room" : `Room ${rows[0].room}`;
  return [title, counted(rows.length, "node"), speed].filter(Boolean).join(" · ");
}

function drawNode(cell: HTMLElement, node: HubNode) {
  drawName(cell, node.name, remarkOn(node)).dataset.state = node.state;
}

function remarkOn(node: HubNode) {
  if (node.state === "cut") return `cut off${node.waiting > 0 ? `, ${counted(node.waiting, "message")} wait for it` : ""}`;
  if (node.waiting > 0) return `is behind: ${counted(node.waiting, "message")} wait for it`;
  return "";
}

function drawFollows(cell: HTMLElement, node: HubNode) {
  const text = [...node.follows, node.follows_more].join("\n");
  if (cell.dataset.shown === text) return;
  cell.dataset.shown = text;
  const first = node.follows.slice(0, FOLLOWS_SHOWN);
  const rest = node.follows.slice(FOLLOWS_SHOWN);
  fill(
    cell,
    first.length === 0 ? h("span", { class: "soft" }, "nothing") : chips(first),
    rest.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `and ${whole(rest.length + node.follows_more)} more`),
        chips(rest),
        node.follows_more > 0 && h("span", { class: "soft" }, `and ${whole(node.follows_more)} that are not listed here`),
      ),
  );
}

function chips(identifiers: string[]) {
  return h("ul", { class: "chips", role: "list" }, ...identifiers.map((identifier) => h("li", {}, identifier)));
}

const drawSent = (cell: HTMLElement, node: HubNode) => drawCount(cell, node.sent, node.sent_rate);
const drawReceived = (cell: HTMLElement, node: HubNode) => drawCount(cell, node.received, node.received_rate);
const drawDropped = (cell: HTMLElement, node: HubNode) => drawLoss(cell, node.dropped);
const drawSince = (cell: HTMLElement, node: HubNode) => drawPair(cell, moment(node.since), "");
