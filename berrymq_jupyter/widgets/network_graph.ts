// The network as a drawing: nodes, and lines that show what passes.

import { fill, setAttributes, svg } from "./dom.ts";
import { rate } from "./format.ts";
import { type Layout, type Place, createLayout } from "./network_layout.ts";
import type { Amounts, NetworkEdge, NetworkNode, NetworkState } from "./wire.ts";

const MOST_DRAWN = 40;

/** What a node sends and receives; null where that is not known. */
export type Flow = { sent: Amounts; received: Amounts } | null;
/** By the node's id. */
export type Flows = Map<string, Flow>;

/** @param onChoose called with the id of the node that was clicked */
export function createGraph(onChoose: (id: string) => void) {
  const element = svg("svg", { class: "bmq-graph", role: "img" });
  const layOut = createLayout();
  const fit = createFitter(element);
  let width = 0;
  let last: [NetworkState, Flows, string | null] | null = null;
  const resized = new ResizeObserver(([entry]) => {
    width = entry.contentRect.width;
    if (last) draw(...last);
  });
  resized.observe(element);

  function draw(state: NetworkState, flows: Flows, chosen: string | null) {
    last = [state, flows, chosen];
    if (width < 100) return;
    const nodes = state.nodes.slice(0, MOST_DRAWN);
    const layout = layOut(nodes, width);
    const { places, height } = layout;
    const labels = fit(nodes, (node: NetworkNode) => (node.hub ? layout.middleRoom : layout.sideRoom));
    const edges = state.edges.filter((edge) => edge.between.every((id) => places.has(id)));
    setAttributes(element, {
      height,
      viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${state.nodes.length} nodes and ${edges.length} links; the table beside has them all`,
    });
    fill(
      element,
      ...edges.map((edge) => line(edge, places, chosen)),
      ...nodes.map((node) => dot(node, labels.get(node.id) ?? "", layout, flows.get(node.id), chosen)),
    );
  }

  function line(edge: NetworkEdge, places: Map<string, Place>, chosen: string | null) {
    const [from, to] = edge.between.map((id) => places.get(id) as Place);
    const passing = (edge.flow ?? []).reduce((sum, [, perSecond]) => sum + perSecond, 0);
    const mark = [edge.cut && "bmq-cut", passing > 0 && "bmq-passing", chosen !== null && edge.between.includes(chosen) && "bmq-touched"];
    return svg("path", {
      class: ["bmq-edge", ...mark.filter(Boolean)].join(" "),
      d: way(from, to),
      "stroke-width": 1.5 + Math.min(4, Math.log10(1 + passing) * 1.2),
    });
  }

  function dot(node: NetworkNode, label: string, { places, roomy }: Layout, flow: Flow | undefined, chosen: string | null) {
    const { x, y, anchor, outward } = places.get(node.id) as Place;
    const kind = [node.hub && "bmq-hub", node.here && "bmq-here", node.id === chosen && "bmq-touched"];
    const passing = roomy && !node.hub ? traffic(flow, outward) : "";
    const at = { x: outward * 15, "text-anchor": anchor };
    const group = svg(
      "g",
      { class: ["bmq-node", ...kind.filter(Boolean)].join(" "), transform: `translate(${x} ${y})` },
      node.hub ? svg("rect", { x: -11, y: -11, width: 22, height: 22, rx: 6 }) : svg("circle", { r: 8 }),
      svg("text", { class: "bmq-node-label", y: node.hub ? 25 : passing ? -2 : 4, ...at }, label),
      ...(passing ? [svg("text", { class: "bmq-node-traffic", y: 12, ...at }, passing)] : []),
      svg("title", {}, node.name),
    );
    group.addEventListener("click", () => onChoose(node.id));
    return group;
  }

  return { element, draw, close: () => resized.disconnect() };
}

/** The path of a line: straight, but around what stands between two places that are one above the other. */
function way(from: Place, to: Place) {
  if (from.x !== to.x) return `M${from.x} ${from.y}L${to.x} ${to.y}`;
  const aside = from.x - (from.outward || 1) * Math.min(60, Math.abs(from.y - to.y) / 2);
  return `M${from.x} ${from.y}Q${aside} ${(from.y + to.y) / 2} ${to.x} ${to.y}`;
}

/** What a node sends and receives a second, with arrows that point from it to the middle and back. */
function traffic(flow: Flow | undefined, outward: number) {
  if (!flow) return "";
  const [into, out] = outward < 0 ? ["→", "←"] : ["←", "→"];
  const ways: [arrow: string, perSecond: number][] = [[into, flow.sent[1]], [out, flow.received[1]]];
  return ways
    .filter(([, perSecond]) => perSecond > 0)
    .map(([arrow, perSecond]) => `${arrow} ${rate(perSecond)}`)
    .join("  ");
}

/**
 * Makes a function that shortens the names of nodes to the room there is. What all long ones begin with goes first, then
 * what is in the middle: the ends of names tell them apart.
 */
function createFitter(element: SVGElement) {
  const context = document.createElement("canvas").getContext("2d") as CanvasRenderingContext2D;
  return (nodes: NetworkNode[], roomOf: (node: NetworkNode) => number) => {
    context.font = `700 11px ${getComputedStyle(element).fontFamily}`;
    const fits = (text: string, node: NetworkNode) => context.measureText(text).width <= roomOf(node);
    const long = nodes.filter((node) => !fits(node.name, node)).map((node) => node.name);
    const common = long.length > 1 ? commonStart(long).length : 0;
    return new Map(nodes.map((node) => [node.id, shorten(node.name, common, (text: string) => fits(text, node))]));
  };
}

function shorten(name: string, common: number, fits: (text: string) => boolean) {
  if (fits(name)) return name;
  const [start, letters] = common > 2 ? ["…", [...name.slice(common)]] : ["", [...name]];
  if (fits(start + letters.join(""))) return start + letters.join("");
  let kept = letters.length - 1;
  const shortened = () => [start, ...letters.slice(0, Math.ceil(kept / 2)), "…", ...letters.slice(letters.length - Math.floor(kept / 2))].join("");
  while (kept > 1 && !fits(shortened())) kept -= 1;
  return shortened();
}

function commonStart(names: string[]) {
  let start = names[0];
  for (const name of names) while (!name.startsWith(start)) start = start.slice(0, -1);
  return start.replace(/[\ud800-\udbff]$/, ""); // no half of a character
}
