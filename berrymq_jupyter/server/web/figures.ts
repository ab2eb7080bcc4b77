// The numbers at the top: who is there, and how much passes.

import { h, setText } from "../../widgets/dom.ts";
import { brief, rate, whole } from "../../widgets/format.ts";
import { createSparkline } from "../../widgets/sparkline.ts";
import { moment } from "./times.ts";
import type { HubState } from "./state.ts";

const POINTS = 60;

export function createFigures() {
  const nodes = createFigure("Nodes");
  const rooms = createFigure("Rooms");
  const speed = createFigure("Rate");
  const messages = createFigure("Messages");
  const dropped = createFigure("Dropped");
  const line = createSparkline();
  let history: number[] = [];
  const element = h(
    "section",
    { class: "figures card", "aria-label": "Overview" },
    h("dl", {}, nodes.element, rooms.element, speed.element, messages.element, dropped.element),
    h("div", { class: "line" }, line.element),
  );
  return {
    element,
    /** The next state does not continue the last one. */
    gap() {
      history = [];
    },
    show(state: HubState) {
      const others = state.nodes.filter((node) => !node.here);
      const cut = others.filter((node) => node.state === "cut").length;
      const lost = state.nodes.reduce((sum, node) => sum + node.dropped, 0);
      history = [...history, state.rate].slice(-POINTS);
      element.hidden = others.length === 0 && state.messages === 0;
      nodes.show(whole(others.length + state.nodes_more), cut > 0 ? `${whole(cut)} cut off` : "");
      rooms.show(whole(new Set(others.map((node) => node.room).filter(Boolean)).size), "");
      speed.show(rate(state.rate) || "0/s", "");
      messages.show(brief(state.messages), `since ${moment(state.since)}`);
      dropped.show(brief(lost), lost > 0 ? "a receiver was too slow" : "");
      dropped.element.classList.toggle("warn", lost > 0);
      line.show(history, POINTS, `Messages a second in the last minute, at most ${rate(Math.max(...history)) || "none"}`);
    },
  };
}

function createFigure(name: string) {
  const value = h("span", { class: "value" });
  const more = h("span", { class: "soft" });
  return {
    element: h("div", {}, h("dt", {}, name), h("dd", {}, value, " ", more)),
    show(text: string, note: string) {
      setText(value, text);
      setText(more, note);
    },
  };
}
