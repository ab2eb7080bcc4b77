// What a chart makes of the points that the kernel sends: one table for all lines, smoothed courses, and a picture.

import { clock, fieldName, fullTime, safe } from "./format.ts";
import type { ChartLine } from "./wire.ts";

/** What the horizontal axis shows. */
export type Axis = "time" | "elapsed" | "order" | "field";

/** A value of one line: null is a gap, undefined is nothing of this line there, which a line passes over. */
export type Cell = number | null | undefined;

/**
 * Where a point stands: seconds since 1970, or since the first point, the number of the message, or a field.
 * @param begin ms since 1970 of the first point of all, which may not be among these
 */
export function places(lines: ChartLine[], axis: Axis, begin: number): number[][] {
  if (axis === "order") return lines.map((line) => line.numbers);
  if (axis === "field") return lines.map((line) => line.x ?? line.numbers);
  const zero = axis === "elapsed" ? begin : 0;
  return lines.map((line) => line.times.map((ms) => (ms - zero) / 1000));
}

/**
 * Put lines into one table with a common first column, in order. Of several values of a line at one place the last one
 * counts.
 */
export function aligned(columns: number[][], values: (number | null)[][]): [x: number[], ...y: Cell[][]] {
  const x = [...new Set(columns.flat())].sort((one, other) => one - other);
  const rowOf = new Map(x.map((value, row) => [value, row]));
  const y = columns.map((column, line) => {
    const cells: Cell[] = new Array(x.length).fill(undefined);
    column.forEach((value, index) => {
      cells[rowOf.get(value) ?? 0] = values[line][index];
    });
    return cells;
  });
  return [x, ...y];
}

/**
 * Smooth by an exponential moving average that is not drawn towards 0 at its beginning. It starts again after a gap.
 * @param weight of what came before, from 0 to below 1
 */
export function smoothed(values: (number | null)[], weight: number): (number | null)[] {
  if (weight <= 0) return values;
  let average = 0;
  let share = 0;
  return values.map((value) => {
    if (value === null) {
      average = share = 0;
      return null;
    }
    average = weight * average + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return average / share;
  });
}

/** The row of a line's point that is the nearest to a row of the table; null if it has none. A gap counts as one. */
export function nearest(x: number[], cells: Cell[], row: number): number | null {
  let [before, after] = [row, row];
  while (before >= 0 && cells[before] === undefined) before--;
  while (after < x.length && cells[after] === undefined) after++;
  if (before < 0) return after < x.length ? after : null;
  return after < x.length && x[after] - x[row] < x[row] - x[before] ? after : before;
}

/** The row of a line's last value within a range; null if there is none. */
export function lastWithin(x: number[], cells: Cell[], [from, to]: [number, number]): number | null {
  for (let row = x.length - 1; row >= 0 && x[row] >= from; row--) if (x[row] <= to && typeof cells[row] === "number") return row;
  return null;
}

/**
 * The range of the latest seconds, for an axis of time or order.
 * @param begin ms since 1970 of the first point of all: nothing is shown from before it
 */
export function latestRange(lines: ChartLine[], axis: Axis, seconds: number, begin: number): [number, number] | null {
  const end = Math.max(...lines.map((line) => line.times.at(-1) ?? -Infinity));
  const from = Math.max(end - seconds * 1000, begin);
  if (!Number.isFinite(end) || axis === "field") return null;
  if (axis !== "order") return places([{ ...lines[0], times: [from, end] }], axis, begin)[0] as [number, number];
  const seen = lines.flatMap((line) => line.numbers.filter((_, index) => line.times[index] >= from));
  return [seen.reduce((one, other) => Math.min(one, other), Infinity), seen.reduce((one, other) => Math.max(one, other), 0)];
}

/** What tells a line from the others of its chart: the parts of its name that they do not all have. */
export function lineNames(lines: ChartLine[]): string[] {
  const parts = lines.map((line) => [safe(line.id), line.field.map(fieldName).join("."), safe(line.source ?? "here")]);
  const differ = [0, 1, 2].filter((part) => new Set(parts.map((names) => names[part])).size > 1);
  return parts.map((names) => (differ.length ? differ : [1]).map((part) => names[part]).join(" · "));
}

