// What a chart makes of the points that the kernel sends: one table for all lines, smoothed courses, and a picture.

import { clock, fieldName, measure, safe } from "./format.ts";
import type { ChartLine } from "./wire.ts";

/** What the horizontal axis shows. */
export type Axis = "time" | "elapsed" | "order" | "field";

/** A value of one line: null is a gap, undefined is nothing of this line there, which a line passes over. */
export type Cell = number | null | undefined;

/** Where a point stands: ms since 1970, seconds since the first one, the number of the message, or a field. */
export function places(lines: ChartLine[], axis: Axis): number[][] {
  if (axis === "order") return lines.map((line) => line.numbers);
  if (axis === "field") return lines.map((line) => line.x ?? line.numbers);
  if (axis === "time") return lines.map((line) => line.times.map((ms) => ms / 1000));
  const first = Math.min(...lines.map((line) => line.times[0] ?? Infinity));
  return lines.map((line) => line.times.map((ms) => (ms - first) / 1000));
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
  return axis === "order" ? `#${value + 1}` : measure(value);
}

/** Seconds since the beginning: "0.25 s", "3:05", "1:02:03". */
export function elapsed(seconds: number): string {
  if (Math.abs(seconds) < 60) return `${measure(seconds)} s`;
  const sign = seconds < 0 ? "-" : "";
  const whole = Math.round(Math.abs(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${sign}${h ? `${h}:${String(m).padStart(2, "0")}` : m}:${String(s).padStart(2, "0")}`;
}

/** A line as it is to be drawn into a picture. */
export interface PictureLine {
  name: string;
  color: string;
  dash: number[];
  values: Cell[];
}

export interface Picture {
  title: string;
  width: number;
  height: number;
  /** The colours of the background, the text and the grid. */
  colors: [back: string, text: string, grid: string];
  x: number[];
  lines: PictureLine[];
  xRange: [number, number];
  yRange: [number, number];
  log: boolean;
  xText(value: number): string;
}

/** The chart as an SVG document. */
export function svgDocument(picture: Picture): string {
  const { width, height, xRange, yRange, log } = picture;
  const [back, text, grid] = picture.colors;
  const box = { left: 64, right: width - 16, top: 30, bottom: height - 44 };
  const scale = (value: number) => (log ? Math.log10(value) : value);
  const [low, high] = yRange.map(scale);
  const x = (value: number) => box.left + ((value - xRange[0]) / (xRange[1] - xRange[0] || 1)) * (box.right - box.left);
  const y = (value: number) => box.bottom - ((scale(value) - low) / (high - low || 1)) * (box.bottom - box.top);
  const parts: string[] = [];
  for (let step = 0; step <= 4; step++) {
    const at = low + ((high - low) * step) / 4;
    const value = log ? 10 ** at : at;
    const line = y(value).toFixed(1);
    parts.push(`<path d="M${box.left} ${line}H${box.right}" stroke="${xml(grid)}"/>`);
    parts.push(`<text x="${box.left - 6}" y="${Number(line) + 4}" text-anchor="end">${xml(measure(value))}</text>`);
    const place = xRange[0] + ((xRange[1] - xRange[0]) * step) / 4;
    const anchor = step === 0 ? "start" : step === 4 ? "end" : "middle";
    parts.push(`<text x="${x(place).toFixed(1)}" y="${box.bottom + 16}" text-anchor="${anchor}">${xml(picture.xText(place))}</text>`);
  }
  let left = box.left;
  for (const line of picture.lines) {
    const d = courses(picture.x, line.values, x, y, log);
    const dash = line.dash.length ? ` stroke-dasharray="${line.dash.join(" ")}"` : "";
    parts.push(`<path d="${d}" fill="none" stroke="${xml(line.color)}" stroke-width="1.5" stroke-linejoin="round"${dash}/>`);
    parts.push(`<path d="M${left} ${height - 12}h18" stroke="${xml(line.color)}" stroke-width="3"${dash}/>`);
    parts.push(`<text x="${left + 24}" y="${height - 8}">${xml(line.name)}</text>`);
    left += 40 + 7 * line.name.length;
  }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="sans-serif" font-size="11" fill="${xml(text)}"><rect width="100%" height="100%" fill="${xml(back)}"/>` +
    `<text x="${box.left}" y="18" font-weight="600">${xml(picture.title)}</text>${parts.join("")}</svg>\n`
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
