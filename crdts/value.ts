/**
 * The values users store, and their one encoding: canonical (equal values have equal bytes, everywhere) and
 * order-preserving (bytes compare like the values they stand for, type by type).
 *
 * It serves three ends with one piece of code: payloads (so that fingerprints agree between replicas), the identity of a
 * set's elements, and the parts of a path. The layout follows FoundationDB's tuple layer.
 *
 *     null 01 · false 02 · true 03 · integers 0d–1b (14 ± number of bytes, big-endian, negatives complemented)
 *     other numbers 21 (IEEE 754, sign-adjusted) · bigint 22 (negative) 23 · Date 25
 *     text 30 … 00 · bytes 31 … 00 (a 00 inside is written 00 ff) · array 40 … 00 · object 41 (text key, value)… 00
 *
 * What is what: 1 and 1n differ; −0 is 0; NaN is one value, equal to itself; objects are equal whatever the order of
 * their keys; a field that is undefined is absent, as in JSON; `__proto__` is a key like any other. Refused with
 * `InvalidValue`: undefined, functions, symbols, lone surrogates (they have no UTF-8), invalid dates, objects with a
 * prototype of their own. Refused with `ValueTooDeep`: more than 32 levels, which a cycle has too.
 */
import { decodeUtf8, malformed, type Reader, type Writer } from './bytes.ts';
import { HearsayError } from './error.ts';

export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | readonly Value[]
  | { readonly [key: string]: Value | undefined };

/** Levels of arrays and objects inside each other. Deeper values are a programming error, or an attack on the stack. */
export const DEPTH_MAX = 32;

const NULL = 0x01;
const FALSE = 0x02;
const TRUE = 0x03;
const INTEGER = 0x14;
const DOUBLE = 0x21;
const BIGINT_NEGATIVE = 0x22;
const BIGINT = 0x23;
const DATE = 0x25;
export const TEXT = 0x30;
const BYTES = 0x31;
const ARRAY = 0x40;
const OBJECT = 0x41;
const END = 0x00;
const ESCAPED = 0xff;

const scratch = new DataView(new ArrayBuffer(8));

const invalid = (what: string): HearsayError =>
  new HearsayError('InvalidValue', `${what} cannot be stored: use JSON values, Uint8Array, Date or bigint`);

const tooDeep = (): HearsayError =>
  new HearsayError('ValueTooDeep', `a value has more than ${DEPTH_MAX} levels: flatten it, or use a map`, {
    limit: DEPTH_MAX,
  });

/** Appends the canonical encoding of `value`. Throws `InvalidValue` or `ValueTooDeep`. */
export function writeValue(writer: Writer, value: Value, depth = 0): void {
  switch (typeof value) {
    case 'string':
      writer.byte(TEXT);
      return writeText(writer, value);
    case 'number':
      return writeNumber(writer, value);
    case 'boolean':
      return writer.byte(value ? TRUE : FALSE);
    case 'bigint':
      return writeBigint(writer, value);
    case 'object':
      return writeObject(writer, value, depth);
    default:
      throw invalid(`a value of type ${typeof value}`);
  }
}

function writeObject(writer: Writer, value: object | null, depth: number): void {
  if (value === null) return writer.byte(NULL);
  if (value instanceof Uint8Array) {
    writer.byte(BYTES);
    return writeBytes(writer, value);
  }
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw invalid('an invalid Date');
    writer.byte(DATE);
    return writeDouble(writer, value.getTime());
  }
  if (depth >= DEPTH_MAX) throw tooDeep();
  if (Array.isArray(value)) {
    writer.byte(ARRAY);
    for (let i = 0; i < value.length; i++) writeValue(writer, value[i] as Value, depth + 1);
    return writer.byte(END);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (a worker, a vm context) have another Object.prototype, but its prototype is null as well.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) throw invalid('an instance of a class');
  writer.byte(OBJECT);
  for (const [key, field] of sortedFields(value as Record<string, Value | undefined>)) {
    writer.byte(TEXT);
    writeText(writer, key);
    writeValue(writer, field, depth + 1);
  }
  writer.byte(END);
}

/** The fields that are not undefined, in UTF-8 order of their keys (code point order, which UTF-16 order is not). */
function sortedFields(value: Readonly<Record<string, Value | undefined>>): [string, Value][] {
  const fields = Object.entries(value).filter((field): field is [string, Value] => field[1] !== undefined);
  return fields.sort(([a], [b]) => compareCodePoints(a, b));
}

function compareCodePoints(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const order = codePointRank(a.charCodeAt(i)) - codePointRank(b.charCodeAt(i));
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** Surrogates (d800–dfff) stand for code points above every other UTF-16 unit, e000–ffff included. */
const codePointRank = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);

/** The text's UTF-8 with its zeros escaped, and an end. */
export function writeText(writer: Writer, text: string): void {
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code < 0x80) {
      writer.byte(code);
      if (code === 0) writer.byte(ESCAPED);
      continue;
    }
    if (code < 0x800) {
      writer.byte(0xc0 | (code >> 6));
    } else {
      if (code >= 0xd800 && code <= 0xdfff) {
        const low = text.charCodeAt(i + 1);
        if (code > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) throw invalid('text with a lone surrogate');
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        i++;
        writer.byte(0xf0 | (code >> 18));
        writer.byte(0x80 | ((code >> 12) & 0x3f));
      } else {
        writer.byte(0xe0 | (code >> 12));
      }
      writer.byte(0x80 | ((code >> 6) & 0x3f));
    }
    writer.byte(0x80 | (code & 0x3f));
  }
  writer.byte(END);
}

