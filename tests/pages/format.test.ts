// Numbers and times as text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, counted, duration, fieldPath, latency, measure, nameOf, pace, rate, safe, sameDay, shortDay, shortDuration, shortLatency, timeText } from "../../berrymq_jupyter/widgets/format.ts";

test("numbers stay short", () => {
  assert.deepEqual([0, 9999, 12_345, 1_234_567, 999_600].map(brief), ["0", "9,999", "12.3k", "1.2M", "1M"]);
  assert.deepEqual([0, 0.05, 3.25, 1200].map(rate), ["", "<0.1/s", "3.3/s", "1,200/s"]);
  assert.deepEqual([0.30000000000000004, 1e-7, 123456.789].map(measure), ["0.3", "1.00e-7", "123500"]);
  assert.equal(pace(0.5), "2.00 s each");
  assert.equal(counted(1, "message"), "1 message");
});

test("durations have the unit that fits", () => {
  assert.deepEqual([0, 3.21, 1500, 65_000, 3_700_000].map(duration), ["0 ms", "3.2 ms", "1.50 s", "1 min 5 s", "1 h 2 min"]);
  assert.deepEqual([4, -250].map(latency), ["4.0 ms", "−250 ms"]);
  assert.deepEqual([9.96, 999.7, 9996, 59_960, 119_600].map(duration), ["10 ms", "1.00 s", "10.0 s", "1 min 0 s", "2 min 0 s"]);
  assert.deepEqual([3_599_600, 2 * 3_600_000 - 20_000, 359_990_000, 3.6e10].map(duration), ["1 h 0 min", "2 h 0 min", "100 h", "10k h"]);
});

test("durations of a narrow column have one unit", () => {
  const short = [3.21, 1500, 59_960, 119_600, 597_100, 3_570_000, 7_200_000, 3.6e10, 3.6e12].map(shortDuration);
  assert.deepEqual(short, ["3.2 ms", "1.50 s", "1.0 min", "2.0 min", "10 min", "1.0 h", "2.0 h", "10k h", "1M h"]);
  for (let ms = 0.01; ms < 1e13; ms *= 1.07) assert.ok(shortLatency(-ms).length < 9, shortLatency(-ms));
});

test("times are those of day, or ages, or differences", () => {
  const noon = new Date(2026, 1, 3, 12, 0, 0, 7).getTime();
  assert.equal(timeText("clock", noon, 0, null), "12:00:00.007");
  assert.deepEqual([300, 61_500, -2000].map((later) => timeText("ago", noon, noon + later, null)), ["now", "1 min 1 s ago", "in 2.00 s"]);
  assert.deepEqual([noon - 1500, noon + 2, null, undefined].map((before) => timeText("difference", noon, 0, before)), ["+1.50 s", "−2.0 ms", "first", "…"]);
  assert.equal(shortDay(noon), "2026-02-03");
  assert.equal(sameDay(noon, noon + 3_600_000), true);
  assert.equal(sameDay(noon, noon + 43_200_000), false);
});

test("text shows what would move or hide other text", () => {
  assert.equal(safe("a\u202eb\n"), "a\\u202eb\\x0a");
  assert.equal(nameOf("room@a:b:c"), "room@a:b");
  assert.equal(fieldPath(["metrics", "val", "0"]), "metrics.val.[0]");
});
