/** Arrays and tables of Python as typed arrays. Nothing of what arrives is trusted. */
import { BerryMQError } from "./errors.js";

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
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array, u8: BigUint64Array,
  i8: BigInt64Array, f2: globalThis.Float16Array, f4: Float32Array, f8: Float64Array,
  b1: Uint8Array, c8: Float32Array, c16: Float64Array, m8: BigInt64Array, M8: BigInt64Array,
};
const CODES = new Map([[Uint8ClampedArray, "u1"]]);
for (const [code, Type] of Object.entries(TYPES)) if (Type && !CODES.has(Type)) CODES.set(Type, code);

function dtypeOf(data) {
  const code = CODES.get(data.constructor);
  if (!code) throw new BerryMQError("PAYLOAD", "the data of an array is a typed array");
  return (code[1] === "1" ? "|" : "<") + code;
}

export function expected(condition, what) {
  if (!condition) throw new TypeError(what);
}

export function toBytes(value) {
  expected(value instanceof Uint8Array, value?.value?.[1] ?? "it has no buffer");
  return value;
}

/** Decodes `{dtype, shape, order, data}`: the shape has to make up the bytes. */
export function toArray({ dtype, shape, order, data }) {
  expected(Array.isArray(shape) && shape.length <= 32 && shape.every((side) => Number.isSafeInteger(side) && side >= 0), "bad shape");
  expected(order === "C" || order === "F", "bad order");
  const bytes = toBytes(data);
  const count = shape.reduce((product, side) => product * side, 1);
  const [, byteOrder, kind, digits] = /^([<>|=])([a-zA-Z])(\d{1,9})(?:\[\w{1,20}\])?$/.exec(dtype) ?? [];
  const size = kind ? digits * (kind === "U" ? 4 : 1) : dtype?.size;
  expected(Number.isSafeInteger(size) && count * size === bytes.length && (size || count <= 1e6), "its shape does not fit its buffer");
  const Type = TYPES[kind + digits];
  if (dtype === "<f2" && !Type) return new NDArray(toFloats(bytes), shape, "<f4", order);
  if (kind === "U") return new NDArray(toTexts(bytes, size, byteOrder), shape, dtype, order);
  if (!Type) return new NDArray(bytes, shape, dtype, order); // as bytes: such as a structured one
  const copy = bytes.slice(); // aligned
  const swap = byteOrder === ">" ? Type.BYTES_PER_ELEMENT : 1;
  for (let at = 0; swap > 1 && at < copy.length; at += swap) copy.subarray(at, at + swap).reverse();
  return new NDArray(new Type(copy.buffer), shape, byteOrder === ">" ? dtype.replace(">", "<") : dtype, order);
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Widens float16, for engines without a Float16Array. */
function toFloats(bytes) {
  const view = viewOf(bytes);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, (bits & 1023) / 1024];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
}

function toTexts(bytes, size, byteOrder) {
  const view = viewOf(bytes);
  return Array.from({ length: size ? bytes.length / size : 0 }, (_, item) => {
    let text = "";
    for (let at = item * size; at < (item + 1) * size; at += 4) text += String.fromCodePoint(view.getUint32(at, byteOrder !== ">"));
    return text.replace(/\0+$/, "");
  });
}

const UNITS = { s: 1e3, ms: 1, us: 1e-3, ns: 1e-6, D: 864e5, h: 36e5, m: 6e4 };
const NAT = -(2n ** 63n);

/** Decodes a column of a table: a typed array, or an array with null for what is missing. */
export function toColumn({ values, missing, text, offsets, codes, categories, items }) {
  if (items) return items;
  const gone = missing?.data ?? [];
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
  const [isTime, count, unit] = /^<M8\[(\d*)(\w+)\]/.exec(values.dtype) ?? [];
  const toDate = isTime && UNITS[unit] && ((at) => (at === NAT ? null : new Date(Number(at) * (count || 1) * UNITS[unit])));
  const convert = toDate || (values.dtype === "|b1" && ((item) => item === 1)) || (missing && ((item) => item));
  return convert ? Array.from(values.data, (item, i) => (gone[i] ? null : convert(item))) : values.data;
}

const toIndex = (index) => (index?.levels ? { names: index.names, levels: index.levels.map(toColumn) } : index);

export function toTable({ library, columns, index, data }) {
  const names = Array.isArray(columns) ? columns : (toIndex(columns)?.levels?.[0] ?? []);
  expected(data.length === names.length || columns?.range, "a table has one column for each name");
  const named = data.map((column, i) => [String(names[i] ?? i), toColumn(column)]);
  return new Table(Object.fromEntries(named), library, toIndex(index));
}
