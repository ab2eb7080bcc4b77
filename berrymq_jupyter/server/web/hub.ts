// The hub's page: asks for the state of the hub about once a second and shows it.

import "./hub.css";
import { h, setText } from "../../widgets/dom.ts";
import { createClients } from "./clients.ts";
import { createFeed } from "./feed.ts";
import { createFigures } from "./figures.ts";
import { createKept, createQueues } from "./held.ts";
import { createIdentifiers } from "./identifiers.ts";
import { createNodes } from "./nodes.ts";
import { createStart } from "./start.ts";
import type { HubNode, HubState } from "./state.ts";

const byId = (id: string) => document.getElementById(id) as HTMLElement;

const figures = createFigures();
const start = createStart();
const nodes = createNodes();
const identifiers = createIdentifiers();
const clients = createClients();
const queues = createQueues();
const kept = createKept();
byId("main").append(
  figures.element,
  start.element,
  h("div", { class: "columns" }, h("div", {}, nodes.element, queues.element, kept.element, clients.element), identifiers.element),
);

let present: Map<string, HubNode> | null = null;

/** Show a state of the hub. */
function show(state: HubState) {
  const others = state.nodes.filter((node) => !node.here);
  figures.show(state);
  start.show(others.length === 0 && state.clients.length === 0);
  nodes.show(state);
  clients.show(state);
  queues.show(state);
  kept.show(state);
  identifiers.show(state);
  announceNews(new Map(others.map((node) => [node.id, node])));
}

/** Announce to screen readers which nodes have joined, left, or lost the connection. */
function announceNews(now: Map<string, HubNode>) {
  if (present !== null) {
    const news = [];
    for (const [id, node] of now) {
      const before = present.get(id);
      if (before === undefined) news.push(`${node.name} has joined.`);
      else if (before.state !== node.state) news.push(`${node.name} is ${node.state === "cut" ? "cut off" : "linked again"}.`);
    }
    for (const [id, node] of present) if (!now.has(id)) news.push(`${node.name} has left.`);
    if (news.length > 0) setText(byId("news"), news.slice(0, 5).join(" "));
  }
  present = now;
}

const feed = createFeed("state", {
  onState: show,
  onGap: figures.gap,
  onStatus(status: string, text: string) {
    const element = byId("status");
    element.dataset.status = status;
    document.body.classList.toggle("stale", status === "unavailable" || status === "unauthenticated");
    element.replaceChildren(text, ...(status === "unauthenticated" ? [" ", h("a", { href: "" }, "Log in again")] : []));
  },
});

const pause = byId("pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = feed.toggle();
  setText(pause, paused ? "Resume" : "Pause");
});
feed.start();
