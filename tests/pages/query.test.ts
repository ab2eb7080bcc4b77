// The query line: what it means, what it marks and what it offers. query.py reads the same queries.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { QueryError, anyOf, completions, fromTerm, idTerm, isUnfinished, marked, marksOf, parseQuery, splitQuery, valueTerm } from "../../berrymq_jupyter/widgets/query.ts";

interface Example {
  query: string;
  terms?: object[];
  error?: string;
  span?: number[];
}

const examples: Example[] = JSON.parse(readFileSync("tests/pages/queries.json", "utf8"));

for (const { query, terms, error, span } of examples) {
  test(`the query ${JSON.stringify(query)}`, () => {
    if (terms) assert.deepEqual(parseQuery(query).map(({ span: _, ...rest }) => rest), terms);
    else assert.throws(() => parseQuery(query), (found) => found instanceof QueryError && found.message === error && String(found.span) === String(span));
  });
}

test("terms that are made from values mean these values", () => {
  for (const pattern of ["train:epoch", "note:*", "a b:run", 'q"uo\\te:<b>', "from:x", "id:y", "-a:b", "/a:b", "a|b:c", "a=b:c"]) {
    const [term, ...more] = parseQuery(idTerm(pattern));
    assert.deepEqual([term.kind, term.not, term.any, more.length], ["id", false, [pattern], 0], pattern);
  }
  for (const source of ["worker1", "my notebook", "a|b", "-x", "note.ipynb"]) {
    assert.deepEqual(parseQuery(fromTerm(source))[0].any, [source]);
  }
  assert.equal(fromTerm(null), "from:here");
  for (const [labels, value] of [[["loss"], "0.3"], [["opts", "a.b"], "-1e-05"], [["0"], 'it "is" so'], [["x y"], ""]] as const) {
    const [term] = parseQuery(valueTerm([...labels], value, false));
    assert.deepEqual([term.path, term.op, term.any], [labels, "=", [value]]);
  }
  assert.equal(valueTerm(["x"], "5", false), "x=5");
  assert.equal(valueTerm(["x"], "5", true), 'x="5"');
  assert.equal(valueTerm(["x"], "None", true), 'x="None"');
  assert.equal(valueTerm(["x"], "run", true), "x=run");
});

test("the words of a query are its terms as they were written", () => {
  assert.deepEqual(splitQuery(' a:b|c:*  -/x y/ "two words"'), ["a:b|c:*", "-/x y/", '"two words"']);
});

test("what lacks its end is no mistake yet", () => {
  for (const query of ["from:", "id:", "loss<", "loss<-", "a:b loss=", '"some te', "/some te", "-from:", "from:a|"]) assert.ok(isUnfinished(query), query);
  for (const query of ["", "a:b", "a:b:c", "loss<high", "from: a:b", ".x=1"]) assert.ok(!isUnfinished(query), query);
});

test("what was found is marked", () => {
  const { id, from, payload } = marksOf(parseQuery("EPO from:work* loss<0.3 -hidden /\\d{2}/ 0>1 /(/"));
  assert.deepEqual(marked("train:epoch", id), [["train:", false], ["epo", true], ["ch", false]]);
  assert.deepEqual(marked("worker1", from), [["worker1", true]]);
  assert.deepEqual(marked("39, loss=0.025, hidden", payload), [["39", true], [", ", false], ["loss=0.025", true], [", hidden", false]]);
  assert.deepEqual(marked("{'loss': 1}, closs=2", payload), [["{", false], ["'loss': 1", true], ["}, closs=2", false]]);
  assert.deepEqual(marked("", payload), []);
});

test("words are completed", () => {
  const known = { identifiers: ["train:epoch", "train:batch", "note:add"], sources: ["worker1", "my notebook"], fields: ["loss"] };
  assert.deepEqual(completions("tr", known), ["train:*", "train:epoch", "train:batch"]);
  assert.deepEqual(completions("-train:e", known), ["-train:epoch"]);
  assert.deepEqual(completions("train:epoch|no", known), ["train:epoch|note:*", "train:epoch|note:add"]);
  assert.deepEqual(completions("from:", known), ["from:worker1", 'from:"my notebook"']);
  assert.deepEqual(completions("from:worker1|my", known), ['from:worker1|"my notebook"']);
  assert.deepEqual(completions("lo", known), ["loss="]);
  assert.deepEqual(completions("", known), []);
});

test("what is chosen together becomes one term", () => {
  assert.equal(anyOf("id", ["train:*", "note:add"]), "train:*|note:add");
  assert.equal(anyOf("from", ["here", "worker-1", "far machine"]), 'from:here|worker-1|"far machine"');
  assert.deepEqual(parseQuery(anyOf("from", ["here", "far machine"]))[0].any, ["here", "far machine"]);
  assert.deepEqual(parseQuery(anyOf("id", ["a b:c", "d e:f"]))[0].any, ["a b:c", "d e:f"]);
});
