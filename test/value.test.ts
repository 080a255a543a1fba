/**
 * The canonical encoding of values: what comes back, what is equal, what is less, and what is refused.
 */
import { isDeepStrictEqual } from 'node:util';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Reader, toByteString } from '../crdts/bytes.ts';
import { endOfPrefix, elementPath, fieldPrefix, keyPrefix, keyRange, parsePath, typed } from '../crdts/path.ts';
import { DEPTH_MAX, readValue, type Value, writeValue } from '../crdts/value.ts';
import { codeOf, damaged, encoded, readOrRefuse, values, valuesByType } from './support/arbitraries.ts';

const encode = (value: unknown): Uint8Array => encoded((writer) => writeValue(writer, value as Value));
/** As a byte string: compares with `<` in byte order. */
const encodeText = (value: unknown): string => toByteString(encode(value));

function decode(bytes: Uint8Array): Value {
  const reader = new Reader(bytes);
  const value = readValue(reader);
  expect(reader.done).toBe(true);
  return value;
}

/** What a stored value is equal to: −0 is 0, and a field that is undefined is absent. */
function normal(value: unknown): unknown {
  if (typeof value === 'number') return value === 0 ? 0 : value;
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(fields.map(([key, field]) => [key, normal(field)]));
}

describe('a value and its bytes', () => {
  test('[value] what is written comes back', () => {
    fc.assert(
      fc.property(values, (value) => {
        const back = decode(encode(value));
        expect(isDeepStrictEqual(back, normal(value))).toBe(true);
        expect(encodeText(back)).toBe(encodeText(value));
      }),
      { numRuns: 2_000 },
    );
  });

  test('[value] equal values have equal bytes, other values have other bytes', () => {
    // A small universe, so that equal pairs are common.
    const small = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(null, true, 0, -0, 1, 1n, 0n, '', '0', '\0', 'a', Number.NaN, 0.5, undefined),
        fc.constantFrom(new Date(0), new Date(1), new Uint8Array(), Uint8Array.of(0), Uint8Array.of(97)),
        fc.array(tie('value'), { maxLength: 2 }),
        fc.dictionary(fc.constantFrom('a', 'b', ''), tie('value'), { maxKeys: 2, noNullPrototype: true }),
      ),
    })).value;
    const storable = small.filter((value) => codeOf(() => encode(value)) === undefined);
    fc.assert(
      fc.property(storable, storable, (a, b) => {
        expect(encodeText(a) === encodeText(b)).toBe(isDeepStrictEqual(normal(a), normal(b)));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[value] no encoding is the beginning of another', () => {
    fc.assert(
      fc.property(fc.oneof(values, valuesByType.texts, valuesByType.bytes), values, (a, more) => {
        const longer = typeof a === 'string' && typeof more === 'string' ? a + more : more;
        const [one, two] = [encodeText(a), encodeText(longer)];
        expect(two.startsWith(one)).toBe(one === two);
      }),
      { numRuns: 2_000 },
    );
  });

  const codePoints = (text: string): number[] => Array.from(text, (char) => char.codePointAt(0) as number);
  const compareLists = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
    for (let i = 0; i < a.length && i < b.length; i++)
      if (a[i] !== b[i]) return Math.sign((a[i] as number) - (b[i] as number));
    return Math.sign(a.length - b.length);
  };
  const compareOrdered = <T extends number | bigint | Date>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);

  function keepsOrder<T extends Value>(arbitrary: fc.Arbitrary<T>, compare: (a: T, b: T) => number): void {
    const order = (a: Value, b: Value): number => {
      const [one, two] = [encodeText(a), encodeText(b)];
      return one < two ? -1 : one > two ? 1 : 0;
    };
    fc.assert(
      fc.property(arbitrary, arbitrary, fc.array(values, { maxLength: 2 }), (a, b, more) => {
        expect(order(a, b)).toBe(compare(a, b));
        // Inside an array, whatever follows.
        if (compare(a, b) !== 0) expect(order([a, ...more], [b])).toBe(compare(a, b));
      }),
      { numRuns: 1_000 },
    );
  }

  test('[value] texts sort by code points', () =>
    keepsOrder(valuesByType.texts, (a, b) => compareLists(codePoints(a), codePoints(b))));
  test('[value] bytes sort as bytes', () => keepsOrder(valuesByType.bytes, compareLists));
  test('[value] bigints sort by size, negatives too', () => keepsOrder(valuesByType.bigints, compareOrdered));
  test('[value] dates sort by time', () => keepsOrder(valuesByType.dates, compareOrdered));
  test('[value] safe integers sort by size, negatives too', () =>
    keepsOrder(valuesByType.numbers.filter(Number.isSafeInteger), compareOrdered));
  test('[value] other numbers sort by size, NaN last', () => {
    const last = (n: number): number => (Number.isNaN(n) ? 1 : 0);
    const others = fc.oneof(valuesByType.numbers, fc.constantFrom(Infinity, -Infinity, 1e300, -1e300, 5e-324));
    keepsOrder(
      others.filter((n) => !Number.isSafeInteger(n)),
      (a, b) => Math.sign(last(a) - last(b)) || compareOrdered(a, b),
    );
  });
  test('[value] arrays sort item by item, the shorter first', () => {
    const arrays = fc.array(fc.integer({ min: -1, max: 1 }), { maxLength: 4 });
    keepsOrder(arrays, compareLists);
  });
});

