/** Values as JSON text, and back: what JSON lacks has a `$type`. */
import { expected, NDArray, Table, toArray, toBytes, toColumn, toTable } from "./arrays.js";
import { BerryMQError } from "./errors.js";

const MAX_PAYLOAD = 16 << 20;
const MAX_DEPTH = 128;

/** A value for which JavaScript has no type of its own, such as a `Decimal`: sent back as it came. */
export class Tagged {
  constructor($type, value) {
    this.$type = $type;
    this.value = value;
  }
  toString() {
    return typeof this.value === "string" ? this.value : `${this.$type}(${JSON.stringify(this.value)})`;
  }
}

/** The Python types of values that JavaScript does not distinguish, such as tuples: sent back they are the same. */
const origins = new WeakMap();

function remember(value, type, text) {
  origins.set(value, { type, text, time: Number(text && value) });
  return value;
}

// -- base64, which not all engines have for bytes

export function toBase64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  if (globalThis.Buffer) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  if (!globalThis.Buffer) return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  expected(/^[\w+/]*={0,2}$/.test(text), "not base64");
  return new Uint8Array(Buffer.from(text, "base64"));
}

// -- encoding

const tag = (type, json) => `{"$type":${quote(type)},"value":${json}}`;
const bufferOf = (view) => tag("buffer", `"${toBase64(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))}"`);

/** Returns a text as JSON, without halves of characters, which UTF-8 does not have. */
const quote = (text) => JSON.stringify(text.toWellFormed());

function encodeNumber(value) {
  if (Number.isFinite(value)) return Object.is(value, -0) ? "-0.0" : String(value);
  return tag("float", Number.isNaN(value) ? '"nan"' : value > 0 ? '"inf"' : '"-inf"');
}

function encodeDate(date) {
  const origin = origins.get(date);
  if (origin?.time === date.getTime()) return tag(origin.type, origin.text); // unchanged, with its microseconds
  return Number.isNaN(date.getTime()) ? "null" : tag("datetime", `"${date.toISOString()}"`);
}

/** Returns the JSON text of any value. */
export function encode(value, depth = 0) {
  if (depth > MAX_DEPTH) throw new BerryMQError("PAYLOAD", `a payload is nested at most ${MAX_DEPTH} deep`);
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return quote(value);
  if (typeof value === "number") return encodeNumber(value);
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  const list = (items) => `[${Array.from(items, (item) => encode(item, depth + 1)).join()}]`;
  if (typeof value !== "object") return tag("Opaque", list([typeof value, String(value).slice(0, 200)]));
  const type = origins.get(value)?.type;
  if (Array.isArray(value)) return type ? tag(type, list(value)) : list(value);
  if (value instanceof Date) return encodeDate(value);
  if (value instanceof Set) return tag(type ?? "set", list(value));
  if (value instanceof Map) return tag("dict", list(value));
  if (value instanceof Error) return tag("RemoteError", list([value.name, value.message, value.notes ?? []]));
  if (value instanceof Tagged) return tag(value.$type, encode(value.value, depth + 1));
  if (value instanceof ArrayBuffer) return tag("bytes", bufferOf(new Uint8Array(value)));
  if (value instanceof Uint8Array || value instanceof DataView) return tag(type ?? "bytes", bufferOf(value));
  if (ArrayBuffer.isView(value)) return encode(new NDArray(value), depth);
  if (value instanceof NDArray) {
    const { dtype, shape, order, data } = value;
    if (!ArrayBuffer.isView(data)) return encode(data, depth);
    return tag("array", `{"dtype":${encode(dtype)},"shape":${encode(shape)},"order":"${order}","data":${bufferOf(data)}}`);
  }
  if (value instanceof Table) return encode(value.columns, depth);
  if (typeof value.toJSON === "function") return encode(value.toJSON(), depth + 1);
  const entries = Object.entries(value);
  if (Object.hasOwn(value, "$type")) return tag("dict", list(entries));
  return `{${entries.map(([key, item]) => `${quote(key)}:${encode(item, depth + 1)}`).join()}}`;
}

const utf8 = new TextEncoder();

/** Returns the number of bytes of a text in UTF-8. */
export const sizeOf = (text) => (/[^\0-\x7f]/.test(text) ? utf8.encode(text).length : text.length);

