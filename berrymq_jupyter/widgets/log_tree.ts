// The identifiers of a MessageLog, names with their actions below, with counts and rates. Choosing one filters.

import { fill, h, setAttributes, setText } from "./dom.ts";
import { uniquePrefix } from "./field.ts";
import { brief, counted, nameOf, rate, safe, whole } from "./format.ts";
import type { LogStore } from "./log_store.ts";
import { markStyle } from "./palette.ts";
import { type Count, type LineKind, type Sort, type TreeLine, nameCounts, sourceLines, treeLines } from "./tree_lines.ts";
import { createVirtualList } from "./virtual_list.ts";

const OPEN_UP_TO = 40;
/** How many names are remembered to be folded or unfolded over a reload. */
const MOST_FLIPPED = 100;
/** How often lines that are sorted by numbers change places. */
const SORT_MS = 1500;
/** Begins the values of sorts that are of sources. */
const FROM = "from:";
/** Patterns of the two lines that stand for no name; no identifier is either of them. */
const [ALL, OTHERS] = ["", "*"];

interface LineElement extends HTMLElement {
  line: TreeLine | null;
  parts: { toggle: HTMLElement; dot: HTMLElement; label: HTMLElement; speed: HTMLElement; count: HTMLElement; kept: HTMLElement; last: HTMLElement };
}

export interface TreeOptions {
  /** The patterns, or the sources, that the log is filtered by. */
  chosen(kind: LineKind): string[];
  /** Called with the patterns, or the sources, to filter by, none for all. */
  onChoose(kind: LineKind, patterns: string[]): void;
  /** Called with the pattern, or the source, to hide, or to show again. */
  onHide(kind: LineKind, pattern: string): void;
}

