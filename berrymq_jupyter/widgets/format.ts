// Numbers, times and colours as text.

const WHOLE = new Intl.NumberFormat("en-US");

/** 1234567 -> "1,234,567" */
export function whole(number: number) {
  return WHOLE.format(number);
}

/** A count with its noun: (1, "message") -> "1 message". */
export function counted(number: number, noun: string) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A number in at most about five characters: 1234567 -> "1.2M". */
export function brief(number: number) {
  if (number < 10_000) return whole(number);
  if (!(number < 1e12)) return number.toExponential(1).replace("e+", "e");
  const [value, unit] = number < 999_500 ? [number / 1e3, "k"] : number < 999.5e6 ? [number / 1e6, "M"] : [number / 1e9, "G"];
  return `${value < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)}${unit}`;
}

/** A number of bytes: 2048 -> "2.0 KiB". */
export function byteSize(bytes: number) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** A number of events a second, "" for none. */
export function rate(perSecond: number) {
  if (!(perSecond > 0)) return "";
  if (perSecond < 9.95) return `${perSecond < 0.1 ? "<0.1" : perSecond.toFixed(1)}/s`;
  return `${brief(Math.round(perSecond))}/s`;
}

/** How fast steps are done: so many a second, or how long one takes. */
export function pace(perSecond: number) {
  if (!(perSecond > 0)) return "";
  return perSecond < 1 ? `${duration(1000 / perSecond)} each` : rate(perSecond);
}

/** The time of day of `ms` since 1970, to the millisecond. */
export function clock(ms: number) {
  const time = new Date(ms);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(
    time.getMilliseconds(),
  ).padStart(3, "0")}`;
}

/** Date and time. */
export function fullTime(ms: number) {
  const time = new Date(ms);
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(ms)}`;
}

/** How long `ms` milliseconds are: "12 ms", "3.4 s", "2 min 5 s". */
export function duration(ms: number) {
  const value = Math.abs(ms);
  // What would be rounded up to a whole of the next unit has that unit.
  if (value < 59_950) return shortDuration(value);
  const seconds = Math.round(value / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(value / 60_000);
  if (minutes < 6000) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return shortDuration(value);
}

/** The same in one unit, in at most eight characters: "2.1 min". */
export function shortDuration(ms: number) {
  const value = Math.abs(ms);
  if (value < 0.05) return "0 ms";
  if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ms`;
  if (value < 59_950) return `${(value / 1000).toFixed(value < 9995 ? 2 : 1)} s`;
  if (value < 3_570_000) return `${(value / 60_000).toFixed(value < 597_000 ? 1 : 0)} min`;
  const hours = value / 3_600_000;
  return hours < 9.95 ? `${hours.toFixed(1)} h` : `${brief(Math.round(hours))} h`;
}

/** The latency of a message; below 0 where the clocks of two computers differ by more. */
export function latency(ms: number) {
  return ms < 0 ? `−${duration(ms)}` : duration(ms);
}

/** The same, for a narrow column. */
export function shortLatency(ms: number) {
  return ms < 0 ? `−${shortDuration(ms)}` : shortDuration(ms);
}

/** How times are shown: time of day, how long ago, or how long after the row before. */
export type TimeMode = "clock" | "ago" | "difference";

/**
 * The time of a row.
 * @param now ms since 1970
 * @param before the time of the row before; null if there is none, undefined if it is not known yet
 */
export function timeText(mode: TimeMode, ms: number, now: number, before: number | null | undefined): string {
  if (mode === "clock") return clock(ms);
  if (mode === "ago") return ms > now ? `in ${duration(ms - now)}` : now - ms < 1000 ? "now" : `${duration(Math.floor((now - ms) / 1000) * 1000)} ago`;
  if (before === undefined) return "…";
  return before === null ? "first" : `${ms < before ? "−" : "+"}${duration(ms - before)}`;
}

/** The day of `ms` since 1970, as a separator between days has it. */
export function day(ms: number) {
  return new Date(ms).toLocaleDateString(undefined, { weekday: "short", year: "numeric", month: "short", day: "numeric" });
}

/** The same in ten characters: "2026-02-03". */
export function shortDay(ms: number) {
  return fullTime(ms).slice(0, -13);
}

/** Whether two moments are of one day here. */
export function sameDay(one: number, other: number) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/** A number of a chart's axis. */
export function measure(value: number) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

// The same characters as in render.py: controls, marks and overrides of direction, invisible ones, lone surrogates.
const UNSAFE =
  /[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Text as it may be shown: what would move or hide other text is written as an escape. */
export function safe(text: string) {
  return text.replace(UNSAFE, (found: string) => {
    const code = (found.codePointAt(0) ?? 0).toString(16);
    return code.length < 3 ? `\\x${code.padStart(2, "0")}` : code.length < 5 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

/** The name part of an identifier. */
export function nameOf(identifier: string) {
  return identifier.slice(0, identifier.lastIndexOf(":"));
}

/** The name of an argument: positional ones have numbers. */
export function fieldName(label: string) {
  return /^\d+$/.test(label) ? `[${label}]` : label;
}

/** The labels that lead to a value, as a query has them: "metrics.val.loss". */
export function fieldPath(labels: readonly string[]) {
  return labels.map(fieldName).join(".");
}

function two(number: number) {
  return String(number).padStart(2, "0");
}
