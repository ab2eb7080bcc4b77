// What a chart makes of its points.

import assert from "node:assert/strict";
import { test } from "node:test";
import { aligned, chartTitle, elapsed, lineNames, places, placeText, smoothed, svgDocument } from "../../berrymq_jupyter/widgets/chart_data.ts";
import type { ChartLine } from "../../berrymq_jupyter/widgets/wire.ts";

function line(values: (number | null)[], given: Partial<ChartLine> = {}): ChartLine {
  const numbers = values.map((_, index) => index);
  const times = numbers.map((number) => 5_000 + 1_000 * number);
  return { id: "train:epoch", field: ["loss"], source: null, count: values.length, numbers, times, values, x: null, ...given };
}

test("lines share one column, and a line has nothing where only others have points", () => {
  assert.deepEqual(aligned([[1, 3], [2, 3]], [[10, null], [20, 30]]), [
    [1, 2, 3],
    [10, undefined, null],
    [undefined, 20, 30],
  ]);
});

test("points stand by time, elapsed time, order or a field", () => {
  const lines = [line([1, 2]), line([3], { times: [4_000], x: [7] })];
  assert.deepEqual(places(lines, "time"), [[5, 6], [4]]);
  assert.deepEqual(places(lines, "elapsed"), [[1, 2], [0]]);
  assert.deepEqual(places(lines, "order"), [[0, 1], [0]]);
  assert.deepEqual(places([lines[1]], "field"), [[7]]);
});

test("smoothing begins at the first value, keeps a constant, and starts again after a gap", () => {
  assert.deepEqual(smoothed([1, 2], 0), [1, 2]);
  const found = smoothed([4, 4, 4, null, 9], 0.99);
  assert.deepEqual(found.map((value) => value && Number(value.toFixed(9))), [4, 4, 4, null, 9]);
  const [, second] = smoothed([0, 1], 0.5);
  assert.ok(second !== null && second > 0.5 && second < 0.7);
});

test("names say what tells lines apart, and no more", () => {
  assert.deepEqual(lineNames([line([1])]), ["loss"]);
  assert.deepEqual(lineNames([line([1]), line([1], { source: "two" })]), ["here", "two"]);
  assert.deepEqual(lineNames([line([1]), line([1], { id: "test:run", field: ["0", "a"] })]), ["train:epoch · loss", "test:run · [0].a"]);
  assert.equal(chartTitle([["a:b", ["x"]], ["a:b", ["y"]], ["c:d", ["0"]]]), "a:b x, y; c:d [0]");
});

test("places in words", () => {
  assert.equal(elapsed(0.25), "0.25 s");
  assert.equal(elapsed(185), "3:05");
  assert.equal(elapsed(3723), "1:02:03");
  assert.equal(placeText(4, "order"), "#5");
});

test("a picture leaves gaps open and holds no markup of names", () => {
  const text = svgDocument({
    title: "<script>",
    width: 400,
    height: 200,
    colors: ["white", "black", "gray"],
    x: [0, 1, 2, 3],
    lines: [{ name: "a&b", color: "red", dash: [], values: [1, null, 2, 3] }],
    xRange: [0, 3],
    yRange: [1, 3],
    log: false,
    xText: String,
  });
  assert.ok(!text.includes("<script"));
  assert.ok(text.includes("a&#38;b"));
  assert.equal(text.match(/d="(M[^"]*)" fill="none"/)?.[1].match(/M/g)?.length, 2);
});
