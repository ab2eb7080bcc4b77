// The page's side of QueueView.

import "./views.css";
import "./lists.css";
import "./detail.css";
import "./queue_view.css";
import { type DetailEvents, createDetail } from "./detail.ts";
import { button, fill, framed, h, keepKeys, setText } from "./dom.ts";
import { brief, clock, counted, fullTime, nameOf, rate, safe, whole } from "./format.ts";
import { type Mark, createPalette, markStyle } from "./palette.ts";
import { createSparkline } from "./sparkline.ts";
import { type CommonEvents, type PlainStore, createPlainStore, createRemarks, defineView } from "./view.ts";
import type { ListRow, QueueMember, QueueState, Remark } from "./wire.ts";

interface Events extends CommonEvents<QueueState>, DetailEvents {
  done: Remark;
}

function createView(store: PlainStore<QueueState, Events>) {
  const title = h("span", { class: "bmq-title" });
  const kind = h("span", { class: "bmq-total" });
  const numbers = createNumbers();
  const members = createMembers();
  const remarks = createRemarks();
  const detail = createDetail(store, { say: remarks.say, onClose: closeDetail });
  const markOf = createPalette();
  const waiting = createRows("Waiting, the next one first", markOf, (number: number) => detail.open(number));
  const taken = createRows("Taken from here, the latest first", markOf, (number: number) => detail.open(number));
  const take = button("take", "Take", takeOne);
  const look = button("look", "Peek", () => store.state?.rows.length && detail.open(store.state.rows[0][0]));
  const drain = button("clear", "Drain", () => store.request({ t: "drain" }));
  const element = h(
    "div",
    { class: "bmq bmq-queue" },
    h(
      "div",
      { class: "bmq-bar", role: "toolbar", "aria-label": "Queue" },
      h("div", { class: "bmq-names" }, title, kind),
      h("div", { class: "bmq-actions" }, look, take, drain),
    ),
    numbers.element,
    members.element,
    h("div", { class: "bmq-panes" }, h("div", { class: "bmq-lists" }, waiting.element, taken.element), detail.element),
    h("div", { class: "bmq-foot" }, remarks.element),
  );
  const redraw = framed(draw);

  function draw() {
    const state = store.state;
    if (!state) return;
    setText(title, state.follows);
    setText(kind, describe(state));
    numbers.update(state);
    members.update(state.members);
    waiting.update(state.rows, state.size, state.closed ? "Nothing waits, and the queue is closed." : "Nothing waits.");
    taken.update(state.taken, state.takenHere, "");
    taken.element.hidden = !state.takenHere;
    for (const one of [take, look, drain]) one.disabled = !state.size;
  }

  function takeOne() {
    detail.expect();
    store.request({ t: "take" });
  }

  function closeDetail() {
    detail.hide();
    element.classList.remove("bmq-has-detail");
  }

  const off = [
    keepKeys(element),
    store.on("update", redraw),
    store.on("detail", () => element.classList.toggle("bmq-has-detail", !detail.element.hidden)),
    store.on("problem", (body) => remarks.say(body.text)),
    store.on("done", (body) => remarks.say(body.text)),
  ];
  redraw();
  return {
    element,
    close() {
      redraw.cancel();
      remarks.close();
      detail.close();
      off.forEach((stop) => stop());
    },
  };
}

/** The strip of numbers: the depth, its maximum, and the rates in and out. */
function createNumbers() {
  const spark = createSparkline();
  const size = figure("waiting");
  const coming = figure("in");
  const going = figure("out");
  const dropped = figure("dropped");
  const highest = figure("peak");
  return {
    element: h(
      "div",
      { class: "bmq-numbers" },
      size.element,
      h("div", { class: "bmq-spark-box" }, spark.element),
      highest.element,
      coming.element,
      going.element,
      dropped.element,
    ),
    update(state: QueueState) {
      size.show(brief(state.size), state.maxsize ? `of ${whole(state.maxsize)}` : "");
      highest.show(brief(state.highest));
      coming.show(brief(state.received), rate(state.inRate));
      going.show(brief(state.received - state.size - state.dropped), rate(state.outRate));
      dropped.show(brief(state.dropped));
      dropped.element.classList.toggle("bmq-warn", state.dropped > 0);
      spark.show(
        state.depths,
        state.points,
        `How many waited in the last ${state.seconds / 60} minutes: now ${state.size}, at most ${Math.max(...state.depths)}`,
      );
    },
  };
}