export function createIdentifierTree(store: LogStore, options: TreeOptions) {
  const prefix = uniquePrefix();
  const scroller = h("div", { class: "bmq-tree", role: "tree", tabindex: 0, "aria-label": "Identifiers", "aria-multiselectable": "true", title: "Click filters, Ctrl-click adds, h hides", onkeydown: keys });
  const find = h("input", { type: "search", class: "bmq-field", placeholder: "find", "aria-label": "Find names", spellcheck: "false", oninput: rebuild, onkeydown: leave });
  const sort = h(
    "select",
    { class: "bmq-field", "aria-label": "Sort identifiers", title: "Sort identifiers, or show the traffic by source", onchange: chooseSort },
    h("optgroup", { label: "Identifiers" }, ...["name", "rate", "count", "latest"].map((value) => h("option", { value }, `by ${value}`))),
    h("optgroup", { label: "Sources" }, ...["rate", "count", "name"].map((value) => h("option", { value: `${FROM}${value}` }, `sources by ${value}`))),
  );
  const none = h("div", { class: "bmq-faint bmq-note", hidden: true }, "No identifier has that in it.");
  const element = h("div", { class: "bmq-treebox" }, h("div", { class: "bmq-tree-head" }, find, sort), scroller, none);
  const list = createVirtualList({ scroller, create, show, role: "presentation" });
  const flipped = new Map<string, boolean>(Object.entries(store.memory.look.unfolded ?? {}));
  let lines: TreeLine[] = [];
  let names = new Map<string, Count>();
  let current = ALL;
  let chosen = new Set<string>();
  let version = "";
  let sortedAt = 0;

  const kind = (): LineKind => (sort.value.startsWith(FROM) ? "from" : "id");
  const others = () => (kind() === "id" ? (store.state?.others ?? 0) : 0);
  const isOpen = (name: string) => flipped.get(name) ?? store.counts.size <= OPEN_UP_TO;
  const idOf = (line: TreeLine) => `${prefix}-${line.level}-${line.pattern}`;
  const indexOf = (pattern: string) => lines.findIndex((line) => line.pattern === pattern);

  function build() {
    const by = sort.value.replace(FROM, "") as Sort;
    const found = kind() === "from" ? sourceLines(store.sources, { find: find.value, sort: by }) : treeLines(store.counts, { find: find.value, sort: by, isOpen });
    const first: TreeLine = { pattern: ALL, label: "All", level: 1, expanded: null, position: 1, siblings: 1 };
    // What the kernel counts together, for there are too many identifiers: no pattern would choose it.
    const rest: TreeLine = { ...first, pattern: OTHERS, label: "others" };
    lines = find.value.trim() ? found : [first, ...found, ...(others() ? [rest] : [])];
    none.hidden = lines.length > 0;
    setText(none, kind() === "from" ? "No source has that in its name." : "No identifier has that in it.");
    setAttributes(scroller, { "aria-label": kind() === "from" ? "Sources" : "Identifiers" });
    if (indexOf(current) < 0) current = lines[0]?.pattern ?? ALL;
  }

  function chooseSort() {
    store.memory.set({ sort: sort.value });
    rebuild();
  }

  function rebuild() {
    version = "";
    update();
  }

  function update() {
    chosen = new Set(options.chosen(kind()));
    const now = performance.now();
    const wanted = `${store.countsVersion} ${others() > 0}`;
    names = nameCounts(store.counts);
    if (version !== wanted || (!sort.value.endsWith("name") && now - sortedAt > SORT_MS)) {
      version = wanted;
      sortedAt = now;
      build();
    }
    list.resize(lines.length, 0);
    setAttributes(scroller, { "aria-activedescendant": lines.length ? idOf(lines[Math.max(0, indexOf(current))]) : null });
  }

  function countOf(line: TreeLine): Count {
    if (line.pattern === OTHERS) return [others(), 0, others(), -1, ""]; // how many of these are kept is not counted
    if (line.pattern !== ALL && kind() === "from") return store.sources.get(line.pattern) ?? [0, 0, 0, -1, ""];
    if (line.pattern !== ALL) return (line.level === 1 ? names.get(line.label) : store.counts.get(line.pattern)) ?? [0, 0, 0, -1, ""];
    return [[...names.values()].reduce((sum, [count]) => sum + count, others()), store.state?.rate ?? 0, store.state?.kept ?? 0, -1, ""];
  }

  function create(): LineElement {
    const parts = {
      toggle: h("span", { class: "bmq-toggle", "aria-hidden": "true" }),
      dot: h("span", { class: "bmq-dot", "aria-hidden": "true" }),
      label: h("span", { class: "bmq-tree-label" }),
      last: h("span", { class: "bmq-last" }),
      speed: h("span", { class: "bmq-rate" }),
      count: h("span", { class: "bmq-count" }),
      kept: h("span", { class: "bmq-retained" }),
    };
    const made: LineElement = Object.assign(h("div", { class: "bmq-tree-line", role: "treeitem" }, ...Object.values(parts)), { line: null, parts });
    parts.toggle.addEventListener("click", (event) => {
      if (made.line?.expanded === null) return;
      event.stopPropagation();
      flipLine(made.line);
    });
    made.addEventListener("click", (event) => made.line && choose(made.line, event.ctrlKey || event.metaKey));
    return made;
  }

  function show(made: LineElement, index: number) {
    const line = lines[index];
    const { toggle, dot, label, last, speed, count, kept } = made.parts;
    made.line = line;
    setAttributes(made, {
      id: idOf(line),
      title: line.pattern === OTHERS ? `identifiers beyond the first ${whole(store.counts.size)}, counted together` : safe(line.pattern) || (kind() === "from" ? "all sources" : "all identifiers"),
      "aria-level": line.level,
      "aria-posinset": line.position,
      "aria-setsize": line.siblings,
      "aria-expanded": line.expanded,
      "aria-selected": String(line.pattern === ALL ? chosen.size === 0 : chosen.has(line.pattern)),
      "aria-disabled": line.pattern === OTHERS ? "true" : null,
      "data-pattern": line.pattern,
    });
    if (line.expanded === false) setAttributes(made, { "aria-expanded": "false" });
    made.classList.toggle("bmq-current", line.pattern === current);
    setText(toggle, line.expanded === null ? "" : line.expanded ? "▾" : "▸");
    dot.hidden = line.level === 2 || line.pattern === ALL || line.pattern === OTHERS || kind() === "from";
    if (!dot.hidden) {
      const mark = store.markOf(nameOf(line.pattern));
      setAttributes(dot, { style: markStyle(mark), "data-border": mark.border });
    }
    setText(label, safe(line.label));
    const [total, perSecond, retained, _, payload] = countOf(line);
    const isLeaf = line.level === 2 || line.expanded === false;
    const latest = isLeaf && payload ? `latest: ${payload}` : "";
    setText(last, latest ? payload : "");
    if (latest) made.title = `${safe(line.pattern)}\n${latest}`;
    setText(speed, rate(perSecond));
    setText(count, brief(total));
    kept.hidden = retained >= total;
    // None is what must not be overlooked; else the word stands where there is room.
    kept.classList.toggle("bmq-none", retained === 0);
    if (kept.hidden) fill(kept);
    else fill(kept, `(${brief(retained)}`, h("span", {}, " retained"), ")");
    const rest = kept.hidden ? "" : `${whole(retained)} of them retained`;
    kept.title = rest;
    setAttributes(made, { "aria-label": [safe(line.label), counted(total, "message"), rest, rate(perSecond), latest].filter(Boolean).join(", ") });
  }

  /** Filter by a line; with `more`, beside those that are chosen already; once more: not any more. */
  function choose(line: TreeLine, more = false) {
    current = line.pattern;
    if (line.pattern !== OTHERS) {
      const others = more ? [...chosen].filter((pattern) => pattern !== line.pattern) : [];
      options.onChoose(kind(), line.pattern === ALL ? [] : chosen.has(line.pattern) ? others : [...others, line.pattern]);
    }
    update();
  }

  function hide(line: TreeLine) {
    if (line.pattern !== OTHERS && line.pattern !== ALL) options.onHide(kind(), line.pattern);
  }

  function flipLine(line: TreeLine | null, to?: boolean) {
    if (!line || line.expanded === null) return;
    flipped.set(line.label, to ?? !line.expanded);
    if (flipped.size <= MOST_FLIPPED) store.memory.set({ unfolded: Object.fromEntries(flipped) });
    rebuild();
  }

  function go(index: number) {
    const at = Math.min(Math.max(index, 0), lines.length - 1);
    if (at < 0) return;
    current = lines[at].pattern;
    list.reveal(at);
    update();
  }

  function keys(event: KeyboardEvent) {
    if (event.altKey) return;
    const more = event.ctrlKey || event.metaKey;
    if (more && event.key !== "Enter" && event.key !== " ") return;
    const at = indexOf(current);
    const line = lines[at];
    if (!line) return;
    const parent = () => lines.findLastIndex((other, index) => index < at && other.level === 1);
    const act = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      PageDown: () => go(at + list.rowsInSight()),
      PageUp: () => go(at - list.rowsInSight()),
      Home: () => go(0),
      End: () => go(lines.length - 1),
      ArrowRight: () => (line.expanded === false ? flipLine(line, true) : line.expanded && go(at + 1)),
      ArrowLeft: () => (line.expanded ? flipLine(line, false) : line.level === 2 && go(parent())),
      Enter: () => choose(line, more),
      " ": () => choose(line, more),
      h: () => hide(line),
      Delete: () => hide(line),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  function leave(event: KeyboardEvent) {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      scroller.focus();
      go(0);
    } else if (event.key === "Escape" && find.value) {
      find.value = "";
      rebuild();
    }
    event.stopPropagation();
  }

  function setSort(to: string) {
    sort.value = to;
    rebuild();
  }

  return { element, update, setSort, close: () => list.close() };
}