/** What a chart is of, in one line. */
export function chartTitle(tracks: [id: string, field: string[]][]): string {
  const ids = [...new Set(tracks.map(([id]) => id))];
  return ids
    .map((id) => {
      const fields = tracks.filter(([other]) => other === id).map(([, field]) => field.map(fieldName).join("."));
      return `${safe(id)} ${fields.join(", ")}`;
    })
    .join("; ");
}

/** A place on an axis in words. */
export function placeText(value: number, axis: Axis): string {
  if (axis === "time") return clock(value * 1000);
  if (axis === "elapsed") return elapsed(value);
  return axis === "order" ? `#${value + 1}` : exact(value);
}

/** Seconds since the beginning: "0.25 s", "3:05", "1:02:03.5". */
export function elapsed(seconds: number): string {
  if (Math.abs(seconds) < 60) return `${Number(seconds.toFixed(4))} s`;
  const sign = seconds < 0 ? "-" : "";
  const ms = Math.round(Math.abs(seconds) * 1000);
  const [h, m, s] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  const part = ms % 1000 ? String((ms % 1000) / 1000).slice(1) : "";
  return `${sign}${h ? `${h}:${two(m)}` : m}:${two(s)}${part}`;
}

const exact = (value: number) => plain(Number(value.toPrecision(12)));
const plain = (value: number) => (value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e15) ? value.toExponential().replace("e+", "e") : String(value));
const two = (number: number) => String(number).padStart(2, "0");

/** Steps of clocks and calendars, in seconds. */
const CLOCK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
const DAY = 86_400;
const DAY_STEPS = [1, 2, 7, 14, 28, 91, 182, 364].map((days) => days * DAY);

/** The least step that parts a range into at most so many: 1, 2 or 5 times a power of ten, or one of a clock. */
function stepOf(length: number, most: number, axis: Axis): number {
  const least = Math.max(length / Math.max(most, 1), Number.MIN_VALUE);
  if (axis === "time" || axis === "elapsed") {
    const step = [...CLOCK_STEPS, ...DAY_STEPS].find((seconds) => seconds >= least);
    if (least > 0.5 && step) return step;
  }
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= least * 0.999_999) ?? power;
  if (axis === "order") return Math.max(step, 1);
  return axis === "time" ? Math.max(step, 0.001) : step;
}

/** Where an axis has its marks: at round values, of a clock if it shows time, at whole numbers if it shows order. */
export function ticks([low, high]: [number, number], most: number, axis: Axis): number[] {
  if (!(high >= low) || !Number.isFinite(high - low)) return [];
  if (high === low) return [low];
  const step = stepOf(high - low, most, axis);
  // Messages are counted from 1 on; days begin at midnight, here.
  const zero = (at: number) => (axis === "order" ? -1 : axis === "time" && step >= 60 ? new Date(at * 1000).getTimezoneOffset() * 60 : 0);
  const found: number[] = [];
  const start = Math.ceil((low - zero(low)) / step - 1e-9);
  for (let index = start; found.length <= most + 1; index++) {
    const at = index * step;
    const value = at + zero(at + zero(low));
    if (value > high + step * 1e-9) break;
    found.push(step < 1 ? Number(value.toPrecision(15)) : value);
  }
  return found;
}

