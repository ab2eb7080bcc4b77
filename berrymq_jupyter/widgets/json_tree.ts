// A value as a tree that expands. Children that were not sent along are requested when their parent is opened.

import { button, fill, h, setAttributes } from "./dom.ts";
import { counted, fieldName, fieldPath, whole } from "./format.ts";
import { type FormKind, FORM_NAMES, showForm } from "./kinds.ts";
import type { FormBody, NodeBody, TextBody, TreeNode } from "./wire.ts";

export interface JsonTreeOptions {
  /** Asks for the children of a path from a position on. */
  onExpand(path: number[], from: number): void;
  /** Asks for the form of a value beside the tree. */
  onForm(path: number[]): void;
  /** Asks for more of a long text. */
  onText(path: number[]): void;
  /** Asks to filter by a value at these labels. */
  onFilter?(labels: string[], value: string, isText: boolean): void;
  /** Asks for a chart of the number with these labels. */
  onChart?(labels: string[]): void;
}

/** An item of a tree, with what the keys do to it. */
export interface TreeItem extends HTMLElement {
  flip?(to?: boolean): void;
  choose?(): void;
}

export function createJsonTree({ onExpand, onForm, onText, onFilter, onChart }: JsonTreeOptions) {
  const element = h("div", { class: "bmq-json", role: "tree", "aria-label": "Payload", onkeydown: moveInTree });
  const items = new Map<string, { group: HTMLElement; labels: string[]; line?: HTMLElement; form?: HTMLElement | null }>();

  function show(root: TreeNode) {
    items.clear();
    fill(element, ...children(root, [], []));
    if (!root.n) fill(element, h("div", { class: "bmq-faint" }, "no arguments"));
    element.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
  }

  function children(node: TreeNode, path: number[], labels: string[]): HTMLElement[] {
    const start = node.from ?? 0;
    const made: HTMLElement[] = (node.c ?? []).map(([label, child], index) => item(child, [...path, start + index], [...labels, label]));
    const left = node.n - start - made.length;
    if (node.c && left > 0) made.push(more(path, start + made.length, left));
    return made;
  }

  function item(node: TreeNode, path: number[], labels: string[]): TreeItem {
    const label = labels.at(-1) ?? "";
    const name = path.length > 1 ? label : fieldName(label);
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
      node.long !== undefined && !node.lines && longText(node.long, path, value),
      node.as && formOf(node.as, path, name),
      node.k === "number" && onChart && chartOf(labels, onChart),
      onFilter && filterOf(node, labels, onFilter),
    );
    const open = path.length < 2 && Boolean(node.c) && node.n <= 20;
    const self: TreeItem = h("div", { role: "treeitem", tabindex: -1, class: "bmq-json-item", "aria-label": `${name}: ${node.s}` }, line, group);
    if (node.n > 0) {
      setAttributes(self, { "aria-expanded": "false" });
      line.addEventListener("click", () => flip());
      self.flip = flip;
    }
    items.set(path.join(), { group, labels, line });
    // What an argument is, it is shown as.
    if (node.as && path.length === 1) onForm(path);
    if (node.lines) {
      value.dataset.wanted = path.join();
      onText(path);
    }
    if (node.c) group.append(...children(node, path, labels));
    if (open) flip(true);
    return self;

    function flip(to = self.getAttribute("aria-expanded") !== "true") {
      self.setAttribute("aria-expanded", String(to));
      if (to && !group.firstChild) onExpand(path, 0);
    }
  }

  function more(path: number[], from: number, left: number) {
    return h(
      "button",
      {
        type: "button",
        class: "bmq-link",
        onclick: (event) => {
          event.currentTarget.setAttribute("disabled", "");
          onExpand(path, from);
        },
      },
      `… ${whole(left)} more`,
    );
  }

  function chartOf(labels: string[], ask: (labels: string[]) => void) {
    return button("chart", `Chart of ${fieldPath(labels)}`, () => ask(labels), { class: "bmq-button bmq-icon-only bmq-small" });
  }

  function formOf(kind: FormKind, path: number[], name: string) {
    const flip = () => {
      const entry = items.get(path.join());
      if (!entry?.form) onForm(path);
      else {
        entry.form.remove();
        entry.form = null;
        press(false, path);
      }
    };
    return h(
      "button",
      {
        type: "button",
        class: "bmq-link bmq-form-button",
        "aria-pressed": "false",
        "aria-label": `${FORM_NAMES[kind]} of ${name}`,
        onclick: (event) => {
          event.stopPropagation();
          flip();
        },
      },
      FORM_NAMES[kind].toLowerCase(),
    );
  }

  function press(on: boolean, path: number[]) {
    items.get(path.join())?.line?.querySelector(".bmq-form-button")?.setAttribute("aria-pressed", String(on));
  }

  function filterOf(node: TreeNode, labels: string[], ask: (labels: string[], value: string, isText: boolean) => void) {
    const value = plainValue(node);
    if (value === null) return null;
    return button("filter", `Filter by ${fieldPath(labels)}`, () => ask(labels, value, node.k === "text"), { class: "bmq-button bmq-icon-only bmq-small bmq-on-hover" });
  }

  function longText(length: number, path: number[], value: HTMLElement) {
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
      `show more of ${whole(length)} characters`,
    );
  }

  return {
    element,
    show,
    /** Take in children that were asked for. */
    grow({ path, node }: NodeBody) {
      const { group, labels } = path.length ? items.get(path.join()) ?? {} : { group: element, labels: [] };
      if (!group || !labels) return;
      if (group.lastElementChild?.tagName === "BUTTON") group.lastElementChild.remove();
      group.append(...children(node, path, labels));
    },
    /** Show the form of a value that was asked for. */
    showForm({ path, form }: FormBody) {
      const entry = items.get(path.join());
      if (!entry?.line || !form.as) return;
      const made = showForm(form, `${FORM_NAMES[form.as]} of ${fieldPath(entry.labels)}`);
      if (!made) return;
      entry.form?.remove();
      entry.form = made;
      entry.line.after(made);
      press(true, path);
    },
    /** Take in a longer text that was asked for. */
    fillText({ path, text }: TextBody) {
      const value = element.querySelector(`[data-wanted="${path.join()}"]`);
      if (!value) return;
      value.textContent = text;
      value.classList.add("bmq-long");
      if (value.scrollHeight > value.clientHeight) value.setAttribute("tabindex", "0");
    },
  };
}

