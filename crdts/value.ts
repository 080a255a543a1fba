/**
 * The values users store, and their one encoding: canonical (equal values have equal bytes, everywhere) and
 * order-preserving (bytes compare like the values they stand for, type by type).
 *
 * It serves three ends with one piece of code: payloads (so that fingerprints agree between replicas), the identity of a
 * set's elements, and the parts of a path. The layout follows FoundationDB's tuple layer.
 *
 *     null 01 · false 02 · true 03 · integers 0d–1b (14 ± number of bytes, big-endian, negatives complemented)
 *     other numbers 21 (IEEE 754, sign-adjusted) · bigint 22 (negative) 23 · Date 25
 *     text 30 … 00 · bytes 31 … 00 (inside, 00 is written 01 01, and 01 is 01 02) · array 40 … 00
 *     object 41 (text key, value)… 00, keys in the order of their UTF-16 units, as in RFC 8785
 *
 * No encoding is the beginning of another, so that a path can be made of them (FoundationDB's 00 ff for a 00 would make
 * "a" the beginning of "a\0"). Reading refuses what writing would not have written: two encodings of one value would be
 * two elements of a set.
 *
 * What is what: 1 and 1n differ; −0 is 0; NaN is one value, equal to itself; objects are equal whatever the order of
 * their keys; a field that is undefined is absent, as in JSON; `__proto__` is a key like any other. Refused with
 * `InvalidValue`: undefined, functions, symbols, lone surrogates (they have no UTF-8), invalid dates, objects with a
 * prototype of their own. Refused with `ValueTooDeep`: more than 32 levels, which a cycle has too.
 */
import { decodeUtf8, ESCAPE, type Reader, refuseUnless, safeInteger, type Writer } from './bytes.ts';
import { HearsayError, overLimit } from './error.ts';

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

/** Larger values are refused: they belong into a file with its name in the store, or into parts. */
export const VALUE_BYTES_MAX = 1024 * 1024;

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
const TEXT = 0x30;
const BYTES = 0x31;
const ARRAY = 0x40;
const OBJECT = 0x41;
const END = 0x00;

const scratch = new DataView(new ArrayBuffer(8));
const scratchBytes = new Uint8Array(scratch.buffer);
const SIGN = -(2n ** 63n);
const encoder = new TextEncoder();
/** What is unreadable, in errors. */
const VALUE = 'a value';

const invalid = (what: string): HearsayError =>
  new HearsayError('InvalidValue', `${what} cannot be stored: use JSON values, Uint8Array, Date or bigint`);

/** Throws `ValueTooLarge` when more than a value may have was written. */
export function checkSize({ length }: Writer): void {
  if (length > VALUE_BYTES_MAX) throw overLimit('ValueTooLarge', 'a value in bytes', VALUE_BYTES_MAX, 'split it');
}

