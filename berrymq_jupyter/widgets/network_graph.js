// The network as a drawing: hubs in the middle, the others around them, lines that show what passes.

import { fill, setAttributes, svg } from "./dom.js";
import { rate } from "./format.js";

const MOST_DRAWN = 40;
const HEIGHT_OF_GRAPH = 300;
const NAME_LENGTH = 22;

/** @param {function(string): void} onChoose told the id of the node that was clicked */
export function createGraph(onChoose) {
  const element = svg("svg", { class: "bmq-graph", role: "img", height: HEIGHT_OF_GRAPH });
  let width = 0;
  let last = null;
  const resized = new ResizeObserver(([entry]) => {
    width = entry.contentRect.width;
    if (last) draw(...last);
  });
  resized.observe(element);

  function draw(state, chosen) {
    last = [state, chosen];
    if (width < 100) return;
    const nodes = state.nodes.slice(0, MOST_DRAWN);
    const places = layOut(nodes, width, HEIGHT_OF_GRAPH);
    const edges = state.edges.filter((edge) => edge.between.every((id) => places.has(id)));
    setAttributes(element, {
      viewBox: `0 0 ${width} ${HEIGHT_OF_GRAPH}`,
      "aria-label": `${state.nodes.length} nodes and ${edges.length} links; the table beside has them all`,
    });
    fill(element, ...edges.flatMap((edge) => line(edge, places, chosen)), ...nodes.map((node) => dot(node, places.get(node.id), chosen)));
  }

  function line(edge, places, chosen) {
    const [from, to] = edge.between.map((id) => places.get(id));
    const passing = edge.flow ? edge.flow.out + edge.flow.into : 0;
    const mark = [edge.cut && "bmq-cut", passing > 0 && "bmq-passing", edge.between.includes(chosen) && "bmq-touched"];
    const drawn = [
      svg("line", {
        class: ["bmq-edge", ...mark.filter(Boolean)].join(" "),
        x1: from.x, y1: from.y, x2: to.x, y2: to.y,
        "stroke-width": 1.5 + Math.min(5, Math.log10(1 + passing) * 1.6),
      }),
    ];
    if (passing > 0) {
      const text = [edge.flow.out > 0 && `↑ ${rate(edge.flow.out)}`, edge.flow.into > 0 && `↓ ${rate(edge.flow.into)}`];
      drawn.push(
        svg("text", { class: "bmq-edge-text", x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 - 6, "text-anchor": "middle" }, text.filter(Boolean).join("  ")),
      );
    }
    return drawn;
  }

  function dot(node, place, chosen) {
    const kind = [node.hub && "bmq-hub", node.here && "bmq-here", node.id === chosen && "bmq-touched"];
    const name = node.name.length > NAME_LENGTH ? `${node.name.slice(0, NAME_LENGTH - 1)}…` : node.name;
    const group = svg(
      "g",
      { class: ["bmq-node", ...kind.filter(Boolean)].join(" "), transform: `translate(${place.x} ${place.y})` },
      node.hub ? svg("rect", { x: -11, y: -11, width: 22, height: 22, rx: 6 }) : svg("circle", { r: 8 }),
      svg("text", { y: 24, "text-anchor": place.anchor }, name),
      svg("title", {}, node.name),
    );
    group.addEventListener("click", () => onChoose(node.id));
    return group;
  }

  return { element, draw, close: () => resized.disconnect() };
}

/** Where the nodes stand: hubs in the middle, the others on an ellipse around them. */
function layOut(nodes, width, height) {
  const hubs = nodes.filter((node) => node.hub);
  const others = nodes.filter((node) => !node.hub);
  const [x, y] = [width / 2, height / 2 - 8];
  const places = new Map();
  ring(places, hubs, x, y, hubs.length > 1 ? width * 0.12 : 0, hubs.length > 1 ? 36 : 0);
  ring(places, others, x, y, Math.max(60, width / 2 - 90), height / 2 - 38);
  return places;
}

function ring(places, nodes, x, y, wide, high) {
  nodes.forEach((node, index) => {
    // From the left on, so that a few nodes stand side by side, where their names have room.
    const angle = Math.PI + (2 * Math.PI * index) / nodes.length;
    places.set(node.id, { x: x + Math.cos(angle) * wide, y: y + Math.sin(angle) * high, anchor: "middle" });
  });
}
