// One message in full: what it carries, what changed since the one before, and what can be done with it.

import { button, copyText, fill, flip, h } from "./dom.ts";
import { duration, fieldName, fullTime, latency, safe } from "./format.ts";
import { createJsonTree } from "./json_tree.ts";
import { fromTerm, valueTerm } from "./query.ts";
import type { Change, DetailBody, FormBody, NodeBody, Request, TextBody } from "./wire.ts";

export interface DetailEvents {
  detail: DetailBody;
  node: NodeBody;
  text: TextBody;
  form: FormBody;
}

interface DetailStore {
  on<K extends keyof DetailEvents>(name: K, listener: (body: DetailEvents[K]) => void): () => void;
  request(body: Request): void;
}

export interface DetailOptions {
  /** Shows a short remark. */
  say(words: string): void;
  onClose(): void;
  /** Asks for a chart of an identifier's number. */
  onChart?(id: string, field: string[]): void;
  /** Called with a term to filter by. */
  onFilter?(term: string): void;
  canResend?: boolean;
  /** Pins the message of this number, or unpins it. */
  onPin?(number: number): void;
}

export function createDetail(store: DetailStore, { say, onClose, onChart, onFilter, onPin, canResend }: DetailOptions) {
  const heading = h("h3", { class: "bmq-heading" });
  const facts = h("div", { class: "bmq-facts" });
  const changes = h("div", { class: "bmq-changes" });
  const code = h("code", { class: "bmq-code", tabindex: 0 });
  const remark = h("div", { class: "bmq-faint" });
  const json = createJsonTree({
    onExpand: (path: number[], from: number) => store.request({ t: "expand", number: shown?.number, path, from }),
    onForm: (path: number[]) => store.request({ t: "form", number: shown?.number, path }),
    onText: (path: number[]) => store.request({ t: "text", number: shown?.number, path }),
    onFilter: onFilter && ((labels: string[], value: string, isText: boolean) => onFilter(valueTerm(labels, value, isText))),
    onChart: onChart && ((labels: string[]) => shown && onChart(shown.id, labels)),
  });
  const pin = onPin ? flip(button("pin", "Pin", () => shown && onPin(shown.number), { title: "Keep it in sight, whatever else goes (s)", "aria-label": "Pin" })) : null;
  const element = h(
    "div",
    { class: "bmq-detail", role: "group", "aria-label": "Message", hidden: true, onkeydown: (event) => event.key === "Escape" && onClose() },
    h(
      "div",
      { class: "bmq-detail-head" },
      heading,
      h(
        "div",
        { class: "bmq-actions" },
        pin,
        canResend && button("send", "Resend", () => store.request({ t: "resend", number: shown?.number })),
        button("copy", "Copy code", copyCode),
        button("close", "Close", onClose, { class: "bmq-button bmq-icon-only" }),
      ),
    ),
    h("div", { class: "bmq-detail-body" }, facts, json.element, changes, code, remark),
  );
  let shown: DetailBody | null = null;
  let wanted: number | null | undefined; // the number of a message; null: whichever comes next; undefined: none, what comes now is late

  async function copyCode() {
    if (!shown) return;
    say((await copyText(shown.code)) ? (shown.remark ? `Copied, but ${shown.remark}.` : "Copied.") : "This page may not use the clipboard: select the code and copy it.");
  }

  function show(body: DetailBody) {
    if (wanted === undefined || (wanted !== null && body.number !== wanted)) return;
    shown = body;
    element.hidden = false;
    fill(heading, safe(body.id));
    heading.title = safe(body.id); // it may be cut
    fill(facts, fullTime(body.time), " · ", ...origin(body.source), body.delay != null && ` · latency ${latency(body.delay)}`);
    json.show(body.tree);
    fill(changes, ...(body.before === undefined ? [] : difference(body)));
    fill(code, body.code);
    fill(remark, body.remark);
  }

  function origin(source: string | null) {
    const name = source === null ? "sent in this kernel" : safe(source);
    const from = source === null ? "" : "from ";
    if (!onFilter) return [from, name];
    return [from, h("button", { type: "button", class: "bmq-link", title: "Filter by this source", onclick: () => onFilter(fromTerm(source)) }, name)];
  }

  const here =
    <B extends { number: number }>(handle: (body: B) => void) =>
    (body: B) => {
      if (body.number === shown?.number) handle(body);
    };
  const off = [
    store.on("detail", show),
    store.on("node", here(json.grow)),
    store.on("text", here(json.fillText)),
    store.on("form", here(json.showForm)),
  ];

  return {
    element,
    open(number: number) {
      wanted = number;
      store.request({ t: "detail", number });
    },
    /** Show whichever message comes next. */
    expect() {
      wanted = null;
    },
    /** Show on the button whether the message is pinned. */
    pinned: (numbers: { has(number: number): boolean }) => pin?.press(shown !== null && numbers.has(shown.number)),
    hide() {
      wanted = undefined;
      element.hidden = true;
    },
    close: () => off.forEach((stop) => stop()),
  };
}

/** What changed since the message before, as a small table. */
function difference({ before, time, changes = [] }: DetailBody) {
  if (!before) return [h("div", { class: "bmq-faint" }, "The first of this identifier and source.")];
  const since = `${duration(time - before.time)} after the one before`;
  if (!changes.length) return [h("div", { class: "bmq-faint" }, `Same payload, ${since}.`)];
  return [
    h("h4", { class: "bmq-subheading" }, "Changed ", h("span", { class: "bmq-faint" }, since)),
    h(
      "table",
      { class: "bmq-difference", role: "table" },
      h("tbody", { role: "rowgroup" }, ...changes.map((change) => changed(...change))),
    ),
  ];
}

function changed(path: string, kind: Change[1], old: string, now: string) {
  return h(
    "tr",
    { class: `bmq-${kind}`, role: "row" },
    h("th", { scope: "row", role: "rowheader" }, fieldName(path)),
    h("td", { role: "cell" }, kind === "added" ? h("span", { class: "bmq-faint" }, "added") : h("del", {}, old)),
    h("td", { role: "cell" }, kind === "removed" ? h("span", { class: "bmq-faint" }, "removed") : h("ins", {}, now)),
  );
}