/** Appends the canonical encoding of `value`. Throws `InvalidValue`, `ValueTooDeep`, and `ValueTooLarge` where it would not end. */
export function writeValue(writer: Writer, value: Value, depth = 0): void {
  switch (typeof value) {
    case 'string':
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
  if (depth >= DEPTH_MAX) throw overLimit('ValueTooDeep', 'the depth of a value', DEPTH_MAX, 'use a map');
  // Also here: a few objects that contain each other many times are quickly more than any memory holds.
  checkSize(writer);
  if (Array.isArray(value)) {
    writer.byte(ARRAY);
    for (let i = 0; i < value.length; i++) writeValue(writer, value[i] as Value, depth + 1);
    return writer.byte(END);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (a worker, a vm context) have another Object.prototype, but its prototype is null as well.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) throw invalid('an instance of a class');
  writer.byte(OBJECT);
  const fields = value as Readonly<Record<string, Value | undefined>>;
  for (const key of Object.keys(fields).sort()) {
    const field = fields[key];
    if (field === undefined) continue;
    writeText(writer, key);
    writeValue(writer, field, depth + 1);
  }
  writer.byte(END);
}

/** A text's UTF-8, escaped, and an end. */
export function writeText(writer: Writer, text: string): void {
  if (/\p{Surrogate}/u.test(text)) throw invalid('text with a lone surrogate');
  writer.byte(TEXT);
  // Most texts are keys of ASCII, which are their own UTF-8: this is ten times as fast.
  if (!/^[\x02-\x7f]*$/.test(text)) return writeBytes(writer, encoder.encode(text));
  writer.byteString(text);
  writer.byte(END);
}

function writeBytes(writer: Writer, bytes: Uint8Array): void {
  writer.escaped(bytes);
  writer.byte(END);
}

function writeNumber(writer: Writer, value: number): void {
  if (!Number.isSafeInteger(value)) {
    writer.byte(DOUBLE);
    return writeDouble(writer, value);
  }
  const digits = digitsOf(value);
  const count = digits.length / 2;
  writer.byte(value < 0 ? INTEGER - count : INTEGER + count);
  writeDigits(writer, digits, value < 0);
}

function writeBigint(writer: Writer, value: bigint): void {
  const digits = digitsOf(value);
  writer.byte(value < 0 ? BIGINT_NEGATIVE : BIGINT);
  writeDigits(writer, (digits.length / 2).toString(16).padStart(8, '0') + digits, value < 0);
}

/** Two hexadecimal digits a byte, none for 0. */
function digitsOf(value: number | bigint): string {
  const digits = value.toString(16).replace(/^-|^0$/, '');
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

/** Those of a negative number are complemented, so that greater magnitudes come first. */
function writeDigits(writer: Writer, digits: string, isNegative: boolean): void {
  for (let i = 0; i < digits.length; i += 2)
    writer.byte(Number.parseInt(digits.slice(i, i + 2), 16) ^ (isNegative ? 0xff : 0));
}

function writeDouble(writer: Writer, value: number): void {
  scratch.setBigInt64(0, orderedBits(value));
  writer.bytes(scratchBytes);
}

/** The bits of a double, such that as bytes they compare like numbers: negatives complemented, the others with the sign set. */
function orderedBits(value: number): bigint {
  // One NaN of the many there are, and no −0.
  scratch.setFloat64(0, Number.isNaN(value) ? Number.NaN : value + 0);
  const bits = scratch.getBigInt64(0);
  return bits < 0n ? ~bits : bits ^ SIGN;
}

/** Reads one value; throws `Malformed` on anything that `writeValue` does not write. */
export function readValue(reader: Reader, depth = 0): Value {
  const tag = reader.byte();
  switch (tag) {
    case NULL:
      return null;
    case FALSE:
      return false;
    case TRUE:
      return true;
    case DOUBLE: {
      const value = readDouble(reader);
      refuseUnless(!Number.isSafeInteger(value), VALUE);
      return value;
    }
    case BIGINT:
    case BIGINT_NEGATIVE: {
      const isNegative = tag === BIGINT_NEGATIVE;
      const count = Number(`0x${readDigits(reader, 4, isNegative)}`);
      const digits = readCanonicalDigits(reader, count, isNegative);
      refuseUnless(!isNegative || count > 0, VALUE);
      return isNegative ? -BigInt(digits) : BigInt(digits);
    }
    case DATE: {
      const time = readDouble(reader);
      const date = new Date(time);
      refuseUnless(date.getTime() === time, VALUE);
      return date;
    }
    case TEXT:
      return decodeUtf8(readEscaped(reader));
    case BYTES:
      return new Uint8Array(readEscaped(reader));
    case ARRAY:
    case OBJECT:
      refuseUnless(depth < DEPTH_MAX, VALUE);
      return tag === ARRAY ? readArray(reader, depth + 1) : readObject(reader, depth + 1);
    default: {
      const size = tag - INTEGER;
      refuseUnless(Math.abs(size) <= 7, VALUE);
      const magnitude = safeInteger(Number(readCanonicalDigits(reader, Math.abs(size), size < 0)));
      return size < 0 ? -magnitude : magnitude;
    }
  }
}

function readArray(reader: Reader, depth: number): Value[] {
  const items: Value[] = [];
  while (reader.peek() !== END) items.push(readValue(reader, depth));
  reader.byte();
  return items;
}

function readObject(reader: Reader, depth: number): Value {
  const fields: [string, Value][] = [];
  while (reader.peek() !== END) {
    const key = readText(reader);
    const last = fields.at(-1);
    refuseUnless(last === undefined || key > last[0], VALUE);
    fields.push([key, readValue(reader, depth)]);
  }
  reader.byte();
  // Not by assignment: that of `__proto__` would set the prototype instead of a field.
  return Object.fromEntries(fields);
}

/** Reads a value that must be text. */
export function readText(reader: Reader): string {
  refuseUnless(reader.byte() === TEXT, 'text');
  return decodeUtf8(readEscaped(reader));
}

/** The bytes up to the end, unescaped: a view where nothing was escaped. */
function readEscaped(reader: Reader): Uint8Array {
  const raw = reader.bytes(reader.find(END, reader.at) - reader.at);
  reader.byte();
  if (!raw.includes(ESCAPE)) return raw;
  const bytes = new Uint8Array(raw.length);
  let length = 0;
  for (let i = 0; i < raw.length; i++) {
    let byte = raw[i] as number;
    if (byte === ESCAPE) {
      byte = (raw[++i] ?? 0) - 1;
      refuseUnless(byte === 0 || byte === ESCAPE, VALUE);
    }
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}

function readDigits(reader: Reader, count: number, isNegative: boolean): string {
  let digits = '';
  for (const byte of reader.bytes(count)) digits += (byte ^ (isNegative ? 0xff : 0)).toString(16).padStart(2, '0');
  return digits;
}

function readCanonicalDigits(reader: Reader, count: number, isNegative: boolean): string {
  const digits = readDigits(reader, count, isNegative);
  refuseUnless(!digits.startsWith('00'), VALUE);
  return `0x0${digits}`;
}

function readDouble(reader: Reader): number {
  scratchBytes.set(reader.bytes(8));
  const bits = scratch.getBigInt64(0);
  scratch.setBigInt64(0, bits < 0n ? bits ^ SIGN : ~bits);
  const value = scratch.getFloat64(0);
  refuseUnless(orderedBits(value) === bits, VALUE);
  return value;
}
