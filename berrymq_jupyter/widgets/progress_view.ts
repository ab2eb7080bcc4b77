// The page's side of ProgressView: the bars of all kernels, those that run first.

import "./views.css";
import "./progress_view.css";
import { type IconName, button, framed, h, icon, keepKeys, setAttributes, setText } from "./dom.ts";
import { brief, duration, nameOf, pace, safe, whole } from "./format.ts";
import { type PlainStore, createPlainStore, createRemarks, defineView } from "./view.ts";
import type { Bar, ProgressState } from "./wire.ts";

const SILENT_SECONDS = 30;
const TICK_MS = 1000;
/** The ends of a bar, with their icons. */
const ENDS: Record<Exclude<Bar["end"], "">, IconName> = { done: "check", stopped: "stop", failed: "warning" };

function createView(store: PlainStore<ProgressState>) {
  const follows = h("span", { class: "bmq-title" });
  const counts = h("span", { class: "bmq-total" });
  const remarks = createRemarks();
  const list = h("ul", { class: "bmq-bars", "aria-label": "Progress bars" });
  const empty = h("div", { class: "bmq-nothing" }, "No progress yet. In any linked notebook: from berrymq.adapters.progress import Progress, then for x in Progress(xs): …");
  const clear = button("clear", "Clear ended", () => store.request({ t: "clear" }));
  const element = h(
    "div",
    { class: "bmq bmq-progress" },
    h(
      "div",
      { class: "bmq-bar", role: "toolbar", "aria-label": "Progress" },
      h("div", { class: "bmq-names" }, follows, counts),
      h("div", { class: "bmq-actions" }, clear),
    ),
    list,
    empty,
    remarks.element,
  );
  const lines = new Map<number, ReturnType<typeof createLine>>();
  const redraw = framed(draw);
  let heardAt = 0;
  const timer = setInterval(() => store.state?.bars.some((bar) => !bar.end) && redraw(), TICK_MS);

  function draw() {
    const state = store.state;
    if (!state) return;
    const running = state.bars.filter((bar) => !bar.end);
    setText(follows, state.follows);
    setText(counts, summary(state.bars));
    empty.hidden = state.bars.length > 0;
    clear.disabled = running.length === state.bars.length;
    const since = (performance.now() - heardAt) / 1000;
    const sorted = [...running, ...state.bars.filter((bar) => bar.end).reverse()];
    const shown = new Set(sorted.map((bar) => bar.number));
    for (const [number, line] of lines) {
      if (shown.has(number)) continue;
      line.element.remove();
      lines.delete(number);
    }
    sorted.forEach((bar, index) => {
      const known = lines.get(bar.number);
      const line = known ?? createLine();
      lines.set(bar.number, line);
      line.update(bar, since);
      if (list.children[index] !== line.element) list.insertBefore(line.element, list.children[index] ?? null);
    });
  }

  const off = [
    keepKeys(element),
    store.on("update", () => {
      heardAt = performance.now();
      redraw();
    }),
    store.on("problem", (body) => remarks.say(body.text)),
  ];
  redraw();
  return {
    element,
    close() {
      clearInterval(timer);
      redraw.cancel();
      remarks.close();
      off.forEach((stop) => stop());
    },
  };
}

/** How many run, and how the others ended. */
function summary(bars: Bar[]) {
  return ["", ...Object.keys(ENDS)]
    .map((end) => [bars.filter((bar) => bar.end === end).length, end || "running"] as const)
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${whole(count)} ${word}`)
    .join(", ");
}

/** One bar: what and whose it is, how far, how fast, how long. */
function createLine() {
  const name = h("span", { class: "bmq-progress-name" });
  const source = h("span", { class: "bmq-faint bmq-progress-source" });
  const mark = h("span", { class: "bmq-progress-mark" });
  const percent = h("span", { class: "bmq-progress-percent" });
  const fill = h("div", { class: "bmq-progress-fill" });
  const track = h("div", { class: "bmq-progress-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const amount = h("span", {});
  const times = h("span", { class: "bmq-progress-times" });
  const element = h(
    "li",
    { class: "bmq-progress-line" },
    h("div", { class: "bmq-progress-head" }, mark, name, source, percent),
    track,
    h("div", { class: "bmq-progress-facts bmq-faint" }, amount, times),
  );
  let end: Bar["end"] = "";

  function update(now: Bar, since: number) {
    const title = now.description || safe(nameOf(now.id));
    setText(name, title);
    name.title = safe(now.id);
    setText(source, safe(now.source ?? "here"));
    setText(percent, now.share === null ? brief(now.n) : `${Math.floor(now.share * 100)}%`);
    const value = now.share === null ? null : Math.round(now.share * 100);
    const unknown = now.share === null && !now.end;
    const silent = now.silent + since > SILENT_SECONDS && !now.end;
    setText(amount, [reached(now), pace(now.rate)].filter(Boolean).join(" · "));
    setText(times, timesOf(now, since, silent));
    setAttributes(track, {
      "aria-label": `${title}, ${safe(now.source ?? "here")}`,
      "aria-valuenow": value,
      "aria-valuetext": [value !== null && `${value}%`, reached(now), unknown && "of an unknown number"].filter(Boolean).join(", "),
    });
    fill.style.width = `${(now.share ?? (now.end === "done" ? 1 : 0.3)) * 100}%`;
    track.classList.toggle("bmq-unknown", unknown);
    element.classList.toggle("bmq-silent", silent);
    if (now.end !== end) showEnd(now.end);
  }

  function showEnd(to: Bar["end"]) {
    if (end) element.classList.remove(`bmq-${end}`);
    if (to) element.classList.add(`bmq-${to}`);
    mark.replaceChildren(...(to ? [icon(ENDS[to])] : []));
    end = to;
  }

  return { element, update };
}

/** How far a bar is or was, and how it ended. */
function reached(bar: Bar) {
  const far = bar.total === null ? `${brief(bar.n)} step${bar.n === 1 ? "" : "s"}` : `${brief(bar.n)} of ${brief(bar.total)}`;
  if (bar.end === "stopped") return `stopped at ${far}`;
  if (bar.end === "failed") return `failed at ${far}${bar.reason && `: ${bar.reason}`}`;
  return far;
}

function timesOf(bar: Bar, since: number, silent: boolean) {
  if (bar.end) {
    const took = bar.elapsed === null ? "" : duration(bar.elapsed * 1000);
    if (bar.end === "done") return took ? `done in ${took}` : "done";
    return took && `after ${took}`;
  }
  if (silent) return `silent for ${duration((bar.silent + since) * 1000)}`;
  const run = bar.elapsed === null ? "" : `${duration((bar.elapsed + bar.silent + since) * 1000)} so far`;
  const left = bar.remaining === null ? "" : `about ${duration(Math.max(0, bar.remaining - bar.silent - since) * 1000)} left`;
  return [run, left].filter(Boolean).join(", ");
}

export default defineView((model) => createPlainStore<ProgressState>(model, ["problem"]), createView);
