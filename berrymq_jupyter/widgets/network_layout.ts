// Where the nodes of a network stand: hubs one below the other in the middle, the others in a column on either side, so
// that a name has the room beside its node to itself and no line crosses it.

import type { NetworkNode } from "./wire.ts";

const SIDE = 0.32;
const PITCH = 38;
const NARROW_PITCH = 22;
const ROOMY_UP_TO = 9;
const HUB_PITCH = 54;
const SHORTEST = 110;

export interface Place {
  x: number;
  y: number;
  anchor: string;
  /** -1 left of the middle, 1 right of it, 0 in it. */
  outward: number;
}

export interface Layout {
  places: Map<string, Place>;
  height: number;
  roomy: boolean;
  sideRoom: number;
  middleRoom: number;
}

/** @returns a function that lays nodes out in a given width. A node keeps its place while others come and go. */
export function createLayout(): (nodes: NetworkNode[], width: number) => Layout {
  let slots: (string | null)[] = [];

  /** Give each node a slot: even ones are on the left, odd ones on the right, counted from the top. */
  function assign(others: NetworkNode[]) {
    const ids = new Set(others.map((node) => node.id));
    slots = slots.map((id) => (id !== null && ids.has(id) ? id : null));
    if (slots.length > 2 * others.length + 2) slots = slots.filter((id) => id !== null);
    for (const id of ids) {
      if (slots.includes(id)) continue;
      const free = slots.indexOf(null);
      if (free < 0) slots.push(id);
      else slots[free] = id;
    }
    while (slots.at(-1) === null) slots.pop();
  }

  return (nodes, width) => {
    const hubs = nodes.filter((node) => node.hub);
    assign(nodes.filter((node) => !node.hub));
    const rows = Math.ceil(slots.length / 2);
    const pitch = rows > ROOMY_UP_TO ? NARROW_PITCH : PITCH;
    const height = Math.max(SHORTEST, rows * pitch + 16, hubs.length * HUB_PITCH + 12);
    const places = new Map<string, Place>();
    const sides = [Math.round(width * SIDE), width - Math.round(width * SIDE)];
    slots.forEach((id, slot) => {
      const side = slot % 2;
      const inColumn = side ? Math.floor(slots.length / 2) : rows;
      const y = height / 2 + (Math.floor(slot / 2) - (inColumn - 1) / 2) * pitch;
      if (id !== null) places.set(id, { x: sides[side], y, anchor: side ? "start" : "end", outward: side ? 1 : -1 });
    });
    hubs.forEach((hub, index) => {
      const y = height / 2 - 6 + (index - (hubs.length - 1) / 2) * HUB_PITCH;
      places.set(hub.id, { x: width / 2, y, anchor: "middle", outward: 0 });
    });
    return { places, height, roomy: pitch === PITCH, sideRoom: sides[0] - 22, middleRoom: sides[1] - sides[0] - 40 };
  };
}
