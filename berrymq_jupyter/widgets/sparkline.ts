// The course of a number as a small line.

import { setAttributes, svg } from "./dom.ts";

const WIDTH = 240;
const HEIGHT = 32;

/** @returns {{element: SVGElement, show: function(number[], number, string): void}} */
export function createSparkline() {
  const area = svg("path", { class: "bmq-spark-area" });
  const line = svg("path", { class: "bmq-spark-line", "vector-effect": "non-scaling-stroke" });
  const title = svg("title");
  const element = svg(
    "svg",
    { class: "bmq-spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    title,
    area,
    line,
  );
  return {
    element,
    /** Show values, the latest last, at the right end of room for `points` of them. */
    show(values: number[], points: number, text: string) {
      const top = Math.max(1, ...values);
      const step = WIDTH / (points - 1);
      const from = WIDTH - (values.length - 1) * step;
      const corners = values.map(
        (value: number, index: number) => `${(from + index * step).toFixed(1)} ${(HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1)}`,
      );
      setAttributes(line, { d: `M${corners.join("L")}` });
      setAttributes(area, { d: `M${from.toFixed(1)} ${HEIGHT}L${corners.join("L")}L${WIDTH} ${HEIGHT}Z` });
      title.textContent = text;
      element.setAttribute("aria-label", text);
    },
  };
}
