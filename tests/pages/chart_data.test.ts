// What a chart makes of its points.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  aligned,
  chartTitle,
  elapsed,
  fitted,
  flowed,
  lastWithin,
  latestRange,
  lineNames,
  logTicks,
  nearest,
  type Picture,
  places,
  placeText,
  smoothed,
  svgDocument,
  tickTexts,
  ticks,
  valueTexts,
} from "../../berrymq_jupyter/widgets/chart_data.ts";
import type { ChartLine } from "../../berrymq_jupyter/widgets/wire.ts";

function line(values: (number | null)[], given: Partial<ChartLine> = {}): ChartLine {
  const numbers = values.map((_, index) => index);
  const times = numbers.map((number) => 5_000 + 1_000 * number);
  return { id: "train:epoch", field: ["loss"], source: null, mark: 0, count: values.length, numbers, times, values, x: null, ...given };
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
  assert.deepEqual(places(lines, "time", 4_000), [[5, 6], [4]]);
  assert.deepEqual(places(lines, "elapsed", 4_000), [[1, 2], [0]]);
  assert.deepEqual(places(lines, "order", 0), [[0, 1], [0]]);
  assert.deepEqual(places([lines[1]], "field", 0), [[7]]);
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
  assert.equal(elapsed(3723.25), "1:02:03.25");
  assert.equal(placeText(4, "order"), "#5");
  assert.equal(placeText(150_005, "field"), "150005");
  assert.equal(placeText(0.000_02, "field"), "2e-5");
});

test("a part of a run keeps its elapsed time", () => {
  assert.deepEqual(places([line([1, 2])], "elapsed", 2_000), [[3, 4]]);
});

test("the value under a cursor is that of the nearest point of a line, and a gap is one", () => {
  const x = [0, 1, 2, 3, 10];
  assert.equal(nearest(x, [5, undefined, undefined, 6, 7], 1), 0);
  assert.equal(nearest(x, [5, undefined, undefined, 6, 7], 2), 3);
  assert.equal(nearest(x, [5, null, 6, 7, 8], 1), 1);
  assert.equal(nearest(x, [undefined, undefined, undefined, undefined, 8], 0), 4);
  assert.equal(nearest(x, x.map(() => undefined), 2), null);
});

test("the last value that is seen", () => {
  const x = [0, 1, 2, 3];
  assert.equal(lastWithin(x, [5, 6, undefined, 8], [0, 2.5]), 1);
  assert.equal(lastWithin(x, [5, null, null, 8], [1, 2.5]), null);
  assert.equal(lastWithin(x, [5, 6, 7, 8], [0, 9]), 3);
});

test("the last minute is a minute, or all if that is shorter", () => {
  const times = [0, 30_000, 60_000, 100_000];
  const lines = [line([1, 2, 3, 4], { times })];
  assert.deepEqual(latestRange(lines, "time", 60, 0), [40, 100]);
  assert.deepEqual(latestRange(lines, "elapsed", 60, -10_000), [50, 110]);
  assert.deepEqual(latestRange(lines, "elapsed", 600, 0), [0, 100]);
  assert.deepEqual(latestRange(lines, "order", 60, 0), [2, 3]);
  assert.equal(latestRange([line([])], "time", 60, 0), null);
  assert.equal(latestRange([], "time", 60, 0), null);
});

test("marks stand at round values", () => {
  assert.deepEqual(ticks([0, 59], 8, "field"), [0, 10, 20, 30, 40, 50]);
  assert.deepEqual(ticks([14.2, 15.1], 5, "field"), [14.2, 14.4, 14.6, 14.8, 15]);
  assert.deepEqual(ticks([0, 3], 9, "order"), [0, 1, 2, 3]);
  assert.deepEqual(tickTexts(ticks([0, 40], 5, "order"), "order"), ["#10", "#20", "#30", "#40"]);
  assert.deepEqual(tickTexts(ticks([0, 620], 12, "elapsed"), "elapsed").slice(0, 4), ["0 s", "1:00", "2:00", "3:00"]);
  assert.deepEqual(tickTexts(ticks([1000, 1001], 4, "elapsed"), "elapsed"), ["16:40", "16:40.5", "16:41"]);
  assert.deepEqual(ticks([5, 5], 5, "field"), [5]);
  assert.deepEqual(ticks([Number.NaN, 5], 5, "field"), []);
  assert.deepEqual(ticks([-1e308, 1e308], 5, "field"), []);
  assert.ok(ticks([1.7e9, 1.7e9 + 1e-7], 9, "time").length < 2);
});