function writeBytes(writer: Writer, bytes: Uint8Array): void {
  let from = 0;
  for (let zero = bytes.indexOf(0); zero >= 0; zero = bytes.indexOf(0, from)) {
    writer.bytes(bytes.subarray(from, zero + 1));
    writer.byte(ESCAPED);
    from = zero + 1;
  }
  writer.bytes(from === 0 ? bytes : bytes.subarray(from));
  writer.byte(END);
}

function writeNumber(writer: Writer, value: number): void {
  if (!Number.isSafeInteger(value)) {
    writer.byte(DOUBLE);
    return writeDouble(writer, value);
  }
  const magnitude = Math.abs(value);
  let count = 0;
  for (let rest = magnitude; rest >= 1; rest = Math.floor(rest / 256)) count++;
  writer.byte(value < 0 ? INTEGER - count : INTEGER + count);
  writer.bigEndian(value < 0 ? 256 ** count - 1 - magnitude : magnitude, count);
}

/** Sign-adjusted, so that bytes compare like numbers: negatives complemented, the others with the sign bit set. */
function writeDouble(writer: Writer, value: number): void {
  scratch.setFloat64(0, value === 0 ? 0 : Number.isNaN(value) ? Number.NaN : value);
  const flip = scratch.getUint8(0) >= 0x80;
  for (let i = 0; i < 8; i++) {
    const byte = scratch.getUint8(i);
    writer.byte(flip ? byte ^ 0xff : i === 0 ? byte | 0x80 : byte);
  }
}

function writeBigint(writer: Writer, value: bigint): void {
  const negative = value < 0n;
  let digits = (negative ? -value : value).toString(16);
  if (digits.length % 2 === 1) digits = `0${digits}`;
  const count = digits.length / 2;
  const flip = negative ? 0xff : 0;
  writer.byte(negative ? BIGINT_NEGATIVE : BIGINT);
  writer.bigEndian(negative ? 0xffffffff - count : count, 4);
  for (let i = 0; i < count; i++) writer.byte(Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16) ^ flip);
}

/** Reads one value; throws `Malformed` on anything `writeValue` does not write, save the order of an object's keys. */
export function readValue(reader: Reader, depth = 0): Value {
  const tag = reader.byte();
  if (tag >= INTEGER - 7 && tag <= INTEGER + 7) return readInteger(reader, tag - INTEGER);
  switch (tag) {
    case NULL:
      return null;
    case FALSE:
      return false;
    case TRUE:
      return true;
    case DOUBLE:
      return readDouble(reader);
    case BIGINT:
    case BIGINT_NEGATIVE:
      return readBigint(reader, tag === BIGINT_NEGATIVE);
    case DATE:
      return new Date(readDouble(reader));
    case TEXT:
      return decodeUtf8(readEscaped(reader));
    case BYTES:
      return new Uint8Array(readEscaped(reader)); // not `slice`: a Buffer's would be a view
    case ARRAY:
    case OBJECT:
      if (depth >= DEPTH_MAX) throw malformed('a value is too deep');
      return tag === ARRAY ? readArray(reader, depth + 1) : readObject(reader, depth + 1);
    default:
      throw malformed(`unknown value tag ${tag}`);
  }
}

function readArray(reader: Reader, depth: number): Value[] {
  const items: Value[] = [];
  while (reader.peek() !== END) items.push(readValue(reader, depth));
  reader.byte();
  return items;
}

function readObject(reader: Reader, depth: number): Value {
  const object: Record<string, Value> = {};
  while (reader.peek() !== END) {
    if (reader.byte() !== TEXT) throw malformed('an object has a key that is not text');
    const key = decodeUtf8(readEscaped(reader));
    const value = readValue(reader, depth);
    // Plain assignment to `__proto__` would set the prototype instead of a field.
    if (key === '__proto__')
      Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    else object[key] = value;
  }
  reader.byte();
  return object;
}

/** The bytes up to an unescaped end, unescaped: a view where nothing was escaped. */
export function readEscaped(reader: Reader): Uint8Array {
  const from = reader.at;
  let zeros = 0;
  let end = reader.find(END, from);
  for (; reader.byteAt(end + 1) === ESCAPED; end = reader.find(END, end + 2)) zeros++;
  const raw = reader.bytes(end - from);
  reader.byte();
  if (zeros === 0) return raw;
  const bytes = new Uint8Array(raw.length - zeros);
  for (let i = 0, at = 0; i < raw.length; i++) {
    bytes[at++] = raw[i] as number;
    if (raw[i] === END) i++;
  }
  return bytes;
}

function readInteger(reader: Reader, size: number): number {
  const count = Math.abs(size);
  const raw = reader.bigEndian(count);
  const value = size < 0 ? -(256 ** count - 1 - raw) : raw;
  if (!Number.isSafeInteger(value)) throw malformed('an integer is too large');
  return value === 0 ? 0 : value;
}

function readDouble(reader: Reader): number {
  const flip = reader.peek() < 0x80;
  for (let i = 0; i < 8; i++) {
    const byte = reader.byte();
    scratch.setUint8(i, flip ? byte ^ 0xff : i === 0 ? byte & 0x7f : byte);
  }
  return scratch.getFloat64(0);
}

function readBigint(reader: Reader, negative: boolean): bigint {
  const size = reader.bigEndian(4);
  const bytes = reader.bytes(negative ? 0xffffffff - size : size);
  const flip = negative ? 0xff : 0;
  let digits = '0x0';
  for (const byte of bytes) digits += (byte ^ flip).toString(16).padStart(2, '0');
  return negative ? -BigInt(digits) : BigInt(digits);
}
