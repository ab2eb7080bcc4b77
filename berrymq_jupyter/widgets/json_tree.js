// A value as a tree that unfolds. What lies deeper than what came along is asked for when somebody opens it.

import { button, fill, h, setAttributes } from "./dom.js";
import { counted, fieldName, whole } from "./format.js";

/**
 * @param {object} options
 * @param {function(number[], number): void} options.onExpand asks for the children of a path from a position on
 * @param {function(number[]): void} options.onText asks for more of a long text
 * @param {function(string[]): void} [options.onChart] asks for a chart of the number with these labels
 */
export function createJsonTree({ onExpand, onText, onChart }) {
  const element = h("div", { class: "bmq-json", role: "tree", "aria-label": "Payload", onkeydown: moveInTree });
  const items = new Map();

  function show(root) {
    items.clear();
    fill(element, ...children(root, [], []));
    if (!root.n) fill(element, h("div", { class: "bmq-faint" }, "no arguments"));
    element.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
  }

  function children(node, path, labels) {
    const start = node.from ?? 0;
    const made = (node.c ?? []).map(([label, child], index) => item(child, [...path, start + index], [...labels, label]));
    const left = node.n - start - made.length;
    if (node.c && left > 0) made.push(more(path, start + made.length, left));
    return made;
  }

  function item(node, path, labels) {
    const name = path.length > 1 ? labels.at(-1) : fieldName(labels.at(-1));
    const group = h("div", { role: "group", class: "bmq-json-group" });
    const toggle = h("span", { class: "bmq-toggle", "aria-hidden": "true" });
    const value = h("span", { class: `bmq-value bmq-kind-${node.k}` }, node.s);
    const line = h(
      "div",
      { class: "bmq-json-line" },
      toggle,
      h("span", { class: "bmq-key", title: name }, name),
      h("span", { class: "bmq-colon" }, ": "),
      value,
      node.n > 0 && h("span", { class: "bmq-faint bmq-size" }, counted(node.n, "item")),
      node.long && longText(node, path, value),
      node.k === "number" && onChart && chartOf(labels),
    );
    const open = path.length < 2 && Boolean(node.c) && node.n <= 20;
    const self = h("div", { role: "treeitem", tabindex: -1, class: "bmq-json-item", "aria-label": `${name}: ${node.s}` }, line, group);
    if (node.n > 0) {
      setAttributes(self, { "aria-expanded": "false" });
      line.addEventListener("click", () => flip());
      self.flip = flip;
    }
    items.set(path.join(), { group, labels });
    if (node.c) group.append(...children(node, path, labels));
    if (open) flip(true);
    return self;

    function flip(to = self.getAttribute("aria-expanded") !== "true") {
      self.setAttribute("aria-expanded", String(to));
      if (to && !group.firstChild) onExpand(path, 0);
    }
  }

  function more(path, from, left) {
    return h(
      "button",
      {
        type: "button",
        class: "bmq-link",
        onclick: (event) => {
          event.currentTarget.disabled = true;
          onExpand(path, from);
        },
      },
      `… ${whole(left)} more`,
    );
  }

  function chartOf(labels) {
    const name = labels.map(fieldName).join(" / ");
    return button("chart", `Chart of ${name}`, () => onChart(labels), { class: "bmq-button bmq-icon-only bmq-small" });
  }

  function longText(node, path, value) {
    return h(
      "button",
      {
        type: "button",
        class: "bmq-link",
        onclick: (event) => {
          event.stopPropagation();
          event.currentTarget.remove();
          value.dataset.wanted = path.join();
          onText(path);
        },
      },
      `show more of ${whole(node.long)} characters`,
    );
  }

  return {
    element,
    show,
    /** Take in children that were asked for. */
    grow({ path, node }) {
      const { group, labels } = path.length ? items.get(path.join()) ?? {} : { group: element, labels: [] };
      if (!group) return;
      if (group.lastElementChild?.tagName === "BUTTON") group.lastElementChild.remove();
      group.append(...children(node, path, labels));
    },
    /** Take in a longer text that was asked for. */
    fillText({ path, text }) {
      const value = element.querySelector(`[data-wanted="${path.join()}"]`);
      if (!value) return;
      value.textContent = text;
      value.classList.add("bmq-long");
    },
  };
}

/** The keys of a tree, as the ARIA practices have them. */
export function moveInTree(event) {
  const tree = event.currentTarget;
  const current = event.target.closest("[role=treeitem]");
  if (!current || event.target.tagName === "BUTTON") return;
  const seen = [...tree.querySelectorAll("[role=treeitem]")].filter((item) => item.offsetParent !== null);
  const at = seen.indexOf(current);
  const expanded = current.getAttribute("aria-expanded");
  const go = {
    ArrowDown: () => seen[at + 1],
    ArrowUp: () => seen[at - 1],
    Home: () => seen[0],
    End: () => seen.at(-1),
    ArrowRight: () => (expanded === "false" ? current.flip(true) : expanded === "true" ? seen[at + 1] : null),
    ArrowLeft: () => (expanded === "true" ? current.flip(false) : current.parentElement.closest("[role=treeitem]")),
    Enter: () => (current.choose ?? current.flip)?.(),
    " ": () => (current.choose ?? current.flip)?.(),
  }[event.key];
  if (!go) return;
  event.preventDefault();
  event.stopPropagation();
  focusItem(tree, go());
}

/** Give the focus of a tree to one item: only that one is reached by Tab. */
export function focusItem(tree, item) {
  if (!item) return;
  for (const other of tree.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", "-1");
  item.setAttribute("tabindex", "0");
  item.focus();
}