/** The marks of a logarithmic axis: powers of ten, with 2 and 5 times these where there is room; else round values. */
export function logTicks([low, high]: [number, number], most: number): number[] {
  if (!(low > 0) || !(high >= low) || !Number.isFinite(high)) return [];
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const powers = last - first + 1;
  if (powers < 2) return ticks([low, high], most, "field").filter((value) => value > 0);
  const found: number[] = [];
  const stride = Math.ceil(powers / Math.max(most, 1));
  const factors = powers * 3 <= most ? [1, 2, 5] : [1];
  for (let power = first - 1; power <= last; power++) {
    if (power % stride) continue;
    for (const factor of factors) {
      const value = Number(`${factor}e${power}`);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found;
}

/** The marks of a vertical axis so many pixels high. */
export const verticalTicks = (range: [number, number], height: number, log: boolean) => (log ? logTicks(range, height / 22) : ticks(range, height / 30, "field"));

/** The texts of marks. The date stands below the first time of each day. */
export function tickTexts(values: number[], axis: Axis): string[] {
  if (axis === "order" || axis === "elapsed") return values.map((value) => placeText(value, axis));
  const step = values.length > 1 ? values[1] - values[0] : 0;
  if (axis === "field") return numberTexts(values, step);
  let before = "";
  return values.map((value) => {
    const [date, time] = fullTime(value * 1000).split(" ");
    if (step >= DAY) return date;
    const short = step >= 60 ? time.slice(0, 5) : step >= 1 || Number.isInteger(value) ? time.slice(0, 8) : time;
    const text = date === before ? short : `${short}\n${date}`;
    before = date;
    return text;
  });
}

/** The texts of numbers a step apart, with as many digits as tell them apart. */
function numberTexts(values: number[], step: number): string[] {
  const size = Math.max(...values.map(Math.abs));
  if (!(step > 0) || size === 0) return values.map(exact);
  const [power, digit] = [Math.floor(Math.log10(size)), Math.floor(Math.log10(step) + 1e-6)];
  if (size < 1e7 && size >= 0.001) return values.map((value) => value.toFixed(Math.min(Math.max(0, -digit), 20)));
  return values.map((value) => (value === 0 ? "0" : `${(value / 10 ** power).toFixed(Math.min(Math.max(0, power - digit), 15))}e${power}`));
}

/** The texts of a vertical axis. */
export const valueTexts = (values: number[], log: boolean) => (log ? values.map(exact) : tickTexts(values, "field"));

/** Put entries side by side, and further ones into rows below these: the left edge and the row of each. */
export function flowed(widths: number[], width: number): [left: number, row: number][] {
  let [left, row] = [0, 0];
  return widths.map((entry) => {
    if (left > 0 && left + entry > width) [left, row] = [0, row + 1];
    const at: [number, number] = [left, row];
    left += entry;
    return at;
  });
}

/** As much of a text as has room. */
export function fitted(text: string, width: number, widthOf: (text: string) => number): string {
  if (widthOf(text) <= width) return text;
  const letters = [...text];
  let [least, most] = [0, letters.length];
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (widthOf(`${letters.slice(0, middle).join("")}…`) <= width) least = middle;
    else most = middle - 1;
  }
  return `${letters.slice(0, least).join("")}…`;
}

/** A line as it is to be drawn into a picture. */
export interface PictureLine {
  name: string;
  color: string;
  dash: number[];
  values: Cell[];
  /** What was smoothed; null if nothing was. */
  raw: Cell[] | null;
  /** Whether each point has a dot. */
  dots: boolean;
}

export interface Picture {
  title: string;
  /** How it is drawn. */
  facts: string;
  width: number;
  height: number;
  /** The colours of the background, the text and the grid. */
  colors: [back: string, text: string, grid: string];
  x: number[];
  lines: PictureLine[];
  xRange: [number, number];
  yRange: [number, number];
  axis: Axis;
  log: boolean;
  /** The width of a text in pixels. */
  widthOf(text: string): number;
}

/** Of pictures, in pixels. */
export const LEGEND = { row: 18, key: 18, gap: 6, apart: 18, title: 28 };

/** Where the entries of a legend stand, and their names, as far as there is room; the last row is the number of rows. */
export function legendOf(names: string[], width: number, widthOf: (text: string) => number) {
  const { key, gap, apart } = LEGEND;
  const texts = names.map((name) => fitted(name, width - key - gap, widthOf));
  const at = flowed(texts.map((text) => key + gap + widthOf(text) + apart), width + apart);
  return { texts, at, height: ((at.at(-1)?.[1] ?? -1) + 1) * LEGEND.row };
}

/** The chart as an SVG document. */
export function svgDocument(picture: Picture): string {
  const { width, xRange, yRange, log, axis, widthOf } = picture;
  const [back, text, grid] = picture.colors;
  const box = { left: 64, right: width - 16, top: LEGEND.title + 6, bottom: picture.height - 40 };
  const legend = legendOf(picture.lines.map((line) => line.name), box.right - box.left, widthOf);
  const height = picture.height + legend.height;
  const scale = (value: number) => (log ? Math.log10(value) : value);
  const [low, high] = yRange.map(scale);
  const x = (value: number) => box.left + ((value - xRange[0]) / (xRange[1] - xRange[0] || 1)) * (box.right - box.left);
  const y = (value: number) => box.bottom - ((scale(value) - low) / (high - low || 1)) * (box.bottom - box.top);
  const parts: string[] = [];
  const heights = verticalTicks(yRange, box.bottom - box.top, log);
  valueTexts(heights, log).forEach((words, index) => {
    const at = y(heights[index]).toFixed(1);
    parts.push(`<path d="M${box.left} ${at}H${box.right}" stroke="${xml(grid)}"/>`);
    parts.push(`<text x="${box.left - 6}" y="${Number(at) + 4}" text-anchor="end">${xml(words)}</text>`);
  });
  const stands = ticks(xRange, (box.right - box.left) / 90, axis);
  tickTexts(stands, axis).forEach((words, index) => {
    const at = x(stands[index]).toFixed(1);
    parts.push(`<path d="M${at} ${box.top}V${box.bottom}" stroke="${xml(grid)}"/>`);
    words.split("\n").forEach((line, row) => {
      parts.push(`<text x="${at}" y="${box.bottom + 16 + 14 * row}" text-anchor="middle">${xml(line)}</text>`);
    });
  });
  const inside: string[] = [];
  picture.lines.forEach((line, index) => {
    const color = xml(line.color);
    const dash = line.dash.length ? ` stroke-dasharray="${line.dash.join(" ")}"` : "";
    const course = (values: Cell[], how: string) => {
      inside.push(`<path d="${courses(picture.x, values, x, y, log)}" fill="none" stroke="${color}" stroke-linejoin="round" ${how}${dash}/>`);
    };
    if (line.raw) course(line.raw, 'class="raw" stroke-width="1" stroke-opacity="0.3"');
    course(line.values, 'stroke-width="1.5"');
    if (line.dots) {
      line.values.forEach((value, row) => {
        if (typeof value !== "number" || (log && value <= 0) || picture.x[row] < xRange[0] || picture.x[row] > xRange[1]) return;
        inside.push(`<circle cx="${x(picture.x[row]).toFixed(1)}" cy="${y(value).toFixed(1)}" r="2" fill="${xml(back)}" stroke="${color}"/>`);
      });
    }
    const [left, row] = legend.at[index];
    const [from, middle] = [box.left + left, picture.height + row * LEGEND.row + 4];
    parts.push(`<path d="M${from} ${middle}h${LEGEND.key}" stroke="${color}" stroke-width="3"${dash}/>`);
    parts.push(`<text x="${from + LEGEND.key + LEGEND.gap}" y="${middle + 4}">${xml(legend.texts[index])}</text>`);
  });
  // An SVG inside an SVG shows nothing beyond its box.
  const [w, h] = [box.right - box.left + 6, box.bottom - box.top + 6];
  const at = `x="${box.left - 3}" y="${box.top - 3}" width="${w}" height="${h}" viewBox="${box.left - 3} ${box.top - 3} ${w} ${h}"`;
  parts.push(`<svg ${at}>${inside.join("")}</svg>`);
  const room = box.right - box.left - widthOf(picture.facts) - 30;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="sans-serif" font-size="11" fill="${xml(text)}"><rect width="100%" height="100%" fill="${xml(back)}"/>` +
    `<text x="${box.left}" y="18" font-weight="600">${xml(fitted(picture.title, room * 0.9, widthOf))}</text>` +
    `<text x="${box.right}" y="18" text-anchor="end">${xml(picture.facts)}</text>${parts.join("")}</svg>\n`
  );
}

function courses(
  places: number[],
  values: Cell[],
  x: (value: number) => number,
  y: (value: number) => number,
  log: boolean,
): string {
  let d = "";
  let pen = "M";
  values.forEach((value, row) => {
    if (value === undefined) return;
    if (value === null || (log && value <= 0)) {
      pen = "M";
      return;
    }
    d += `${pen}${x(places[row]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  return d;
}

function xml(text: string): string {
  return text.replace(/[<>&"]/g, (found) => `&#${found.charCodeAt(0)};`);
}