/** The value of a leaf as a query has it; null where there is no such way. */
function plainValue({ k, s, long, lines }: TreeNode): string | null {
  if (k === "number" || k === "word") return /[…<(]/.test(s) ? null : s;
  // In Python's notation: without escapes it is what stands between its quotation marks.
  return k === "text" && long === undefined && !lines && !/[\\…]/.test(s) ? s.slice(1, -1) : null;
}

/** The keys of a tree, as the ARIA practices have them. */
export function moveInTree(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const tree = event.currentTarget;
  const from = event.target as HTMLElement;
  const current = from.closest<TreeItem>("[role=treeitem]");
  if (!current || from.tagName === "BUTTON") return;
  const seen = [...tree.querySelectorAll<TreeItem>("[role=treeitem]")].filter((item) => item.offsetParent !== null);
  const at = seen.indexOf(current);
  const expanded = current.getAttribute("aria-expanded");
  const act = () => (current.choose ?? current.flip)?.();
  const flip = (to: boolean) => current.flip?.(to);
  const focus = (item: HTMLElement | null | undefined) => focusItem(tree, item);
  const go = {
    ArrowDown: () => focus(seen[at + 1]),
    ArrowUp: () => focus(seen[at - 1]),
    Home: () => focus(seen[0]),
    End: () => focus(seen.at(-1)),
    ArrowRight: () => (expanded === "false" ? flip(true) : expanded === "true" && focus(seen[at + 1])),
    ArrowLeft: () => (expanded === "true" ? flip(false) : focus(current.parentElement?.closest<TreeItem>("[role=treeitem]"))),
    Enter: act,
    " ": act,
  }[event.key];
  if (!go) return;
  event.preventDefault();
  event.stopPropagation();
  go();
}

/** Give the focus of a tree to one item: only that one is reached by Tab. */
export function focusItem(tree: Element, item: HTMLElement | null | undefined): void {
  if (!item) return;
  for (const other of tree.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", "-1");
  item.setAttribute("tabindex", "0");
  item.focus();
}
