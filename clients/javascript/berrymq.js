/**
 * berryMQ for browsers and Node: join the message bus of a Python session. See README.md; types in berrymq.d.ts.
 *
 * One module without dependencies. Times are in milliseconds. Errors are `BerryMQError`s with a `code`.
 * @module
 */

const FRAME = 1 << 20; // bytes of messages in one frame
const MAX_IN_FLIGHT = 65_536; // messages
const MAX_BYTES_IN_FLIGHT = 8 << 20;
const MAX_FRAME = 25 << 20; // of what a node sends
const MAX_PAYLOAD = 16 << 20;
const MAX_BUFFERS = 1 << 30; // of one message
const MIN_PIECE = 16 << 10; // of buffers that are pulled
const MAX_PIECE = 1 << 20;
const MAX_HELD = 10_000; // messages behind buffers that are pulled; then the other side has to wait
const FAST = 25; // ms in which a piece should arrive
const MAX_DEPTH = 128;
const HANDSHAKE = 5_000;
const INTEREST = 2_000; // a node announces its own right away, or it has just replaced a killed hub
const SILENCE = 5_000; // then ping
const NO_ANSWER = 10_000; // to a ping: the connection is cut
const MAX_BACKOFF = 5_000;
const CONCLUDE = 2_000; // for the answers of those who had answered, after the timeout of a question
const RECENT_JOBS = 2_000; // are reported to the successor of a killed hub

/** Returns a module of Node; bundlers for browsers see no import of it. */
const builtin = (name) => globalThis.process?.getBuiltinModule?.(name);
const isNode = Boolean(builtin("node:http")) && !globalThis.Deno && !globalThis.Bun;
const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Whatever goes wrong. `code` is NO_HUB, REFUSED, PERMISSIONS, IDENTIFIER, PAYLOAD, TIMEOUT, ANSWER, CLOSED … */
export class BerryMQError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "BerryMQError";
    this.code = code;
  }
}

/** First in, first out, in constant time. */
class Deque {
  #items = [];
  #head = 0;
  constructor(items = []) {
    this.#items = items;
  }
  get length() {
    return this.#items.length - this.#head;
  }
  push(item) {
    this.#items.push(item);
  }
  peek() {
    return this.#items[this.#head];
  }
  shift() {
    const item = this.#items[this.#head];
    if (this.length) this.#items[this.#head++] = undefined;
    if (this.#head > 1_000 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }
  delete(item) {
    const at = this.#items.indexOf(item, this.#head);
    if (at >= 0) this.#items.splice(at, 1);
    return at >= 0;
  }
  [Symbol.iterator]() {
    return this.#items.slice(this.#head)[Symbol.iterator]();
  }
}

// -- identifiers ----------------------------------------------------------------------------------------------------

const PART = /^(?! )[^:@*\p{Cc}\p{Cs}]{1,255}(?<! )$/u;
const parsed = new Map();

/** What stays in order: the messages of one origin and identifier. */
const keyOf = ([identifier, origin]) => `${origin} ${identifier}`;

function identifierOf(text) {
  const known = parsed.get(text);
  if (known) return known;
  const bad = (why) => new BerryMQError("IDENTIFIER", `${JSON.stringify(text)} is no identifier: ${why}`);
  if (typeof text !== "string") throw new BerryMQError("IDENTIFIER", "an identifier is text such as 'test:run'");
  const [head, action = "*", more] = text.split(":");
  const [name, namespace, another] = head.split("@");
  if (more !== undefined || another !== undefined || action.includes("@")) throw bad("write name:action, or name@namespace:action");
  for (const [kind, part] of Object.entries({ name, action, namespace }))
    if (part !== undefined && !(part === "*" && kind !== "namespace") && !PART.test(part))
      throw bad(`its ${kind} must be 1 to 255 characters without : @ * control characters and outer spaces`);
  const identifier = { name, action, namespace, text: `${head}:${action}`, local: name.startsWith("_") || name === "berrymq" };
  if (parsed.size > 4_096) parsed.clear();
  parsed.set(text, identifier);
  return identifier;
}

const matches = (one, other) =>
  one.namespace === other.namespace &&
  (one.name === other.name || one.name === "*" || other.name === "*") &&
  (one.action === other.action || one.action === "*" || other.action === "*");

// -- payloads -------------------------------------------------------------------------------------------------------

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

/** An array of numpy: `data` is a typed array (text: an array of strings), `dtype` numpy's name such as "<f8". */
export class NDArray {
  constructor(data, shape = [data.length], dtype = dtypeOf(data), order = "C") {
    Object.assign(this, { data, shape, dtype, order });
  }
}

/** A table: `columns` has an array for each name; `library` and `index` as they were sent. */
export class Table {
  constructor(columns, library, index = null) {
    Object.assign(this, { columns, library, index });
  }
  /** Makes an Arrow table; pass the module `apache-arrow`. */
  toArrow(arrow) {
    return arrow.tableFromArrays({ ...this.columns });
  }
}

const TYPES = {
  b1: Uint8Array, u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
  u8: BigUint64Array, i8: BigInt64Array, f4: Float32Array, f8: Float64Array, c8: Float32Array, c16: Float64Array,
  m8: BigInt64Array, M8: BigInt64Array, f2: globalThis.Float16Array,
};
const CODES = new Map(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"].map((code) => [TYPES[code], code]));
CODES.set(Uint8ClampedArray, "u1");
if (globalThis.Float16Array) CODES.set(globalThis.Float16Array, "f2");

function dtypeOf(data) {
  const code = CODES.get(data.constructor);
  if (!code) throw new BerryMQError("PAYLOAD", "the data of an array is a typed array");
  return (code[1] === "1" ? "|" : "<") + code;
}

function toBase64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  if (globalThis.Buffer) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  if (!globalThis.Buffer) return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (!/^[\w+/]*={0,2}$/.test(text)) throw new TypeError("not base64");
  return new Uint8Array(Buffer.from(text, "base64"));
}

/** The types of Python that values had which JavaScript does not tell apart, such as tuples: sent back they are the same. */
const origins = new WeakMap();
function remember(value, type, text) {
  origins.set(value, { type, text, time: Number(text && value) });
  return value;
}

const tag = (type, json) => `{"$type":${quote(type)},"value":${json}}`;
const bufferOf = (view) => tag("buffer", `"${toBase64(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))}"`);

/** Returns a text as JSON, without halves of characters, which UTF-8 does not have. */
const quote = (text) => JSON.stringify(text.toWellFormed());

/** Returns the JSON text of any value. */
function encode(value, depth = 0) {
  if (depth > MAX_DEPTH) throw new BerryMQError("PAYLOAD", `a payload is nested at most ${MAX_DEPTH} deep`);
  const list = (items) => `[${Array.from(items, (item) => encode(item, depth + 1)).join()}]`;
  if (value === null || value === undefined) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return quote(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") {
    if (Number.isFinite(value)) return Object.is(value, -0) ? "-0.0" : String(value);
    return tag("float", JSON.stringify(Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf"));
  }
  if (typeof value !== "object") return tag("Opaque", list([typeof value, String(value).slice(0, 200)]));
  const origin = origins.get(value);
  if (Array.isArray(value)) return origin ? tag(origin.type, list(value)) : list(value);
  if (value instanceof Date) {
    if (origin && origin.time === value.getTime()) return tag(origin.type, origin.text);
    return Number.isNaN(value.getTime()) ? "null" : tag("datetime", `"${value.toISOString()}"`);
  }
  if (value instanceof Set) return tag(origin?.type ?? "set", list(value));
  if (value instanceof Map) return tag("dict", list(value));
  if (value instanceof Error) return tag("RemoteError", list([value.name, value.message, value.notes ?? []]));
  if (value instanceof Tagged) return tag(value.$type, encode(value.value, depth + 1));
  if (value instanceof ArrayBuffer) return tag("bytes", bufferOf(new Uint8Array(value)));
  if (value instanceof Uint8Array || value instanceof DataView) return tag(origin?.type ?? "bytes", bufferOf(value));
  if (ArrayBuffer.isView(value)) return encode(new NDArray(value), depth);
  if (value instanceof NDArray && ArrayBuffer.isView(value.data)) {
    const { dtype, shape, order, data } = value;
    return tag("array", `{"dtype":${encode(dtype)},"shape":${encode(shape)},"order":"${order}","data":${bufferOf(data)}}`);
  }
  if (value instanceof NDArray) return encode(value.data, depth);
  if (value instanceof Table) return encode(value.columns, depth);
  if (typeof value.toJSON === "function") return encode(value.toJSON(), depth + 1);
  const entries = Object.entries(value);
  if (Object.hasOwn(value, "$type")) return tag("dict", list(entries));
  return `{${entries.map(([key, item]) => `${quote(key)}:${encode(item, depth + 1)}`).join()}}`;
}

function encodePayload(value) {
  const text = encode(value);
  if (text.length * 3 > MAX_PAYLOAD && utf8.encode(text).length > MAX_PAYLOAD) throw new BerryMQError("PAYLOAD", "a payload has at most 16 MiB");
  return text;
}

/** Parses JSON; integers that a number would round become BigInts. */
function parseJSON(text) {
  if (!/[[:,\s]-?\d{16,}\s*[,\]}]/.test(text)) return JSON.parse(text);
  const number = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  const mark = (one) => (/^-?\d{16,}$/.test(one) && !Number.isSafeInteger(Number(one)) ? tag("int", `"${one}"`) : one);
  const parts = [];
  for (let at = 0, end; at < text.length; at = end) {
    let quote = text.indexOf('"', at);
    if (quote < 0) quote = text.length;
    parts.push(text.slice(at, quote).replace(number, mark));
    for (end = quote + 1; end < text.length && text[end] !== '"'; end++) if (text[end] === "\\") end++;
    parts.push(text.slice(quote, ++end));
  }
  return JSON.parse(parts.join(""));
}

/** Decodes a payload in place; `buffers` are those beside the message. */
function decode(value, buffers, depth = 0) {
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

function expected(condition, what) {
  if (!condition) throw new TypeError(what);
}

function toBytes(value) {
  expected(value instanceof Uint8Array, value?.value?.[1] ?? "it has no buffer");
  return value;
}

function toNumber(value, _, type) {
  expected(["number", "bigint", "boolean", "string"].includes(typeof value), "no scalar");
  return type === "numpy.bool" ? Boolean(value) : value;
}

/** Decodes `{dtype, shape, order, data}`. Nothing of it is trusted: the shape has to make up the bytes. */
function toArray({ dtype, shape, order, data }) {
  expected(Array.isArray(shape) && shape.length <= 32 && shape.every((side) => Number.isSafeInteger(side) && side >= 0), "bad shape");
  expected(order === "C" || order === "F", "bad order");
  const bytes = toBytes(data);
  const count = shape.reduce((product, side) => product * side, 1);
  const [, byteOrder, kind, digits] = /^([<>|=])([a-zA-Z])(\d{1,9})(?:\[\w{1,20}\])?$/.exec(dtype) ?? [];
  const size = kind ? digits * (kind === "U" ? 4 : 1) : dtype?.size;
  expected(Number.isSafeInteger(size) && (count * size === bytes.length) && (size || count <= 1e6), "its shape does not fit its buffer");
  const Type = TYPES[kind + digits];
  if (dtype === "<f2" && !Type) return new NDArray(toFloats(bytes), shape, "<f4", order);
  if (kind === "U") return new NDArray(toTexts(bytes, size, byteOrder), shape, dtype, order);
  if (!Type) return new NDArray(bytes, shape, dtype, order); // as bytes: such as a structured one
  const copy = bytes.slice();
  const swap = byteOrder === ">" ? Type.BYTES_PER_ELEMENT : 1;
  for (let at = 0; swap > 1 && at < copy.length; at += swap) copy.subarray(at, at + swap).reverse();
  return new NDArray(new Type(copy.buffer), shape, byteOrder === ">" ? dtype.replace(">", "<") : dtype, order);
}

/** Widens float16, for engines without a Float16Array. */
function toFloats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, (bits & 1023) / 1024];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
}

function toTexts(bytes, size, byteOrder) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: size ? bytes.length / size : 0 }, (_, item) => {
    let text = "";
    for (let at = item * size; at < (item + 1) * size; at += 4) text += String.fromCodePoint(view.getUint32(at, byteOrder !== ">"));
    return text.replace(/\0+$/, "");
  });
}

