// The query line of a log: `train:epoch|run:*  from:worker*  loss<0.3  -daq:*  /regex/  "some text"`.
//
// query.py reads the same language, and applies it. tests/pages/queries.json says what both must make of a query.

export type Operator = "<" | "<=" | ">" | ">=" | "=" | "!=";

export interface Term {
  kind: "id" | "from" | "compare" | "regex" | "text";
  /** It begins with "-": what has it does not pass. */
  not: boolean;
  /** Alternatives: patterns, sources, values or texts; of a regular expression its source. */
  any: string[];
  /** Of a comparison: the labels that lead to the field. */
  path?: string[];
  op?: Operator;
  /** Where it stands in the query. */
  span: [start: number, end: number];
}

export class QueryError extends Error {
  span: [number, number];
  constructor(text: string, span: [number, number]) {
    super(text);
    this.span = span;
  }
}

const NUMBER = /^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf)$/i;
const COMPARISON = /^([^<>=!|:]+)(<=|>=|!=|<|>|=)(.*)$/s;
/** Stands in the shape of a term for each character that was in quotation marks. */
const QUOTED = "q";

/** A term without its quotation marks: `text`, and its `shape`, in which what was quoted has no meaning. */
interface Raw {
  text: string;
  shape: string;
  /** Something was in quotation marks. */
  quoted: boolean;
  end: number;
}

/** Read a query; throws a `QueryError`. All of its terms must hold. */
export function parseQuery(query: string): Term[] {
  const terms: Term[] = [];
  for (let at = 0; at < query.length; ) {
    if (/\s/.test(query[at])) {
      at += 1;
      continue;
    }
    const term = readTerm(query, at);
    terms.push(term);
    at = term.span[1];
  }
  return terms;
}

function readTerm(query: string, start: number): Term {
  const not = query[start] === "-" && start + 1 < query.length && !/\s/.test(query[start + 1]);
  const begin = not ? start + 1 : start;
  if (query[begin] === "/") {
    const [source, end] = readRegex(query, begin);
    return { kind: "regex", not, any: [source], span: [start, end] };
  }
  const raw = readRaw(query, begin);
  const span: [number, number] = [start, raw.end];
  const { text, shape } = raw;
  for (const [kind, prefix, what] of [["id", "id:", "an identifier"], ["from", "from:", "a source"]] as const) {
    if (!shape.startsWith(prefix)) continue;
    if (shape === prefix) throw new QueryError(`${what} is missing after ${prefix}`, span);
    return { kind, not, any: alternatives(raw, prefix.length, span), span };
  }
  const compared = COMPARISON.exec(shape);
  if (compared) return { kind: "compare", not, ...comparison(raw, compared, span), span };
  const isIdentifier = shape.includes(":") || text === "*";
  return { kind: isIdentifier ? "id" : "text", not, any: alternatives(raw, 0, span), span };
}

function readRegex(query: string, begin: number): [source: string, end: number] {
  for (let at = begin + 1; at < query.length; at++) {
    if (query[at] === "\\") at += 1;
    else if (query[at] === "/" && (at + 1 === query.length || /\s/.test(query[at + 1]))) {
      if (at === begin + 1) throw new QueryError("there is nothing between the slashes", [begin, at + 1]);
      return [query.slice(begin + 1, at).replaceAll("\\/", "/"), at + 1];
    }
  }
  const text = `a regular expression ends with /: ${query.slice(begin)}; text that begins with / goes in quotation marks`;
  throw new QueryError(text, [begin, query.length]);
}

function readRaw(query: string, begin: number): Raw {
  const raw: Raw = { text: "", shape: "", quoted: false, end: query.length };
  let inside = false;
  let opened = begin;
  for (let at = begin; at < query.length; at++) {
    let character = query[at];
    if (character === '"') {
      inside = !inside;
      opened = at;
      raw.quoted = true;
      continue;
    }
    if (!inside && /\s/.test(character)) {
      raw.end = at;
      break;
    }
    if (inside && character === "\\" && at + 1 < query.length) character = query[++at];
    raw.text += character;
    raw.shape += inside ? QUOTED : character;
  }
  if (inside) throw new QueryError(`a quotation mark is not closed: ${query.slice(opened)}`, [opened, query.length]);
  return raw;
}

function alternatives(raw: Raw, from: number, span: [number, number]): string[] {
  const parts = pieces(raw, from, raw.text.length, "|");
  if (parts.length > 1 && parts.includes("")) throw new QueryError(`something is missing beside | in ${raw.text}`, span);
  return parts;
}

/** The parts of a term from `from` on, before `to`, between separators that are not quoted. */
function pieces(raw: Raw, from: number, to: number, separator: string): string[] {
  const parts: string[] = [];
  for (let at = from; at <= to; at++) {
    if (at < to && raw.shape[at] !== separator) continue;
    parts.push(raw.text.slice(from, at));
    from = at + 1;
  }
  return parts;
}

function comparison(raw: Raw, [, field, op]: RegExpExecArray, span: [number, number]) {
  const path = pieces(raw, 0, field.length, ".");
  const shown = raw.text.slice(0, field.length);
  if (path.includes("")) throw new QueryError(`a name is missing in ${shown}`, span);
  const from = field.length + op.length;
  if (from === raw.text.length && !raw.quoted) throw new QueryError(`a value is missing after ${shown}${op}`, span);
  const any = alternatives(raw, from, span);
  if (op !== "=" && op !== "!=") {
    if (any.length > 1) throw new QueryError(`after ${op} stands one number`, span);
    if (!NUMBER.test(any[0])) throw new QueryError(`after ${op} stands a number, not ${any[0]}`, span);
  }
  return { any, path, op: op as Operator };
}

