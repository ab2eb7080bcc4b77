// The page's side of MessageLog: puts the parts together.

import { hideStatic, sharing } from "./channel.js";
import { button, framed, h, keepKeys, setText } from "./dom.js";
import { brief, counted, rate, whole } from "./format.js";
import { createChart } from "./chart.js";
import { createDetail } from "./detail.js";
import { createGrid } from "./log_grid.js";
import { createStore } from "./log_store.js";
import { createIdentifierTree } from "./log_tree.js";

const TYPING_MS = 250;
const SAID_MS = 6000;
const stores = sharing(createStore);

function render({ model, el }) {
  const store = stores.open(model);
  const showStatic = hideStatic(model);
  const view = createView(store);
  el.append(view.element);
  return () => {
    view.close();
    view.element.remove();
    showStatic();
    stores.close(model);
  };
}

function createView(store) {
  const status = h("div", { class: "bmq-status" });
  const said = h("div", { class: "bmq-said", role: "status", "aria-live": "polite" });
  const banner = h("div", { class: "bmq-banner", hidden: true });
  const tree = createIdentifierTree(store, (pattern) => filter(pattern, text.value));
  const grid = createGrid(store, { onOpen: (number) => detail.open(number), onEscape: closeDetail });
  const detail = createDetail(store, { say, onClose: closeDetail, onChart: openChart, canResend: true });
  const chart = createChart({ onClose: closeChart, onPick: (number) => detail.open(number) });
  const bar = createToolbar(store, { onTree: flipTree, onTurn: turn, onFilter: filter, say });
  const { text } = bar;
  const panes = h("div", { class: "bmq-panes" }, tree.element, grid.element, detail.element);
  const element = h(
    "div",
    { class: "bmq bmq-log", onkeydown: shortcuts },
    bar.element,
    banner,
    panes,
    chart.element,
    h("div", { class: "bmq-foot" }, status, said),
  );
  const announce = createAnnouncer(said);
  const redraw = framed(draw);
  let charted = false;

  function draw() {
    const state = store.state;
    if (!state) return;
    grid.update(state);
    tree.update();
    bar.update(state);
    setText(status, standing(state));
    banner.hidden = state.heldBack === null;
    if (!banner.hidden) {
      setText(
        banner,
        `Paused. ${state.heldBack ? counted(state.heldBack, "new message") : "No new message"} held back; ` +
          `the newest ${whole(state.maxlen)} messages are kept and appear on resuming.`,
      );
    }
    announce.count(state.total);
  }

  function say(words) {
    announce.say(words);
  }

  function filter(id, words) {
    bar.show(id, words);
    store.request({ t: "filter", id, text: words });
  }

  function turn() {
    grid.turn();
    return grid.isNewestFirst();
  }

  function flipTree() {
    const visible = tree.element.offsetParent !== null;
    element.classList.toggle("bmq-no-tree", visible);
    element.classList.toggle("bmq-with-tree", !visible);
  }

  function closeDetail() {
    detail.hide();
    element.classList.remove("bmq-has-detail");
    grid.deselect();
    grid.focus();
  }

  function openChart(id, field) {
    charted = true;
    store.request({ t: "chart", id, field });
  }

  function closeChart() {
    charted = false;
    chart.hide();
    store.request({ t: "chart" });
    grid.focus();
  }

  function shortcuts(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
    const act = { "/": () => text.focus(), p: bar.flipPause }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  const off = [
    keepKeys(element),
    store.on("update", redraw),
    store.on("detail", () => element.classList.add("bmq-has-detail")),
    store.on("chart", (body) => charted && chart.show(body)),
    store.on("problem", (body) => say(body.text)),
    store.on("done", (body) => say(body.text)),
  ];
  redraw();
  return {
    element,
    close() {
      redraw.cancel();
      announce.close();
      grid.close();
      detail.close();
      chart.close();
      off.forEach((stop) => stop());
    },
  };
}

function createToolbar(store, { onTree, onTurn, onFilter, say }) {
  const follows = h("span", { class: "bmq-title" });
  const speed = h("span", { class: "bmq-total", title: "messages a second" });
  const id = field("Identifier", "identifier, as in *:run", "Filter by identifier: a name, an action, or both");
  const text = field("Payload text", "text in the payload", "Filter by text in the payload");
  const pause = button("pause", "Pause", flipPause);
  const order = button("down", "Newest last", () => {
    const first = onTurn();
    order.set(first ? "up" : "down", first ? "Newest first" : "Newest last");
  });
  const treeButton = button("tree", "Identifiers", onTree, { class: "bmq-button bmq-icon-only" });
  let timer = 0;

  function field(name, placeholder, title) {
    return h("input", {
      type: "search",
      class: "bmq-field",
      "aria-label": name,
      placeholder,
      title,
      spellcheck: "false",
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(apply, TYPING_MS);
      },
      onkeydown: (event) => {
        if (event.key === "Enter") apply();
        event.stopPropagation();
      },
    });
  }

  function apply() {
    clearTimeout(timer);
    onFilter(id.value.trim(), text.value);
  }

  function flipPause() {
    store.request({ t: "pause", on: store.state?.heldBack === null });
  }

  return {
    text,
    flipPause,
    element: h(
      "div",
      { class: "bmq-bar", role: "toolbar", "aria-label": "Message log" },
      h("div", { class: "bmq-names" }, treeButton, follows, speed),
      h("div", { class: "bmq-filters" }, id, text),
      h(
        "div",
        { class: "bmq-actions" },
        pause,
        order,
        button("clear", "Clear", () => store.request({ t: "clear" })),
        createExport(store, say),
      ),
    ),
    show(pattern, words) {
      id.value = pattern;
      text.value = words;
    },
    update(state) {
      setText(follows, state.follows);
      setText(speed, rate(state.rate));
      pause.set(state.heldBack === null ? "pause" : "play", state.heldBack === null ? "Pause" : "Resume");
      pause.classList.toggle("bmq-on", state.heldBack !== null);
      for (const [input, value] of [[id, state.filter[0]], [text, state.filter[1]]]) {
        if (document.activeElement !== input && input.value !== value) input.value = value;
      }
    },
  };
}

