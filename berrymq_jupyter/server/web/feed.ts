// Polls the state of the hub while the page is visible, with a backoff while the server is unavailable.

import { safe } from "../../widgets/format.ts";
import { moment } from "./times.ts";
import type { HubState } from "./state.ts";

const EVERY_MS = 1000;
const LONGEST_WAIT_MS = 10_000;
const REFUSED_WAIT_MS = 60_000;
const TIMEOUT_MS = 8000;

const WORDS = {
  live: "Live",
  paused: "Paused",
  unavailable: "The hub has not answered since",
  unauthenticated: "You are no longer logged in.",
  off: "This server does not pass on to the hub any more.",
};

export type Status = keyof typeof WORDS;

export interface FeedListener {
  /** Called with each state. */
  onState(state: HubState): void;
  /** Called when the next states do not continue the last one. */
  onGap(): void;
  /** Called when the status has changed, with its text. */
  onStatus(status: Status, text: string): void;
}

export function createFeed(address: string, { onState, onGap, onStatus }: FeedListener) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking: AbortController | null = null;
  let failures = 0;
  let paused = false;
  let status: Status | "" = "";
  let answered = Date.now();

  function report(news: Status) {
    if (status === news) return; // a live region speaks at each change
    status = news;
    onStatus(news, news === "unavailable" ? `${WORDS.unavailable} ${moment(answered / 1000)}. Trying again…` : WORDS[news]);
  }

  function idle() {
    return paused || document.hidden;
  }

  async function ask() {
    clearTimeout(timer);
    if (asking !== null || idle()) return;
    const began = performance.now();
    asking = new AbortController();
    const [news, state] = await get(address, asking);
    asking = null;
    if (idle()) return;
    if (news === "live") {
      if (failures > 0) onGap();
      failures = 0;
      answered = Date.now();
      if (state) onState(state);
    } else failures += 1;
    report(news);
    timer = setTimeout(ask, delay(performance.now() - began));
  }

  /** Return the milliseconds until the next poll, after an answer that took `took` milliseconds. */
  function delay(took: number) {
    if (status === "live") return Math.max(EVERY_MS / 2, EVERY_MS - took);
    if (status === "unavailable") return Math.min(EVERY_MS * 2 ** (failures - 1), LONGEST_WAIT_MS);
    return REFUSED_WAIT_MS;
  }

  /** Handle a change of the page's visibility. */
  function look() {
    if (idle()) {
      clearTimeout(timer);
      asking?.abort();
    } else {
      failures = Math.min(failures, 1);
      ask();
    }
  }

  return {
    /** Start polling. */
    start() {
      document.addEventListener("visibilitychange", () => {
        if (!idle()) onGap();
        look();
      });
      addEventListener("online", look);
      look();
    },
    /** Pause or resume; return whether it is paused now. */
    toggle() {
      paused = !paused;
      if (paused) report("paused");
      else onGap();
      look();
      return paused;
    },
  };
}

/** Request the state once; return the status, and the state if the request succeeded. */
async function get(address: string, control: AbortController): Promise<[Status, HubState | null]> {
  const timeout = setTimeout(() => control.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(address, {
      cache: "no-store",
      redirect: "manual", // which would lead to the login page
      signal: control.signal,
      headers: { Accept: "application/json" },
    });
    if (answer.ok) return ["live", JSON.parse(await answer.text(), asSafe)];
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) return ["unauthenticated", null];
    return [answer.status === 404 ? "off" : "unavailable", null];
  } catch {
    return ["unavailable", null];
  } finally {
    clearTimeout(timeout);
  }
}

/** Escape texts: names are chosen by other nodes. */
function asSafe(_: string, value: unknown) {
  return typeof value === "string" ? safe(value) : value;
}
