// A query as a cell that follows what passes it: `%%follow` with a condition in Python, for a notebook to go on from.

import { type Term, parseQuery } from "./query.ts";

/**
 * A cell that runs its body for each message that passes a query, to be changed by its user.
 * @param follows the pattern of the log
 * @throws QueryError
 */
export function followCell(follows: string, query: string): string {
  const terms = parseQuery(query);
  const only = terms.filter(({ kind, not }) => kind === "id" && !not);
  // One pattern can be followed itself, if it is not narrower already what the log follows.
  const isAll = follows === "*:*" || follows === "*";
  const own = isAll && only.length === 1 && only[0].any.length === 1 ? only[0] : null;
  const conditions = terms.filter((term) => term !== own).map(condition);
  const uses = (name: string) => conditions.some((text) => text.includes(`${name}(`));
  const imports = [uses("fnmatchcase") && "from fnmatch import fnmatchcase", uses("search") && "from re import IGNORECASE, search"].filter(Boolean);
  const pattern = own ? own.any[0] : follows;
  const lines = [`%%follow ${/\s/.test(pattern) ? `"${pattern}"` : pattern}`, ...imports];
  if (conditions.length) lines.push(`if ${conditions.join(" and ")}:`, "    print(message)");
  else lines.push("print(message)");
  return lines.join("\n");
}

/** `not` binds less than what an alternative consists of. */
function condition(term: Term): string {
  const any = term.any.map((one) => alternative(term, one));
  const whole = any.length > 1 ? `(${any.join(" or ")})` : any[0];
  return term.not ? `not ${whole}` : whole;
}

function alternative({ kind, path = [], op = "=" }: Term, one: string): string {
  if (kind === "id") return `fnmatchcase(message.id, ${literal(one)})`;
  if (kind === "from") return one === "here" ? "message.source is None" : `fnmatchcase(message.source or "here", ${literal(one)})`;
  if (kind === "regex") return `search(${literal(one)}, repr(message), IGNORECASE)`;
  if (kind === "text") return `${literal(one.toLowerCase())} in repr(message).lower()`;
  const [first, ...rest] = path;
  const isPosition = /^\d+$/.test(first);
  const there = isPosition ? `len(message.args) > ${first}` : `${literal(first)} in message.kwargs`;
  const value = (isPosition ? `message.args[${first}]` : `message.kwargs[${literal(first)}]`) + rest.map((label) => `[${/^\d+$/.test(label) ? label : literal(label)}]`).join("");
  const isNumber = one.trim() !== "" && Number.isFinite(Number(one));
  return `(${there} and ${value} ${op === "=" ? "==" : op} ${isNumber ? one.replace(/^\+/, "") : literal(one)})`;
}

/** Text as Python writes it. */
function literal(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
