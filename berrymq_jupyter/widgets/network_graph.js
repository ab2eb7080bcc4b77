// The network as a drawing: hubs in the middle, the others around them, lines that show what passes.

import { fill, setAttributes, svg } from "./dom.js";
import { rate } from "./format.js";

const MOST_DRAWN = 40;
const HEIGHT = 300;
const HEIGHT_OF_FEW = 150;
const FEW = 2;
const NAME_LENGTH = 22;
const MOST_LABELLED = 16;
const ARROWS = "→↘↓↙←↖↑↗";

/** @param {function(string): void} onChoose told the id of the node that was clicked */
export function createGraph(onChoose) {
  const element = svg("svg", { class: "bmq-graph", role: "img" });
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
    const height = nodes.filter((node) => !node.hub).length > FEW ? HEIGHT : HEIGHT_OF_FEW;
    const places = layOut(nodes, width, height);
    const edges = state.edges.filter((edge) => edge.between.every((id) => places.has(id)));
    setAttributes(element, {
      height,
      viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${state.nodes.length} nodes and ${edges.length} links; the table beside has them all`,
    });
    fill(element, ...edges.flatMap((edge) => line(edge, places, chosen)), ...nodes.map((node) => dot(node, places.get(node.id), chosen)));
  }

  function line(edge, places, chosen) {
    const [from, to] = edge.between.map((id) => places.get(id));
    const [there, back] = (edge.flow ?? [[0, 0], [0, 0]]).map(([, perSecond]) => perSecond);
    const touched = edge.between.includes(chosen);
    const mark = [edge.cut && "bmq-cut", there + back > 0 && "bmq-passing", touched && "bmq-touched"];
    const drawn = [
      svg("line", {
        class: ["bmq-edge", ...mark.filter(Boolean)].join(" "),
        x1: from.x, y1: from.y, x2: to.x, y2: to.y,
        "stroke-width": 1.5 + Math.min(5, Math.log10(1 + there + back) * 1.6),
      }),
    ];
    if (!touched && places.size > MOST_LABELLED) return drawn;
    const [x, y] = [(from.x + to.x) / 2, (from.y + to.y) / 2];
    const labels = [[there, arrow(from, to)], [back, arrow(to, from)]].filter(([perSecond]) => perSecond > 0);
    labels.forEach(([perSecond, way], index) => {
      const text = `${way} ${rate(perSecond)}`;
      drawn.push(svg("text", { class: "bmq-edge-text", x, y: y + (index ? 15 : -7), "text-anchor": "middle" }, text));
    });
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

/** The arrow that points from one place to another, by eighths of a turn. */
function arrow(from, to) {
  return ARROWS[Math.round((Math.atan2(to.y - from.y, to.x - from.x) * 4) / Math.PI + 8) % 8];
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
