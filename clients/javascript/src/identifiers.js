import { BerryMQError } from "./errors.js";

const PART = /^(?! )[^:@*\p{Cc}\p{Cs}]{1,255}(?<! )$/u;
const MAX_PARSED = 4_096;
const parsed = new Map();

/** Parses `name:action`, `name@namespace:action` or `name`; throws IDENTIFIER. `local` ones never cross a link. */
export function identifierOf(text) {
  const known = parsed.get(text);
  if (known) return known;
  if (typeof text !== "string") throw new BerryMQError("IDENTIFIER", "an identifier is text such as 'test:run'");
  const bad = (why) => new BerryMQError("IDENTIFIER", `${JSON.stringify(text)} is no identifier: ${why}`);
  const [head, action = "*", more] = text.split(":");
  const [name, namespace, another] = head.split("@");
  if (more !== undefined || another !== undefined || action.includes("@")) throw bad("write name:action, or name@namespace:action");
  for (const [kind, part] of Object.entries({ name, action, namespace }))
    if (part !== undefined && !(part === "*" && kind !== "namespace") && !PART.test(part))
      throw bad(`its ${kind} must be 1 to 255 characters without : @ * control characters and outer spaces`);
  const identifier = { name, action, namespace, text: `${head}:${action}`, local: name.startsWith("_") || name === "berrymq" };
  if (parsed.size >= MAX_PARSED) parsed.clear();
  parsed.set(text, identifier);
  return identifier;
}

/** Returns whether two identifiers match: a `*` on either side stands for a whole name or action. */
export const matches = (one, other) =>
  one.namespace === other.namespace &&
  (one.name === other.name || one.name === "*" || other.name === "*") &&
  (one.action === other.action || one.action === "*" || other.action === "*");
