// The page's side of MessageLog: puts the parts together.

import "uplot/dist/uPlot.min.css";
import "./views.css";
import "./detail.css";
import "./chart.css";
import "./message_log.css";
import { createChart } from "./chart.ts";
import { createDetail } from "./detail.ts";
import { button, copyText, framed, h, keepKeys, setText } from "./dom.ts";
import { type TimeMode, brief, counted, whole } from "./format.ts";
import { createPins } from "./log_pins.ts";
import { createGrid } from "./log_grid.ts";
import { type LogStore, createStore } from "./log_store.ts";
import { createToolbar } from "./log_toolbar.ts";
import { createIdentifierTree } from "./log_tree.ts";
import type { Look } from "./page_memory.ts";
import { anyOf } from "./query.ts";
import { createSplitter } from "./splitter.ts";
import { createRemarks, defineView } from "./view.ts";
import type { CopiedBody, LogState, Replay } from "./wire.ts";

const QUIET_MS = 2000;

function createView(store: LogStore) {
  const status = h("div", { class: "bmq-status" });
  const remarks = createRemarks();
  const counter = createCounter();
  const { say } = remarks;
  const held = h("span", {});
  const resume = button("play", "Resume", () => {
    store.request({ t: "pause", on: false });
    grid.focus();
  }, { class: "bmq-button bmq-primary" });
  const ended = h("div", { class: "bmq-banner bmq-gone", role: "status", hidden: true }, "Not followed any more: nothing new appears here.");
  const banner = h("div", { class: "bmq-banner bmq-paused", hidden: true }, held, resume);
  const tree = createIdentifierTree(store, {
    chosen: (kind) => bar.filter.chosen(kind),
    onChoose: (kind, patterns) => bar.filter.choose(kind, patterns),
    onHide: (kind, pattern) => bar.filter.flip(`-${anyOf(kind, [pattern])}`),
  });
  const undo = button("undo", "Undo", () => {
    store.request({ t: "undo" });
    grid.focus();
  }, { class: "bmq-button bmq-primary" });
  const removed = h("span", {});
  const cleared = h("div", { class: "bmq-banner bmq-paused", role: "status", hidden: true }, removed, h("span", { class: "bmq-actions" }, undo, button("close", "Close", dismiss, { class: "bmq-button bmq-icon-only", title: "Leave them cleared", "aria-label": "Leave them cleared" })));
  const again = h("span", {});
  const replaying = h("div", { class: "bmq-banner bmq-paused", hidden: true }, again, button("stop", "Stop", () => store.request({ t: "replay", speed: 0 }), { class: "bmq-button bmq-primary" }));
  const grid = createGrid(store, {
    onOpen: openDetail,
    onEscape: closeDetail,
    onFilter: (term: string) => bar.filter.flip(term),
    onExtend: (count) => say(`${counted(count, "row")} selected: c copies, Export saves them or sends them again`),
    onCopy: () => store.request({ t: "tsv", ...grid.selection(1) }),
  });
  const detail = createDetail(store, { say, onClose: closeDetail, onChart: openChart, onFilter: (term: string) => bar.filter.flip(term), onPin: flipPin, canResend: true });
  const pins = createPins(store, openDetail);
  const chart = createChart({
    request: store.request,
    say,
    onClose: closeChart,
    onPick: openDetail,
    look: () => store.memory.look.chart ?? {},
    onLook: (part) => store.memory.set({ chart: { ...store.memory.look.chart, ...part } }),
  });
  const bar = createToolbar(store, { onTree: flipTree, onTurn: turn, onPanel: openPanel, onOpen: openDetail, selection: () => grid.selection() });
  const treeSplitter = createSplitter({
    label: "Width of the identifiers",
    pane: tree.element,
    property: "--bmq-tree-width",
    onChange: (treeWidth) => store.memory.set({ treeWidth }),
  });
  const detailSplitter = createSplitter({
    label: "Width of the message",
    pane: detail.element,
    property: "--bmq-detail-width",
    isRight: true,
    onChange: (detailWidth) => store.memory.set({ detailWidth }),
  });
  const panes = h("div", { class: "bmq-panes" }, tree.element, treeSplitter.element, grid.element, detailSplitter.element, detail.element);
  const element = h(
    "div",
    { class: "bmq bmq-log", onkeydown: shortcuts },
    bar.element,
    ended,
    banner,
    cleared,
    replaying,
    pins.element,
    panes,
    chart.element,
    h("div", { class: "bmq-foot" }, status, remarks.element, counter.element),
  );
  const redraw = framed(draw);
  /** The clear whose undo the user has dismissed. */
  let dismissed: number | null = null;

  function draw() {
    const state = store.state;
    if (!state) return;
    grid.update(state);
    tree.update();
    bar.update(state);
    setText(status, standing(state, store.isLate()));
    ended.hidden = !state.ended;
    banner.hidden = state.heldBack === null;
    if (!banner.hidden) {
      setText(
        held,
        `Paused. ${state.heldBack ? counted(state.heldBack, "new message") : "No new message"} held back; ` +
          `the newest ${whole(state.maxlen)} messages are kept and appear on resuming.`,
      );
    }
    cleared.hidden = state.undo === null || state.undo[0] === dismissed;
    if (state.undo) setText(removed, `${counted(state.undo[1], "message")} cleared.`);
    drawReplay(state.replay);
    bar.offerPanel(document.documentElement.dataset.berrymqPanels !== undefined && element.closest(".jp-Notebook") !== null);
    counter.count(state.total);
  }

  function dismiss() {
    dismissed = store.state?.undo?.[0] ?? null;
    cleared.hidden = true;
    grid.focus();
  }

  function drawReplay(replay: Replay | null) {
    const ended = !replaying.hidden && !replay?.running;
    replaying.hidden = !replay?.running;
    if (!replay) return;
    setText(again, `Sending messages again at ${replay.speed} ×: ${whole(replay.sent)} of ${whole(replay.of)}.`);
    if (ended) say(`Sent ${counted(replay.sent, "message")} again${replay.failed ? `; followers failed at ${whole(replay.failed)}, the last with ${replay.error}` : ""}.`);
  }

  /** The extension of JupyterLab handles the event, and shows the output of this cell in a panel as well. */
  function openPanel() {
    element.dispatchEvent(new CustomEvent("berrymq:panel", { bubbles: true }));
  }

  function turn() {
    grid.turn();
    store.memory.set({ newestFirst: grid.isNewestFirst() });
    return grid.isNewestFirst();
  }

  /** Look as it did before a reload, or as in another browser. */
  function lookLike(look: Look) {
    if (look.newestFirst !== undefined && look.newestFirst !== grid.isNewestFirst()) bar.turned(turn());
    if (look.tree !== undefined) showTree(look.tree);
    treeSplitter.set(look.treeWidth ?? 0);
    detailSplitter.set(look.detailWidth ?? 0);
    if (look.sort) tree.setSort(look.sort);
    grid.setColumns(look.columns ?? {});
    grid.showLatency(look.latency === true);
    if (look.time) grid.setTimes(look.time as TimeMode);
    if (look.height) grid.setHeight(look.height);
    if (look.detail != null && detail.element.hidden) detail.open(look.detail);
  }

  const treeIsInSight = () => tree.element.offsetParent !== null;
  const treeResized = new ResizeObserver(() => bar.showTree(treeIsInSight()));
  treeResized.observe(tree.element);

  function flipTree() {
    const visible = !treeIsInSight();
    showTree(visible);
    store.memory.set({ tree: visible });
  }

  function showTree(visible: boolean) {
    element.classList.toggle("bmq-no-tree", !visible);
    element.classList.toggle("bmq-with-tree", visible);
  }

  function openDetail(number: number) {
    detail.open(number);
    store.memory.set({ detail: number });
  }

  function flipPin(number: number) {
    store.request({ t: "pin", number, on: !store.pins.has(number) });
  }

  async function copy({ text, said }: CopiedBody) {
    bar.exported();
    say((await copyText(text)) ? said : "This page may not use the clipboard.");
  }

  function closeDetail() {
    detail.hide();
    store.memory.set({ detail: null });
    element.classList.remove("bmq-has-detail");
    grid.deselect();
    grid.focus();
  }

  /** Add a field to the chart, or take it out. */
  function openChart(id: string, field: string[]) {
    const before = chart.tracks();
    const others = before.filter((track) => String(track) !== String([id, field]));
    store.request({ t: "chart", tracks: others.length < before.length ? others : [...before, [id, field]], x: chart.x() });
  }

  function closeChart() {
    chart.hide();
    store.memory.set({ chart: undefined });
    store.request({ t: "chart" });
    grid.focus();
  }

  function shortcuts(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.target as Element).closest("input, textarea")) return;
    const act = { "/": () => bar.filter.focus(), p: bar.flipPause }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  const off = [
    keepKeys(element),
    store.on("update", redraw),
    store.on("detail", () => {
      element.classList.toggle("bmq-has-detail", !detail.element.hidden);
      detail.pinned(store.pins);
    }),
    store.on("pins", () => {
      detail.pinned(store.pins);
      redraw();
    }),
    store.on("tsv", copy),
    store.on("chart", chart.show),
    store.on("problem", (body) => bar.complain(body.field ?? "", body.text) || say(body.text)),
    store.on("done", (body) => say(body.text)),
    store.on("exported", (body) => say(body.text)),
    store.on("look", lookLike),
  ];
  lookLike(store.memory.look);
  store.showChart();
  redraw();
  return {
    element,
    close() {
      redraw.cancel();
      treeResized.disconnect();
      bar.close();
      counter.close();
      remarks.close();
      grid.close();
      tree.close();
      detail.close();
      pins.close();
      chart.close();
      off.forEach((stop) => stop());
    },
  };
}