const UNITS = { s: 1e3, ms: 1, us: 1e-3, ns: 1e-6, D: 864e5, h: 36e5, m: 6e4 };
const NAT = -(2n ** 63n);

/** Decodes a column of a table: a typed array, or an array with null for what is missing. */
function toColumn({ values, missing, text, offsets, codes, categories, items }) {
  const gone = missing?.data ?? [];
  if (items) return items;
  if (text) {
    const bytes = toBytes(text);
    const places = Array.from(offsets.data, Number);
    expected(places.every((place, i) => place >= (places[i - 1] ?? 0)) && places.at(-1) <= bytes.length, "bad offsets");
    const decoder = new TextDecoder();
    return places.slice(1).map((end, i) => (gone[i] ? null : decoder.decode(bytes.subarray(places[i], end))));
  }
  if (codes) {
    const labels = toColumn(categories);
    return Array.from(codes.data, (code) => labels[Number(code)] ?? null);
  }
  expected(values instanceof NDArray && values.shape.length === 1, "bad column");
  const [kind, count, unit] = /^<M8\[(\d*)(\w+)\]/.exec(values.dtype)?.slice(0) ?? [];
  if (kind && UNITS[unit])
    return Array.from(values.data, (at, i) => (at === NAT || gone[i] ? null : new Date(Number(at) * (count || 1) * UNITS[unit])));
  if (values.dtype === "|b1") return Array.from(values.data, (item, i) => (gone[i] ? null : item === 1));
  return missing ? Array.from(values.data, (item, i) => (gone[i] ? null : item)) : values.data;
}

const toIndex = (index) => (index?.levels ? { names: index.names, levels: index.levels.map(toColumn) } : index);

function toTable({ library, columns, index, data }) {
  const names = Array.isArray(columns) ? columns : toIndex(columns)?.levels?.[0] ?? [];
  expected(data.length === names.length || columns?.range, "a table has one column for each name");
  const named = data.map((column, i) => [String(names[i] ?? i), toColumn(column)]);
  return new Table(Object.fromEntries(named), library, toIndex(index));
}

/** Decodes a time; one without a zone is local. It has milliseconds, but unchanged it is sent back as it came. */
function toDate(value, _, type) {
  const text = type === "datetime" ? value : value[0];
  const date = new Date(text.replace(/(\.\d{3})\d+/, "$1"));
  expected(!Number.isNaN(date.getTime()), "no time");
  return remember(date, type, encode(value));
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
  RemoteError([kind, text, notes]) {
    return Object.assign(new Error(String(text)), { name: String(kind), notes: Array.from(notes, String), stack: `${kind}: ${text}` });
  },
};
for (const type of "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str".split(" "))
  DECODERS[`numpy.${type}`] = toNumber;

/** Returns a value as JSON, as it crosses the wire: with a `$type` where JSON lacks one. */
export const stringify = (value) => encode(value);

/** Returns the value of such a text. */
export const parse = (text) => decode(parseJSON(text));

// -- finding and connecting -----------------------------------------------------------------------------------------

/** Finds the hub: by the environment, else by its connection file in the user's runtime directory (Node alone). */
function findHub() {
  const [fs, os, path] = ["node:fs", "node:os", "node:path"].map(builtin);
  if (!fs) throw new BerryMQError("NO_HUB", "pass the hub's url and token to link(): only Node 20.16 or newer can look for a hub");
  const { env, platform } = process;
  if (env.BERRYMQ_HUB_URL) return { url: env.BERRYMQ_HUB_URL, token: env.BERRYMQ_HUB_TOKEN };
  const uid = process.getuid?.();
  let directory = env.BERRYMQ_RUNTIME_DIR;
  if (!directory && platform === "win32") directory = path.join(env.LOCALAPPDATA ?? os.homedir(), "Temp", "berrymq");
  if (!directory && platform === "darwin") directory = path.join(os.homedir(), "Library/Caches/TemporaryItems/berrymq");
  const ofUser = fs.existsSync(`/run/user/${uid}`) ? `/run/user/${uid}` : path.join(os.tmpdir(), `runtime-${uid}`);
  directory ||= path.join(env.XDG_RUNTIME_DIR || ofUser, "berrymq");
  const file = path.join(directory, "hub.json");
  try {
    const handle = fs.openSync(file, fs.constants.O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0));
    try {
      const [own, parent] = [fs.fstatSync(handle), fs.statSync(directory)];
      if (!own.isFile() || own.size > 65_536) throw new BerryMQError("PERMISSIONS", `${file} is no connection file`);
      if (uid !== undefined && (own.uid !== uid || own.mode & 0o077 || parent.uid !== uid || parent.mode & 0o077))
        throw new BerryMQError("PERMISSIONS", `other users can read or replace ${file}: make it, and its directory, yours alone (chmod 600, 700)`);
      const { url, access_token: token } = JSON.parse(fs.readFileSync(handle, "utf8"));
      if (typeof url !== "string" || typeof token !== "string") throw new SyntaxError("it lacks url or access_token");
      return { url, token };
    } finally {
      fs.closeSync(handle);
    }
  } catch (error) {
    if (error instanceof BerryMQError) throw error;
    if (error.code === "ELOOP") throw new BerryMQError("PERMISSIONS", `${file} is a symbolic link`);
    const advice = "start one by `berrymq hub --detached`, or by link() in Python";
    throw new BerryMQError("NO_HUB", `no hub runs here: ${advice} (${error.message})`, { cause: error });
  }
}

/**
 * A WebSocket on Node's own modules: Node 20 has none, and that of Node 22 can't close with 1002.
 * As much of the standard one as is used here.
 */
class NodeSocket {
  #socket;
  #request;
  #chunks = [];
  #size = 0;
  #needed = 2;
  #parts = []; // of a message
  #length = 0;
  #isText = true;
  #ended = false;

