// The lines of the tree of identifiers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Count, nameCounts, sourceLines, treeLines } from "../../berrymq_jupyter/widgets/tree_lines.ts";

const counts = new Map<string, Count>([
  ["b:two", [5, 0, 5, 5, "v5"]],
  ["a:run", [1, 9, 1, 1, "v1"]],
  ["b:one", [7, 1, 7, 7, "v7"]],
  ["a:run10", [2, 0, 2, 2, "v2"]],
  ["a:run2", [3, 0, 3, 3, "v3"]],
]);
const options = { find: "", sort: "name" as const, isOpen: () => true };
const patterns = (given: Partial<Parameters<typeof treeLines>[1]>) => treeLines(counts, { ...options, ...given }).map((line) => line.pattern);

test("names in order with their actions, numbers by value", () => {
  assert.deepEqual(patterns({}), ["a:*", "a:run", "a:run2", "a:run10", "b:*", "b:one", "b:two"]);
  assert.deepEqual(patterns({ isOpen: (name) => name === "b" }), ["a:*", "b:*", "b:one", "b:two"]);
});

test("sorted by numbers, names by those of their actions together", () => {
  assert.deepEqual(patterns({ sort: "count" }), ["b:*", "b:one", "b:two", "a:*", "a:run2", "a:run10", "a:run"]);
  assert.deepEqual(patterns({ sort: "latest", isOpen: () => false }), ["b:*", "a:*"]);
  assert.deepEqual(patterns({ sort: "rate", isOpen: () => false }), ["a:*", "b:*"]);
  assert.deepEqual(nameCounts(counts).get("b"), [12, 1, 12, 7, "v7"]);
});

test("what is found is unfolded", () => {
  assert.deepEqual(patterns({ find: "RUN1", isOpen: () => false }), ["a:*", "a:run10"]);
  assert.deepEqual(patterns({ find: "nowhere" }), []);
});

test("each line knows its place among its siblings", () => {
  const lines = treeLines(counts, options);
  assert.deepEqual(lines.slice(0, 2).map((line) => [line.level, line.position, line.siblings]), [[1, 1, 2], [2, 1, 3]]);
});

test("ten thousand identifiers take no time worth noticing", () => {
  const many = new Map(Array.from({ length: 10_000 }, (_, index): [string, Count] => [`n${index % 100}:a${index}`, [index, 0, index, index, ""]]));
  assert.equal(treeLines(many, options).length, 10_100);
});

test("sources are one level, found and sorted like names", () => {
  const sources = new Map<string, Count>([
    ["here", [5, 0, 5, -1, ""]],
    ["worker10", [7, 2, 7, -1, ""]],
    ["worker2", [7, 3, 7, -1, ""]],
  ]);
  const names = (find: string, sort: "name" | "rate" | "count") => sourceLines(sources, { find, sort }).map((line) => line.pattern);
  assert.deepEqual(names("", "name"), ["here", "worker2", "worker10"]);
  assert.deepEqual(names("", "rate"), ["worker2", "worker10", "here"]);
  assert.deepEqual(names("WORK", "count"), ["worker2", "worker10"]);
  assert.deepEqual(sourceLines(sources, { find: "", sort: "name" }).map(({ level, expanded, position, siblings }) => [level, expanded, position, siblings])[1], [1, null, 2, 3]);
});
