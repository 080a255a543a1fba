/**
 * What random tests are made of: actors, clocks, values, hostile bytes; and the one question asked of every decoder.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import { type Actor, actorFrom, formatActor } from '../../crdts/dot.ts';
import { HearsayError } from '../../crdts/error.ts';
import type { Value } from '../../crdts/value.ts';

/** A few actors with awkward bytes: zeros, 0xff, text, one a neighbour of another. */
export const ACTORS: readonly Actor[] = [
  [0, 0, 0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0, 1],
  [255, 255, 255, 255, 255, 255, 255, 255],
  [104, 101, 97, 114, 115, 97, 121, 33],
].map((bytes) => actorFrom(Uint8Array.from(bytes)));

export const actorOf = (index: number): Actor => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(2, index);
  return actorFrom(bytes);
};

export const actors = fc.constantFrom(...ACTORS);

/** Clocks of a small universe, so that two of them meet often. */
export const clocks: fc.Arbitrary<Clock> = fc
  .array(fc.tuple(actors, fc.integer({ min: 1, max: 24 }), fc.integer({ min: 0, max: 4 })), { maxLength: 12 })
  .map((intervals) => {
    const clock = new Clock();
    for (const [actor, from, more] of intervals) clock.add(actor, from, from + more);
    return shown(clock);
  });

/** The clock, such that fast-check prints its intervals in a counterexample. */
export function shown(clock: Clock): Clock {
  const text = (): string => {
    const parts: string[] = [];
    clock.forEach((actor, from, to) => parts.push(`${formatActor(actor)}: ${from}–${to}`));
    return `{${parts.join(', ')}}`;
  };
  return Object.defineProperty(clock, fc.toStringMethod, { value: text });
}

const texts = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.string({
    unit: fc.constantFrom('\0', '\x01', '\x02', 'a', 'é', '\ud7ff', '\ue000', '\uffff', '😀'),
    maxLength: 5,
  }),
);
const numbers = fc.oneof(
  fc.integer(),
  fc.integer({ min: -3, max: 3 }),
  fc.maxSafeInteger(),
  fc.double(),
  fc.constantFrom(0.5, -0.5, -0, 255, 256, -255, -256, 2 ** 53, -(2 ** 53), Number.NaN),
);
const bigints = fc.oneof(fc.bigInt({ min: -300n, max: 300n }), fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }));
const bytes = fc.oneof(fc.uint8Array({ maxLength: 6 }), fc.uint8Array({ max: 2, maxLength: 6 }));
const dates = fc.date({ noInvalidDate: true });

/** Values of one type each, for what holds type by type. Numbers are two: safe integers, and all others. */
export const valuesByType = { texts, bytes, bigints, dates, numbers };

export const values: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, false),
    texts,
    numbers,
    bigints,
    bytes,
    dates,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(texts, fc.constantFrom('__proto__', 'a', 'b', '')), tie('value'), {
      maxKeys: 4,
      noNullPrototype: true,
    }),
  ),
})).value;

/** Bytes that are not, or nearly, what an encoder wrote: noise, and damaged encodings. */
export const damaged = (encoded: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ max: 3, maxLength: 40 }),
    fc
      .tuple(encoded, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 }), fc.nat({ max: 2 })), { maxLength: 3 }))
      .map(([original, damages]) => {
        const result = [...original];
        for (const [position, byte, way] of damages) result.splice(position % (result.length + 1), way, byte);
        return Uint8Array.from(result);
      }),
  );

/** What `read` makes of hostile bytes; undefined when it refuses them, which it may do by `Malformed` alone. */
export function readOrRefuse<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(HearsayError);
    expect((error as HearsayError).code).toBe('Malformed');
    return undefined;
  }
}

export function encoded(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer(1);
  write(writer);
  return writer.finish();
}

/** The code of the HearsayError that `act` throws; undefined when it throws nothing. */
export function codeOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(HearsayError);
    return (error as HearsayError).code;
  }
}
