/**
 * Clocks against the naive thing they stand for: a set of "actor:n" strings.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Reader, Writer } from '../crdts/bytes.ts';
import { Clock } from '../crdts/clock.ts';
import { type Actor, actorFrom, formatActor, formatDot, NUMBERS_END, parseActor } from '../crdts/dot.ts';
import { HashedClock, hashOf, hashOfActor } from '../crdts/hashed-clock.ts';
import {
  actorOf,
  ACTORS,
  actors,
  clocks,
  codeOf,
  damaged,
  encoded,
  readOrRefuse,
  shown,
} from './support/arbitraries.ts';

type Model = Set<string>;

const modelOf = (clock: Clock): Model => new Set([...clock.dots()].map(({ actor, n }) => formatDot(actor, n)));
const encode = (clock: Clock): Uint8Array => encoded((writer) => clock.write(writer));
const decode = (bytes: Uint8Array): Clock => Clock.read(new Reader(bytes));

/** Event numbers cluster at the places where arithmetic changes: around 2^7, 2^32 and the last safe integer. */
const BASES = [0, 120, 2 ** 32 - 10, Number.MAX_SAFE_INTEGER - 24];
const SPAN = 24;
const ranges = fc
  .tuple(actors, fc.constantFrom(...BASES), fc.integer({ min: 1, max: SPAN }), fc.integer({ min: 0, max: 6 }))
  .map(([actor, base, from, more]) => ({ actor, from: base + from, to: Math.min(base + from + more, base + SPAN) }));

type Step =
  | { type: 'add' | 'remove'; actor: Actor; from: number; to: number }
  | { type: 'addAll' | 'removeAll' | 'hash' | 'clear' };
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: ranges.map((range) => ({ type: 'add' as const, ...range })) },
  { weight: 4, arbitrary: ranges.map((range) => ({ type: 'remove' as const, ...range })) },
  { weight: 2, arbitrary: fc.constantFrom('addAll', 'removeAll', 'hash').map((type) => ({ type })) },
);

const others = fc.array(ranges, { maxLength: 10 }).map((list) => {
  const clock = new Clock();
  for (const { actor, from, to } of list) clock.add(actor, from, to);
  return shown(clock);
});

