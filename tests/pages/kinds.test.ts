// Forms of values: how a table is sorted.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sortedBy } from "../../berrymq_jupyter/widgets/kinds.ts";

test("numbers are sorted by value, before texts, and what is missing comes last", () => {
  const rows = [["b10"], [null], ["10"], ["9.5"], ["b9"], ["-1e3"]];
  assert.deepEqual(sortedBy(rows, 0, 1).flat(), ["-1e3", "9.5", "10", "b9", "b10", null]);
  assert.deepEqual(sortedBy(rows, 0, -1).flat(), ["b10", "b9", "10", "9.5", "-1e3", null]);
});
