/**
 * Values in JSON, and back, exactly. JSON has no bytes, dates, bigints, NaN or infinities; so that a value read from one
 * node and written to another is the same value, these travel as an object with one *tag*, a key that begins with `$`:
 *
 *     12n                →  {"$bigint": "12"}                 NaN, ±Infinity  →  {"$number": "NaN"}, "Infinity", "-Infinity"
 *     new Date(0)        →  {"$date": "1970-01-01T00:00:00.000Z"}
 *     bytes de ad be ef  →  {"$bytes": "3q2+7w=="}            { $date: 5 }    →  {"$$date": 5}
 *
 * The last one is the escape: each key of a user's own object that begins with `$` gets one `$` more. So every value has
 * one form, and no form has two readings. Reading is strict: an unknown tag, a tag among other keys and base64 with
 * stray bits are refused rather than stored as something else.
 *
 * Known limit: JSON numbers are doubles here as in every browser; 12345678901234567890 loses its last digits on the way
 * in. Send such a number as a bigint.
 */
import { HearsayError, overLimit } from '../../../crdts/error.ts';
import { DEPTH_MAX, type Value } from '../../../crdts/value.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Longer ones are written, and have to be sent, in hexadecimal: decimal digits cost the square of their number, 6 ms here. */
const BIGINT_DECIMAL_DIGITS_MAX = 100_000;
const BIGINT_HEX_DIGITS_MAX = Math.floor(BIGINT_DECIMAL_DIGITS_MAX * 0.83);

const DATE = /^([+-]\d{6}|\d{4})-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)$/;
const BIGINT = /^-?(0x[0-9a-f]+|[0-9]+)$/;

const invalid = (what: string): HearsayError => new HearsayError('InvalidValue', what);

/** The tagged form of a value. */
export function toJson(value: Value): Json {
  if (typeof value === 'bigint') return { $bigint: bigintText(value) };
  if (typeof value === 'number') return Number.isFinite(value) ? value : { $number: String(value) };
  return typeof value === 'object' && value !== null ? objectToJson(value) : value;
}

function objectToJson(value: NonNullable<Value & object>): Json {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') };
  if (value instanceof Date) return { $date: value.toISOString() };
  if (Array.isArray(value)) return (value as readonly Value[]).map(toJson);
  const fields: [string, Json][] = [];
  for (const [key, field] of Object.entries(value as Readonly<Record<string, Value | undefined>>)) {
    if (field !== undefined) fields.push([key, toJson(field)]);
  }
  return jsonObject(fields);
}

/** An object of a user's own names, with the escape where one begins with `$`. */
export function jsonObject(fields: Iterable<readonly [string, Json]>): Json {
  const object: Record<string, Json> = {};
  for (const [key, field] of fields) define(object, key.startsWith('$') ? `$${key}` : key, field);
  return object;
}

function bigintText(value: bigint): string {
  const magnitude = value < 0n ? -value : value;
  const hex = magnitude.toString(16);
  if (hex.length <= BIGINT_HEX_DIGITS_MAX) return value.toString();
  return `${value < 0n ? '-' : ''}0x${hex}`;
}

/**
 * The value of what `JSON.parse` gave. Throws `InvalidValue` for a number beyond the doubles or a tag that is none, and
 * `ValueTooDeep`; what else cannot be stored, such as lone surrogates, is refused by the store.
 */
export function fromJson(json: unknown, depth = 0): Value {
  if (typeof json === 'number') {
    if (Number.isFinite(json)) return json;
    throw invalid('a number is beyond the range of doubles: send {"$bigint": "…"} or {"$number": "Infinity"}');
  }
  if (typeof json !== 'object' || json === null) return json as null | boolean | string;
  if (depth >= DEPTH_MAX)
    throw overLimit('ValueTooDeep', 'the depth of a value', DEPTH_MAX, 'flatten it, or use a map');
  if (Array.isArray(json)) return json.map((item) => fromJson(item, depth + 1));
  const tag = Object.keys(json).find((key) => key.startsWith('$') && !key.startsWith('$$'));
  return tag === undefined ? plainObject(json, depth) : tagged(tag, json as Readonly<Record<string, unknown>>);
}

function plainObject(json: object, depth: number): Value {
  const object: Record<string, Value> = {};
  for (const [key, field] of Object.entries(json)) {
    define(object, key.startsWith('$') ? key.slice(1) : key, fromJson(field, depth + 1));
  }
  return object;
}

function tagged(tag: string, json: Readonly<Record<string, unknown>>): Value {
  const content = json[tag];
  const what = `{${JSON.stringify(tag)}: …}`;
  if (Object.keys(json).length > 1) throw invalid(`${what} has other keys beside its tag: write "$${tag}" for a key`);
  const value = typeof content === 'string' ? untagged(tag, content) : undefined;
  if (value !== undefined) return value;
  throw invalid(`${what} is not a value: see docs/HTTP.md for the tags, and write "$${tag}" for a key of that name`);
}

function untagged(tag: string, content: string): Value | undefined {
  switch (tag) {
    case '$bigint':
      return bigintOf(content);
    case '$date': {
      const date = new Date(content);
      return DATE.test(content) && !Number.isNaN(date.getTime()) ? date : undefined;
    }
    case '$bytes': {
      const bytes = Buffer.from(content, 'base64');
      // Buffer skips what is not base64. The copy leaves Buffer's shared pool.
      return bytes.toString('base64') === content ? new Uint8Array(bytes) : undefined;
    }
    case '$number':
      return ['NaN', 'Infinity', '-Infinity'].includes(content) ? Number(content) : undefined;
    default:
      return undefined;
  }
}

function bigintOf(content: string): bigint | undefined {
  if (!BIGINT.test(content)) return undefined;
  const negative = content.startsWith('-');
  const digits = negative ? content.slice(1) : content;
  if (!digits.startsWith('0x') && digits.length > BIGINT_DECIMAL_DIGITS_MAX) {
    throw invalid(`a bigint of over ${BIGINT_DECIMAL_DIGITS_MAX} decimal digits: send it in hexadecimal, as "0x…"`);
  }
  return negative ? -BigInt(digits) : BigInt(digits);
}

/** Plain assignment to `__proto__` would set the prototype instead of a field. */
function define<T>(object: Record<string, T>, key: string, value: T): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  else object[key] = value;
}
