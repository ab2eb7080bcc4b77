// Programs that have no link but a token, and maybe a queue at the hub.

import { h, setText } from "../../widgets/dom.ts";
import { counted } from "../../widgets/format.ts";
import { drawCount, drawLoss, drawPair } from "./cells.ts";
import { createTable } from "./table.ts";
import type { Client, HubState } from "./state.ts";

export function createClients() {
  const table = createTable<Client & { key: string }>(
    "Clients without a link",
    [
      { title: "Client", order: (client) => client.name, draw: (cell, client) => drawPair(cell, client.name, "") },
      { title: "Collects", kind: "follows", order: (client) => client.follows ?? "", draw: drawFollows },
      { title: "Waiting", kind: "number", order: (client) => client.waiting, draw: (cell, client) => drawCount(cell, client.waiting) },
      { title: "Dropped", kind: "number", order: (client) => client.dropped, draw: (cell, client) => drawLoss(cell, client.dropped) },
    ],
    (client) => client.key,
  );
  const more = h("p", { class: "soft note" });
  const element = h(
    "section",
    { class: "card clients", "aria-labelledby": "clients" },
    h("h2", { id: "clients" }, "Clients without a link"),
    table.element,
    more,
  );
  return {
    element,
    show(state: HubState) {
      element.hidden = state.clients.length === 0;
      const rows = state.clients.map((client, index) => ({ ...client, key: String(index).padStart(3, "0") }));
      table.show([{ name: "all", rows, title: null }]);
      more.hidden = state.clients_more === 0;
      setText(more, `and ${counted(state.clients_more, "client")} more`);
    },
  };
}

function drawFollows(cell: HTMLElement, client: Client) {
  if (cell.children.length === 0) cell.append(h("span", {}));
  const text = cell.children[0];
  text.className = client.follows === null ? "soft" : "chip";
  setText(text, client.follows ?? "only sends");
}
