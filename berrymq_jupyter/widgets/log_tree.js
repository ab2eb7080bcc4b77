// The identifiers of a MessageLog, names with their actions below, with counts and rates. Choosing one filters.

import { fill, h, setText } from "./dom.js";
import { brief, hue, rate, safe, whole } from "./format.js";
import { moveInTree } from "./json_tree.js";

const MOST_SHOWN = 400;
const OPEN_UP_TO = 40;

/** @param {function(string): void} onChoose told the pattern to filter by, "" for none */
export function createIdentifierTree(store, onChoose) {
  const element = h("div", { class: "bmq-tree", role: "tree", "aria-label": "Identifiers", onkeydown: moveInTree });
  const closed = new Set();
  const opened = new Set();
  let lines = [];
  let version = "";
  let chosen = null;

  function build() {
    const names = grouped([...store.counts.keys()]);
    const openByDefault = store.counts.size <= OPEN_UP_TO;
    lines = [];
    const made = [all()];
    for (const [name, ids] of names) {
      if (lines.length > MOST_SHOWN) {
        made.push(h("div", { class: "bmq-faint bmq-note" }, `… ${whole(names.size)} names in all`));
        break;
      }
      const open = opened.has(name) || (openByDefault && !closed.has(name));
      made.push(branch(name, ids, open));
    }
    if (others()) made.push(rest());
    const focused = element.contains(element.ownerDocument.activeElement) ? document.activeElement.dataset.pattern : null;
    fill(element, ...made);
    const stay = [...element.querySelectorAll("[role=treeitem]")].find((item) => item.dataset.pattern === focused);
    (stay ?? element.querySelector("[role=treeitem]"))?.setAttribute("tabindex", "0");
    stay?.focus();
  }

  const others = () => store.state?.others ?? 0;

  function all() {
    return item("", "All", () => [...store.counts.keys()], null, others);
  }

  /** What the kernel counts together, for there are too many identifiers: no pattern would choose it. */
  function rest() {
    const self = item("*", "others", () => [], null, others);
    self.firstChild.title = `identifiers beyond the first ${whole(store.counts.size)}, counted together`;
    self.firstChild.classList.add("bmq-faint", "bmq-tree-rest");
    self.setAttribute("aria-disabled", "true");
    self.choose = () => {};
    return self;
  }

  function branch(name, ids, open) {
    const group = h("div", { role: "group", class: "bmq-tree-group" });
    const self = item(`${name}:*`, name, () => ids, hue(name));
    self.setAttribute("aria-expanded", String(open));
    self.flip = (to = self.getAttribute("aria-expanded") !== "true") => {
      self.setAttribute("aria-expanded", String(to));
      (to ? opened : closed).add(name);
      (to ? closed : opened).delete(name);
      version = "";
      update();
    };
    self.querySelector(".bmq-toggle").addEventListener("click", (event) => {
      event.stopPropagation();
      self.flip();
    });
    if (open) {
      group.append(...ids.slice(0, MOST_SHOWN).map((id) => item(id, id.slice(name.length + 1), () => [id])));
    }
    self.append(group);
    return self;
  }

  function item(pattern, label, ids, color = null, more = () => 0) {
    const count = h("span", { class: "bmq-count" });
    const speed = h("span", { class: "bmq-rate" });
    const line = h(
      "div",
      { class: "bmq-tree-line", title: safe(pattern) || "all identifiers" },
      h("span", { class: "bmq-toggle", "aria-hidden": "true" }),
      color !== null && h("span", { class: "bmq-dot", style: `--bmq-hue:${color}`, "aria-hidden": "true" }),
      h("span", { class: "bmq-tree-label" }, safe(label)),
      speed,
      count,
    );
    const self = h("div", { role: "treeitem", tabindex: -1, class: "bmq-tree-item", "data-pattern": pattern }, line);
    self.choose = () => onChoose(pattern === chosen ? "" : pattern);
    line.addEventListener("click", () => self.choose());
    lines.push({ self, pattern, ids, more, count, speed });
    return self;
  }

  function update() {
    const wanted = `${store.countsVersion} ${others() > 0}`;
    if (version !== wanted) {
      version = wanted;
      build();
    }
    chosen = store.state?.filter[0] ?? "";
    for (const line of lines) {
      const ids = line.ids();
      let total = line.more();
      let speed = 0;
      for (const id of ids) {
        const [count, perSecond] = store.counts.get(id) ?? [0, 0];
        total += count;
        speed += perSecond;
      }
      if (!line.pattern) speed = store.state?.rate ?? speed;
      setText(line.count, brief(total));
      line.count.title = whole(total);
      setText(line.speed, rate(speed));
      line.self.setAttribute("aria-selected", String(line.pattern === chosen));
    }
  }

  return { element, update };
}

/** Group identifiers by their names, both in order. */
function grouped(ids) {
  const names = new Map();
  for (const id of ids.sort()) {
    const name = id.slice(0, id.lastIndexOf(":"));
    if (!names.has(name)) names.set(name, []);
    names.get(name).push(id);
  }
  return new Map([...names].sort(([one], [other]) => (one < other ? -1 : 1)));
}
