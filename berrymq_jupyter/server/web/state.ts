// The types of the server's report on the hub. The Python side is server/state.py.

export interface HubNode {
  id: string;
  name: string;
  room: string | null;
  here: boolean;
  state: "linked" | "cut";
  since: number;
  follows: string[];
  follows_more: number;
  sent: number;
  sent_rate: number;
  received: number;
  received_rate: number;
  waiting: number;
  dropped: number;
}

export interface Client {
  name: string;
  follows: string | null;
  waiting: number;
  dropped: number;
}

export interface Traffic {
  id: string;
  room: string | null;
  count: number;
  rate: number;
  at: number;
  source: string;
  /** The number by which its newest payload is requested. */
  row: number;
}

export interface SharedQueue {
  id: string;
  room: string | null;
  depth: number;
  taken: number;
  rate: number;
  dropped: number;
  members: { name: string; taken: number; held: number }[];
  members_more: number;
}

export interface Kept {
  identifier: string;
  room: string | null;
  last: number;
  by: string;
  since: number;
  identifiers: number;
  count: number;
  bytes: number;
  dropped: number;
}

export interface HubState {
  name: string;
  now: number;
  since: number;
  messages: number;
  rate: number;
  nodes: HubNode[];
  nodes_more: number;
  clients: Client[];
  clients_more: number;
  identifiers: Traffic[];
  identifiers_more: number;
  queues: SharedQueue[];
  queues_more: number;
  kept: Kept[];
  kept_more: number;
}