describe('a clock and the set of its dots', () => {
  test('[clock] every change does to the intervals what it does to the set', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 40 }), others, (history, other) => {
        const clock = new HashedClock();
        const model: Model = new Set();
        const otherModel = modelOf(other);
        for (const step of history) {
          switch (step.type) {
            case 'add': {
              const before = model.size;
              for (let n = step.from; n <= step.to; n++) model.add(formatDot(step.actor, n));
              expect(clock.add(step.actor, step.from, step.to)).toBe(model.size > before);
              break;
            }
            case 'remove':
              clock.remove(step.actor, step.from, step.to);
              for (let n = step.from; n <= step.to; n++) model.delete(formatDot(step.actor, n));
              break;
            case 'addAll':
              clock.addAll(other);
              for (const dot of otherModel) model.add(dot);
              break;
            case 'removeAll':
              clock.removeAll(other);
              for (const dot of otherModel) model.delete(dot);
              break;
            case 'hash':
              hashOf(clock);
              break;
            case 'clear':
              clock.clear();
              model.clear();
              break;
          }
        }
        expect(modelOf(clock)).toEqual(model);
        expect(clock.dotCount).toBe(model.size);
        expect(clock.isEmpty).toBe(model.size === 0);
        expect(hashOf(clock), 'the hash kept up by changes is the hash from scratch').toEqual(hashOf(clock.clone()));
        expect(modelOf(decode(encode(clock)))).toEqual(model);
        for (const actor of ACTORS) {
          const numbers = [...clock.dots()].filter((dot) => dot.actor === actor).map(({ n }) => n);
          expect(clock.max(actor)).toBe(Math.max(0, ...numbers));
          for (const base of BASES)
            for (let n = base + 1; n <= base + SPAN; n++)
              expect(clock.has(actor, n)).toBe(model.has(formatDot(actor, n)));
        }
      }),
      { numRuns: 400 },
    );
  });

  test('[clock] minus, intersect, contains and equals are those of sets', () => {
    fc.assert(
      fc.property(clocks, clocks, (a, b) => {
        const [setA, setB] = [modelOf(a), modelOf(b)];
        expect(modelOf(a.minus(b))).toEqual(new Set([...setA].filter((dot) => !setB.has(dot))));
        expect(modelOf(a.intersect(b))).toEqual(new Set([...setA].filter((dot) => setB.has(dot))));
        expect(a.contains(b)).toBe([...setB].every((dot) => setA.has(dot)));
        expect(a.equals(b)).toBe(setA.size === setB.size && [...setA].every((dot) => setB.has(dot)));
        const union = a.clone();
        union.addAll(b);
        expect(modelOf(union)).toEqual(new Set([...setA, ...setB]));
        expect([modelOf(a), modelOf(b)], 'neither operand changed').toEqual([setA, setB]);
      }),
      { numRuns: 1_000 },
    );
  });

  test('[clock] a clock may be its own argument', () => {
    fc.assert(
      fc.property(clocks, (clock) => {
        const before = modelOf(clock);
        expect(clock.contains(clock) && clock.equals(clock)).toBe(true);
        expect(clock.minus(clock).isEmpty).toBe(true);
        clock.addAll(clock);
        expect(modelOf(clock)).toEqual(before);
        clock.removeAll(clock);
        expect(clock.isEmpty).toBe(true);
      }),
    );
  });

  test('[clock] the intervals of an actor are sorted, not empty, and neither touch nor overlap', () => {
    fc.assert(
      fc.property(clocks, (clock) => {
        let count = 0;
        for (const actor of ACTORS) {
          let end = -1;
          for (const { from, to } of clock.intervalsOf(actor)) {
            expect(from).toBeGreaterThan(end + 1);
            expect(to).toBeGreaterThanOrEqual(from);
            end = to;
            count++;
          }
          expect(end === -1 ? 0 : end).toBe(clock.max(actor));
        }
        expect(clock.intervalCount).toBe(count);
        expect(clock.actorCount).toBe([...clock.actors()].length);
        const visited: string[] = [];
        clock.forEach((actor, from, to) => visited.push(`${formatActor(actor)} ${from}–${to}`));
        const listed = [...clock.actors()].flatMap((actor) =>
          clock.intervalsOf(actor).map(({ from, to }) => `${formatActor(actor)} ${from}–${to}`),
        );
        expect(visited).toEqual(listed);
      }),
    );
  });

  test('[clock] the first run reaches over gaps of at most so many dots', () => {
    fc.assert(
      fc.property(clocks, actors, fc.integer({ min: 0, max: 5 }), (clock, actor, gapMax) => {
        const numbers = [...clock.dots()].filter((dot) => dot.actor === actor).map(({ n }) => n);
        let last = numbers[0];
        for (const n of numbers) if (last !== undefined && n - last - 1 <= gapMax) last = n;
        const [first] = numbers;
        const expected = first === undefined || last === undefined ? null : { from: first, to: last };
        expect(clock.firstRun(actor, gapMax)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test('[clock] equal clocks have equal hashes, other clocks have others', () => {
    fc.assert(
      fc.property(clocks, clocks, (a, b) => {
        expect(String(hashOf(a)) === String(hashOf(b))).toBe(a.equals(b));
        expect(String(hashOf(a.clone()))).toBe(String(hashOf(a)));
        for (const actor of ACTORS) {
          const same =
            String(a.intervalsOf(actor).map(Object.values)) === String(b.intervalsOf(actor).map(Object.values));
          expect(String(hashOfActor(a, actor)) === String(hashOfActor(b, actor))).toBe(same);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a clock as bytes', () => {
  test('[clock] ten thousand ended actors cost at most 14 bytes each', () => {
    const clock = new Clock();
    const eventCountMax = 1_000_000;
    for (let i = 0; i < 10_000; i++) clock.add(actorOf(i), 1, 1 + ((i * 7919) % eventCountMax));
    const bytes = encode(clock);
    expect(bytes.length / clock.actorCount).toBeLessThanOrEqual(14);
    expect(decode(bytes).equals(clock)).toBe(true);
  });

  test('[clock] the gaps in a range are what the clock lacks of it', () => {
    fc.assert(
      fc.property(clocks, ranges, (clock, { actor, from, to }) => {
        const expected = new Clock();
        for (let n = from; n <= to; n++) if (!clock.has(actor, n)) expected.add(actor, n);
        expect(clock.gaps(actor, from, to)).toEqual(expected.intervalsOf(actor));
      }),
      { numRuns: 500 },
    );
  });

  test('[clock] hostile bytes are refused as Malformed, or are a clock', () => {
    fc.assert(
      fc.property(damaged(others.map(encode)), (bytes) => {
        const clock = readOrRefuse(() => decode(bytes));
        if (clock === undefined) return;
        expect(decode(encode(clock)).equals(clock)).toBe(true);
        for (const actor of clock.actors()) {
          let end = -1;
          for (const { from, to } of clock.intervalsOf(actor)) {
            expect(from > end + 1 && to >= from && from >= 1 && Number.isSafeInteger(to)).toBe(true);
            end = to;
          }
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test('[clock] a promise of more than there are bytes is refused before anything is set aside for it', () => {
    const huge = encoded((writer) => writer.varint(Number.MAX_SAFE_INTEGER));
    expect(codeOf(() => decode(huge))).toBe('Malformed');
    const hugeEntry = encoded((writer) => {
      writer.varint(1);
      writer.byteString(ACTORS[0] as Actor);
      writer.varint(2 ** 40);
    });
    expect(codeOf(() => decode(hugeEntry))).toBe('Malformed');
  });

  test('[bytes] integers come back: up to 2^53, and of either sign below 2^52', () => {
    const max = NUMBERS_END - 1;
    const integers = fc.oneof(
      fc.integer({ min: -max, max }),
      fc.integer(),
      fc.constantFrom(0, 63, 64, -63, -64, max, -max),
    );
    fc.assert(
      fc.property(integers, fc.maxSafeNat(), (signed, natural) => {
        const writer = new Writer(1);
        writer.varint(natural);
        writer.zigzag(signed);
        const reader = new Reader(writer.finish());
        expect(reader.varint()).toBe(natural);
        expect(reader.zigzag()).toBe(signed);
        expect(reader.done).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('an actor', () => {
  test('[actor] prints as 16 hexadecimal digits, in its own order, and back', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 8 }),
        fc.uint8Array({ minLength: 8, maxLength: 8 }),
        (a, b) => {
          const [one, two] = [actorFrom(a), actorFrom(b)];
          expect(parseActor(formatActor(one))).toBe(one);
          expect(formatActor(one) < formatActor(two)).toBe(one < two);
        },
      ),
    );
  });

  test('[actor] anything but 8 bytes, or their digits, is refused', () => {
    for (const length of [0, 7, 9]) expect(codeOf(() => actorFrom(new Uint8Array(length)))).toBe('InvalidActor');
    for (const text of ['', '00', 'g000000000000000', 'A000000000000000', '00000000000000000', ' 000000000000000'])
      expect(codeOf(() => parseActor(text))).toBe('InvalidActor');
  });
});