  constructor(address, protocol) {
    const url = new URL(address.replace(/^ws/, "http"));
    const { createHash, randomBytes } = builtin("node:crypto");
    const key = randomBytes(16).toString("base64");
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
    Object.assign(headers, { "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": protocol });
    this.#request = builtin(url.protocol === "https:" ? "node:https" : "node:http").request(url, { headers, agent: false });
    this.#request.on("error", () => this.#end(1006, ""));
    this.#request.on("response", ({ statusCode }) => this.#end(statusCode === 401 || statusCode === 403 ? 1008 : 1006, `HTTP ${statusCode}`));
    this.#request.on("upgrade", (response, socket, head) => {
      this.#socket = socket.setNoDelay(true);
      socket.on("error", () => this.#end(1006, ""));
      socket.on("close", () => this.#end(1006, ""));
      if (response.headers["sec-websocket-accept"] !== accept) return this.#end(1006, "the answer is not one of a WebSocket");
      this.onopen?.();
      socket.on("data", (chunk) => this.#receive(chunk));
      if (head.length) this.#receive(head);
    });
    this.#request.end();
  }

  send(data) {
    this.#write(typeof data === "string" ? 1 : 2, Buffer.from(data));
  }

  close(code) {
    if (!this.#socket) return this.#end(1006, "");
    this.#write(8, Buffer.from([code >> 8, code & 255]));
    if (code === 1000) setTimeout(() => this.#end(1006, ""), 1_000).unref();
    else this.#end(code, "");
  }

  #write(opcode, payload) {
    if (this.#ended) return;
    const { length } = payload;
    const header = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
    header[0] = 0x80 | opcode;
    header[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
    if (length >= 65_536) header.writeBigUInt64BE(BigInt(length), 2);
    else if (length >= 126) header.writeUInt16BE(length, 2);
    const mask = builtin("node:crypto").randomFillSync(header.subarray(-4));
    for (let at = 0; at < length; at++) payload[at] ^= mask[at & 3];
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  #receive(chunk) {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#size >= this.#needed && !this.#ended) {
      const data = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
      this.#chunks = [data];
      let [start, length] = [2, data[1] & 127];
      if (length >= 126) {
        start = length === 126 ? 4 : 10;
        if (data.length >= start) length = length === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2));
      }
      this.#needed = data.length < start ? start : start + length;
      if (this.#needed > MAX_FRAME) return this.close(1009);
      if (data[0] & 0x70 || data[1] & 128 || (data[0] & 8 && (length > 125 || !(data[0] & 128)))) return this.close(1002);
      if (data.length < this.#needed) continue;
      const rest = data.subarray(this.#needed);
      this.#chunks = [rest];
      this.#size = rest.length;
      this.#needed = 2;
      this.#frame(data[0] & 15, Boolean(data[0] & 128), data.subarray(start, start + length));
    }
  }

  #frame(opcode, last, payload) {
    if (opcode === 9) return this.#write(10, Buffer.from(payload));
    if (opcode === 10) return;
    if (opcode === 8) {
      const code = payload.length < 2 ? 1005 : payload.readUInt16BE(0);
      this.#write(8, Buffer.from(payload.subarray(0, 2)));
      return this.#end(code, payload.subarray(2).toString());
    }
    const isFirst = opcode === 1 || opcode === 2;
    if (isFirst === this.#parts.length > 0 || (!isFirst && opcode !== 0)) return this.close(1002);
    if (isFirst) this.#isText = opcode === 1;
    this.#parts.push(payload);
    this.#length += payload.length;
    if (this.#length > MAX_FRAME) return this.close(1009);
    if (!last) return;
    const all = Buffer.concat(this.#parts);
    [this.#parts, this.#length] = [[], 0];
    try {
      this.onmessage?.({ data: this.#isText ? strictUtf8.decode(all) : all });
    } catch {
      this.close(1007);
    }
  }

  #end(code, reason) {
    if (this.#ended) return;
    this.#ended = true;
    this.#request.destroy();
    this.#socket?.end();
    this.#socket?.destroySoon?.();
    this.onclose?.({ code, reason });
  }
}

async function sha256(text, secret) {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle) throw new BerryMQError("UNSUPPORTED", "pages need a secure context, such as https:// or http://localhost");
  let digest;
  if (secret === undefined) digest = await subtle.digest("SHA-256", utf8.encode(text));
  else {
    const key = await subtle.importKey("raw", utf8.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    digest = await subtle.sign("HMAC", key, utf8.encode(text));
  }
  return toHex(new Uint8Array(digest));
}

const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const nonce = () => toHex(crypto.getRandomValues(new Uint8Array(24)));

/** One WebSocket with the calls that wait for their results on it. */
class Connection {
  #socket;
  #calls = new Map();
  #last = 0;
  onframe = () => {};
  onclose = () => {};
  onbinary = () => {};
  heard = Date.now();

  /** Connects, proves the token both ways, and resolves to `{connection, url, hub, id}`. */
  static async open({ url, token }, WebSocket) {
    let address;
    try {
      address = new URL("ws", url.replace(/\/*$/, "/").replace(/^http/, "ws"));
    } catch {
      throw new BerryMQError("NO_HUB", `${JSON.stringify(url)} is no address such as http://127.0.0.1:8137`);
    }
    const connection = new Connection();
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new BerryMQError("NO_HUB", `${address.host} does not answer`)), HANDSHAKE);
    });
    try {
      await Promise.race([connection.#connect(address.href, WebSocket), late]);
      return { connection, ...(await Promise.race([connection.#authenticate(address, token), late])) };
    } catch (error) {
      connection.close(1001);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #connect(address, WebSocket = isNode ? NodeSocket : globalThis.WebSocket) {
    return new Promise((resolve, reject) => {
      if (!WebSocket) return reject(new BerryMQError("UNSUPPORTED", "there is no WebSocket here: pass a class as `WebSocket`"));
      this.#socket = new WebSocket(address, "berrymq.v1");
      this.#socket.binaryType = "arraybuffer";
      this.#socket.onopen = resolve;
      this.#socket.onerror = () => reject(new BerryMQError("NO_HUB", `no connection to ${address}; is a hub there?`));
      this.#socket.onmessage = ({ data }) => this.#receive(data);
      this.#socket.onclose = ({ code, reason }) => {
        const refused = code === 1008;
        const text = refused ? "refused the access token, or this page or program" : "has ended the connection; does a hub run there?";
        const error = new BerryMQError(refused ? "REFUSED" : "NO_HUB", `${address} ${text} ${reason}`.trim());
        reject(error);
        for (const { reject } of this.#calls.values()) reject(error);
        this.#calls.clear();
        this.onclose(code);
      };
    });
  }

  async #authenticate(address, token) {
    const mine = nonce();
    const hello = await this.call("hello", { nonce: mine });
    const port = Number(address.port || (address.protocol === "wss:" ? 443 : 80));
    if (token !== undefined) {
      const text = `${mine} ${hello.nonce} ${hello.port}`;
      const isLoopback = /^(localhost|127\.[\d.]+|\[::1\])$/.test(address.hostname);
      if ((isLoopback && hello.port !== port) || hello.proof !== (await sha256(`berrymq server ${text}`, token)))
        throw new BerryMQError("REFUSED", `${address.host} does not know this access token; nothing was sent to it`);
      await this.call("authenticate", { proof: await sha256(`berrymq client ${text}`, token) });
    }
    return { url: address.href.replace(/^ws/, "http").replace(/ws$/, ""), hub: hello.hub === true };
  }

  /** Calls a method; `now` gets the result at once, before the next frame. */
  call(method, params, now = () => {}) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const done = (result) => {
        now(result);
        resolve(result);
      };
      this.#calls.set(id, { resolve: done, reject });
      this.send(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${JSON.stringify(params)}}`);
    });
  }

  send(text) {
    try {
      this.#socket.send(text);
    } catch {} // the close is reported
  }

  close(code) {
    if (!this.#socket) return;
    this.#socket.close(code === 1000 || this.#socket instanceof NodeSocket ? code : code + 3_000); // as browsers allow
    if (code !== 1000) this.#socket.onclose({ code: 1006, reason: "" }); // a dead one may take minutes
    this.#socket.onclose = this.#socket.onmessage = () => {};
  }

  #receive(data) {
    this.heard = Date.now();
    try {
      if (typeof data !== "string") return this.onbinary(new Uint8Array(data));
      const message = parseJSON(data);
      if (message.method) return this.onframe(message.method, message.params ?? {});
      const call = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (!message.error) return call?.resolve(message.result);
      const code = CODES_OF_ERRORS[message.error.code] ?? "PROTOCOL";
      call?.reject(new BerryMQError(code, String(message.error.message)));
    } catch (error) {
      console.error("berryMQ: the node does not keep to the protocol:", error);
      this.close(1002);
    }
  }
}

const CODES_OF_ERRORS = { "-32001": "REFUSED", "-32006": "IDENTIFIER", "-32004": "OVERFLOW", "-32005": "PAYLOAD" };

// -- what a link hands out ------------------------------------------------------------------------------------------

const KEY = Symbol("origin and sequence number");

/** A message, as followers and queues get it. */
export class Message {
  constructor(identifier, args, kwargs, source, sentAt, past = false) {
    const { name, action, namespace, text } = identifier;
    Object.assign(this, { identifier: text, name, action, namespace, args, kwargs, source, sentAt: new Date(sentAt * 1_000), past });
  }
}

/** What `follow` returns. Messages that arrive while the retained ones are on their way are held. */
class Follower {
  #handler;
  #detach;
  held = null;
  isActive = true;
  answers = true;
  constructor(identifier, handler, detach) {
    Object.defineProperty(this, "identifier", { value: identifier.text, enumerable: true });
    this.#handler = handler;
    this.#detach = detach;
  }
  /** Follows no more. */
  cancel() {
    if (!this.isActive) return;
    this.isActive = false;
    this.#detach(this);
  }
  follows(handler) {
    return handler === undefined || handler === this.#handler;
  }
  deliver(message) {
    if (this.held) return void this.held.push(message);
    return this.#handler(message);
  }
}

/** Holds messages until they are taken, by `get` or by `for await`. */
class Queue extends Follower {
  #items = new Deque();
  #waiting = new Deque();
  #maxsize;
  #closesOnBreak;
  #error = new BerryMQError("CLOSED", "the queue is closed");
  /** The messages that were dropped since the queue was full: the oldest ones. */
  dropped = 0;
  answers = false;
  wanted = null; // of a shared one: called when the number of those that wait has changed

  constructor(identifier, detach, { maxsize = 100_000, closesOnBreak = false } = {}) {
    super(identifier, (message) => this.offer(message), detach);
    this.#maxsize = maxsize;
    this.#closesOnBreak = closesOnBreak;
  }
  /** The number of messages that wait here. */
  get size() {
    return this.#items.length;
  }
  get waiting() {
    return this.#waiting.length;
  }
  /** Gives a message to a waiting `get`, else stores it; a shared queue stores none. Returns whether one waited. */
  offer(message) {
    const take = this.#waiting.shift();
    take?.(message);
    if (take || this.wanted) return Boolean(take);
    if (this.#items.length >= this.#maxsize) {
      this.#items.shift();
      this.dropped++;
    }
    this.#items.push(message);
    return false;
  }
  /** Resolves to the next message, or to null after `timeout` ms; rejects with CLOSED, or as `signal` says. */
  async get({ timeout, signal } = {}) {
    signal?.throwIfAborted();
    if (this.#items.length) return this.#items.shift();
    if (!this.isActive) throw this.#error;
    if (timeout !== undefined && timeout <= 0 && !this.wanted) return null;
    return new Promise((resolve, reject) => {
      const end = (error, message = null) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        if (this.#waiting.delete(take)) this.wanted?.();
        if (error) reject(error);
        else resolve(message);
      };
      const take = (message, error) => end(error, message);
      const aborted = () => end(signal.reason);
      const timer = timeout === undefined ? undefined : timeout > 0 && setTimeout(end, Math.min(timeout, 2 ** 31 - 1));
      signal?.addEventListener("abort", aborted);
      this.#waiting.push(take);
      this.wanted?.(timeout !== undefined && timeout <= 0 ? () => end() : undefined);
    });
  }
  /** Takes all messages that are here. */
  drain() {
    const all = [...this.#items];
    this.#items = new Deque();
    return all;
  }
  /** Ends it; those who wait get the error CLOSED, and loops end. */
  close(error) {
    if (error) this.#error = error;
    this.cancel();
  }
  cancel() {
    super.cancel();
    for (let take = this.#waiting.shift(); take; take = this.#waiting.shift()) take(null, this.#error);
  }
  [Symbol.asyncIterator]() {
    const done = { done: true, value: undefined };
    return {
      next: async () => {
        try {
          return { done: false, value: await this.get() };
        } catch (error) {
          if (error.code === "CLOSED") return done;
          throw error;
        }
      },
      return: async () => {
        if (this.#closesOnBreak) this.close();
        return done;
      },
    };
  }
}

// -- the parts of a link --------------------------------------------------------------------------------------------

/**
 * What is sent in numbered frames, in its order: buffered, sent as the window allows, and kept until acknowledged.
 * A frame that holds no messages is sent after the messages that were published before it: `after` is their number.
 */
class Outbox {
  #maxMessages;
  #maxBytes;
  #write;
  #batch;
  #messages = new Deque();
  #bytes = 0; // of #messages
  #taken = 0; // messages that have left #messages
  #controls = new Deque();
  #frames = new Deque(); // in flight
  #inFlight = 0; // messages
  #bytesInFlight = 0;
  #last = 0; // frame
  #open = new Set(); // frames without messages that have not arrived
  #flushes = new Set();

  /** `write` writes a frame if there is a connection; `batch` returns messages of one identifier as JSON. */
  constructor(maxMessages, maxBytes, write, batch) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
    this.#write = write;
    this.#batch = batch;
  }

  get isEmpty() {
    return !this.#open.size && !this.unacknowledged;
  }
  get unacknowledged() {
    return this.#messages.length + this.#inFlight;
  }

  /** Enqueues a message; returns the number of the oldest ones that were dropped for it. */
  publish(message) {
    this.#messages.push(message);
    this.#bytes += message.size;
    let dropped = 0;
    for (; this.#messages.length > this.#maxMessages || this.#bytes > this.#maxBytes; dropped++) {
      this.#bytes -= this.#messages.shift().size;
      this.#taken++;
    }
    return dropped;
  }

  /** Enqueues another frame; `body` is JSON without the braces. */
  control(method, body, { question, after = this.#taken + this.#messages.length } = {}) {
    const frame = { method, body, question, after };
    this.#open.add(frame);
    this.#controls.push(frame);
  }

  /** Sends a frame before all that waits. */
  send(method, body) {
    const frame = { method, body };
    this.#open.add(frame);
    this.#send(frame);
  }

  #send(frame) {
    frame.n = ++this.#last;
    this.#frames.push(frame);
    this.#write(frame);
  }

  /** Sends what waits, as far as the window allows. */
  pump() {
    for (;;) {
      const control = this.#controls.peek();
      if (control && control.after <= this.#taken) this.#send(this.#controls.shift());
      else if (this.#messages.length && this.#inFlight < MAX_IN_FLIGHT && this.#bytesInFlight < MAX_BYTES_IN_FLIGHT)
        this.#sendMessages(Math.min(control?.after ?? Infinity, this.#taken + MAX_IN_FLIGHT - this.#inFlight));
      else return;
    }
  }

  #sendMessages(until) {
    const [messages, batches] = [[], []];
    let size = 0;
    while (this.#messages.length && this.#taken < until) {
      const message = this.#messages.peek();
      if (messages.length && size + message.size > FRAME) break;
      const last = messages.at(-1);
      if (last?.identifier !== message.identifier || last.sequence + 1 !== message.sequence) batches.push([]);
      batches.at(-1).push(message);
      messages.push(this.#messages.shift());
      this.#taken++;
      size += message.size;
    }
    this.#bytes -= size;
    this.#inFlight += messages.length;
    this.#bytesInFlight += size;
    this.#send({ method: "messages", body: `"batches":[${batches.map(this.#batch).join()}]`, messages, size });
  }

  /** Forgets the frames that have arrived. */
  settle(ack) {
    if (ack > this.#last) throw new BerryMQError("PROTOCOL", `frame ${ack} was acknowledged, and ${this.#last} was the last`);
    while (this.#frames.length && this.#frames.peek().n <= ack) this.#forget(this.#frames.shift());
    for (const flush of this.#flushes) flush();
  }

  #forget(frame) {
    this.#open.delete(frame);
    this.#inFlight -= frame.messages?.length ?? 0;
    this.#bytesInFlight -= frame.size ?? 0;
  }

  retransmit() {
    for (const frame of this.#frames) this.#write(frame);
  }

  /** Notes whether the other side refused the oldest frame; at the second time drops it, and returns what it was. */
  refuse(isRefused) {
    const frame = this.#frames.peek();
    if (!frame) return null;
    const isSecond = isRefused && frame.refused;
    frame.refused = isRefused;
    if (!isSecond) return null;
    const [count, { question }] = [frame.messages?.length ?? 0, frame];
    this.#forget(frame);
    this.#open.add(frame);
    Object.assign(frame, { method: "dropped", body: `"count":${count}`, question: undefined, messages: undefined, size: 0 });
    return { count, question };
  }

  /**
   * Begins at frame 1: messages and questions that were not acknowledged wait again, other frames are forgotten.
   * Returns the numbers of these questions, and a function that enqueues them.
   */
  restart() {
    const [messages, questions] = [[], []];
    const first = this.#taken - this.#inFlight;
    for (const frame of this.#frames) {
      for (const message of frame.messages ?? []) messages.push(message);
      if (frame.question) questions.push(Object.assign(frame, { after: first + messages.length }));
    }
    for (const control of this.#controls) if (control.question) questions.push(control);
    for (const { size } of messages) this.#bytes += size;
    this.#messages = new Deque([...messages, ...this.#messages]);
    this.#frames = new Deque();
    this.#controls = new Deque();
    this.#open = new Set(questions);
    this.#taken = first;
    this.#last = this.#inFlight = this.#bytesInFlight = 0;
    const resend = () => {
      for (const frame of questions) this.#controls.push(frame);
    };
    return { questions: new Set(questions.map(({ question }) => question)), resend };
  }

  /** Resolves to true once all that was enqueued before has arrived, to false after some ms. */
  flush(timeout, isPending) {
    const [goal, frames] = [this.#taken + this.#messages.length, [...this.#open]];
    return new Promise((resolve) => {
      const end = (result) => {
        clearTimeout(timer);
        this.#flushes.delete(check);
        resolve(result);
      };
      const hasArrived = () => this.#taken - this.#inFlight >= goal && !frames.some((frame) => this.#open.has(frame)) && !isPending();
      const check = () => hasArrived() && end(true);
      const timer = setTimeout(() => end(false), timeout);
      this.#flushes.add(check);
      check();
    });
  }
}

/** Fetches large buffers of the other side in pieces, those of one frame after the other. */
class Pulls {
  #notify;
  #release;
  #turn = Promise.resolve();
  #current = null;
  #session = 0; // the numbers of buffers are valid in one session

  constructor(notify, release) {
    this.#notify = notify;
    this.#release = release;
  }

  /** Returns the buffers of a frame: in a row, each at a multiple of 64 bytes; a promise where they are pulled. */
  buffers({ memory, sizes, reason }) {
    if (!sizes) return undefined;
    const offsets = [];
    let total = 0;
    for (const size of sizes) {
      offsets.push(Math.ceil(total / 64) * 64);
      total = offsets.at(-1) + size;
    }
    const split = (all) => all && sizes.map((size, i) => all.subarray(offsets[i], offsets[i] + size));
    if (typeof memory === "string") return split(fromBase64(memory));
    const gone = { reason: reason ?? "its buffers are gone" };
    if (typeof memory !== "number" || !(total <= MAX_BUFFERS)) return gone;
    const session = this.#session;
    this.#turn = this.#turn.then(() => (session === this.#session ? this.#pull(memory, total) : undefined));
    return this.#turn.then((all) => split(all) ?? gone);
  }

  /** Resolves to all bytes, or to undefined when they are gone. */
  async #pull(memory, total) {
    const session = this.#session;
    const all = await new Promise((resolve) => {
      // `asked`: offset, size and time of the pieces on their way
      this.#current = { memory, all: new Uint8Array(total), asked: [], next: 0, piece: MIN_PIECE, resolve };
      this.#ask();
    });
    this.#current = null;
    if (session === this.#session) this.#release(memory);
    return all;
  }

  #ask() {
    const current = this.#current;
    while (current.asked.length < 2 && current.next < current.all.length) {
      const size = Math.min(current.piece, current.all.length - current.next);
      current.asked.push({ offset: current.next, size, at: Date.now() });
      this.#notify("pull", { memory: current.memory, offset: current.next, size });
      current.next += size;
    }
    if (!current.asked.length) current.resolve(current.all);
  }

  /** Takes a piece: number and offset, each as 8 bytes, then the bytes. Pieces grow while they are fast. */
  arrived(message) {
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    const [memory, offset, data] = [Number(view.getBigUint64(0)), Number(view.getBigUint64(8)), message.subarray(16)];
    const current = this.#current;
    const first = current?.asked[0];
    if (current?.memory !== memory || first?.offset !== offset || first.size !== data.length) return; // of a former one
    current.all.set(data, offset);
    current.asked.shift();
    const grown = current.piece * (Date.now() - first.at < FAST ? 2 : 0.5);
    current.piece = Math.max(MIN_PIECE, Math.min(MAX_PIECE, grown));
    this.#ask();
  }

  gone(memory) {
    if (this.#current?.memory === memory) this.#current.resolve(undefined);
  }

  /** Asks again for the pieces that were on their way. */
  resume() {
    for (const { offset, size } of this.#current?.asked ?? []) this.#notify("pull", { memory: this.#current.memory, offset, size });
  }

  restart() {
    this.#session++;
    this.#current?.resolve(undefined);
  }
}

// -- the link -------------------------------------------------------------------------------------------------------

/** A live link to a hub, or to another node. Events: "state", "drop" and "error", that of a follower. */
class Link extends EventTarget {
  #options;
  #source;
  #key = nonce();
  #state = "connecting";
  #endOfState = () => {};
  #nextState = Promise.resolve(); // when the state changes
  #connection = null;
  #peer = null; // {id, hub}
  /** While reconnecting: the error of the last attempt. */
  reason = null;
  #attempts = 0; // to connect, since the last frame arrived
  #interested = () => {}; // called by the first interest of the other side
  #timers = [];
  #outbox;
  #sequence = 0;
  #changes = new Map(); // of what is followed: by identifier, whether it is added; not announced yet
  #isPumping = false;
  #unreported = 0; // dropped, which the other side does not know
  #justDropped = 0;
  // Receiving
  #received = 0; // the last frame
  #acknowledged = 0;
  #ackTimer;
  #highest = new Map(); // by origin, over a hub by origin and identifier
  #ackable = 0; // the last frame that may be acknowledged: while very much is held, the other side has to wait
  #held = new Map(); // by key, the promise after which the next one may be delivered
  #holding = 0;
  #pulls;
  // What is followed
  #subscriptions = new Map(); // by identifier, for `interest`
  #order = new Set();
  #routes = new Map();
  #interest = new Map();
  #everything = false;
  #wanted = new Map(); // a cache of `interest`
  #questions = new Map();
  #numbers = 0; // of questions and queries
  #replays = new Map();
  #groups = new Map(); // shared queues by identifier
  #keeps = new Map();
  #stats = { published: 0, received: 0, dropped: 0, lost: 0, connections: 0 };
  #shares = new Map();

  constructor(options) {
    super();
    const { ttl = 1_000_000, maxMessages = 100_000, maxBytes = 64 << 20 } = options;
    this.#options = { ...options, ttl };
    const write = (frame) => this.#write(frame);
    this.#outbox = new Outbox(maxMessages, maxBytes, write, (messages) => this.#batch(messages));
    this.#pulls = new Pulls((method, params) => this.#notify(method, params), (memory) => this.#control("release", { memory: [memory] }));
    this.#source = options.name ?? globalThis.document?.title ?? builtin("node:path")?.basename(process.argv[1] ?? "node");
    this.#source ||= "javascript";
  }

  // -- the connection

  async open() {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const aborted = () => this.close({ timeout: 0, reason: signal.reason });
    signal?.addEventListener("abort", aborted, { once: true });
    try {
      this.id = (await sha256(`berrymq node ${this.#key}`)).slice(0, 16);
      const interested = new Promise((resolve) => {
        this.#interested = resolve;
      });
      await this.#connect();
      const timer = setTimeout(this.#interested, INTEREST);
      await interested; // so that what is published next is sent
      clearTimeout(timer);
    } catch (error) {
      signal?.removeEventListener("abort", aborted);
      this.#setState("closed");
      throw signal?.aborted ? signal.reason : error;
    }
    signal?.throwIfAborted();
    this.#timers.push(setInterval(() => this.#checkSilence(), SILENCE));
    return this;
  }

  async #connect() {
    const { url, token, room, ttl, WebSocket } = this.#options;
    const place = url === undefined ? findHub() : { url, token };
    const { connection, hub, url: address } = await Connection.open(place, WebSocket);
    const params = { name: this.#source, key: this.#key, room, ttl: Math.ceil(ttl / 1_000), pull: true };
    if (!hub) Object.assign(params, { id: this.id, key: await sha256(`berrymq direct ${address}`, this.#key) });
    if (this.#peer) params.resume = { id: this.#peer.id, received: this.#received };
    if (this.#state === "closed") return connection.close(1000);
    connection.onframe = (method, frame) => this.#receive(method, frame);
    connection.onclose = (code) => this.#connection === connection && this.#cut(code);
    connection.onbinary = (piece) => this.#pulls.arrived(piece);
    const interconnect = () => connection.call("interconnect", params, (result) => this.#linked(connection, result));
    const late = setTimeout(() => connection.close(1001), HANDSHAKE);
    try {
      await interconnect().catch((error) => {
        if (error.code !== "PROTOCOL" || !params.resume) throw error;
        delete params.resume; // it was refused
        return interconnect();
      });
    } catch (error) {
      connection.close(1001);
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  #linked(connection, { id, hub, resumed, received, lost }) {
    this.#connection = connection;
    this.#stats.connections++;
    this.#stats.lost += lost ?? 0;
    if (resumed) {
      this.#settle(received);
      this.#outbox.retransmit();
      this.#pulls.resume();
      for (const queue of this.#groups.values()) queue.report();
    } else {
      this.#pulls.restart();
      const isSuccessor = this.#peer !== null;
      this.#peer = { id, hub };
      this.#restart(isSuccessor);
    }
    this.reason = null;
    this.#setState("linked");
    this.#pump();
  }

  /** Begins at frame 1: announces everything, then sends what was not acknowledged. */
  #restart(isSuccessor) {
    const { questions, resend } = this.#outbox.restart();
    this.#received = this.#ackable = this.#acknowledged = 0;
    this.#changes.clear();
    for (const queue of this.#groups.values()) this.#join(queue);
    this.#control("interest", { add: [...this.#subscriptions.keys()], remove: [], reset: true }, { after: 0 });
    for (const query of this.#replays.keys()) this.#query(query);
    resend();
    for (const [question, { fail }] of this.#questions)
      if (!questions.has(question)) fail(new BerryMQError("TIMEOUT", "the hub ended before it had passed on the answers"));
    if (isSuccessor) for (const [identifier, last] of this.#keeps) this.#call("keep", { identifier, last, name: this.#source }).catch(() => {});
  }

  async #cut(code) {
    this.#connection = null;
    const refused = this.#outbox.refuse(code === 1002 || code === 1009);
    if (refused) {
      if (refused.count) this.#stats.dropped += refused.count;
      this.#questions.get(refused.question)?.fail(new BerryMQError("PAYLOAD", "the hub has refused this question"));
      console.error(`berryMQ: the hub has refused a frame twice; it is dropped, with ${refused.count} messages`);
    }
    if (this.#state === "closed") return;
    this.#setState("reconnecting");
    while (this.#state === "reconnecting") {
      const backoff = Math.min(MAX_BACKOFF, 50 * 2 ** Math.min(this.#attempts, 10)) * (0.5 + Math.random() / 2);
      if (this.#attempts++) await new Promise((resolve) => setTimeout(resolve, backoff));
      try {
        return await this.#connect();
      } catch (error) {
        this.reason = error;
      }
    }
  }

  /** Pings after some silence. Timers of hidden pages are late, so only a ping without an answer proves a cut. */
  #checkSilence() {
    const connection = this.#connection;
    if (!connection || Date.now() - connection.heard < SILENCE) return;
    const timer = setTimeout(() => connection.close(1001), NO_ANSWER);
    const stop = () => clearTimeout(timer);
    connection.call("ping", {}).then(stop, stop);
  }

  #setState(state) {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    this.#endOfState();
    this.#nextState = new Promise((resolve) => {
      this.#endOfState = resolve;
    });
    this.dispatchEvent(new Event("state"));
  }

  // -- frames out

  #write({ n, method, body }) {
    if (!this.#connection) return;
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#acknowledged = this.#ackable;
    this.#connection.send(`{"jsonrpc":"2.0","method":"${method}","params":{"n":${n},"ack":${this.#ackable},${body}}}`);
  }

  /** Enqueues a frame that holds no messages; `body` is an object, or its JSON text without the braces. */
  #control(method, body, options) {
    this.#outbox.control(method, typeof body === "string" ? body : JSON.stringify(body).slice(1, -1), options);
    this.#schedule();
  }

  #schedule() {
    if (this.#isPumping) return;
    this.#isPumping = true;
    queueMicrotask(() => this.#pump());
  }

  #pump() {
    this.#isPumping = false;
    if (!this.#connection) return;
    if (this.#changes.size) {
      const changed = (added) => [...this.#changes].filter(([, isAdded]) => isAdded === added).map(([text]) => text);
      this.#outbox.send("interest", JSON.stringify({ add: changed(true), remove: changed(false) }).slice(1, -1));
      this.#changes.clear();
    }
    if (this.#unreported) this.#outbox.send("dropped", `"count":${this.#unreported}`);
    this.#unreported = 0;
    this.#outbox.pump();
  }

  #settle(ack) {
    this.#outbox.settle(ack);
    this.#schedule();
  }

  #batch(messages) {
    const [{ identifier, sequence }] = messages;
    const head = [identifier, this.id, this.#source, sequence, messages.length].map((item) => JSON.stringify(item));
    return `[${head.join()},[${messages.map((message) => message.text).join()}]]`;
  }

  #compose(identifier, args, kwargs, callback) {
    if (!Array.isArray(args)) throw new TypeError("args is an array, as in twitter('test:run', [1], { x: 2 })");
    const more = callback ? `,${JSON.stringify(callback.text)}` : "";
    const text = `[${Date.now() / 1_000},${encodePayload([args, { ...kwargs }]).slice(1, -1)}${more}]`;
    return { identifier: identifier.text, text, size: text.length, sequence: ++this.#sequence };
  }

  #publish(identifier, args, kwargs, callback) {
    this.#checkOpen();
    const [id, answerTo] = [identifierOf(identifier), callback == null ? undefined : identifierOf(callback)];
    const message = new Message(id, args, kwargs, this.#source, Date.now() / 1_000);
    if (this.#isWanted(id)) {
      const entry = this.#compose(id, args, kwargs, answerTo);
      if (this.#replays.size) message[KEY] = `${this.id} ${entry.sequence}`;
      this.#stats.published++;
      const dropped = this.#outbox.publish(entry);
      if (dropped) this.#drop(dropped);
      this.#schedule();
    }
    this.#dispatch(message, answerTo);
  }

  #drop(count) {
    this.#stats.dropped += count;
    this.#unreported += count;
    this.#justDropped += count;
    if (this.#justDropped > count) return; // one event for those of one turn
    queueMicrotask(() => {
      this.dispatchEvent(Object.assign(new Event("drop"), { count: this.#justDropped }));
      this.#justDropped = 0;
    });
  }

  #isWanted(id) {
    if (id.local) return false;
    let wanted = this.#wanted.get(id.text);
    if (wanted === undefined) {
      wanted = this.#everything;
      for (const one of [...this.#interest.values(), ...[...this.#groups.keys(), ...this.#keeps.keys()].map(identifierOf)]) wanted ||= matches(one, id);
      if (this.#wanted.size > 4_096) this.#wanted.clear();
      this.#wanted.set(id.text, wanted);
    }
    return wanted;
  }

  /** Calls a method of the hub; again after a cut. */
  async #call(method, params, { timeout = 25_000, signal } = {}) {
    let stop;
    const end = new Promise((_, reject) => {
      const late = () => reject(new BerryMQError("TIMEOUT", `the hub has not answered ${method} in ${timeout} ms`));
      const timer = setTimeout(late, timeout);
      const aborted = () => reject(signal.reason);
      signal?.addEventListener("abort", aborted);
      stop = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
      };
    });
    try {
      for (;;) {
        signal?.throwIfAborted();
        this.#checkOpen();
        const change = this.#nextState;
        const result = this.#connection?.call(method, params).then(
          (value) => ({ value }),
          (error) => (error.code === "NO_HUB" ? change : Promise.reject(error)), // a cut
        );
        const answer = await Promise.race([result ?? change, change, end]);
        if (answer) return answer.value;
      }
    } finally {
      stop();
    }
  }

  #checkOpen() {
    if (this.#state === "closed") throw new BerryMQError("CLOSED", "the link is closed");
  }

  // -- frames in

  #receive(method, params) {
    if (method === "ack") return this.#settle(params.ack);
    if (method === "gone") return this.#pulls.gone(params.memory);
    const { n } = params;
    if (n === undefined || n <= this.#received) return;
    if (n !== this.#received + 1) throw new BerryMQError("PROTOCOL", `frame ${n} after ${this.#received}`);
    this.#settle(params.ack);
    this.#handlers[method]?.(params);
    this.#received = n;
    this.#attempts = 0;
    if (this.#holding <= MAX_HELD) this.#allowAck();
  }

  #allowAck() {
    this.#ackable = this.#received;
    if (this.#ackable - this.#acknowledged >= 32) this.#acknowledge();
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), 5);
  }

  #acknowledge() {
    this.#ackTimer = undefined;
    if (this.#acknowledged === this.#ackable || !this.#connection) return;
    this.#acknowledged = this.#ackable;
    this.#notify("ack", { ack: this.#ackable });
  }

  #notify(method, params) {
    this.#connection?.send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  #handlers = {
    messages: ({ batches }) => batches.forEach((batch) => this.#inOrder(keyOf(batch), {}, () => this.#accept(batch))),
    buffers: ({ batch, ...large }) => this.#inOrder(keyOf(batch), large, (buffers) => this.#accept(batch, buffers)),
    ask: ({ question, batch, ...large }) =>
      this.#inOrder(`ask ${keyOf(batch)}`, large, (buffers) => {
        const answers = [...this.#read(batch, buffers)].map(([message]) => this.#answers(message));
        Promise.all(answers).then((all) => {
          if (this.#state !== "closed") this.#control("answer", `"question":${question},"answers":[${all.flat().join()}]`);
        });
      }),
    answer: ({ question, answers, unanswered = [] }) => {
      const all = answers.map((answer) => this.#pulls.buffers(answer[3] ?? {}));
      Promise.all(all).then((buffers) => this.#questions.get(question)?.done(answers, unanswered, buffers));
    },
    interest: ({ add = [], remove = [], reset, everything }) => {
      if (reset) this.#interest.clear();
      this.#everything = everything ?? false;
      for (const text of remove) this.#interest.delete(text);
      for (const text of add) this.#interest.set(text, identifierOf(text));
      this.#wanted.clear();
      this.#interested();
    },
    dropped: ({ count }) => {
      this.#stats.lost += count;
    },
    past: ({ query, batches = [], end, ...large }) =>
      this.#inOrder(`past ${query}`, large, (buffers) => {
        const replay = this.#replays.get(query);
        if (!replay) return;
        for (const batch of batches) for (const part of this.#read(batch, buffers, true)) replay.parts.push(part);
        if (end) this.#endReplay(query, replay);
      }),
    jobs: ({ group, jobs, ...large }) =>
      this.#inOrder(`group ${group}`, large, (buffers) => {
        const queue = this.#groups.get(group);
        for (const [number, batch] of jobs) {
          let job = number;
          for (const [message, origin, sequence] of this.#read(batch, buffers)) {
            if (!queue?.offer(message)) queue?.returned.push(job++);
            else {
              queue.taken.push(job++);
              queue.recent.push([Date.now(), origin, sequence]);
            }
          }
        }
        queue?.report();
      }),
    group: ({ group, state, refused, question }) => {
      const queue = this.#groups.get(group);
      if (refused) queue?.close(new BerryMQError("REFUSED", String(refused)));
      else if (queue) queue.state = state;
      if (question) queue?.questions.get(question)?.();
    },
  };

  // -- buffers

  /** Calls `deliver` with the buffers: at once, or when they are pulled, after what had the same key before. */
  #inOrder(key, large, deliver) {
    const [before, buffers] = [this.#held.get(key), this.#pulls.buffers(large)];
    if (!before && !(buffers instanceof Promise)) return deliver(buffers);
    const turn = Promise.all([buffers, before])
      .then(([all]) => deliver(all))
      .catch((error) => this.#report(error, key))
      .finally(() => {
        if (this.#held.get(key) === turn) this.#held.delete(key);
        if (--this.#holding === MAX_HELD) this.#allowAck();
      });
    this.#held.set(key, turn);
    this.#holding++;
  }

  /** Yields the messages of a batch with origin and sequence number. */
  *#read([text, origin, source, first, , messages], buffers, past = false) {
    const identifier = identifierOf(text);
    for (const [index, [sentAt, args, kwargs, callback]] of messages.entries()) {
      let message;
      try {
        message = new Message(identifier, decode(args, buffers), decode(kwargs, buffers), source, sentAt, past);
      } catch (error) {
        this.#report(error, text); // the payload is its sender's alone
        continue;
      }
      yield [message, origin, first + index, callback];
    }
  }

  #accept(batch, buffers) {
    for (const [message, origin, sequence, callback] of this.#read(batch, buffers)) {
      if (this.#isDuplicate(origin, keyOf(batch), sequence)) continue;
      if (this.#replays.size) message[KEY] = `${origin} ${sequence}`;
      this.#stats.received++;
      this.#dispatch(message, callback == null ? undefined : identifierOf(callback));
    }
  }

  /** Numbers of an origin and identifier ascend over a hub; a node that passes on may mix those of several ways. */
  #isDuplicate(origin, order, sequence) {
    const key = this.#peer.hub ? order : origin;
    const known = this.#highest.get(key);
    if (this.#peer.hub) {
      if (sequence <= known) return true;
      if (this.#highest.size > 50_000) this.#highest.delete(this.#highest.keys().next().value);
      this.#highest.set(key, sequence);
      return false;
    }
    const numbers = known ?? new Set();
    this.#highest.set(origin, numbers);
    if (numbers.has(sequence)) return true;
    numbers.add(sequence);
    if (numbers.size > MAX_IN_FLIGHT) numbers.delete(numbers.values().next().value);
    return false;
  }

  // -- followers

  #route(message) {
    const known = this.#routes.get(message.identifier);
    if (known) return known;
    const route = [...this.#order].filter((one) => matches(identifierOf(one.identifier), message));
    if (this.#routes.size > 4_096) this.#routes.clear();
    this.#routes.set(message.identifier, route);
    return route;
  }

  /** Calls the followers; sends what they return to `answerTo`. */
  #dispatch(message, answerTo) {
    for (const one of this.#route(message)) {
      if (!one.isActive) continue;
      const done = (result, ...error) => {
        if (error.length) this.#report(error[0], message.identifier);
        if (answerTo && one.answers && this.#state !== "closed") this.#publish(answerTo.text, [result], error.length ? { error: error[0] } : {});
      };
      try {
        const result = one.deliver(message);
        if (typeof result?.then === "function") result.then(done).then(undefined, (error) => done(null, error));
        else done(result);
      } catch (error) {
        done(null, error);
      }
    }
  }

  /** Calls the followers; resolves to their results, settled. */
  #results(message) {
    const calls = this.#route(message).filter((one) => one.isActive);
    const results = calls.map(async (one) => [one.answers, await one.deliver(message)]);
    return Promise.allSettled(results);
  }

  /** Returns the answer of this node to a question as JSON texts: one, or none. */
  async #answers(message) {
    const [values, errors] = [[], []];
    for (const { value, reason } of await this.#results(message)) {
      try {
        if (!value) errors.push(encodePayload(reason instanceof Error ? reason : new Error(String(reason))));
        else if (value[0]) values.push(encodePayload(value[1]));
      } catch (error) {
        errors.push(encode(error));
      }
    }
    return values.length || errors.length ? [`[${JSON.stringify(this.#source)},[${values.join()}],[${errors.join()}]]`] : [];
  }

  #report(error, identifier) {
    const event = Object.assign(new Event("error", { cancelable: true }), { error, identifier });
    if (this.dispatchEvent(event)) console.error(`berryMQ: ${identifier}:`, error);
  }

  #attach(follower, { past, signal } = {}) {
    this.#checkOpen();
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => follower.cancel(), { once: true });
    const { identifier } = follower;
    this.#order.add(follower);
    this.#routes.clear();
    const count = this.#subscriptions.get(identifier) ?? 0;
    if (!identifierOf(identifier).local) this.#subscriptions.set(identifier, count + 1);
    if (!count && this.#subscriptions.has(identifier)) this.#change(identifier, true);
    if (past) {
      follower.held = [];
      this.#replays.set(++this.#numbers, { follower, last: past === true ? null : past, parts: [] });
      this.#query(this.#numbers);
    }
    return follower;
  }

  #detach(follower) {
    this.#order.delete(follower);
    this.#routes.clear();
    const { identifier } = follower;
    const count = this.#subscriptions.get(identifier) ?? 0;
    if (count > 1) this.#subscriptions.set(identifier, count - 1);
    else if (this.#subscriptions.delete(identifier)) this.#change(identifier, false);
  }

  #change(identifier, isAdded) {
    if (!this.#changes.delete(identifier)) this.#changes.set(identifier, isAdded);
    this.#schedule();
  }

  #query(query) {
    const replay = this.#replays.get(query);
    replay.parts = [];
    const { follower, last } = replay;
    if (this.#peer.hub) this.#control("replay", { query, identifier: follower.identifier, last });
    else this.#endReplay(query, replay);
  }

  #endReplay(query, { follower, parts }) {
    this.#replays.delete(query);
    const { held } = follower;
    follower.held = null;
    const had = new Set(parts.map(([, origin, sequence]) => `${origin} ${sequence}`));
    const live = held.filter((message) => !had.has(message[KEY]));
    for (const message of [...parts.map(([message]) => message), ...live]) {
      if (!follower.isActive) return;
      try {
        follower.deliver(message)?.then?.(undefined, (error) => this.#report(error, message.identifier));
      } catch (error) {
        this.#report(error, message.identifier);
      }
    }
  }

  // -- shared queues

  #shared(id) {
    if (!this.#peer.hub) throw new BerryMQError("UNSUPPORTED", "shared queues are those of a hub");
    if (this.#groups.has(id.text)) throw new BerryMQError("UNSUPPORTED", `this link has a shared queue for ${id.text} already`);
    const queue = new Queue(id, () => {
      this.#groups.delete(id.text);
      this.#wanted.clear();
      if (this.#state !== "closed") this.#control("leave", { group: id.text, taken: ranges(queue.taken) });
    });
    Object.assign(queue, { taken: [], returned: [], recent: [], questions: new Map(), state: null });
    let isDue = false;
    queue.report = (more) => {
      if (more) return this.#want(queue, more);
      if (isDue) return;
      isDue = true;
      queueMicrotask(() => {
        isDue = false;
        this.#want(queue);
      });
    };
    queue.wanted = (otherwise) => {
      if (!otherwise) return queue.report();
      const question = ++this.#numbers;
      const done = () => queue.questions.delete(question) && otherwise();
      queue.questions.set(question, done);
      setTimeout(done, 1_000);
      queue.report({ question, now: 1 });
    };
    this.#groups.set(id.text, queue);
    this.#wanted.clear();
    this.#join(queue);
    return queue;
  }

  #want(queue, more) {
    if (!queue.isActive || !this.#connection) return;
    const [taken, returned] = [ranges(queue.taken.splice(0)), ranges(queue.returned.splice(0))];
    const waiting = queue.waiting - queue.questions.size;
    this.#control("want", { group: queue.identifier, waiting: Math.max(0, waiting), ahead: 0, taken, returned, ...more });
  }

  #join(queue) {
    queue.recent = queue.recent.filter(([at]) => Date.now() - at < RECENT_JOBS).slice(-1_000);
    const had = queue.recent.map(([, origin, sequence]) => [origin, sequence, 1]);
    queue.taken = [];
    queue.returned = [];
    this.#control("join", { group: queue.identifier, had }, { after: 0 });
    if (queue.waiting) queue.report();
  }

  // -- the verbs

  /** "linked", "reconnecting" or "closed". */
  get state() {
    return this.#state;
  }

  /** The name of this node, the source of its messages. */
  get name() {
    return this.#source;
  }

  /** Returns counters of messages. */
  stats() {
    return { ...this.#stats, unacknowledged: this.#outbox.unacknowledged };
  }

  /** Sends a message to all followers, here and elsewhere. Never waits. */
  twitter(identifier, args = [], kwargs = {}) {
    this.#publish(identifier, args, kwargs);
  }

  /** Sends a message; what each follower returns is sent on to `callback`. */
  talk(identifier, callback, args = [], kwargs = {}) {
    this.#publish(identifier, args, kwargs, callback);
  }

  /** Calls `handler` for each message; without one, returns a queue for `for await`, which ends at `break`. */
  follow(identifier, handler, options) {
    const id = identifierOf(identifier);
    const detach = (follower) => this.#detach(follower);
    if (typeof handler === "function") return this.#attach(new Follower(id, handler, detach), options);
    return this.#attach(new Queue(id, detach, { closesOnBreak: true }), handler);
  }

  /** Cancels the followers of exactly this identifier, or the one with this handler; returns their number. */
  unfollow(identifier, handler) {
    const { text } = identifierOf(identifier);
    const ours = [...this.#order].filter((one) => one.answers && one.identifier === text && one.follows(handler));
    for (const one of ours) one.cancel();
    return ours.length;
  }

  /** Returns a queue. Of shared ones (jobs), each message goes to one over all programs on the hub. */
  queue(identifier, { shared = false, maxsize, past, signal } = {}) {
    const id = identifierOf(identifier);
    this.#checkOpen();
    if (!shared) return this.#attach(new Queue(id, (queue) => this.#detach(queue), { maxsize }), { past, signal });
    const queue = this.#shared(id);
    signal?.addEventListener("abort", () => queue.close(), { once: true });
    return queue;
  }

  /** Resolves to what all followers return. Rejects with ANSWER when one fails, with TIMEOUT when some are silent. */
  async ask(identifier, args = [], kwargs = {}, { timeout = 25_000, signal } = {}) {
    this.#checkOpen();
    signal?.throwIfAborted();
    const id = identifierOf(identifier);
    const elsewhere = this.#isWanted(id) ? this.#question(id, args, kwargs, timeout, signal) : [[], [], []];
    const here = this.#results(new Message(id, args, kwargs, this.#source, Date.now() / 1_000));
    const [answers, errors, unanswered] = await elsewhere;
    for (const { value, reason } of await here) {
      if (!value) errors.push(reason);
      else if (value[0]) answers.push(value[1]);
    }
    if (errors.length) {
      const [cause] = errors;
      const text = errors.length === 1 ? `${cause.name ?? "Error"}: ${cause.message ?? cause}` : `${errors.length} followers failed`;
      throw Object.assign(new BerryMQError("ANSWER", text, { cause }), { errors, answers });
    }
    if (!unanswered.length) return answers;
    const error = new BerryMQError("TIMEOUT", `${unanswered.join(", ")} did not answer ${id.text} in ${timeout} ms`);
    throw Object.assign(error, { unanswered, answers });
  }

  #question(id, args, kwargs, timeout, signal) {
    const question = ++this.#numbers;
    return new Promise((resolve, reject) => {
      const timers = [];
      const end = () => {
        timers.forEach(clearTimeout);
        signal?.removeEventListener("abort", aborted);
        return this.#questions.delete(question);
      };
      const fail = (error) => end() && reject(error);
      const aborted = () => fail(signal.reason);
      const done = (answers, unanswered, buffers) => {
        if (!end()) return;
        const values = answers.flatMap((answer, i) => decode(answer[1], buffers[i]));
        resolve([values, answers.flatMap((answer) => decode(answer[2])), unanswered]);
      };
      const late = () => fail(new BerryMQError("TIMEOUT", `no answer to ${id.text} in ${timeout} ms`));
      const conclude = () => {
        if (!this.#peer.hub || !this.#connection) return late();
        this.#control("conclude", { question });
        timers.push(setTimeout(late, CONCLUDE));
      };
      this.#questions.set(question, { done, fail });
      signal?.addEventListener("abort", aborted);
      try {
        const batch = this.#batch([this.#compose(id, args, kwargs)]);
        this.#control("ask", `"question":${question},"batch":${batch}`, { question });
      } catch (error) {
        return fail(error);
      }
      timers.push(setTimeout(conclude, Math.min(timeout, 2 ** 31 - 1)));
    });
  }

  /** Has the hub retain the newest `last` messages of each identifier that matches; 0 ends it. */
  async keep(identifier, { last = 1_000, ...options } = {}) {
    const { text } = identifierOf(identifier);
    await this.#call("keep", { identifier: text, last, name: this.#source }, options);
    if (last) this.#keeps.set(text, last);
    else this.#keeps.delete(text);
    this.#wanted.clear();
  }

  /** Resolves to the retained messages, oldest first: the newest `last` of them, or all. */
  async past(identifier, { last, ...options } = {}) {
    const params = { identifier: identifierOf(identifier).text, last };
    const messages = [];
    for (;;) {
      const page = await this.#call("history", params, options);
      for (const { id, args, kwargs, source, sent_at, buffers, ...large } of page.messages) {
        const beside = (await this.#pulls.buffers(large)) ?? buffers?.map((one) => (typeof one === "string" ? fromBase64(one) : undefined));
        messages.push(new Message(identifierOf(id), decode(args, beside), decode(kwargs, beside), source, sent_at, true));
      }
      if (!page.more || !page.messages.length) return messages;
      params.after = page.messages.at(-1).n;
      delete params.last;
    }
  }

  /** Resolves to the newest retained message, or null. */
  async latest(identifier, options) {
    return (await this.past(identifier, { ...options, last: 1 })).at(-1) ?? null;
  }

  /** Resolves to the nodes on the hub. */
  nodes(options) {
    return this.#call("nodes", { room: this.#options.room }, options);
  }

  /** Resolves to the newest value that a program shares by this name; rejects with NOT_SHARED. */
  async take(name, options) {
    const answers = await this.ask(`${name}@berrymq:take`, [], {}, options);
    if (!answers.length) throw new BerryMQError("NOT_SHARED", `no program shares ${JSON.stringify(name)}`);
    return answers.reduce((newest, one) => (one[0] > newest[0] ? one : newest))[1];
  }

  /** Shares a value: others take it by name, until `cancel()` of what is returned. */
  share(name, value) {
    const data = ArrayBuffer.isView(value) && !(value instanceof Uint8Array) ? new NDArray(value) : value;
    const bytes = encode(data).length;
    const at = Date.now() / 1_000;
    const about = [name, data?.constructor?.name ?? typeof data, data?.shape ?? [], bytes];
    this.#shares.get(name)?.cancel();
    const followers = [
      this.follow(`${name}@berrymq:take`, () => [at, data]),
      this.follow(`${name}@berrymq:describe`, () => [...about, this.#source, at]),
    ];
    const share = { name, cancel: () => followers.forEach((one) => one.cancel()) };
    this.#shares.set(name, share);
    this.twitter(`${name}@berrymq:shared`, about.slice(1));
    return share;
  }

  /** Resolves to true once the other side has everything that was sent before; to false after `timeout` ms. */
  flush({ timeout = 10_000 } = {}) {
    this.#pump();
    const isPending = () => this.#changes.size > 0;
    return this.#outbox.flush(timeout, isPending);
  }

  /** Ends the link in good order; resolves to whether everything had arrived. */
  async close({ timeout = 2_000, reason } = {}) {
    if (this.#state === "closed") return true;
    const flushed = timeout > 0 ? await this.flush({ timeout }) : this.#outbox.isEmpty;
    this.#timers.forEach(clearInterval);
    clearTimeout(this.#ackTimer);
    this.#acknowledge();
    const connection = this.#connection;
    this.#connection = null;
    this.#setState("closed");
    connection?.close(1000);
    this.#pulls.restart();
    for (const { fail } of this.#questions.values()) fail(reason ?? new BerryMQError("CLOSED", "the link was closed"));
    for (const one of [...this.#order, ...this.#groups.values()]) one.cancel();
    this.#interested();
    return flushed;
  }

  [Symbol.asyncDispose ?? Symbol("asyncDispose")]() {
    return this.close();
  }
}

/** Returns sorted numbers as ranges `[first, count]`. */
function ranges(numbers) {
  const found = [];
  for (const number of numbers.sort((one, other) => one - other)) {
    const last = found.at(-1);
    if (last && last[0] + last[1] === number) last[1]++;
    else found.push([number, 1]);
  }
  return found;
}

/**
 * Joins the bus: the hub at `url` with its access `token`, or, in Node, the hub of this user on this machine.
 * Resolves once linked. Reconnects after a cut, and loses nothing within `ttl`.
 */
export async function link(options = {}) {
  return new Link(options).open();
}