describe('odd values', () => {
  const nested = (depth: number): Value => (depth === 0 ? 'core' : [nested(depth - 1)]);
  const nestedObject = (depth: number): Value => (depth === 0 ? 'core' : { in: nestedObject(depth - 1) });
  class Point {
    readonly x = 1;
  }
  const cycle: unknown[] = [];
  cycle.push(cycle);

  test.each<[string, unknown, unknown]>([
    ['NaN', Number.NaN, Number.NaN],
    ['−0', -0, 0],
    ['−0 inside', [-0], [0]],
    ['infinities', [Infinity, -Infinity], [Infinity, -Infinity]],
    [
      'numbers around 2^53',
      [2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 53 + 2],
      [2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 53 + 2],
    ],
    ['the least and greatest doubles', [5e-324, -Number.MAX_VALUE], [5e-324, -Number.MAX_VALUE]],
    ['bigints, beside numbers', [1n, 1, 0n, -1n, -256n], [1n, 1, 0n, -1n, -256n]],
    ['a huge bigint', -(1n << 100_000n), -(1n << 100_000n)],
    ['an empty key', { '': 1 }, { '': 1 }],
    ['a field that is undefined', { a: undefined, b: 1 }, { b: 1 }],
    [
      'NUL in text, keys and bytes',
      { 'a\0': ['\0\0', Uint8Array.of(0, 255, 1, 0)] },
      { 'a\0': ['\0\0', Uint8Array.of(0, 255, 1, 0)] },
    ],
    ['a byte order mark', '\ufeffa', '\ufeffa'],
    ['a Buffer', Buffer.from('hi'), Uint8Array.of(104, 105)],
    ['an object without prototype', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ['an object of another realm', runInNewContext('({ a: 1 })'), { a: 1 }],
    ['the first and last dates', [new Date(8.64e15), new Date(-8.64e15)], [new Date(8.64e15), new Date(-8.64e15)]],
    [`arrays ${DEPTH_MAX} deep`, nested(DEPTH_MAX), nested(DEPTH_MAX)],
    [`objects ${DEPTH_MAX} deep`, nestedObject(DEPTH_MAX), nestedObject(DEPTH_MAX)],
  ])('[value] can be stored: %s', (_, value, expected) => {
    const back = decode(encode(value));
    expect(isDeepStrictEqual(back, expected)).toBe(true);
  });

  test.each<[string, unknown, string]>([
    ['undefined', undefined, 'InvalidValue'],
    ['a function', () => 1, 'InvalidValue'],
    ['a symbol', Symbol('s'), 'InvalidValue'],
    ['a function in a field', { a: () => 1 }, 'InvalidValue'],
    ['a hole in an array', [1, , 3], 'InvalidValue'], // oxlint-disable-line no-sparse-arrays -- that is the case
    ['a huge array of nothing', new Array(2 ** 32 - 1), 'InvalidValue'],
    ['undefined in an array', [undefined], 'InvalidValue'],
    ['a lone high surrogate', 'a\ud800', 'InvalidValue'],
    ['a lone low surrogate', '\udc00a', 'InvalidValue'],
    ['surrogates in the wrong order', '\udc00\ud800', 'InvalidValue'],
    ['a lone surrogate in a key', { '\ud800': 1 }, 'InvalidValue'],
    ['an instance of a class', new Point(), 'InvalidValue'],
    ['a Map', new Map(), 'InvalidValue'],
    ['other typed arrays', new Uint16Array(1), 'InvalidValue'],
    ['an ArrayBuffer', new ArrayBuffer(1), 'InvalidValue'],
    ['an invalid date', new Date(Number.NaN), 'InvalidValue'],
    [`arrays ${DEPTH_MAX + 1} deep`, nested(DEPTH_MAX + 1), 'ValueTooDeep'],
    [`objects ${DEPTH_MAX + 1} deep`, nestedObject(DEPTH_MAX + 1), 'ValueTooDeep'],
    ['a cycle', cycle, 'ValueTooDeep'],
  ])('[value] cannot be stored: %s', (_, value, code) => {
    expect(codeOf(() => encode(value))).toBe(code);
  });

  test('[value] `__proto__` is a field like any other', () => {
    const value = JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1}') as Value;
    const back = decode(encode(value)) as Record<string, unknown>;
    expect(Object.keys(back).sort()).toEqual(['__proto__', 'constructor']);
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect((back as { polluted?: boolean }).polluted).toBeUndefined();
    expect(isDeepStrictEqual(back, value)).toBe(true);
  });

  test('[value] objects are equal whatever the order of their keys', () => {
    expect(encodeText({ b: 1, a: 2, '😀': 3, '\uffff': 4 })).toBe(encodeText({ '\uffff': 4, '😀': 3, a: 2, b: 1 }));
  });

  test('[value] bytes that come back are a copy: the stored ones cannot be changed through them', () => {
    const bytes = encode(Uint8Array.of(5, 6));
    (decode(bytes) as Uint8Array).fill(9);
    expect(decode(bytes)).toEqual(Uint8Array.of(5, 6));
  });
});

