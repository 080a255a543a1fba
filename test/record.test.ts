/**
 * The join, held to its laws over histories that could have happened, and records as bytes.
 *
 * A join is only promised anything for truthful coverage: who says it covers a dot has seen the event. So states are not
 * made up: they are what replicas of one path come to by random events and joins, taken at any moment.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Reader } from '../crdts/bytes.ts';
import { checkRecord } from '../crdts/check.ts';
import { Clock } from '../crdts/clock.ts';
import { type Actor, formatDot, NUMBERS_END } from '../crdts/dot.ts';
import { keyPrefix, PATH_BYTES_MAX, typed, type TypeName } from '../crdts/path.ts';
import {
  type Entry,
  type EntryKind,
  expiryOf,
  isExpired,
  join,
  liveEntries,
  NO_BYTES,
  readRecords,
  readRow,
  type Row,
  type SentRecord,
  writeRecords,
  writeRow,
} from '../crdts/record.ts';
import { encodeValue } from '../crdts/types/register.ts';
import { ACTORS, actors, clocks, codeOf, damaged, encoded, readOrRefuse, values } from './support/arbitraries.ts';

/** One replica's record and what it covers. Here all of its coverage is its clock. */
interface State {
  readonly entries: readonly Entry[];
  readonly clock: Clock;
}

type Step =
  | { readonly type: 'event'; readonly at: number; readonly keep: number; readonly kind: 'live' | 'ghost' }
  | { readonly type: 'join'; readonly at: number; readonly from: number };

const REPLICA_COUNT = 3;
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constant('event' as const),
      at: fc.nat(REPLICA_COUNT - 1),
      keep: fc.nat(15),
      kind: fc.constantFrom('live' as const, 'live' as const, 'ghost' as const),
    }),
    fc.record({ type: fc.constant('join' as const), at: fc.nat(REPLICA_COUNT - 1), from: fc.nat() }),
  ),
  { minLength: 3, maxLength: 30 },
);

const joined = (mine: State, theirs: State): State => {
  const clock = mine.clock.clone();
  clock.addAll(theirs.clock);
  return { entries: join(mine.entries, theirs.entries, mine.clock, mine.clock, theirs.clock), clock };
};

/** Every state that any replica was ever in. A join takes any of them, the old ones too: messages are late. */
function statesOf(history: readonly Step[]): State[] {
  const now: State[] = Array.from({ length: REPLICA_COUNT }, () => ({ entries: [], clock: new Clock() }));
  const all = [...now];
  for (const step of history) {
    const mine = now[step.at] as State;
    let next: State;
    if (step.type === 'join') {
      next = joined(mine, all[step.from % all.length] as State);
    } else {
      const actor = ACTORS[step.at] as Actor;
      const clock = mine.clock.clone();
      const n = clock.max(actor) + 1;
      clock.add(actor, n);
      // Which of the dots seen an event replaces is the type's affair: here luck decides.
      const kept = mine.entries.filter((_, i) => (step.keep >> i) % 2 === 1);
      next = { entries: [...kept, { actor, n, time: n, kind: step.kind, body: NO_BYTES, expires: 0 }], clock };
    }
    now[step.at] = next;
    all.push(next);
  }
  return all;
}

const dotsOf = (entries: readonly Entry[], kind: EntryKind): string[] =>
  entries
    .filter((entry) => entry.kind === kind)
    .map(({ actor, n }) => formatDot(actor, n))
    .sort();
const live = (state: State): string[] => dotsOf(state.entries, 'live');

const histories = fc.tuple(steps, fc.nat(), fc.nat(), fc.nat()).map(([history, ...picks]) => {
  const states = statesOf(history);
  return picks.map((pick) => states[pick % states.length]) as [State, State, State];
});

