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
const ESCAPE = 0x01;

const scratch = new DataView(new ArrayBuffer(8));
const scratchBytes = new Uint8Array(scratch.buffer);
const SIGN = -(2n ** 63n);
const encoder = new TextEncoder();

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
  const fields = value as Readonly<Record<string, Value | undefined>>;
  for (const key of Object.keys(fields).sort()) {
    const field = fields[key];
    if (field === undefined) continue;
    writer.byte(TEXT);
    writeText(writer, key);
    writeValue(writer, field, depth + 1);
  }
  writer.byte(END);
}

/** The text's UTF-8, escaped, and an end. */
export function writeText(writer: Writer, text: string): void {
  if (/\p{Surrogate}/u.test(text)) throw invalid('text with a lone surrogate');
  writeBytes(writer, encoder.encode(text));
}

function writeBytes(writer: Writer, bytes: Uint8Array): void {
  for (const byte of bytes) {
    if (byte > ESCAPE) {
      writer.byte(byte);
    } else {
      writer.byte(ESCAPE);
      writer.byte(byte + 1);
    }
  }
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
  const count = digits.length / 2;
  writer.byte(value < 0 ? BIGINT_NEGATIVE : BIGINT);
  writer.bigEndian(value < 0 ? 0xffffffff - count : count, 4);
  writeDigits(writer, digits, value < 0);
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
  if (tag >= INTEGER - 7 && tag <= INTEGER + 7) return readInteger(reader, tag - INTEGER);
  switch (tag) {
    case NULL:
      return null;
    case FALSE:
      return false;
    case TRUE:
      return true;
    case DOUBLE:
      return readOtherNumber(reader);
    case BIGINT:
    case BIGINT_NEGATIVE:
      return readBigint(reader, tag === BIGINT_NEGATIVE);
    case DATE:
      return readDate(reader);
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
  let last: string | undefined;
  while (reader.peek() !== END) {
    if (reader.byte() !== TEXT) throw malformed('an object has a key that is not text');
    const key = decodeUtf8(readEscaped(reader));
    if (last !== undefined && key <= last) throw malformed('the keys of an object are out of order');
    last = key;
    setField(object, key, readValue(reader, depth));
  }
  reader.byte();
  return object;
}

/** Sets a field, whatever its name: plain assignment to `__proto__` would set the prototype instead. */
export function setField(object: Record<string, Value>, key: string, value: Value): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

/** The bytes up to the end, unescaped: a view where nothing was escaped. */
function readEscaped(reader: Reader): Uint8Array {
  const raw = reader.bytes(reader.find(END, reader.at) - reader.at);
  reader.byte();
  if (!raw.includes(ESCAPE)) return raw;
  const bytes: number[] = [];
  for (let i = 0; i < raw.length; i++) {
    let byte = raw[i] as number;
    if (byte === ESCAPE) {
      byte = (raw[++i] ?? 0) - 1;
      if (byte !== 0 && byte !== ESCAPE) throw malformed('an unknown escape');
    }
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

function readInteger(reader: Reader, size: number): number {
  const magnitude = Number(readDigits(reader, Math.abs(size), size < 0));
  if (!Number.isSafeInteger(magnitude)) throw malformed('an integer is too large');
  return size < 0 ? -magnitude : magnitude;
}

function readBigint(reader: Reader, isNegative: boolean): bigint {
  const size = reader.bigEndian(4);
  const magnitude = BigInt(readDigits(reader, isNegative ? 0xffffffff - size : size, isNegative));
  if (isNegative && magnitude === 0n) throw malformed('a negative zero');
  return isNegative ? -magnitude : magnitude;
}

function readDigits(reader: Reader, count: number, isNegative: boolean): string {
  let digits = '';
  for (const byte of reader.bytes(count)) digits += (byte ^ (isNegative ? 0xff : 0)).toString(16).padStart(2, '0');
  if (digits.startsWith('00')) throw malformed('an integer begins with a zero');
  return `0x0${digits}`;
}

function readOtherNumber(reader: Reader): number {
  const value = readDouble(reader);
  if (Number.isSafeInteger(value)) throw malformed('a safe integer as a double');
  return value;
}

function readDate(reader: Reader): Date {
  const time = readDouble(reader);
  const date = new Date(time);
  if (date.getTime() !== time) throw malformed('an invalid date');
  return date;
}

function readDouble(reader: Reader): number {
  scratchBytes.set(reader.bytes(8));
  const bits = scratch.getBigInt64(0);
  scratch.setBigInt64(0, bits < 0n ? bits ^ SIGN : ~bits);
  const value = scratch.getFloat64(0);
  if (orderedBits(value) !== bits) throw malformed('another form of a double');
  return value;
}