describe('hostile bytes', () => {
  test('[value] are refused as Malformed, or are exactly what is written for some value', () => {
    fc.assert(
      fc.property(damaged(values.map(encode)), (bytes) => {
        const reader = new Reader(bytes);
        const value = readOrRefuse(() => readValue(reader));
        if (value !== undefined) expect(encodeText(value)).toBe(toByteString(bytes.subarray(0, reader.at)));
      }),
      { numRuns: 20_000 },
    );
  });

  test.each<[string, number[]]>([
    ['an integer with a zero in front', [0x16, 0, 5]],
    ['a negative integer with a zero in front', [0x12, 0xff, 0xfa]],
    ['a negative 0', [0x13, 0xff]],
    ['an integer beyond 2^53 − 1', [0x1b, 0x20, 0, 0, 0, 0, 0, 0]],
    ['a safe integer as a double', [0x21, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0]],
    ['−0 as a double', [0x21, 0x7f, 255, 255, 255, 255, 255, 255, 255]],
    ['another NaN', [0x21, 0xff, 0xf8, 0, 0, 0, 0, 0, 1]],
    ['a negative NaN', [0x21, 0, 7, 255, 255, 255, 255, 255, 255]],
    ['a bigint with a zero in front', [0x23, 0, 0, 0, 2, 0, 5]],
    ['a bigint of a zero', [0x23, 0, 0, 0, 1, 0]],
    ['a negative 0n', [0x22, 255, 255, 255, 255]],
    ['an escape of nothing', [0x30, 1, 3, 0]],
    ['an escape at the end', [0x30, 1, 0]],
    ['a bigint that promises 4 GB', [0x23, 255, 255, 255, 255, 1]],
    ['a date between milliseconds', [0x25, 0xbf, 0xf8, 0, 0, 0, 0, 0, 0]],
    ['a date that is none', [0x25, 0xff, 0xf8, 0, 0, 0, 0, 0, 0]],
    ['a date beyond the last', [0x25, 0xff, 0xe0, 0, 0, 0, 0, 0, 0]],
    ['keys out of order', [0x41, 0x30, 0x62, 0, 1, 0x30, 0x61, 0, 1, 0]],
    ['a key twice', [0x41, 0x30, 0x61, 0, 1, 0x30, 0x61, 0, 1, 0]],
    ['a key that is not text', [0x41, 0x15, 1, 1, 0]],
    ['an overlong form of text', [0x30, 0xc1, 0x81, 0]],
    ['a surrogate in text', [0x30, 0xed, 0xa0, 0x80, 0]],
    ['text without an end', [0x30, 0x61]],
    ['an array without an end', [0x40, 0x01]],
    ['an unknown tag', [0x7f]],
    ['nothing', []],
    [
      `arrays ${DEPTH_MAX + 1} deep`,
      [...new Array<number>(DEPTH_MAX + 1).fill(0x40), ...new Array<number>(DEPTH_MAX + 1).fill(0)],
    ],
    ['a tower of arrays', new Array<number>(1_000_000).fill(0x40)],
  ])('[value] refused: %s', (_, bytes) => {
    expect(codeOf(() => readValue(new Reader(Uint8Array.from(bytes))))).toBe('Malformed');
  });

  test('[value] a megabyte of anything is read or refused in a moment', () => {
    for (const tag of [0x23, 0x30, 0x31, 0x40]) {
      for (const fill of [0, 1, 0x40, 0x61, 255]) {
        const bytes = new Uint8Array(1_000_000).fill(fill);
        bytes.set([tag, 0, 0x0f, 0, 0], 0);
        readOrRefuse(() => readValue(new Reader(bytes)));
      }
    }
  }, 30_000);
});

