// A chart of numbers that messages carry: any fields of any identifiers, over time, order or another field. uPlot draws.

import uPlot from "uplot";
import { type Axis, type Cell, aligned, chartTitle, lineNames, placeText, places, smoothed, svgDocument } from "./chart_data.ts";
import { button, fill, flip, framed, h, setAttributes, setText } from "./dom.ts";
import { counted, fieldName, measure } from "./format.ts";
import type { ChartLook } from "./page_memory.ts";
import { type Mark, createPalette, markStyle } from "./palette.ts";
import type { ChartBody, ChartLine, Request } from "./wire.ts";

const TALL = 230;
const SHORTEST = 120;
const DOTS_UP_TO = 60;
const LOOK_MS = 150;
/** Any number of the charted messages can be one too. */
const AXES: [axis: Axis, text: string][] = [
  ["time", "Time"],
  ["elapsed", "Elapsed time"],
  ["order", "Order"],
];

export interface ChartOptions {
  request(body: Request): void;
  onClose(): void;
  /** Called with the number of the message whose point was chosen. */
  onPick(number: number): void;
  say(words: string): void;
  /** What its user chose, before a reload too. */
  look(): ChartLook;
  onLook(part: ChartLook): void;
}

export function createChart({ request, onClose, onPick, say, look: remembered, onLook }: ChartOptions) {
  const heading = h("h3", { class: "bmq-heading" });
  const over = select("Horizontal axis", AXES, chooseAxis);
  const latest = select("Part", [["", "All"], ["600", "Last 10 min"], ["60", "Last minute"]], lookAtLatest);
  const log = flip(button("log", "Logarithmic", () => flipLog()));
  const smoothing = h("input", { type: "range", class: "bmq-smoothing", min: 0, max: 0.99, step: 0.01, value: 0, "aria-label": "Smoothing", oninput: smooth });
  const smoothingText = h("span", { class: "bmq-faint bmq-smoothing-text" }, "0");
  const whole = button("whole", "Whole", showWhole, { title: "Show all again (double click in the chart, or 0)", disabled: true });
  const place = h("span", { class: "bmq-faint bmq-chart-place" });
  const legend = h("ul", { class: "bmq-legend", "aria-label": "Lines" });
  const note = h("div", { class: "bmq-faint bmq-note", hidden: true });
  const plot = h("div", { class: "bmq-plot", role: "img", tabindex: 0, onkeydown: keys });
  const element = h(
    "div",
    { class: "bmq-chart", role: "group", "aria-label": "Chart", hidden: true },
    h(
      "div",
      { class: "bmq-detail-head bmq-chart-head" },
      heading,
      h(
        "div",
        { class: "bmq-actions bmq-chart-actions" },
        over,
        latest,
        log,
        h("label", { class: "bmq-smoothing-box" }, "Smoothing", smoothing, smoothingText),
        whole,
        button("save", "PNG", savePng, { title: "Save as a PNG image" }),
        button("save", "SVG", saveSvg, { title: "Save as an SVG image" }),
        button("close", "Close chart", onClose, { class: "bmq-button bmq-icon-only" }),
      ),
    ),
    h("div", { class: "bmq-chart-body" }, plot, h("div", { class: "bmq-legend-box" }, place, legend)),
    note,
  );
  const paletteOf = createPalette();
  const hidden = new Set<string>();
  let data: ChartBody | null = null;
  /** The axis that was asked for while points by a field were there. */
  let asked: Axis | null = null;
  let axis: Axis = "time";
  let weight = 0;
  let isLog = false;
  let chart: uPlot | null = null;
  let drawn = "";
  let width = 0;
  let tall = TALL;
  let lines: ChartLine[] = [];
  let table: [number[], ...Cell[][]] = [[]];
  let zoomed: [number, number] | null = null;
  let entries: { value: HTMLElement; toggle: HTMLElement }[] = [];
  let looking: ReturnType<typeof setTimeout> | undefined;
  const redraw = framed(draw);
  // By the observer, not by a query: a notebook may remove outputs that are not visible, and then there is no size.
  const resized = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    // The browser writes the height to which the user drags it into the style.
    const height = Math.max(SHORTEST, Math.round(parseFloat(plot.style.height) || TALL));
    if (now === width && height === tall) return;
    if (height !== tall) onLook({ height });
    [width, tall] = [now, height];
    redraw();
  });
  resized.observe(plot);
  const restyled = new MutationObserver(() => {
    drawn = "";
    redraw();
  });
  restyled.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const schemeChanged = () => {
    drawn = "";
    redraw();
  };
  scheme.addEventListener("change", schemeChanged);

  /** Begin with the axis that parts the points: many messages of one moment have no course in time. */
  function choose(body: ChartBody) {
    const times = body.lines.flatMap((line) => line.times);
    const moments = new Set(times.map(Math.round));
    zoomed = null;
    const before = AXES.find(([name]) => name === remembered().axis)?.[0];
    setAxis(body.x ? "field" : (asked ?? before ?? (moments.size * 2 >= times.length ? "time" : "order")));
    asked = null;
  }

  /** Apply the settings that the user has chosen, also before a reload. */
  function restore() {
    const look = remembered();
    hidden.clear();
    for (const key of look.hidden ?? []) hidden.add(key);
    latest.value = look.last ?? "";
    isLog = look.log === true;
    log.press(isLog);
    weight = look.smoothing ?? 0;
    smoothing.value = String(weight);
    setText(smoothingText, String(weight));
    plot.style.height = look.height ? `${look.height}px` : "";
  }

  /** Points that stand by a field are others than those that stand by time: the kernel makes them. */
  function chooseAxis() {
    const plain = AXES.find(([name]) => name === over.value)?.[0];
    onLook({ axis: plain });
    if (plain && !data?.x) setAxis(plain);
    else if (data) {
      asked = plain ?? null;
      request({ t: "chart", tracks: data.tracks, x: plain ? null : JSON.parse(over.value) });
    }
  }

  /** Offer the numbers of the charted messages, and the one that is chosen. */
  function offerAxes() {
    const fields = new Set([...(data?.tracks ?? []).map(([, field]) => field), ...(data?.fields ?? []), ...(data?.x ? [data.x] : [])].map((field) => JSON.stringify(field)));
    const options = [...AXES, ...[...fields].map((field) => [field, JSON.parse(field).map(fieldName).join(".")])];
    const now = [...over.options].map((option) => option.value);
    if (String(now) !== String(options.map(([value]) => value))) fill(over, ...options.map(([value, text]) => h("option", { value }, text)));
    over.value = axis === "field" ? JSON.stringify(data?.x) : axis;
  }

  function setAxis(to: Axis) {
    axis = to;
    offerAxes();
    latest.disabled = axis === "field";
    drawn = "";
    showWhole();
  }

  function look() {
    clearTimeout(looking);
    const byTime = axis === "time" || axis === "elapsed";
    const begin = axis === "elapsed" ? beginning() : 0;
    const window = zoomed && axis !== "field" ? zoomed.map((value) => (byTime ? (value + begin) * 1000 : value)) : null;
    looking = setTimeout(() => request({ t: "look", byTime, window, last: latest.value }), LOOK_MS);
  }

  const beginning = () => Math.min(...lines.map((line) => line.times[0] ?? Infinity)) / 1000;

  function showWhole() {
    zoomed = null;
    whole.disabled = true;
    look();
    redraw();
  }

  function lookAtLatest() {
    onLook({ last: latest.value });
    showWhole();
  }

  function flipLog() {
    isLog = !isLog;
    log.press(isLog);
    onLook({ log: isLog });
    drawn = "";
    redraw();
  }

  function smooth() {
    weight = Number(smoothing.value);
    onLook({ smoothing: weight });
    setText(smoothingText, String(weight));
    drawn = "";
    redraw();
  }

  function draw() {
    if (!data || width < 100) return;
    lines = data.lines;
    setText(heading, chartTitle(data.tracks));
    note.hidden = lines.some((line) => line.values.length > 0) && data.leftOut === 0;
    setText(note, data.leftOut ? `${counted(data.leftOut, "more line")} not drawn` : "No numbers there yet.");
    const names = lineNames(lines);
    const marks = lines.map((line) => paletteOf(keyOf(line)));
    const raw = lines.map((line) => (isLog ? line.values.map((value) => (value !== null && value > 0 ? value : null)) : line.values));
    const stands = places(lines, axis).map((column, index) => sortedWith(column, raw[index]));
    const shown = stands.map(([, values]) => smoothed(values, weight));
    const columns = stands.map(([column]) => column);
    table = weight > 0 ? aligned([...columns, ...columns], [...shown, ...stands.map(([, values]) => values)]) : aligned(columns, shown);
    const shape = JSON.stringify([names, axis, isLog, weight > 0, lines.map((line) => line.values.length <= DOTS_UP_TO)]);
    if (shape !== drawn || !chart) {
      drawn = shape;
      chart?.destroy();
      chart = new uPlot(options(names, marks), table as uPlot.AlignedData, plot);
      showLegend(names, marks);
      offerAxes();
    } else {
      if (chart.width !== width || chart.height !== tall) chart.setSize({ width, height: tall });
      offerAxes();
      chart.setData(table as uPlot.AlignedData, zoomed === null);
      if (zoomed) chart.setScale("x", { min: zoomed[0], max: zoomed[1] });
    }
    showValues(chart.cursor.idx ?? null);
    setAttributes(plot, { "aria-label": summary(names) });
  }

  function options(names: string[], marks: Mark[]): uPlot.Options {
    const style = getComputedStyle(plot);
    const text = resolve("var(--bmq-soft)");
    const grid = { stroke: resolve("var(--bmq-line)"), width: 1 };
    const font = `11px ${style.fontFamily}`;
    const series = (index: number, raw: boolean): uPlot.Series => ({
      label: names[index],
      stroke: resolve(marks[index].color),
      alpha: raw ? 0.3 : 1,
      width: raw ? 1 : 1.5,
      dash: [...marks[index].dash],
      show: !hidden.has(keyOf(lines[index])),
      spanGaps: false,
      points: { show: !raw && lines[index].values.length <= DOTS_UP_TO, size: 4 },
    });
    return {
      width,
      height: tall,
      class: "bmq-uplot",
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false, setScale: true, dist: 5 }, focus: { prox: 30 } },
      focus: { alpha: 0.4 },
      scales: { x: { time: axis === "time" }, y: { distr: isLog ? 3 : 1 } },
      axes: [
        { stroke: text, grid, ticks: grid, font, size: 36, values: axis === "time" ? undefined : (_, splits) => splits.map((value) => placeText(value, axis)) },
        { stroke: text, grid, ticks: grid, font, size: 62, values: (_, splits) => splits.map((value) => (value === null ? "" : measure(value))) },
      ],
      series: [{}, ...lines.map((_, index) => series(index, false)), ...(weight > 0 ? lines.map((_, index) => series(index, true)) : [])],
      hooks: {
        setCursor: [(self) => showValues(self.cursor.idx ?? null)],
        setSelect: [(self) => self.select.width > 0 && zoomTo(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"))],
        ready: [
          (self) => {
            self.over.addEventListener("dblclick", showWhole);
            self.over.addEventListener("click", () => self.select.width === 0 && pick(self.cursor.idx ?? null));
            if (zoomed) self.setScale("x", { min: zoomed[0], max: zoomed[1] });
          },
        ],
      },
    };
  }

  function zoomTo(from: number, to: number) {
    zoomed = [from, to];
    whole.disabled = false;
    chart?.setScale("x", { min: from, max: to });
    look();
  }

  /** What each line has at the place of the cursor, or at its end. */
  function showValues(row: number | null) {
    setText(place, row === null || table[0][row] === undefined ? (axis === "field" ? "At the right end" : "Latest") : placeText(table[0][row], axis));
    entries.forEach(({ value }, index) => {
      const cells = table[index + 1] ?? [];
      const found = row === null ? cells.findLast((cell) => typeof cell === "number") : near(cells, row);
      setText(value, typeof found === "number" ? measure(found) : "–");
    });
  }

  function showLegend(names: string[], marks: Mark[]) {
    entries = names.map((name, index) => {
      const key = keyOf(lines[index]);
      const value = h("span", { class: "bmq-legend-value" });
      const toggle = h(
        "button",
        {
          type: "button",
          class: "bmq-legend-entry",
          style: markStyle(marks[index]),
          "aria-pressed": String(!hidden.has(key)),
          title: `Show or hide ${name}`,
          onclick: () => {
            if (!hidden.delete(key)) hidden.add(key);
            onLook({ hidden: [...hidden] });
            const on = !hidden.has(key);
            toggle.setAttribute("aria-pressed", String(on));
            chart?.setSeries(index + 1, { show: on });
            if (weight > 0) chart?.setSeries(index + 1 + lines.length, { show: on });
          },
        },
        h("span", { class: "bmq-key-of", "aria-hidden": "true" }),
        h("span", { class: "bmq-legend-name" }, name),
        value,
      );
      return { value, toggle };
    });
    fill(legend, ...entries.map(({ toggle }) => h("li", {}, toggle)));
  }

  function pick(row: number | null) {
    if (row === null || !chart) return;
    const at = table[0][row];
    const line = lines.find((candidate, index) => !hidden.has(keyOf(candidate)) && typeof table[index + 1]?.[row] === "number");
    if (!line) return;
    const index = places(lines, axis)[lines.indexOf(line)].indexOf(at);
    if (index >= 0) onPick(line.numbers[index]);
  }

  /** The arrows move the cursor, Enter opens the message there, + and - zoom, 0 shows all. */
  function keys(event: KeyboardEvent) {
    if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
    const [min, max] = [chart.scales.x.min ?? 0, chart.scales.x.max ?? 1];
    const row = chart.cursor.idx ?? table[0].length;
    const step = Math.max(1, Math.round(table[0].length / 100));
    const middle = chart.cursor.idx != null ? table[0][chart.cursor.idx] : (min + max) / 2;
    const zoom = (factor: number) => zoomTo(middle - (middle - min) * factor, middle + (max - middle) * factor);
    const act = {
      ArrowLeft: () => moveTo(row - step),
      ArrowRight: () => moveTo(row + step),
      Home: () => moveTo(0),
      End: () => moveTo(table[0].length - 1),
      Enter: () => pick(chart?.cursor.idx ?? null),
      "+": () => zoom(0.5),
      "-": () => zoom(2),
      "0": showWhole,
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  function moveTo(row: number) {
    if (!chart || !table[0].length) return;
    const to = Math.min(Math.max(row, 0), table[0].length - 1);
    chart.setCursor({ left: chart.valToPos(table[0][to], "x"), top: 10 });
    say([place.textContent, ...entries.map(({ toggle }) => toggle.textContent)].join(", "));
  }

  function summary(names: string[]) {
    const values = entries.slice(0, 5).map(({ value }, index) => `${names[index]} ${value.textContent}`);
    const count = lines.reduce((sum, line) => sum + line.count, 0);
    return `Chart of ${counted(count, "point")}. At the right end: ${values.join(", ")}. Arrow keys read it, plus and minus zoom.`;
  }

  /** A colour as the canvas takes it. */
  function resolve(color: string) {
    plot.style.setProperty("outline-color", color);
    const found = getComputedStyle(plot).outlineColor;
    plot.style.removeProperty("outline-color");
    return found;
  }

  function savePng() {
    if (!chart) return;
    const source = chart.ctx.canvas;
    const target = h("canvas", { width: source.width, height: source.height });
    const context = target.getContext("2d");
    if (!context) return;
    context.fillStyle = resolve("var(--bmq-back)");
    context.fillRect(0, 0, target.width, target.height);
    context.drawImage(source, 0, 0);
    target.toBlob((blob) => blob && save(blob, "png"));
  }

  function saveSvg() {
    if (!chart || !data) return;
    const names = lineNames(lines);
    const seen = lines.map((line, index) => ({ line, index })).filter(({ line }) => !hidden.has(keyOf(line)));
    const text = svgDocument({
      title: chartTitle(data.tracks),
      width: 900,
      height: 360,
      colors: [resolve("var(--bmq-back)"), resolve("var(--bmq-text)"), resolve("var(--bmq-line)")],
      x: table[0],
      lines: seen.map(({ line, index }) => {
        const mark = paletteOf(keyOf(line));
        return { name: names[index], color: resolve(mark.color), dash: [...mark.dash], values: table[index + 1] };
      }),
      xRange: [chart.scales.x.min ?? 0, chart.scales.x.max ?? 1],
      yRange: [chart.scales.y.min ?? 0, chart.scales.y.max ?? 1],
      log: isLog,
      xText: (value) => placeText(value, axis),
    });
    save(new Blob([text], { type: "image/svg+xml" }), "svg");
  }

  function save(blob: Blob, kind: string) {
    const address = URL.createObjectURL(blob);
    const name = (heading.textContent ?? "chart").replace(/[^\p{L}\p{N}._-]+/gu, "-");
    h("a", { href: address, download: `${name}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  function hide() {
    data = null;
    element.hidden = true;
  }

  return {
    element,
    /** What is drawn, for adding to it. */
    tracks: () => data?.tracks ?? [],
    x: () => data?.x ?? null,
    show(body: ChartBody): void {
      const before = data;
      data = body;
      if (!body.tracks.length) {
        hide();
        return;
      }
      const fresh = before === null || element.hidden || String(before.x) !== String(body.x);
      if (element.hidden) restore();
      element.hidden = false;
      if (fresh || before.lines.length === 0) choose(body);
      redraw();
    },
    hide,
    close() {
      redraw.cancel();
      clearTimeout(looking);
      resized.disconnect();
      restyled.disconnect();
      scheme.removeEventListener("change", schemeChanged);
      chart?.destroy();
    },
  };
}

const keyOf = (line: ChartLine) => JSON.stringify([line.id, line.field, line.source]);

/** A column in order, with the values that belong to it. */
function sortedWith(column: number[], values: (number | null)[]): [number[], (number | null)[]] {
  if (column.every((value, index) => index === 0 || column[index - 1] <= value)) return [column, values];
  const order = column.map((_, index) => index).sort((one, other) => column[one] - column[other]);
  return [order.map((index) => column[index]), order.map((index) => values[index])];
}

/** The value at a row, or the nearest one before it. */
function near(cells: Cell[], row: number): Cell {
  for (let at = row; at >= 0; at--) if (cells[at] !== undefined) return cells[at];
  return undefined;
}

function select(label: string, options: [value: string, text: string][], onchange: () => void) {
  return h(
    "select",
    { class: "bmq-field", "aria-label": label, title: label, onchange },
    ...options.map(([value, text]) => h("option", { value }, text)),
  );
}