/** The little form that puts what is shown into a variable of the notebook. */
function createExport(store) {
  const name = h("input", { class: "bmq-field", "aria-label": "Variable", value: "messages", spellcheck: "false" });
  const kind = h(
    "select",
    { class: "bmq-field", "aria-label": "As" },
    h("option", { value: "list" }, "list"),
    h("option", { value: "DataFrame" }, "DataFrame"),
  );
  const form = h(
    "form",
    { class: "bmq-popup", hidden: true, onsubmit: submit, onkeydown: keys },
    h("div", { class: "bmq-popup-title" }, "Put the messages shown into a variable"),
    h("div", { class: "bmq-popup-row" }, name, "as", kind, h("button", { class: "bmq-button bmq-primary" }, "Export")),
  );
  const open = button("save", "Export", flip, { class: "bmq-button", "aria-expanded": "false" });

  function flip() {
    form.hidden = !form.hidden;
    open.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) name.select();
  }

  function keys(event) {
    event.stopPropagation();
    if (event.key !== "Escape") return;
    flip();
    open.focus();
  }

  function submit(event) {
    event.preventDefault();
    store.request({ t: "export", name: name.value.trim(), as: kind.value });
    flip();
    open.focus();
  }

  return h("div", { class: "bmq-popup-anchor" }, open, form);
}

/** Where everything stands, in one line. */
function standing(state) {
  const shown = state.range[1] - state.range[0];
  const dropped = state.total - state.kept;
  const filtered = state.filter[0] || state.filter[1];
  return [
    filtered ? `${whole(shown)} of ${counted(state.kept, "message")}` : counted(shown, "message"),
    state.unsearched > 0 && `searching ${brief(state.unsearched)} more`,
    dropped > 0 && `${whole(dropped)} older dropped (${limit(state)})`,
    state.missed > 0 && `${whole(state.missed)} of them came too fast to be counted by identifier`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Which of the two bounds made messages go. */
function limit(state) {
  return state.kept < state.maxlen
    ? `payloads are kept up to ${whole(Math.round(state.maxBytes / 1e6))} MB`
    : `the newest ${whole(state.maxlen)} are kept`;
}

/** Speaks to screen readers: remarks at once, the count of messages when it stood still for a while. */
function createAnnouncer(region) {
  let total = null;
  let timer = 0;
  let quiet = 0;

  function say(words) {
    setText(region, words);
    clearTimeout(timer);
    timer = setTimeout(() => setText(region, ""), SAID_MS);
  }

  return {
    say,
    count(now) {
      if (now === total) return;
      const first = total === null;
      total = now;
      clearTimeout(quiet);
      if (!first) quiet = setTimeout(() => region.setAttribute("aria-label", counted(total, "message")), 2000);
    },
    close() {
      clearTimeout(timer);
      clearTimeout(quiet);
    },
  };
}

export default { render };
