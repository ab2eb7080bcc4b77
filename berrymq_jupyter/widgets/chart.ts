// A chart of numbers that messages carry: any fields of any identifiers, over time, order or another field. uPlot draws.

import uPlot from "uplot";
import {
  type Axis,
  type Cell,
  LEGEND,
  aligned,
  chartTitle,
  fitted,
  lastWithin,
  latestRange,
  legendOf,
  lineNames,
  nearest,
  placeText,
  places,
  smoothed,
  svgDocument,
  tickTexts,
  ticks,
  valueTexts,
  verticalTicks,
} from "./chart_data.ts";
import { button, fill, flip, framed, h, setAttributes, setText } from "./dom.ts";
import { counted, fieldName, measure } from "./format.ts";
import type { ChartLook } from "./page_memory.ts";
import { type Mark, markAt, markStyle } from "./palette.ts";
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
  /** Colours of lines are the same where a system forces its own on texts: they distinguish. */
  const probe = h("span", { class: "bmq-unforced", hidden: true });
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
        button("save", "PNG", savePng, { class: "bmq-button bmq-named", title: "Save as a PNG image" }),
        button("save", "SVG", saveSvg, { class: "bmq-button bmq-named", title: "Save as an SVG image" }),
        button("close", "Close chart", onClose, { class: "bmq-button bmq-icon-only" }),
      ),
    ),
    h("div", { class: "bmq-chart-body" }, plot, probe, h("div", { class: "bmq-legend-box" }, place, legend)),
    note,
  );
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
  /** Whether some line has no point where another one has. */
  let uneven = false;
  let zoomed: [number, number] | null = null;
  let names: string[] = [];
  let entries: { value: HTMLElement; at: HTMLElement }[] = [];
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
  const forced = matchMedia("(forced-colors: active)");
  const schemes = [matchMedia("(prefers-color-scheme: dark)"), forced];
  const schemeChanged = () => {
    drawn = "";
    redraw();
  };
  for (const scheme of schemes) scheme.addEventListener("change", schemeChanged);

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
    const zero = axis === "elapsed" ? beginning() : 0;
    const window = zoomed ? zoomed.map((value) => (byTime ? value * 1000 + zero : value)) : null;
    looking = setTimeout(() => request({ t: "look", byTime, window, last: latest.value }), LOOK_MS);
  }

  const beginning = () => data?.begin ?? 0;

  /** The range of places that is seen. */
  function seen(): [number, number] | null {
    if (zoomed) return zoomed;
    const column = table[0];
    if (!column.length) return null;
    const [from, to] = (latest.value && latestRange(lines, axis, Number(latest.value), beginning())) || [column[0], column[column.length - 1]];
    if (from < to) return [from, to];
    const beside = axis === "field" ? Math.abs(from) / 10 || 1 : 1;
    return [from - beside, to + beside];
  }

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
    names = lineNames(lines);
    const marks = lines.map((line) => markAt(line.mark));
    const raw = lines.map((line) => (isLog ? line.values.map((value) => (value !== null && value > 0 ? value : null)) : line.values));
    const stands = places(lines, axis, beginning()).map((column, index) => sortedWith(column, raw[index]));
    const shown = stands.map(([, values]) => smoothed(values, weight));
    const columns = stands.map(([column]) => column);
    table = weight > 0 ? aligned([...columns, ...columns], [...shown, ...stands.map(([, values]) => values)]) : aligned(columns, shown);
    const [, ...courses] = table;
    uneven = courses.slice(0, lines.length).some((cells) => cells.includes(undefined));
    const shape = JSON.stringify([names, lines.map((line) => line.mark), axis, isLog, weight > 0, lines.map((line) => line.values.length <= DOTS_UP_TO)]);
    if (shape !== drawn || !chart) {
      drawn = shape;
      chart?.destroy();
      chart = new uPlot(options(marks), table as uPlot.AlignedData, plot);
      showLegend(marks);
      offerAxes();
    } else {
      if (chart.width !== width || chart.height !== tall) chart.setSize({ width, height: tall });
      offerAxes();
      chart.setData(table as uPlot.AlignedData, false);
    }
    showRange();
  }

  /** Apply the range that is seen, and say what is in it. */
  function showRange() {
    const range = seen();
    const now = chart;
    if (!now) return;
    if (range) now.setScale("x", { min: range[0], max: range[1] });
    showValues(null);
    setAttributes(plot, { "aria-label": summary() });
    // uPlot applies all this in a moment, and does not look for the point at a cursor that stays.
    queueMicrotask(() => {
      const { left = -1, top = -1 } = now.cursor;
      if (now === chart && left >= 0) now.setCursor({ left, top });
    });
  }

  function options(marks: Mark[]): uPlot.Options {
    const style = getComputedStyle(plot);
    const { soft, line } = colors();
    const grid = { stroke: line, width: 1 };
    const font = `11px ${style.fontFamily}`;
    const series = (index: number, raw: boolean): uPlot.Series => ({
      label: names[index],
      // By its colour: uPlot gives every line the same opacity once the cursor has been near one.
      stroke: resolve(raw ? `color-mix(in srgb, ${marks[index].color} 30%, transparent)` : marks[index].color),
      width: raw ? 1 : 1.5,
      dash: [...marks[index].dash],
      show: !hidden.has(keyOf(lines[index])),
      spanGaps: false,
      pxAlign: 0,
      points: { show: !raw && lines[index].values.length <= DOTS_UP_TO, size: 4 },
    });
    return {
      width,
      height: tall,
      class: "bmq-uplot",
      legend: { show: false },
      padding: [null, axis === "time" ? 36 : 16, null, null], // where the last mark may have half of its text
      cursor: { y: false, points: { size: 7 }, dataIdx: (_, index, row) => (index ? nearest(table[0], table[index] ?? [], row) : row), drag: { x: true, y: false, setScale: true, dist: 5 }, focus: { prox: 30 } },
      focus: { alpha: 0.4 },
      scales: { x: { time: axis === "time" }, y: { distr: isLog ? 3 : 1 } },
      axes: [
        {
          stroke: soft, grid, ticks: grid, font,
          size: axis === "time" ? 48 : 36,
          splits: (self, _, min, max) => ticks([min, max], (inPage(self.bbox.width) || width) / (axis === "time" ? 90 : 70), axis),
          values: (_, splits) => tickTexts(splits, axis),
        },
        {
          stroke: soft, grid, ticks: grid, font,
          size: 62,
          splits: (self, _, min, max) => verticalTicks([min, max], inPage(self.bbox.height) || tall, isLog),
          filter: (_, splits) => splits,
          values: (_, splits) => valueTexts(splits, isLog),
        },
      ],
      series: [{}, ...lines.map((_, index) => series(index, false)), ...(weight > 0 ? lines.map((_, index) => series(index, true)) : [])],
      hooks: {
        setCursor: [(self) => showValues(self.cursor.idx ?? null)],
        setSelect: [(self) => self.select.width > 0 && zoomTo(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"))],
        ready: [
          (self) => {
            self.over.addEventListener("dblclick", showWhole);
            self.over.addEventListener("click", () => self.select.width === 0 && pick(self.cursor.idx ?? null));
          },
        ],
      },
    };
  }

  function zoomTo(from: number, to: number) {
    zoomed = [from, to];
    whole.disabled = false;
    showRange();
    look();
  }

  /** What each line has at the place of the cursor, or at the right end of what is seen. */
  function showValues(row: number | null) {
    const x = table[0];
    const range = seen();
    const isEnd = row === null || x[row] === undefined;
    const isPart = axis === "field" || zoomed !== null;
    setText(place, !isEnd ? placeText(x[row], axis) : isPart ? "At the right end" : "Latest");
    const rows = entries.map((_, index) => {
      const cells = table[index + 1] ?? [];
      return !isEnd ? nearest(x, cells, row) : range && lastWithin(x, cells, range);
    });
    const near = range ? (range[1] - range[0]) / 100 : 0;
    entries.forEach(({ value, at }, index) => {
      const found = rows[index];
      const cell = found === null ? null : table[index + 1][found];
      setText(value, typeof cell === "number" ? measure(cell) : "–");
      // A line may have no point just there: its value is from elsewhere, which is said.
      const elsewhere = found !== null && (isEnd ? isPart && range !== null && x[found] < range[1] - near : found !== row);
      setText(at, elsewhere ? `at ${placeText(x[found], axis)}` : "");
    });
    legend.classList.toggle("bmq-placed", !isEnd && uneven);
  }

  /** What the legend says of each line that is not turned off. */
  const words = () =>
    entries
      .map(({ value, at }, index) => [names[index], value.textContent, at.textContent].filter(Boolean).join(" "))
      .filter((_, index) => !hidden.has(keyOf(lines[index])));

  function showLegend(marks: Mark[]) {
    entries = [];
    const items = names.map((name, index) => {
      const key = keyOf(lines[index]);
      const value = h("span", { class: "bmq-legend-value" });
      const at = h("span", { class: "bmq-faint bmq-legend-at" });
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
        h("span", { class: "bmq-key-of bmq-unforced", "aria-hidden": "true" }),
        h("span", { class: "bmq-legend-name" }, name),
        value,
        at,
      );
      entries.push({ value, at });
      return h("li", {}, toggle);
    });
    fill(legend, ...items);
  }

  function pick(row: number | null) {
    if (row === null || !chart) return;
    const at = table[0][row];
    const line = lines.find((candidate, index) => !hidden.has(keyOf(candidate)) && typeof table[index + 1]?.[row] === "number");
    if (!line) return;
    const index = places(lines, axis, beginning())[lines.indexOf(line)].indexOf(at);
    if (index >= 0) onPick(line.numbers[index]);
  }

  /** The arrows move the cursor, Enter opens the message there, + and - zoom, 0 shows all. */
  function keys(event: KeyboardEvent) {
    if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
    const [min, max] = [chart.scales.x.min ?? 0, chart.scales.x.max ?? 1];
    const [first, last] = [table[0].findIndex((value) => value >= min), table[0].findLastIndex((value) => value <= max)];
    const row = chart.cursor.idx ?? last + 1;
    const step = Math.max(1, Math.round((last - first) / 100));
    const middle = chart.cursor.idx != null ? table[0][chart.cursor.idx] : (min + max) / 2;
    const zoom = (factor: number) => zoomTo(middle - (middle - min) * factor, middle + (max - middle) * factor);
    const moveTo = (to: number) => first >= 0 && first <= last && readAt(Math.min(Math.max(to, first), last));
    const act = {
      ArrowLeft: () => moveTo(row - step),
      ArrowRight: () => moveTo(row + step),
      Home: () => moveTo(first),
      End: () => moveTo(last),
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

  function readAt(row: number) {
    if (!chart) return;
    chart.setCursor({ left: chart.valToPos(table[0][row], "x"), top: -100 }); // near no line, or others would fade
    say([place.textContent, ...words()].join(", "));
  }

  function summary() {
    const count = lines.reduce((sum, line) => sum + line.count, 0);
    return `Chart of ${counted(count, "point")}. At the right end: ${words().slice(0, 5).join(", ")}. Arrow keys read it, plus and minus zoom.`;
  }

  /** A colour as the canvas takes it. */
  function resolve(color: string) {
    probe.style.color = color;
    return getComputedStyle(probe).color;
  }

  /** The colours of what is not a line. */
  function colors() {
    const names = forced.matches
      ? { back: "Canvas", text: "CanvasText", soft: "CanvasText", line: "color-mix(in srgb, CanvasText 30%, Canvas)" }
      : { back: "var(--bmq-back)", text: "var(--bmq-text)", soft: "var(--bmq-soft)", line: "var(--bmq-line)" };
    return { back: resolve(names.back), text: resolve(names.text), soft: resolve(names.soft), line: resolve(names.line) };
  }

  /** What an image says of how it is drawn. */
  function facts() {
    const by = over.selectedOptions[0]?.text ?? "";
    return [`by ${by.toLowerCase() === by || axis === "field" ? by : by.toLowerCase()}`, isLog && "logarithmic", weight > 0 && `smoothing ${weight}`].filter(Boolean).join(", ");
  }

  /** The lines that are not turned off. */
  const drawnLines = () => lines.map((line, index) => ({ line, index, mark: markAt(line.mark) })).filter(({ line }) => !hidden.has(keyOf(line)));

  /** The plot as it is on the page, with its title above and its legend below. */
  function savePng() {
    if (!chart || !data) return;
    const source = chart.ctx.canvas;
    const ratio = source.width / chart.width;
    const context = h("canvas", {}).getContext("2d");
    if (!context) return;
    const { back, text } = colors();
    const family = getComputedStyle(plot).fontFamily;
    const font = (boldness: number) => `${boldness} 12px ${family}`;
    context.font = font(400);
    const widthOf = (words: string) => context.measureText(words).width;
    const shown = drawnLines();
    const [left, room] = [12, chart.width - 24];
    const entries = legendOf(shown.map(({ index }) => names[index]), room, widthOf);
    context.canvas.width = source.width;
    context.canvas.height = Math.round((LEGEND.title + chart.height + entries.height + 8) * ratio);
    context.scale(ratio, ratio);
    context.fillStyle = back;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    context.drawImage(source, 0, LEGEND.title, chart.width, chart.height);
    context.fillStyle = text;
    context.font = font(400);
    context.fillText(facts(), left + room - widthOf(facts()), 18);
    const free = room - widthOf(facts()) - 20;
    context.font = font(600);
    context.fillText(fitted(chartTitle(data.tracks), free, widthOf), left, 18);
    context.font = font(400);
    context.lineWidth = 3;
    shown.forEach(({ mark }, index) => {
      const [from, row] = entries.at[index];
      const middle = LEGEND.title + (chart?.height ?? 0) + row * LEGEND.row + LEGEND.row / 2;
      context.strokeStyle = resolve(mark.color);
      context.setLineDash([...mark.dash]);
      context.beginPath();
      context.moveTo(left + from, middle);
      context.lineTo(left + from + LEGEND.key, middle);
      context.stroke();
      context.fillText(entries.texts[index], left + from + LEGEND.key + LEGEND.gap, middle + 4);
    });
    context.canvas.toBlob((blob) => blob && save(blob, "png"));
  }

  function saveSvg() {
    const range = seen();
    if (!chart || !data || !range) return;
    const { back, text, line } = colors();
    const context = h("canvas", {}).getContext("2d");
    if (context) context.font = "600 11px sans-serif";
    const picture = svgDocument({
      title: chartTitle(data.tracks),
      facts: facts(),
      width: 900,
      height: 360,
      colors: [back, text, line],
      x: table[0],
      lines: drawnLines().map(({ line, index, mark }) => ({
        name: names[index],
        color: resolve(mark.color),
        dash: [...mark.dash],
        values: table[index + 1],
        raw: weight > 0 ? table[index + 1 + lines.length] : null,
        dots: line.values.length <= DOTS_UP_TO,
      })),
      xRange: range,
      yRange: [chart.scales.y.min ?? 0, chart.scales.y.max ?? 1],
      axis,
      log: isLog,
      widthOf: (words) => context?.measureText(words).width ?? 7 * words.length,
    });
    save(new Blob([picture], { type: "image/svg+xml" }), "svg");
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
      for (const scheme of schemes) scheme.removeEventListener("change", schemeChanged);
      chart?.destroy();
    },
  };
}

/** A length on the canvas in pixels of the page. */
const inPage = (length: number) => length / devicePixelRatio;

const keyOf = (line: ChartLine) => JSON.stringify([line.id, line.field, line.source]);

/** A column in order, with the values that belong to it. */
function sortedWith(column: number[], values: (number | null)[]): [number[], (number | null)[]] {
  if (column.every((value, index) => index === 0 || column[index - 1] <= value)) return [column, values];
  const order = column.map((_, index) => index).sort((one, other) => column[one] - column[other]);
  return [order.map((index) => column[index]), order.map((index) => values[index])];
}

function select(label: string, options: [value: string, text: string][], onchange: () => void) {
  return h(
    "select",
    { class: "bmq-field", "aria-label": label, title: label, onchange },
    ...options.map(([value, text]) => h("option", { value }, text)),
  );
}