/** Returns the JSON text of a payload; throws PAYLOAD when it is too large to be sent. */
export function encodePayload(value) {
  const text = encode(value);
  const size = sizeOf(text);
  if (size <= MAX_PAYLOAD) return text;
  const hint = "arrays and bytes take 4/3 of their size, so 12 MiB of them can be sent";
  throw new BerryMQError("PAYLOAD", `a payload has at most 16 MiB, and this one has ${(size / 2 ** 20).toFixed(1)} MiB (${hint})`);
}

// -- decoding

/** Parses JSON; integers that a number would round become BigInts. */
export function parseJSON(text) {
  if (!/[[:,\s]-?\d{16,}\s*[,\]}]/.test(text)) return JSON.parse(text);
  const number = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  const mark = (one) => (/^-?\d{16,}$/.test(one) && !Number.isSafeInteger(Number(one)) ? tag("int", `"${one}"`) : one);
  const parts = [];
  for (let at = 0, end; at < text.length; at = end) {
    let start = text.indexOf('"', at); // of the next text, in which nothing is marked
    if (start < 0) start = text.length;
    parts.push(text.slice(at, start).replace(number, mark));
    for (end = start + 1; end < text.length && text[end] !== '"'; end++) if (text[end] === "\\") end++;
    parts.push(text.slice(start, ++end));
  }
  return JSON.parse(parts.join(""));
}

/** Decodes a payload in place; `buffers` are those beside the message. */
export function decode(value, buffers, depth = 0) {
  if (value === null || typeof value !== "object") return value;
  if (depth > 4 * MAX_DEPTH) throw new BerryMQError("PAYLOAD", "a payload is nested too deep");
  const type = value.$type;
  for (const key of Object.keys(value)) value[key] = decode(value[key], buffers, depth + 1);
  if (typeof type !== "string" || !Object.hasOwn(value, "value")) return value;
  try {
    return (DECODERS[type] ?? DECODERS.other)(value.value, buffers, type);
  } catch (error) {
    return new Tagged("Opaque", [type, `<${type}: ${error.message}>`]);
  }
}

/** Decodes a time; one without a zone is local. */
function toDate(value, _, type) {
  const text = type === "datetime" ? value : value[0];
  const date = new Date(text.replace(/(\.\d{3})\d+/, "$1"));
  expected(!Number.isNaN(date.getTime()), "no time");
  return remember(date, type, encode(value));
}

function toScalar(value, _, type) {
  expected(["number", "bigint", "boolean", "string"].includes(typeof value), "no scalar");
  return type === "numpy.bool" ? Boolean(value) : value;
}

function toError([name, message, notes]) {
  return Object.assign(new Error(String(message)), { name: String(name), notes: Array.from(notes, String), stack: `${name}: ${message}` });
}

const DECODERS = {
  __proto__: null,
  other: (value, _, type) => new Tagged(type, value),
  int: (text) => BigInt(text),
  float: (text) => Number({ inf: "Infinity", "-inf": "-Infinity" }[text] ?? text),
  tuple: (items, _, type) => remember(items, type),
  set: (items) => new Set(items),
  frozenset: (items, _, type) => remember(new Set(items), type),
  dict: (pairs) => (pairs.some(([key]) => key === "$type") ? Object.fromEntries(pairs) : new Map(pairs)),
  datetime: toDate,
  bytes: toBytes,
  bytearray: (bytes, _, type) => remember(toBytes(bytes), type),
  buffer(value, buffers) {
    if (typeof value === "string") return fromBase64(value);
    return buffers?.[value] ?? new Tagged("Opaque", ["buffer", buffers?.reason ?? "its buffer is missing"]);
  },
  array: toArray,
  table: toTable,
  "table.series": ({ data, ...rest }) => ({ ...rest, data: toColumn(data) }),
  "pandas.Timestamp": toDate,
  "pandas.NaT": () => null,
  "pandas.NA": () => null,
  RemoteError: toError,
};
for (const type of "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str".split(" "))
  DECODERS[`numpy.${type}`] = toScalar;

/** Returns a value as JSON, as it crosses the wire: with a `$type` where JSON lacks one. */
export const stringify = (value) => encode(value);

/** Returns the value of such a text. */
export const parse = (text) => decode(parseJSON(text));
