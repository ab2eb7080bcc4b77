// What the hub holds for later: the jobs of shared queues, and the messages that it retains.

import { h, setText } from "../../widgets/dom.ts";
import { byteSize, counted, whole } from "../../widgets/format.ts";
import { drawCount, drawLoss, drawPair } from "./cells.ts";
import { createTable } from "./table.ts";
import { moment } from "./times.ts";
import type { HubState, Kept, SharedQueue } from "./state.ts";

export function createQueues() {
  const table = createTable<SharedQueue>(
    "Shared queues",
    [
      { title: "Shared queue", order: (queue) => queue.id, draw: (cell, queue) => drawPair(cell, queue.id, roomOf(queue)) },
      { title: "Waiting", kind: "number", order: (queue) => queue.depth, draw: (cell, queue) => drawCount(cell, queue.depth) },
      { title: "Taken", kind: "number", order: (queue) => queue.taken, draw: (cell, queue) => drawCount(cell, queue.taken, queue.rate) },
      { title: "Members", kind: "follows", order: (queue) => queue.members.length + queue.members_more, draw: drawMembers },
      { title: "Dropped", kind: "number", order: (queue) => queue.dropped, draw: (cell, queue) => drawLoss(cell, queue.dropped) },
    ],
    (queue) => `${queue.id}\n${queue.room ?? ""}`,
  );
  return createCard("queues", "Shared queues", table.element, (state) => {
    table.show([{ name: "all", rows: state.queues, title: null }]);
    return [state.queues.length, state.queues_more, "shared queue"];
  });
}

export function createKept() {
  const table = createTable<Kept>(
    "Retained messages",
    [
      { title: "Keeps", order: (kept) => kept.identifier, draw: (cell, kept) => drawPair(cell, kept.identifier, roomOf(kept)) },
      { title: "Messages", kind: "number", order: (kept) => kept.count, draw: drawMessages },
      { title: "Bytes", kind: "number", order: (kept) => kept.bytes, draw: (cell, kept) => drawPair(cell, byteSize(kept.bytes), "") },
      { title: "Dropped", kind: "number", order: (kept) => kept.dropped, draw: (cell, kept) => drawLoss(cell, kept.dropped) },
      { title: "Since", kind: "time", order: (kept) => kept.since, draw: (cell, kept) => drawPair(cell, moment(kept.since), kept.by) },
    ],
    (kept) => `${kept.identifier}\n${kept.room ?? ""}`,
  );
  return createCard("kept", "Retained messages", table.element, (state) => {
    table.show([{ name: "all", rows: state.kept, title: null }]);
    return [state.kept.length, state.kept_more, "identifier"];
  });
}

/**
 * A card that is hidden while its table is empty.
 *
 * @param show shows a state, and gives the number of rows, that of rows that are not listed, and what a row is
 */
function createCard(id: string, title: string, table: HTMLElement, show: (state: HubState) => [number, number, string]) {
  const more = h("p", { class: "soft note" });
  const element = h("section", { class: `card held ${id}`, "aria-labelledby": id }, h("h2", { id }, title), table, more);
  return {
    element,
    show(state: HubState) {
      const [rows, left, noun] = show(state);
      element.hidden = rows === 0;
      more.hidden = left === 0;
      setText(more, `and ${counted(left, noun)} more`);
    },
  };
}

const roomOf = (one: { room: string | null }) => (one.room === null ? "" : `room ${one.room}`);

function drawMessages(cell: HTMLElement, kept: Kept) {
  drawPair(cell, whole(kept.count), `last ${whole(kept.last)}${kept.identifiers > 1 ? ` of each of ${whole(kept.identifiers)}` : ""}`);
}

function drawMembers(cell: HTMLElement, queue: SharedQueue) {
  const texts = queue.members.map((member) => `${member.name}: ${whole(member.taken)}`);
  if (queue.members_more > 0) texts.push(`and ${whole(queue.members_more)} more`);
  if (cell.dataset.shown === texts.join("\n")) return;
  cell.dataset.shown = texts.join("\n");
  const list = h("ul", { class: "chips", role: "list" }, ...texts.map((text) => h("li", {}, text)));
  cell.replaceChildren(texts.length > 0 ? list : h("span", { class: "soft" }, "none"));
}
