// The page of NetworkView: a drawing, a table with the same content, and tables of what passes a hub.

import "./views.css";
import "./network_view.css";
import { fill, framed, h, keepKeys, setAttributes, setText } from "./dom.ts";
import { counted, rate, whole } from "./format.ts";
import { type Flow, type Flows, createGraph } from "./network_graph.ts";
import { createTables } from "./network_tables.ts";
import { type CommonEvents, type PlainStore, createPlainStore, createRemarks, defineView } from "./view.ts";
import type { Amounts, NetworkNewest, NetworkNode, NetworkState } from "./wire.ts";

const PATTERNS_SHOWN = 8;
/** With fewer nodes there is nothing to search. */
const SEARCHED = 8;
type By = (node: NetworkNode, flows: Flows) => string | number;
const COLUMNS: [title: string, kind: string | null, by: By | null][] = [
  ["Node", null, (node) => node.name],
  ["Follows", null, null],
  ["Received", "bmq-number", (node, flows) => flows.get(node.id)?.received[0] ?? -1],
  ["Sent", "bmq-number", (node, flows) => flows.get(node.id)?.sent[0] ?? -1],
];
const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

type NetworkEvents = CommonEvents<NetworkState> & { newest: NetworkNewest };

function createView(store: PlainStore<NetworkState, NetworkEvents>) {
  const title = h("span", { class: "bmq-title" });
  const facts = h("span", { class: "bmq-total" });
  const remarks = createRemarks();
  const find = h("input", { type: "search", class: "bmq-field", "aria-label": "Find nodes and identifiers", placeholder: "find", spellcheck: "false", title: "In nodes, rooms, what they follow, identifiers and sources", hidden: true, oninput: () => redraw() });
  const body = h("tbody", {});
  const heads = COLUMNS.map(([title, kind, by], index) =>
    h("th", { scope: "col", class: kind }, by ? h("button", { type: "button", class: "bmq-sort", onclick: () => sort(index) }, title) : title),
  );
  const graph = createGraph(choose);
  const more = h("div", { class: "bmq-faint bmq-note", hidden: true });
  const table = h(
    "div",
    { class: "bmq-nodes", tabindex: 0, role: "region", "aria-label": "Nodes" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads)),
      body,
    ),
    more,
  );
  const tables = createTables((rows) => store.request({ t: "newest", rows }));
  const panes = h("div", { class: "bmq-network-panes" }, h("div", { class: "bmq-graphbox" }, graph.element), table);
  const empty = h("div", { class: "bmq-nothing" }, "Not linked. %link joins the hub of this machine, or starts it.");
  const element = h(
    "div",
    { class: "bmq bmq-network" },
    h("div", { class: "bmq-bar" }, h("div", { class: "bmq-names" }, title, facts), find),
    panes,
    tables.element,
    empty,
    h("div", { class: "bmq-foot" }, remarks.element),
  );
  const rows = new Map<string, ReturnType<typeof createRow>>();
  let chosen: string | null = null;
  /** The column to sort by, -1 for the kernel's order; names begin with the first, numbers with the largest. */
  let sorted = -1;
  let isTurned = false;
  const redraw = framed(draw);

  function choose(id: string) {
    chosen = chosen === id ? null : id;
    redraw();
  }

  /** Sort by a column; once more: the other way; then as before. */
  function sort(index: number) {
    if (sorted !== index) [sorted, isTurned] = [index, false];
    else if (!isTurned) isTurned = true;
    else sorted = -1;
    heads.forEach((head, at) => {
      const isUp = (at === 0) !== isTurned;
      setAttributes(head, { "aria-sort": at !== sorted ? null : isUp ? "ascending" : "descending" });
    });
    redraw();
  }

  function inTable(nodes: NetworkNode[], flows: Flows) {
    const needle = find.value.trim().toLowerCase();
    const found = nodes.filter((node) => [node.name, node.room ?? "", ...node.follows].some((text) => text.toLowerCase().includes(needle)));
    const by = COLUMNS[sorted]?.[2];
    if (!by) return found;
    const way = isTurned ? -1 : 1;
    return found.toSorted((one, other) => {
      const [a, b] = [by(one, flows), by(other, flows)];
      return way * (typeof a === "number" && typeof b === "number" ? b - a : inOrder(String(a), String(b)));
    });
  }

  function draw() {
    const state = store.state;
    if (!state) return;
    const linked = state.links.length > 0;
    panes.hidden = !linked;
    tables.element.hidden = true;
    empty.hidden = linked;
    setText(title, linked ? state.links.map((link) => link.url).join(", ") : "Network");
    setText(facts, linked ? about(state) : "");
    if (!linked) return;
    const flows = flowsById(state);
    graph.draw(state, flows, chosen);
    find.hidden = state.nodes.length <= SEARCHED && state.identifiers.length <= SEARCHED && !find.value && !state.nodes.some((node) => node.follows.length > PATTERNS_SHOWN);
    const shown = inTable(state.nodes, flows);
    showRows(shown, flows);
    const unsearched = find.value.trim() ? state.nodes.reduce((sum, node) => sum + node.followsMore, 0) : 0;
    const rest = [
      !shown.length && `None of ${counted(state.nodes.length, "node")} has that.`,
      unsearched > 0 && `Not searched: ${counted(unsearched, "pattern")} that nodes follow beyond the first.`,
      state.more > 0 && `… ${counted(state.more, "more node")}, neither searched nor sorted`,
    ];
    setText(more, rest.filter(Boolean).join(" "));
    more.hidden = !more.textContent;
    tables.show(state, find.value.trim().toLowerCase());
  }

  function take(newest: NetworkNewest) {
    tables.take(newest);
    redraw();
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
      row.update(node, flows.get(node.id), node.id === chosen, find.value.trim().toLowerCase());
      if (body.children[index] !== row.element) body.insertBefore(row.element, body.children[index] ?? null);
    });
  }

  const off = [keepKeys(element), store.on("update", redraw), store.on("problem", (one) => remarks.say(one.text)), store.on("newest", take)];
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
  let isOpen = false;

  function update(node: NetworkNode, flow: Flow | undefined, isChosen: boolean, needle: string) {
    element.classList.toggle("bmq-chosen", isChosen);
    name.setAttribute("aria-pressed", String(isChosen));
    showAmount(received, flow?.received);
    showAmount(sent, flow?.sent);
    const now = JSON.stringify([node, needle, isOpen]);
    if (now === shown) return;
    shown = now;
    setText(name, node.name);
    name.title = node.name;
    const marks = [node.here && "here", node.hub && "hub", node.room !== null && `room ${node.room}`];
    fill(badges, ...marks.filter(Boolean).map((mark) => h("span", { class: "bmq-role" }, mark)));
    // What was searched for is seen first.
    const isHit = (pattern: string) => needle !== "" && pattern.toLowerCase().includes(needle);
    const patterns = [...node.follows.filter(isHit), ...node.follows.filter((pattern) => !isHit(pattern))];
    const all = patterns.length + node.followsMore;
    const open = () => {
      isOpen = !isOpen;
      update(node, flow, isChosen, needle);
      follows.querySelector("button")?.focus();
    };
    fill(
      follows,
      ...patterns.slice(0, isOpen ? undefined : PATTERNS_SHOWN).map((pattern) => h("code", { class: "bmq-pattern", title: pattern }, pattern)),
      isOpen && node.followsMore > 0 && h("span", { class: "bmq-faint" }, `and ${whole(node.followsMore)} that are not shown`),
      all > PATTERNS_SHOWN && h("button", { type: "button", class: "bmq-link", "aria-expanded": String(isOpen), onclick: open }, isOpen ? "fewer" : `${whole(all - PATTERNS_SHOWN)} more`),
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

export default defineView((model) => createPlainStore<NetworkState, NetworkEvents>(model, ["problem", "newest"]), createView);
