// The page of NetworkView: a drawing, and a table with the same content.

import "./views.css";
import "./network_view.css";
import { fill, framed, h, keepKeys, setText } from "./dom.ts";
import { counted, rate, whole } from "./format.ts";
import { type Flow, type Flows, createGraph } from "./network_graph.ts";
import { type PlainStore, createPlainStore, createRemarks, defineView } from "./view.ts";
import type { Amounts, NetworkNode, NetworkState } from "./wire.ts";

const PATTERNS_SHOWN = 8;
const COLUMNS = [
  ["Node", null],
  ["Follows", null],
  ["Received", "bmq-number"],
  ["Sent", "bmq-number"],
];

function createView(store: PlainStore<NetworkState>) {
  const title = h("span", { class: "bmq-title" });
  const facts = h("span", { class: "bmq-total" });
  const remarks = createRemarks();
  const body = h("tbody", {});
  const graph = createGraph(choose);
  const more = h("div", { class: "bmq-faint bmq-note", hidden: true });
  const table = h(
    "div",
    { class: "bmq-nodes", tabindex: 0, role: "region", "aria-label": "Nodes" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      body,
    ),
    more,
  );
  const panes = h("div", { class: "bmq-network-panes" }, h("div", { class: "bmq-graphbox" }, graph.element), table);
  const empty = h("div", { class: "bmq-nothing" }, "Not linked. %link joins the hub of this machine, or starts it.");
  const element = h(
    "div",
    { class: "bmq bmq-network" },
    h("div", { class: "bmq-bar" }, h("div", { class: "bmq-names" }, title, facts)),
    panes,
    empty,
    h("div", { class: "bmq-foot" }, remarks.element),
  );
  const rows = new Map<string, ReturnType<typeof createRow>>();
  let chosen: string | null = null;
  const redraw = framed(draw);

  function choose(id: string) {
    chosen = chosen === id ? null : id;
    redraw();
  }

  function draw() {
    const state = store.state;
    if (!state) return;
    const linked = state.links.length > 0;
    panes.hidden = !linked;
    empty.hidden = linked;
    setText(title, linked ? state.links.map((link) => link.url).join(", ") : "Network");
    setText(facts, linked ? about(state) : "");
    if (!linked) return;
    const flows = flowsById(state);
    graph.draw(state, flows, chosen);
    showRows(state.nodes, flows);
    more.hidden = !state.more;
    setText(more, `… ${counted(state.more, "more node")}`);
  }

  function showRows(nodes: NetworkNode[], flows: Flows) {
    const there = new Set(nodes.map((node) => node.id));
    for (const id of [...rows.keys()].filter((id) => !there.has(id))) {
      rows.get(id)?.element.remove();
      rows.delete(id);
    }
    nodes.forEach((node, index) => {
      const row = rows.get(node.id) ?? createRow(node.id, choose);
      rows.set(node.id, row);
      row.update(node, flows.get(node.id), node.id === chosen);
      if (body.children[index] !== row.element) body.insertBefore(row.element, body.children[index] ?? null);
    });
  }

  const off = [keepKeys(element), store.on("update", redraw), store.on("problem", (one) => remarks.say(one.text))];
  redraw();
  return {
    element,
    close() {
      redraw.cancel();
      graph.close();
      remarks.close();
      off.forEach((stop) => stop());
    },
  };
}

/** The row of one node. It stays while the node does, so that it keeps the focus. */
function createRow(id: string, onChoose: (id: string) => void) {
  const name = h("button", { type: "button", class: "bmq-node-name", onclick: () => onChoose(id) });
  const badges = h("span", {});
  const follows = h("td", {});
  const [received, sent] = [amountCell(), amountCell()];
  const element = h("tr", {}, h("th", { scope: "row" }, name, badges), follows, received, sent);
  let shown = "";

  function update(node: NetworkNode, flow: Flow | undefined, isChosen: boolean) {
    element.classList.toggle("bmq-chosen", isChosen);
    name.setAttribute("aria-pressed", String(isChosen));
    showAmount(received, flow?.received);
    showAmount(sent, flow?.sent);
    const now = JSON.stringify(node);
    if (now === shown) return;
    shown = now;
    setText(name, node.name);
    name.title = node.name;
    const marks = [node.here && "here", node.hub && "hub", node.room !== null && `room ${node.room}`];
    fill(badges, ...marks.filter(Boolean).map((mark) => h("span", { class: "bmq-badge" }, mark)));
    const left = node.follows.length - PATTERNS_SHOWN + node.followsMore;
    fill(
      follows,
      ...node.follows.slice(0, PATTERNS_SHOWN).map((pattern) => h("code", { class: "bmq-pattern", title: pattern }, pattern)),
      left > 0 && h("span", { class: "bmq-faint" }, `${whole(left)} more`),
      !node.follows.length && h("span", { class: "bmq-faint" }, "nothing"),
    );
  }

  return { element, update };
}

/** What each node sends and receives over all its links, by its id; of a node with a link that is not known of, nothing. */
function flowsById(state: NetworkState): Flows {
  const flows: Flows = new Map();
  for (const { between, flow } of state.edges) {
    between.forEach((id, index) => {
      if (!flows.has(id)) flows.set(id, { sent: [0, 0], received: [0, 0] });
      const sum = flows.get(id);
      if (!flow || !sum) {
        flows.set(id, null);
        return;
      }
      add(sum.sent, flow[index]);
      add(sum.received, flow[1 - index]);
    });
  }
  return flows;
}

function add(sum: Amounts, amounts: Amounts) {
  amounts.forEach((amount, index) => (sum[index] += amount));
}

/** How many messages, and how many a second. */
function amountCell() {
  return h("td", { class: "bmq-number" }, h("span", {}), h("span", { class: "bmq-number-rate" }));
}

function showAmount(cell: HTMLElement, amounts: Amounts | undefined) {
  setText(cell.children[0], amounts ? whole(amounts[0]) : "");
  setText(cell.children[1], amounts ? rate(amounts[1]) : "");
}

/** How the links are, in one line. */
function about(state: NetworkState) {
  const sum = (field: "waiting" | "dropped") => state.links.reduce((total, link) => total + link[field], 0);
  const waiting = sum("waiting");
  const dropped = sum("dropped");
  const cut = state.links.filter((link) => link.state !== "linked").length;
  return [
    counted(state.nodes.length + state.more, "node"),
    cut > 0 && `${counted(cut, "link")} cut, coming back`,
    waiting > 0 && `${whole(waiting)} waiting to be sent`,
    dropped > 0 && `${whole(dropped)} dropped`,
    state.links.map((link) => link.foundBy).join(", "),
  ]
    .filter(Boolean)
    .join(" · ");
}

export default defineView((model) => createPlainStore<NetworkState>(model, ["problem"]), createView);