/** The members of a shared queue, in all processes. */
function createMembers() {
  const body = h("tbody", {});
  const element = h(
    "section",
    { class: "bmq-members", "aria-label": "Members", hidden: true },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...["taken by", "a second", "all", "handed over", "waiting"].map((name) => h("th", { scope: "col" }, name)))),
      body,
    ),
  );
  return {
    element,
    update(members: QueueMember[]) {
      element.hidden = !members.length;
      fill(
        body,
        ...members.map(([name, perSecond, taken, held, waiting]) =>
          h("tr", {}, h("th", { scope: "row" }, safe(name)), ...[rate(perSecond), whole(taken), whole(held), whole(waiting)].map((text) => h("td", {}, text))),
        ),
      );
    },
  };
}

function figure(name: string) {
  const value = h("span", { class: "bmq-figure-value" });
  const more = h("span", { class: "bmq-figure-more" });
  return {
    element: h("div", { class: "bmq-figure" }, h("span", { class: "bmq-figure-name" }, name), h("span", {}, value, more)),
    show(text: string, addition = "") {
      setText(value, text);
      setText(more, addition);
    },
  };
}

/** A short list of messages; each can be looked at. */
function createRows(title: string, markOf: (name: string) => Mark, onOpen: (number: number) => void) {
  const list = h("ol", { class: "bmq-list" });
  const heading = h("h3", { class: "bmq-list-title" });
  let shown = "";

  function line([number, time, id, source, payload]: ListRow) {
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "bmq-line", style: markStyle(markOf(nameOf(id))), title: fullTime(time), onclick: () => onOpen(number) },
        h("span", { class: "bmq-faint" }, clock(time)),
        h("span", { class: "bmq-line-id" }, safe(id)),
        h("span", { class: "bmq-faint bmq-line-from" }, safe(source ?? "here")),
        h("span", { class: "bmq-line-payload" }, payload),
      ),
    );
  }

  return {
    element: h("section", { class: "bmq-list-box", "aria-label": title }, heading, list),
    update(rows: ListRow[], total: number, nothing: string) {
      setText(heading, title);
      const key = `${total} ${rows.map((row) => row[0]).join()}`;
      if (key === shown) return;
      shown = key;
      const focus = [...list.children].findIndex((item) => item.contains(document.activeElement));
      const more = total - rows.length;
      fill(
        list,
        ...rows.map(line),
        more > 0 && h("li", { class: "bmq-faint bmq-note" }, `… ${counted(more, "more message")}`),
        !rows.length && nothing && h("li", { class: "bmq-faint bmq-note" }, nothing),
      );
      if (focus >= 0) list.children[Math.min(focus, list.children.length - 1)].querySelector("button")?.focus();
    },
  };
}

function describe(state: QueueState) {
  return [
    state.shared && (state.members.length ? `shared by ${counted(state.members.length, "member")}` : "shared"),
    state.maxsize > 0 && `at most ${whole(state.maxsize)}, then ${OVERFLOWS[state.overflow]}`,
    state.getters > 0 && `${counted(state.getters, "taker")} waiting`,
    state.closed && "closed",
  ]
    .filter(Boolean)
    .join(" · ");
}

const OVERFLOWS = {
  drop_oldest: "the oldest is dropped",
  drop_newest: "new ones are dropped",
  raise: "senders get an error",
  block: "senders wait",
};

export default defineView((model) => createPlainStore<QueueState, Events>(model, ["detail", "node", "text", "form", "problem", "done"]), createView);
