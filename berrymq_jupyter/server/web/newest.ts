// The newest payloads of identifiers, as short texts: requested for the rows that are shown, when they have changed.

import { safe } from "../../widgets/format.ts";
import type { Traffic } from "./state.ts";

/** The server's limit of rows in a request. */
const MOST = 200;

/** @param get requests the texts of rows by their numbers; null when there is no answer */
export function createNewest(get: (rows: number[]) => Promise<Record<string, string> | null>, onNews: () => void) {
  let known = new Map<number, { count: number; text: string }>();
  let isAsking = false;
  return {
    /** The newest payload that is known of an identifier; undefined before its first answer. */
    text: (traffic: Traffic) => known.get(traffic.row)?.text,
    /** Request what has changed of the rows that are shown, unless a request is in flight. */
    async look(shown: Traffic[]) {
      known = new Map(shown.flatMap(({ row }) => [[row, known.get(row)] as const]).filter(([, one]) => one) as never);
      const wanted = shown.filter(({ row, count }) => known.get(row)?.count !== count).slice(0, MOST);
      if (isAsking || wanted.length === 0) return;
      isAsking = true;
      const texts = await get(wanted.map(({ row }) => row));
      isAsking = false;
      if (!texts) return;
      for (const { row, count } of wanted) known.set(row, { count, text: safe(texts[row] ?? "…") });
      onNews();
    },
  };
}

/** Request texts at an address of the server. */
export async function getNewest(rows: number[]): Promise<Record<string, string> | null> {
  try {
    const answer = await fetch(`newest?rows=${rows.join(",")}`, { cache: "no-store", redirect: "manual" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}
