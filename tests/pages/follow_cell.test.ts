// A query as a cell with a condition in Python.

import assert from "node:assert/strict";
import { test } from "node:test";
import { followCell } from "../../berrymq_jupyter/widgets/follow_cell.ts";

test("one pattern is followed itself", () => {
  assert.equal(followCell("*:*", "train:*"), "%%follow train:*\nprint(message)");
  assert.equal(followCell("train:*", "*:error"), '%%follow train:*\nfrom fnmatch import fnmatchcase\nif fnmatchcase(message.id, "*:error"):\n    print(message)');
});

test("fields become comparisons that other messages do not fail at", () => {
  assert.equal(
    followCell("*:*", 'train:epoch loss>1 name="a|b" 0!=2'),
    '%%follow train:epoch\nif ("loss" in message.kwargs and message.kwargs["loss"] > 1) and ("name" in message.kwargs and message.kwargs["name"] == "a|b")' +
      " and (len(message.args) > 0 and message.args[0] != 2):\n    print(message)",
  );
});

test("the other terms", () => {
  assert.equal(
    followCell("*:*", '-from:here|w* /lo+ss/ "ü x"'),
    '%%follow *:*\nfrom fnmatch import fnmatchcase\nfrom re import IGNORECASE, search\nif not (message.source is None or fnmatchcase(message.source or "here", "w*"))' +
      ' and search("lo+ss", repr(message), IGNORECASE) and "\\u00fc x" in repr(message).lower():\n    print(message)',
  );
  assert.throws(() => followCell("*:*", "loss>"));
});