// -- Making queries ----------------------------------------------------------------------------------------------

/** Text as a part of a term: in quotation marks if it needs them. */
export function quote(text: string): string {
  return /^[^\s"\\|<>=!:./-][^\s"\\|<>=!:.]*$/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** The term for a pattern of identifiers. */
export function idTerm(pattern: string): string {
  const isPlain = /^[^\s"\\|<>=!/-][^\s"\\|<>=!]*$/.test(pattern) && pattern.includes(":") && !/^(id|from):/.test(pattern);
  return isPlain ? pattern : `id:${quote(pattern)}`;
}

/** The term for a source. */
export const fromTerm = (source: string | null): string => `from:${source === null ? "here" : quote(source)}`;

/** The term for any of some patterns of identifiers, or of some sources, which are "here" for this kernel. */
export function anyOf(kind: "id" | "from", some: string[]): string {
  if (kind === "from") return `from:${some.map(quote).join("|")}`;
  return some.map((pattern, index) => (index ? idTerm(pattern).replace(/^id:/, "") : idTerm(pattern))).join("|");
}

/** The term for a field that has a value. Text that could be a number or a word of Python stands in quotation marks. */
export function valueTerm(labels: string[], value: string, isText: boolean): string {
  const looksOther = NUMBER.test(value) || /^(true|false|none|nan)$/i.test(value);
  const written = !looksOther ? quote(value) : isText ? `"${value}"` : value;
  return `${labels.map(quote).join(".")}=${written}`;
}

/** Whether a query is wrong only for as long as its end is not written: `from:`, `loss<`, `"some te`. */
export function isUnfinished(query: string): boolean {
  return !reads(query) && ["1", '"', "/"].some((end) => reads(query + end));
}

function reads(query: string): boolean {
  try {
    parseQuery(query);
    return true;
  } catch {
    return false;
  }
}

/** The words of a query, one for each term; throws a `QueryError`. */
export function splitQuery(query: string): string[] {
  return parseQuery(query).map(({ span: [start, end] }) => query.slice(start, end));
}

// -- Highlights --------------------------------------------------------------------------------------------------

/** What to mark in a row's identifier and payload: what the terms of a query have found there. */
export interface Marks {
  id: RegExp | null;
  from: RegExp | null;
  payload: RegExp | null;
}

export function marksOf(terms: Term[]): Marks {
  const texts: string[] = [];
  const payload: string[] = [];
  const from: string[] = [];
  for (const { kind, not, any, path } of terms) {
    if (not) continue;
    if (kind === "text") texts.push(...any.map(literal));
    else if (kind === "from") from.push(...any.map((pattern) => `^${pattern.split("*").map(literal).join(".*")}$`));
    else if (kind === "regex") payload.push(`(?:${any[0]})`);
    else if (kind === "compare" && path) {
      const label = literal(path[path.length - 1]);
      // As rows show it: a keyword, or a key of a dictionary. Positions have no label there.
      if (!/^\d+$/.test(label)) payload.push(`(?<![\\w.])(?:${label}=|'${label}': )[^,)}\\]]*`);
    }
  }
  return { id: union(texts), from: union([...texts, ...from]), payload: union([...texts, ...payload]) };
}

function union(sources: string[]): RegExp | null {
  const usable = sources.filter((source) => source && compiles(source));
  return usable.length ? new RegExp(usable.join("|"), "gi") : null;
}

/** Python's regular expressions are a little different: what is none here is not marked. */
function compiles(source: string): boolean {
  try {
    new RegExp(source, "gi");
    return true;
  } catch {
    return false;
  }
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
}

/** Cut text into parts: [text, whether it is to be marked]. */
export function marked(text: string, found: RegExp | null): [part: string, hit: boolean][] {
  const parts: [string, boolean][] = [];
  let end = 0;
  for (const match of found ? text.matchAll(found) : []) {
    if (!match[0]) continue;
    if (match.index > end) parts.push([text.slice(end, match.index), false]);
    parts.push([match[0], true]);
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push([text.slice(end), false]);
  return parts;
}

// -- Completion --------------------------------------------------------------------------------------------------

export interface Known {
  identifiers: Iterable<string>;
  sources: Iterable<string>;
  fields: Iterable<string>;
}

const MOST = 8;

/** What the word that is being typed may become, the likeliest first. */
export function completions(word: string, known: Known): string[] {
  const not = word.startsWith("-") ? "-" : "";
  const typed = word.slice(not.length);
  const bar = typed.lastIndexOf("|");
  const before = typed.slice(0, bar + 1); // alternatives stay
  const needle = typed.slice(bar + 1).toLowerCase();
  if (!typed || typed.startsWith("/") || typed.includes('"')) return [];
  const identifiers = [...known.identifiers];
  const names = new Set(identifiers.map((id) => `${id.slice(0, id.lastIndexOf(":"))}:*`));
  const sources = [...known.sources].map((source) => fromTerm(source));
  const fields = [...known.fields].map((field) => `${quote(field)}=`);
  const starts: string[] = [];
  const contains: string[] = [];
  const ids = [...names, ...identifiers].map(idTerm);
  // What stands before a bar says what its alternatives are.
  const candidates = !before ? [...fields, ...ids, ...sources] : before.startsWith("from:") ? sources.map((source) => source.slice("from:".length)) : ids;
  for (const candidate of candidates) {
    if (candidate === typed.slice(bar + 1)) continue;
    const at = candidate.toLowerCase().indexOf(needle);
    if (at === 0) starts.push(candidate);
    else if (at > 0) contains.push(candidate);
  }
  return [...starts, ...contains].slice(0, MOST).map((candidate) => not + before + candidate);
}