describe('the join, on live dots', () => {
  test('[join] is commutative', () => {
    fc.assert(
      fc.property(histories, ([a, b]) => {
        expect(live(joined(a, b))).toEqual(live(joined(b, a)));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[join] is associative', () => {
    fc.assert(
      fc.property(histories, ([a, b, c]) => {
        expect(live(joined(joined(a, b), c))).toEqual(live(joined(a, joined(b, c))));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[join] is idempotent, and says so by returning the record it was given', () => {
    fc.assert(
      fc.property(histories, ([a, b]) => {
        const once = joined(a, b);
        expect(joined(a, a).entries).toBe(a.entries);
        expect(joined(once, b).entries).toBe(once.entries);
        expect(live(joined(b, once))).toEqual(live(once));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[join] leaves no dot twice, and no ghost of mine behind', () => {
    fc.assert(
      fc.property(histories, ([a, b]) => {
        const { entries } = joined(a, b);
        const dots = entries.map(({ actor, n }) => formatDot(actor, n));
        expect(new Set(dots).size).toBe(dots.length);
        for (const ghost of dotsOf(a.entries, 'ghost')) expect(dotsOf(entries, 'ghost')).toContain(ghost);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('the join, case by case', () => {
  const [actor, other] = ACTORS as [Actor, Actor];
  const dot = (n: number, kind: EntryKind = 'live'): Entry => ({ actor, n, time: n, kind, body: NO_BYTES, expires: 0 });
  const clock = (...ns: number[]): Clock => {
    const made = new Clock();
    for (const n of ns) made.add(actor, n);
    return made;
  };
  const none = clock();

  test.each<[string, Entry[], Entry[], Clock, Clock, Clock, string[]]>([
    ['held by both stays', [dot(1)], [dot(1)], clock(1), clock(1), clock(1), ['live 1']],
    ['held here, covered there: removed there', [dot(1)], [], clock(1), clock(1), clock(1), []],
    ['held here, unknown there: news from here', [dot(1)], [], clock(1), clock(1), none, ['live 1']],
    ['held there, covered here: removed here', [], [dot(1)], clock(1), clock(1), clock(1), []],
    ['held there, covered here by residue alone: removed here', [], [dot(1)], none, clock(1), clock(1), []],
    ['held there, unknown here: news', [], [dot(1)], none, none, clock(1), ['live 1']],
    ['my ghost, covered there and gone: stays', [dot(1, 'ghost')], [], clock(1), clock(1), clock(1), ['ghost 1']],
    ['your ghost, not in my clock: added', [], [dot(1, 'ghost')], none, none, clock(1), ['ghost 1']],
    ['your ghost, in my residue only: added', [], [dot(1, 'ghost')], none, clock(1), clock(1), ['ghost 1']],
    ['your ghost, in my clock: I dropped it', [], [dot(1, 'ghost')], clock(1), clock(1), clock(1), []],
    ['omitted, held here: stays', [dot(1)], [dot(1, 'omitted')], clock(1), clock(1), clock(1), ['live 1']],
    ['omitted, not held here: never added', [], [dot(1, 'omitted')], none, none, clock(1), []],
  ])('[join] %s', (_, mine, theirs, myClock, myCoverage, theirCoverage, expected) => {
    const result = join(mine, theirs, myClock, myCoverage, theirCoverage);
    expect(result.map(({ kind, n }) => `${kind} ${n}`)).toEqual(expected);
  });

  test('[join] dots of different actors with one number are different dots', () => {
    const theirs = [{ ...dot(1), actor: other }];
    expect(join([dot(1)], theirs, clock(1), clock(1), none)).toHaveLength(2);
  });
});

describe('time to live, of a record', () => {
  const entry = (expires: number, kind: EntryKind = 'live'): Entry => ({
    actor: ACTORS[0] as Actor,
    n: expires + 1,
    time: 1,
    kind,
    body: NO_BYTES,
    expires,
  });

  test('[ttl] the longest of its live dots counts; one without makes it last for ever', () => {
    expect(expiryOf([])).toBe(0);
    expect(expiryOf([entry(5), entry(9), entry(7)])).toBe(9);
    expect(expiryOf([entry(5), entry(0)])).toBe(0);
    expect(expiryOf([entry(5), entry(9, 'ghost'), entry(0, 'ghost')])).toBe(5);
  });

  test('[ttl] from its end on, all of it is hidden at once', () => {
    const entries = [entry(5), entry(9), entry(3, 'ghost')];
    expect(liveEntries(entries, 8)).toHaveLength(2);
    expect(isExpired(entries, 8)).toBe(false);
    expect(liveEntries(entries, 9)).toEqual([]);
    expect(isExpired(entries, 9)).toBe(true);
    expect(isExpired([], 9)).toBe(false);
  });
});

const numbers = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: NUMBERS_END - 1 }));
const entriesOf = (kinds: EntryKind[]): fc.Arbitrary<Entry[]> =>
  fc.uniqueArray(
    fc.record({
      actor: actors,
      n: numbers,
      time: numbers,
      kind: fc.constantFrom(...kinds),
      body: fc.uint8Array({ maxLength: 5 }),
      expires: fc.oneof(fc.constant(0), numbers),
    }),
    { selector: ({ actor, n }) => formatDot(actor, n), maxLength: 5 },
  );
const rows: fc.Arbitrary<Row> = fc.record({
  entries: entriesOf(['live', 'ghost']),
  residue: fc.oneof(fc.constant(null), numbers, clocks),
});
const byteStrings = fc.uint8Array({ maxLength: 6 }).map((bytes) => String.fromCharCode(...bytes));
const sentRecords: fc.Arbitrary<SentRecord> = fc.record({
  path: byteStrings,
  entries: entriesOf(['live', 'ghost', 'omitted']),
  residue: fc.oneof(fc.constant(null), clocks),
});

const clockText = (clock: Clock): string =>
  [...clock.dots()]
    .map(({ actor, n }) => formatDot(actor, n))
    .sort()
    .join();
const plainRow = ({ entries, residue }: Row) => ({
  entries,
  residue: residue instanceof Clock ? clockText(residue) : residue,
});
const plainRecord = ({ path, entries, residue }: SentRecord) => ({
  path,
  entries,
  residue: residue === null ? null : clockText(residue),
});
/** What is told of an omitted dot is its name alone. */
const asSent = (record: SentRecord): SentRecord => ({
  ...record,
  entries: record.entries.map((entry) =>
    entry.kind === 'omitted' ? { ...entry, time: 0, expires: 0, body: NO_BYTES } : entry,
  ),
});

describe('rows and records, as bytes', () => {
  test('[record] a stored row comes back', () => {
    fc.assert(
      fc.property(rows, (row) => {
        const bytes = encoded((writer) => writeRow(writer, row));
        expect(plainRow(readRow(new Reader(bytes)))).toEqual(plainRow(row));
      }),
      { numRuns: 1_000 },
    );
  });

  test('[record] records come back from the wire, their payloads as copies', () => {
    fc.assert(
      fc.property(fc.array(sentRecords, { maxLength: 5 }), (records) => {
        const bytes = encoded((writer) => writeRecords(writer, records));
        const back = readRecords(new Reader(bytes), PATH_BYTES_MAX);
        bytes.fill(0);
        expect(back.map(plainRecord)).toEqual(records.map(asSent).map(plainRecord));
      }),
      { numRuns: 1_000 },
    );
  });

  test('[record] a record of one dot costs about 10 bytes beside its path and payload', () => {
    const records = Array.from(
      { length: 1_000 },
      (_, i): SentRecord => ({
        path: typed(keyPrefix(`key ${i}`), 'flag'),
        entries: [
          { actor: ACTORS[0] as Actor, n: i + 1, time: 1.7e15 + 1_000 * i, kind: 'live', body: NO_BYTES, expires: 0 },
        ],
        residue: null,
      }),
    );
    const pathBytes = records.reduce((sum, { path }) => sum + path.length, 0);
    const bytes = encoded((writer) => writeRecords(writer, records));
    expect((bytes.length - pathBytes) / records.length).toBeLessThanOrEqual(10);
  });

  test('[record] a path that is too long is refused', () => {
    const records = [{ path: 'x'.repeat(11), entries: [], residue: null }];
    const bytes = encoded((writer) => writeRecords(writer, records));
    expect(codeOf(() => readRecords(new Reader(bytes), 10))).toBe('Malformed');
    expect(readRecords(new Reader(bytes), 11)).toHaveLength(1);
  });

  test('[record] hostile rows are refused as Malformed, or can be written again', () => {
    const honest = rows.map((row) => encoded((writer) => writeRow(writer, row)));
    fc.assert(
      fc.property(damaged(honest), (bytes) => {
        const row = readOrRefuse(() => readRow(new Reader(bytes)));
        if (row === undefined) return;
        const again = readRow(new Reader(encoded((writer) => writeRow(writer, row))));
        expect(plainRow(again)).toEqual(plainRow(row));
      }),
      { numRuns: 3_000 },
    );
  });

  test('[record] hostile records are refused as Malformed, or can be sent on', () => {
    const honest = fc
      .array(sentRecords, { maxLength: 3 })
      .map((records) => encoded((writer) => writeRecords(writer, records)));
    fc.assert(
      fc.property(damaged(honest), (bytes) => {
        const records = readOrRefuse(() => readRecords(new Reader(bytes), PATH_BYTES_MAX));
        if (records === undefined) return;
        const again = readRecords(new Reader(encoded((writer) => writeRecords(writer, records))), PATH_BYTES_MAX);
        expect(again.map(plainRecord)).toEqual(records.map(plainRecord));
        for (const { entries } of records) {
          for (const { n, time } of entries)
            expect(n >= 1 && n < NUMBERS_END && time >= 0 && time < NUMBERS_END).toBe(true);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('what a stranger sent', () => {
  const entry = (more: Partial<Entry> = {}): Entry => ({
    actor: ACTORS[0] as Actor,
    n: 1,
    time: 1,
    kind: 'live',
    body: NO_BYTES,
    expires: 0,
    ...more,
  });
  const record = (type: TypeName, ...entries: Entry[]): SentRecord => ({
    path: typed(keyPrefix('key'), type),
    entries,
    residue: null,
  });
  const mark = Uint8Array.from([...new Array<number>(8).fill(7), 1, 5, 0]);
  const ghost = (body: Uint8Array): Entry => entry({ kind: 'ghost', body });

  test.each<[string, SentRecord]>([
    ['a register', record('register', entry({ body: encodeValue({ a: 1 }) }))],
    ['a removed register', record('register', ghost(NO_BYTES))],
    ['a counter', record('counter', entry({ body: Uint8Array.of(1, 5, 0) }))],
    ['a counter that was reset', record('counter', ghost(mark))],
    ['a counter whose mark names none', record('counter', ghost(NO_BYTES))],
    ['a flag', record('flag', entry())],
    ['a flag that is off for good', record('flag-disable-wins', entry({ body: Uint8Array.of(0) }))],
    ['omitted dots, whatever the type', record('counter', entry({ kind: 'omitted' }))],
    [
      'a record of the store itself',
      { ...record('flag'), path: '\x01actor', entries: [entry({ body: encodeValue('a') })] },
    ],
  ])('[check] is taken: %s', (_, sent) => {
    expect(codeOf(() => checkRecord(sent))).toBeUndefined();
  });

  test.each<[string, SentRecord]>([
    ['a path of nothing', { ...record('flag'), path: '' }],
    ['a path without a type', { ...record('flag'), path: keyPrefix('key') }],
    ['a path that goes on', { ...record('flag'), path: `${typed(keyPrefix('key'), 'flag')}x` }],
    ['a map as a record', record('map', entry())],
    ['a register without a value', record('register', entry())],
    ['a register with more than a value', record('register', entry({ body: Uint8Array.of(2, 2) }))],
    ['a removed register with a payload', record('register', ghost(Uint8Array.of(2)))],
    ['a counter without totals', record('counter', entry())],
    ['a counter with more than totals', record('counter', entry({ body: Uint8Array.of(1, 5, 0, 0) }))],
    ['a counter with a time to live', record('counter', entry({ body: Uint8Array.of(1, 5, 0), expires: 9 }))],
    ['half a mark', record('counter', ghost(mark.subarray(0, 9)))],
    ['a flag with a payload', record('flag', entry({ body: Uint8Array.of(0, 0) }))],
    ['a removed flag with a payload', record('flag', ghost(Uint8Array.of(0)))],
    ['a dot twice', record('flag', entry(), entry({ kind: 'ghost' }))],
  ])('[check] is refused: %s', (_, sent) => {
    expect(codeOf(() => checkRecord(sent))).toBe('Malformed');
  });

  test('[check] every value that can be stored can be sent', () => {
    fc.assert(
      fc.property(values, (value) => {
        checkRecord(record('register', entry({ body: encodeValue(value) })));
      }),
      { numRuns: 300 },
    );
  });
});
