// Numbers and times as text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, counted, duration, latency, measure, nameOf, pace, rate, safe, sameDay, timeText } from "../../berrymq_jupyter/widgets/format.ts";

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
});

test("times are those of day, or ages, or differences", () => {
  const noon = new Date(2026, 1, 3, 12, 0, 0, 7).getTime();
  assert.equal(timeText("clock", noon, 0, null), "12:00:00.007");
  assert.deepEqual([300, 61_500, -2000].map((later) => timeText("ago", noon, noon + later, null)), ["now", "1 min 1 s ago", "in 2.00 s"]);
  assert.deepEqual([noon - 1500, noon + 2, null, undefined].map((before) => timeText("difference", noon, 0, before)), ["+1.50 s", "−2.0 ms", "first", "…"]);
  assert.equal(sameDay(noon, noon + 3_600_000), true);
  assert.equal(sameDay(noon, noon + 43_200_000), false);
});

test("text shows what would move or hide other text", () => {
  assert.equal(safe("a\u202eb\n"), "a\\u202eb\\x0a");
  assert.equal(nameOf("room@a:b:c"), "room@a:b");
});
