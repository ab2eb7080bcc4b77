// The bar above the rows of a MessageLog: what it follows, filters, and buttons.

import { button, h, setText } from "./dom.js";
import { rate } from "./format.js";

const TYPING_MS = 250;

/**
 * @param {object} store of the log
 * @param {object} options
 * @param {function(): void} options.onTree shows or hides the identifiers
 * @param {function(): boolean} options.onTurn turns the order round; returns whether the newest come first now
 * @param {function(string, string): void} options.onFilter told identifier and text to filter by
 */
export function createToolbar(store, { onTree, onTurn, onFilter }) {
  const follows = h("span", { class: "bmq-title" });
  const speed = h("span", { class: "bmq-total", title: "messages a second" });
  const id = field("Identifier", "identifier, as in *:run", "Filter by identifier: a name, an action, or both");
  const text = field("Payload text", "text in the payload", "Filter by text in the payload");
  const pause = button("pause", "Pause", flipPause);
  const order = button("down", "Newest last", () => {
    const first = onTurn();
    order.set(first ? "up" : "down", first ? "Newest first" : "Newest last");
  });
  const treeButton = button("tree", "Identifiers", onTree, { class: "bmq-button bmq-icon-only", "aria-expanded": "true" });
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
        createExport(store),
      ),
    ),
    /** Say on its button whether the tree is in sight. */
    showTree: (visible) => treeButton.setAttribute("aria-expanded", String(visible)),
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