test("marks of a logarithmic axis are powers of ten, or round", () => {
  assert.deepEqual(logTicks([0.01, 1], 5), [0.01, 0.1, 1]);
  assert.deepEqual(logTicks([0.1, 10], 9), [0.1, 0.2, 0.5, 1, 2, 5, 10]);
  assert.deepEqual(logTicks([1e-12, 1e12], 5), [1e-10, 1e-5, 1, 1e5, 1e10]);
  assert.deepEqual(logTicks([3, 4], 5), [3, 3.2, 3.4, 3.6, 3.8, 4]);
  assert.deepEqual(valueTexts([1e-5, 0.001, 1, 1e15], true), ["1e-5", "0.001", "1", "1e15"]);
});

test("marks have the digits that tell them apart, and no more", () => {
  assert.deepEqual(tickTexts([150_000, 150_002, 150_004], "field"), ["150000", "150002", "150004"]);
  assert.deepEqual(tickTexts([0, 0.5, 1], "field"), ["0.0", "0.5", "1.0"]);
  assert.deepEqual(tickTexts([0, 2e9, 4e9], "field"), ["0", "2e9", "4e9"]);
  assert.deepEqual(tickTexts([0, 0.0001, 0.0002], "field"), ["0", "1e-4", "2e-4"]);
  assert.deepEqual(tickTexts([7], "field"), ["7"]);
});

test("times are those of the rows, with a date where a day begins", () => {
  const at = (...parts: [number, number, number, number, number, number?]) => new Date(...parts).getTime() / 1000;
  const night = ticks([at(2026, 10, 29, 22, 10), at(2026, 10, 30, 1, 50)], 4, "time");
  assert.deepEqual(tickTexts(night, "time"), ["23:00\n2026-11-29", "00:00\n2026-11-30", "01:00"]);
  const short = ticks([at(2026, 10, 29, 9, 5, 1), at(2026, 10, 29, 9, 5, 11)], 5, "time");
  assert.deepEqual(tickTexts(short, "time").slice(1), ["09:05:04", "09:05:06", "09:05:08", "09:05:10"]);
  const days = ticks([at(2026, 10, 27, 3, 0), at(2026, 10, 30, 3, 0)], 5, "time");
  assert.deepEqual(tickTexts(days, "time"), ["2026-11-28", "2026-11-29", "2026-11-30"]);
});

test("a legend goes on in a further row, and what has no room is cut", () => {
  assert.deepEqual(flowed([50, 60, 30], 100), [[0, 0], [0, 1], [60, 1]]);
  assert.deepEqual(flowed([500], 100), [[0, 0]]);
  assert.equal(fitted("abcdef", 4, (text) => text.length), "abc…");
  assert.equal(fitted("abc", 4, (text) => text.length), "abc");
});

const PICTURE: Picture = {
  title: "<script>",
  facts: "",
  width: 400,
  height: 200,
  colors: ["white", "black", "gray"],
  x: [0, 1, 2, 3],
  lines: [{ name: "a&b", color: "red", dash: [], values: [1, null, 2, 3], raw: null, dots: false }],
  xRange: [0, 3],
  yRange: [1, 3],
  axis: "order",
  log: false,
  widthOf: (text) => 7 * text.length,
};

test("a picture leaves gaps open and holds no markup of names", () => {
  const text = svgDocument(PICTURE);
  assert.ok(!text.includes("<script"));
  assert.ok(text.includes("a&#38;b"));
  assert.equal(text.match(/d="(M[^"]*)" fill="none"/)?.[1].match(/M/g)?.length, 2);
});

test("a picture has the marks of the page, and what was smoothed faintly", () => {
  const texts = (picture: Picture) => [...svgDocument(picture).matchAll(/<text[^>]*>([^<]*)</g)].map(([, words]) => words);
  const lines = [{ ...PICTURE.lines[0], values: [0.01, 0.5, 1, 1], raw: [0.01, 0.9, 1, 1], dots: true }];
  const picture: Picture = { ...PICTURE, facts: "smoothing 0.5", lines, yRange: [0.01, 1], log: true };
  for (const words of ["0.01", "0.1", "1", "#1", "#2", "smoothing 0.5"]) assert.ok(texts(picture).includes(words), words);
  assert.ok(!texts(picture).some((words) => words.includes("0.3162")));
  assert.match(svgDocument(picture), /class="raw"[^>]*stroke-opacity="0.3"/);
  assert.equal(svgDocument(picture).match(/<circle/g)?.length, 4);
  assert.ok(!svgDocument(PICTURE).includes('class="raw"'));
});
