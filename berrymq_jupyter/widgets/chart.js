// A line chart of one number over time, or over the order of the messages, with a line for each source.

import { button, fill, flip, framed, h, setAttributes, setText, svg } from "./dom.js";
import { clock, counted, fieldName, fullTime, hue, measure, safe } from "./format.js";

const TALL = 170;
const MARGIN = { left: 58, right: 14, top: 10, bottom: 22 };
const DOTS_UP_TO = 60;
const [BY_ORDER, BY_TIME, VALUE] = [0, 1, 2];

/**
 * @param {object} options
 * @param {function(): void} options.onClose
 * @param {function(number): void} options.onPick told the number of the message whose point was chosen
 */
export function createChart({ onClose, onPick }) {
  const heading = h("h3", { class: "bmq-heading" });
  const reading = h("span", { class: "bmq-reading" });
  const legend = h("div", { class: "bmq-legend" });
  const plot = svg("svg", { class: "bmq-plot", role: "img", height: TALL });
  const byTime = flip(button("clock", "By time", () => setAxis(axis === BY_TIME ? BY_ORDER : BY_TIME)));
  const element = h(
    "section",
    { class: "bmq-chart", "aria-label": "Chart", hidden: true },
    h(
      "div",
      { class: "bmq-detail-head" },
      heading,
      reading,
      h("div", { class: "bmq-actions" }, legend, byTime, button("close", "Close chart", onClose, { class: "bmq-button bmq-icon-only" })),
    ),
    plot,
  );
  const cross = svg("g", { class: "bmq-cross", visibility: "hidden" }, svg("line"), svg("circle", { r: 3.5 }));
  let data = null;
  let axis = BY_TIME;
  let scale = null;
  let nearest = null;
  const redraw = framed(draw);
  let width = 0;
  // Told by the observer, not asked for: where the notebook leaves out what is not in sight, there is nothing to ask.
  const resized = new ResizeObserver(([entry]) => {
    width = entry.contentRect.width;
    redraw();
  });
  resized.observe(element);
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("click", () => nearest && onPick(nearest[BY_ORDER]));

  /** Begin with the axis that parts the points: many messages of one moment have no course in time. */
  function choose() {
    const points = data.lines.flatMap((line) => line.points);
    const moments = new Set(points.map((point) => Math.round(point[BY_TIME])));
    setAxis(moments.size * 2 >= points.length ? BY_TIME : BY_ORDER);
  }

  function setAxis(to) {
    axis = to;
    byTime.press(axis === BY_TIME);
    redraw();
  }

  function draw() {
    if (!data || width < 120) return;
    const points = data.lines.flatMap((line) => line.points);
    setText(heading, `${safe(data.id)} ${data.field.map(fieldName).join(" / ")}`);
    setAttributes(plot, { viewBox: `0 0 ${width} ${TALL}` });
    if (!points.length) {
      fill(plot, svg("text", { x: width / 2, y: TALL / 2, "text-anchor": "middle" }, "No numbers there yet."));
      return;
    }
    scale = makeScale(points);
    fill(plot, ...grid(), ...data.lines.map(drawLine), cross);
    fill(legend, ...(data.lines.length > 1 ? data.lines.map(key) : []));
    plot.setAttribute("aria-label", summary());
    if (!nearest) setText(reading, latest());
  }

  function makeScale(points) {
    const [left, right] = extent(points, axis);
    const [low, high] = extent(points, VALUE);
    const spare = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.1 || 1;
    const [bottom, top] = [low - spare, high + spare];
    const span = right - left || 1;
    return {
      left, right, low, high, bottom, top,
      x: (value) => MARGIN.left + ((value - left) / span) * (width - MARGIN.left - MARGIN.right),
      y: (value) => TALL - MARGIN.bottom - ((value - bottom) / (top - bottom)) * (TALL - MARGIN.top - MARGIN.bottom),
    };
  }

  function grid() {
    const made = [];
    for (const value of ticks(scale.bottom, scale.top, 4)) {
      const y = scale.y(value);
      made.push(svg("line", { class: "bmq-gridline", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      made.push(svg("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, measure(value)));
    }
    const show = axis === BY_TIME ? (ms) => clock(ms).slice(0, scale.right - scale.left < 10_000 ? 12 : 8) : (number) => `#${number + 1}`;
    const ends = [[scale.left, "start"], [scale.right, "end"]];
    for (const [value, anchor] of scale.right > scale.left ? ends : ends.slice(0, 1)) {
      made.push(svg("text", { x: scale.x(value), y: TALL - 6, "text-anchor": anchor }, show(value)));
    }
    return made;
  }

  function drawLine({ source, points }) {
    const color = `--bmq-line-color:${colorOf(source)}`;
    const path = points.map((one) => `${scale.x(one[axis]).toFixed(1)} ${scale.y(one[VALUE]).toFixed(1)}`).join("L");
    const dots = points.length <= DOTS_UP_TO ? points : points.slice(-1);
    return svg(
      "g",
      { style: color },
      svg("path", { class: "bmq-plot-line", d: `M${path}` }),
      ...dots.map((one) => svg("circle", { class: "bmq-plot-dot", cx: scale.x(one[axis]), cy: scale.y(one[VALUE]), r: 2 })),
    );
  }

  const colorOf = (source) =>
    data.lines.length > 1 ? `hsl(${hue(source ?? "")} 60% 50%)` : "var(--bmq-accent)";

  function key({ source }) {
    return h("span", { class: "bmq-key-of", style: `--bmq-line-color:${colorOf(source)}` }, safe(source ?? "here"));
  }

  function point(event) {
    if (!scale) return;
    const box = plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = Infinity;
    for (const { points } of data.lines) {
      for (const one of points) {
        const far = Math.abs(scale.x(one[axis]) - x) + Math.abs(scale.y(one[VALUE]) - y) / 8;
        if (far < best) [best, nearest] = [far, one];
      }
    }
    if (!nearest) return;
    const [cx, cy] = [scale.x(nearest[axis]), scale.y(nearest[VALUE])];
    setAttributes(cross, { visibility: "visible" });
    setAttributes(cross.firstChild, { x1: cx, x2: cx, y1: MARGIN.top, y2: TALL - MARGIN.bottom });
    setAttributes(cross.lastChild, { cx, cy });
    setText(reading, `${measure(nearest[VALUE])} at ${fullTime(nearest[BY_TIME])}`);
  }

  function leave() {
    nearest = null;
    setAttributes(cross, { visibility: "hidden" });
    if (data) setText(reading, latest());
  }

  function latest() {
    const last = data.lines.map((line) => line.points.at(-1)).sort((one, other) => one[BY_TIME] - other[BY_TIME]).at(-1);
    return last ? `${measure(last[VALUE])}, between ${measure(scale.low)} and ${measure(scale.high)}` : "";
  }

  function summary() {
    const count = data.lines.reduce((sum, line) => sum + line.count, 0);
    return `${data.field.join(" / ")} of ${counted(count, "message")}: ${latest()}`;
  }

  return {
    element,
    show(body) {
      const before = data;
      data = body;
      if (before === null || String([before.id, before.field]) !== String([data.id, data.field])) choose();
      element.hidden = false;
      redraw();
    },
    hide() {
      data = null;
      nearest = null;
      element.hidden = true;
    },
    close() {
      redraw.cancel();
      resized.disconnect();
    },
  };
}

function extent(points, which) {
  let [low, high] = [Infinity, -Infinity];
  for (const point of points) {
    if (point[which] < low) low = point[which];
    if (point[which] > high) high = point[which];
  }
  return [low, high];
}

/** Round values between two others, about `wanted` of them. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const made = [];
  for (let value = Math.ceil(low / step) * step; value <= high && made.length < 12; value += step) {
    made.push(Number(value.toPrecision(12)));
  }
  return made;
}