describe('paths', () => {
  const names = valuesByType.texts;
  const fields = fc.array(names, { maxLength: 3 });
  const place = (key: string, path: readonly string[]): string =>
    path.reduce((prefix, field) => fieldPrefix(typed(prefix, 'map'), field), keyPrefix(key));

  test('[path] says where it leads', () => {
    const types = fc.constantFrom('register', 'counter', 'flag', 'flag-disable-wins');
    fc.assert(
      fc.property(names, fields, types, values, (key, way, type, element) => {
        const path = typed(place(key, way), type);
        expect(parsePath(path)).toEqual({ key, fields: way, type, typeEnd: path.length });
        const set = typed(place(key, way), 'set-remove-wins');
        const parsed = parsePath(elementPath(set, element));
        expect(parsed).toMatchObject({ key, fields: way, type: 'set-remove-wins', typeEnd: set.length });
        expect(isDeepStrictEqual(parsed.element, normal(element))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('[path] a place is a range: all that lies under it, and nothing else', () => {
    fc.assert(
      fc.property(names, fields, names, fields, (key, way, otherKey, otherWay) => {
        const prefix = place(key, way);
        const path = typed(place(otherKey, otherWay), 'register');
        const isUnder = otherKey === key && way.every((field, i) => field === otherWay[i]);
        expect(prefix <= path && path < endOfPrefix(prefix)).toBe(isUnder);
      }),
      { numRuns: 3_000 },
    );
  });

  test('[path] the keys that begin with a text are a range', () => {
    fc.assert(
      fc.property(names, names, (text, key) => {
        const { start, end } = keyRange(text);
        const path = typed(keyPrefix(key), 'flag');
        expect(start <= path && path < end).toBe(key.startsWith(text));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[path] hostile bytes are refused as Malformed, or name one record in the one way there is', () => {
    const honest = fc
      .tuple(names, fields, values)
      .map(([key, way, element]) => elementPath(typed(place(key, way), 'set'), element));
    const bytes = damaged(honest.map((path) => Uint8Array.from(path, (char) => char.charCodeAt(0))));
    fc.assert(
      fc.property(bytes, (hostile) => {
        const path = toByteString(hostile);
        const parsed = readOrRefuse(() => parsePath(path));
        if (parsed === undefined) return;
        const container = typed(place(parsed.key, parsed.fields), parsed.type);
        expect(path).toBe('element' in parsed ? elementPath(container, parsed.element as Value) : container);
      }),
      { numRuns: 5_000 },
    );
  });
});