/** Where everything stands, in one line. */
function standing(state: LogState, isLate: boolean) {
  const shown = state.range[1] - state.range[0];
  const dropped = state.total - state.kept;
  return [
    state.query ? `${whole(shown)} of ${counted(state.kept, "message")}` : counted(shown, "message"),
    state.unsearched > 0 && `searching ${brief(state.unsearched)} more`,
    dropped > 0 && `${whole(dropped)} older dropped (${limit(state)})`,
    state.partly > 0 && `${counted(state.partly, "payload")} too large to be searched whole`,
    isLate && "the kernel is busy and sends older rows when it is free",
    state.missed > 0 && `${whole(state.missed)} of them came too fast to be counted by identifier, or drawn`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Which of the two bounds made messages go. */
function limit(state: LogState) {
  if (state.kept < state.maxlen) return `payloads are kept up to ${whole(Math.round(state.maxBytes / 1e6))} MB`;
  return `the newest ${whole(state.maxlen)}${state.kept > state.maxlen ? ", and the newest of each identifier," : ""} are kept`;
}

/** Announces the number of messages to screen readers, when it has not changed for a while. */
function createCounter() {
  const element = h("span", { class: "bmq-offscreen", "aria-live": "polite" });
  let total: number | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    element,
    count(now: number) {
      if (now === total) return;
      if (total !== null) {
        clearTimeout(timer);
        timer = setTimeout(() => setText(element, counted(now, "message")), QUIET_MS);
      }
      total = now;
    },
    close: () => clearTimeout(timer),
  };
}

export default defineView(createStore, createView);
