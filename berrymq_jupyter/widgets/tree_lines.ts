// The lines of the tree of identifiers: names with their actions below, found, sorted and unfolded.

import { nameOf } from "./format.ts";

/**
 * The kernel's counts of an identifier: messages, messages a second, how many of them are still kept; and number and
 * payload of the latest.
 */
export type Count = [count: number, rate: number, retained: number, latest: number, payload: string];

export type Sort = "name" | "rate" | "count" | "latest";

/** What the lines stand for, as in a query. */
export type LineKind = "id" | "from";

export interface TreeLine {
  /** The pattern that chooses what the line stands for. */
  pattern: string;
  label: string;
  level: 1 | 2;
  /** Of a name: whether its actions are shown. */
  expanded: boolean | null;
  /** Where it stands among its siblings, from 1 on, and how many there are. */
  position: number;
  siblings: number;
}

export interface TreeOptions {
  /** Text that identifiers must contain. */
  find: string;
  sort: Sort;
  /** Whether the actions of a name are shown. */
  isOpen(name: string): boolean;
}

const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

/** The counts of names: those of their identifiers together. */
export function nameCounts(counts: ReadonlyMap<string, Count>): Map<string, Count> {
  const names = new Map<string, Count>();
  for (const [id, [count, rate, retained, latest, payload]] of counts) {
    const name = nameOf(id);
    const sum = names.get(name);
    if (sum) {
      sum[0] += count;
      sum[1] += rate;
      sum[2] += retained;
      if (latest > sum[3]) [sum[3], sum[4]] = [latest, payload];
    } else names.set(name, [count, rate, retained, latest, payload]);
  }
  return names;
}

/** The lines for identifiers with their counts. */
export function treeLines(counts: ReadonlyMap<string, Count>, { find, sort, isOpen }: TreeOptions): TreeLine[] {
  const needle = find.trim().toLowerCase();
  const groups = new Map<string, string[]>();
  for (const id of counts.keys()) {
    if (needle && !id.toLowerCase().includes(needle)) continue;
    const name = nameOf(id);
    const ids = groups.get(name);
    if (ids) ids.push(id);
    else groups.set(name, [id]);
  }
  const names = sorted([...groups.keys()], nameCounts(counts), sort);
  return names.flatMap((name, index) => {
    const ids = groups.get(name) ?? [];
    const expanded = needle !== "" || isOpen(name);
    const line: TreeLine = { pattern: `${name}:*`, label: name, level: 1, expanded, position: index + 1, siblings: names.length };
    if (!expanded) return [line];
    const action = (id: string, place: number): TreeLine => ({
      pattern: id,
      label: id.slice(name.length + 1),
      level: 2,
      expanded: null,
      position: place + 1,
      siblings: ids.length,
    });
    return [line, ...sorted(ids, counts, sort).map(action)];
  });
}

/** The lines for sources with their counts. */
export function sourceLines(counts: ReadonlyMap<string, Count>, { find, sort }: Pick<TreeOptions, "find" | "sort">): TreeLine[] {
  const needle = find.trim().toLowerCase();
  const names = [...counts.keys()].filter((name) => name.toLowerCase().includes(needle));
  return sorted(names, counts, sort).map((name, place) => ({
    pattern: name,
    label: name,
    level: 1,
    expanded: null,
    position: place + 1,
    siblings: names.length,
  }));
}

function sorted(keys: string[], counts: ReadonlyMap<string, Count>, sort: Sort): string[] {
  const amount = (key: string): number => {
    const count = counts.get(key);
    return count && sort !== "name" ? { count: count[0], rate: count[1], latest: count[3] }[sort] : 0;
  };
  return keys.sort((one, other) => amount(other) - amount(one) || inOrder(one, other));
}
