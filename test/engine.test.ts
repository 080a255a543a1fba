/**
 * The engine: records, indexes and clock together, under pushes, rounds and restarts.
 *
 * Three engines live in one store, as three shards do in a node's, under numbers where prefixes are awkward. A model
 * keeps, for each engine and path, which events it knows of there; what those say is what the record must hold.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Reader, toByteString } from '../crdts/bytes.ts';
import { Clock } from '../crdts/clock.ts';
import { type Actor, type Dot, formatDot } from '../crdts/dot.ts';
import { type Edit, Engine, keyOfNumber, numberOfKey } from '../crdts/engine.ts';
import { keyPrefix, typed } from '../crdts/path.ts';
import { type Entry, expiryOf, NO_BYTES, readRow, type Row, type SentRecord } from '../crdts/record.ts';
import { endOfKeys } from '../crdts/stored-map.ts';
import { encodeValue } from '../crdts/types/register.ts';
import { actorOf, ACTORS, clocks, codeOf } from './support/arbitraries.ts';
import { StrictStore } from './support/strict-store.ts';

/** Histories take seconds; on a machine that does much else, many. */
const LONG_MS = 60_000;

const PATHS = ['a', 'b', 'b\0', 'c', 'd', '\uffff'].map((key) => typed(keyPrefix(key), 'register'));
const ALL: readonly [string, string] = ['', '\u007f'];
const SHARDS = [254, 255, 256];
const body = encodeValue('payload');

/** Replaces all it saw; or, like a counter, its own actor's dots alone; or leaves a ghost. */
type Kind = 'put' | 'count' | 'delete';
const edit = (path: string, kind: Kind, expires = 0): Edit => ({
  path,
  decide: (seen, { actor }) => ({
    keep: kind === 'count' ? seen.filter((entry) => entry.kind === 'live' && entry.actor !== actor) : [],
    kind: kind === 'delete' ? 'ghost' : 'live',
    body: kind === 'delete' ? NO_BYTES : body,
    expires: kind === 'delete' ? 0 : expires,
  }),
});

const nameOf = ({ actor, n }: Dot): string => formatDot(actor, n);
const liveNames = (row: Row): string[] =>
  row.entries
    .filter(({ kind }) => kind === 'live')
    .map(nameOf)
    .sort();
const dotNames = (clock: Clock): string[] => [...clock.dots()].map(nameOf).sort();

/** All that the store holds in one space of a shard: what is behind the prefix, and the value. */
function space(engine: Engine, letter: string): Map<string, Uint8Array> {
  const prefix = letter + String.fromCharCode(engine.shard >> 8, engine.shard & 0xff);
  const found = [...engine.store.range(prefix, endOfKeys(prefix))];
  return new Map(found.map(([key, value]) => [key.slice(prefix.length), value]));
}

/** Every index says what the rows say, and nothing else; the header of engine.ts, line by line. */
function checkIndexes(engine: Engine): void {
  const dots = new Map<string, string>();
  const ghosts = new Set<string>();
  const expiries = new Set<string>();
  const empty = new Set<string>();
  let isResidueLeft = false;
  for (const [path, bytes] of space(engine, 'r')) {
    const row = readRow(new Reader(bytes));
    expect(row.entries.length > 0 || row.residue !== null, 'a row that says nothing is not kept').toBe(true);
    if (row.entries.length === 0) empty.add(path);
    for (const entry of row.entries) {
      const key = entry.actor + keyOfNumber(entry.n);
      expect(dots.has(key), 'a dot is held once').toBe(false);
      dots.set(key, path);
      if (entry.kind === 'ghost') ghosts.add(key);
      expect(engine.clock.has(entry.actor, entry.n), 'a dot held is in the clock').toBe(true);
      expect(engine.pathOf(entry.actor, entry.n)).toBe(path);
    }
    const expires = expiryOf(row.entries);
    if (expires !== 0) expiries.add(keyOfNumber(expires) + path);
    if (engine.residueOf(row) !== null) isResidueLeft = true;
  }
  expect(new Map([...space(engine, 'd')].map(([key, path]) => [key, toByteString(path)]))).toEqual(dots);
  expect(new Set(space(engine, 'g').keys())).toEqual(ghosts);
  expect(engine.ghosts(Infinity).map(nameOf).sort()).toEqual(
    [...ghosts].map((key) => formatDot(key.slice(0, 8) as Actor, numberOfKey(key.slice(8)))).sort(),
  );
  expect(new Set(space(engine, 'x').keys())).toEqual(expiries);
  for (const path of empty) expect(space(engine, 'e').has(path), 'rows without dots are listed').toBe(true);
  expect(engine.hasResidue).toBe(isResidueLeft);
}

/** What else of an engine must outlive a restart. */
function remembered(engine: Engine): unknown {
  return {
    clock: dotNames(engine.clock),
    floors: dotNames(engine.floors),
    hasResidue: engine.hasResidue,
    rows: [...engine.rows(...ALL)].map(([path, row]) => {
      const residue = engine.residueOf(row);
      return [path, row.entries, residue === null ? [] : dotNames(residue)];
    }),
  };
}

interface Event {
  readonly path: string;
  readonly kind: Kind;
  readonly replaced: readonly string[];
}

/** An engine, its actors, and which events it knows of at each path. */
interface Peer {
  engine: Engine;
  readonly known: Map<string, Set<string>>;
}

interface Round {
  readonly from: Peer;
  readonly to: Peer;
  readonly target: Clock;
  readonly paths: string[];
}

type Step =
  | { type: 'write'; at: number; path: number; kind: Kind; expires: number }
  | { type: 'push'; from: number; to: number; paths: number; omits: boolean }
  | { type: 'open'; from: number; to: number }
  | { type: 'go'; round: number; count: number }
  | { type: 'lose'; round: number }
  | { type: 'restart'; at: number };

const who = fc.nat(SHARDS.length - 1);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('write' as const),
        at: who,
        path: fc.nat(PATHS.length - 1),
        kind: fc.constantFrom<Kind[]>('put', 'count', 'delete'),
        expires: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1_000 })),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('push' as const),
        from: who,
        to: who,
        paths: fc.nat(2 ** PATHS.length - 1),
        omits: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('open' as const), from: who, to: who }) },
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('go' as const),
        round: fc.nat(),
        count: fc.integer({ min: 1, max: 6 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('lose' as const), round: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const), at: who }) },
  ),
  { minLength: 1, maxLength: 60, size: 'max' },
);

class Cluster {
  readonly store = new StrictStore();
  readonly peers: Peer[];
  readonly events = new Map<string, Event>();
  rounds: Round[] = [];
  #actorCount = 0;
  #time = 0;

  constructor() {
    this.peers = SHARDS.map((shard) => ({
      engine: this.#open(shard),
      known: new Map(PATHS.map((path) => [path, new Set<string>()])),
    }));
  }

  #open(shard: number): Engine {
    const engine = new Engine(this.store, {}, shard);
    engine.begin(actorOf(++this.#actorCount));
    return engine;
  }

  step(step: Step): void {
    switch (step.type) {
      case 'write':
        return this.#write(this.peers[step.at] as Peer, PATHS[step.path] as string, step.kind, step.expires);
      case 'push': {
        const paths = PATHS.filter((_, i) => (step.paths >> i) % 2 === 1);
        return this.#send(this.peers[step.from] as Peer, this.peers[step.to] as Peer, paths, step.omits);
      }
      case 'open':
        if (step.from !== step.to) this.open(this.peers[step.from] as Peer, this.peers[step.to] as Peer);
        return;
      case 'go':
        if (this.rounds.length > 0) this.#go(this.rounds[step.round % this.rounds.length] as Round, step.count);
        return;
      case 'lose':
        this.rounds.splice(step.round % (this.rounds.length + 1), 1);
        return;
      case 'restart':
        return this.#restart(this.peers[step.at] as Peer);
    }
  }

  #write({ engine, known }: Peer, path: string, kind: Kind, expires: number): void {
    const before = engine.read(path).entries;
    const dot = engine.apply(edit(path, kind, expires), ++this.#time) as Dot;
    const after = engine.read(path).entries;
    const replaced = before.map(nameOf).filter((name) => !after.map(nameOf).includes(name));
    this.events.set(nameOf(dot), { path, kind, replaced });
    known.get(path)?.add(nameOf(dot));
  }

  /** A frame: records of one instant, with the clock of that instant. */
  #send(from: Peer, to: Peer, paths: readonly string[], omits: boolean): void {
    if (from === to) return;
    const told = from.engine.clock.clone();
    const records = paths.map((path): SentRecord => {
      const row = from.engine.read(path);
      const entries = row.entries.map(
        (entry): Entry =>
          omits && entry.kind === 'live' && to.engine.clock.has(entry.actor, entry.n)
            ? { ...entry, kind: 'omitted' }
            : entry,
      );
      return { path, entries, residue: from.engine.residueOf(row) };
    });
    to.engine.receive(records, told, told.minus(to.engine.clock));
    for (const path of paths) for (const name of from.known.get(path) ?? []) to.known.get(path)?.add(name);
  }

  /** A round: what of the target the other lacks is listed now, sent bit by bit as it is then, and completed. */
  open(from: Peer, to: Peer): Round {
    const target = from.engine.clock.clone();
    const missing = target.minus(to.engine.clock);
    const paths = new Set<string>();
    while (!missing.isEmpty) for (const { path } of from.engine.walk(missing, 2)) paths.add(path);
    const round = { from, to, target, paths: [...paths] };
    this.rounds.push(round);
    return round;
  }

  #go(round: Round, count: number): void {
    const { from, to, target, paths } = round;
    if (paths.length > 0) return this.#send(from, to, paths.splice(0, count), false);
    this.rounds = this.rounds.filter((other) => other !== round);
    to.engine.complete(target);
    for (const { actor, n } of target.dots()) {
      const event = this.events.get(formatDot(actor, n)) as Event;
      to.known.get(event.path)?.add(formatDot(actor, n));
    }
  }

  #restart(peer: Peer): void {
    this.rounds = this.rounds.filter(({ from, to }) => from !== peer && to !== peer);
    peer.engine.seal();
    const before = remembered(peer.engine);
    peer.engine = this.#open(peer.engine.shard);
    expect(remembered(peer.engine), 'after a restart').toEqual(before);
  }

  settle(): void {
    this.rounds = [];
    for (let i = 0; i < 2; i++) {
      for (const from of this.peers) {
        for (const to of this.peers) {
          if (from === to) continue;
          const round = this.open(from, to);
          while (this.rounds.length > 0) this.#go(round, 3);
        }
      }
    }
  }

  check({ engine, known }: Peer): void {
    for (const path of PATHS) {
      const names = [...(known.get(path) ?? [])];
      const replaced = new Set(names.flatMap((name) => this.events.get(name)?.replaced ?? []));
      const expected = names.filter((name) => this.events.get(name)?.kind !== 'delete' && !replaced.has(name)).sort();
      const actual = liveNames(engine.read(path));
      // `expect` is slow, and this is asked a hundred thousand times.
      if (actual.join() !== expected.join()) expect(actual, path).toEqual(expected);
    }
  }
}

describe('engines that push, sync and restart', { timeout: LONG_MS }, () => {
  test('[engine] hold what the events known to them say, with every index true to the rows', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const cluster = new Cluster();
        for (const step of history) {
          cluster.step(step);
          for (const peer of cluster.peers) cluster.check(peer);
        }
        for (const { engine } of cluster.peers) checkIndexes(engine);
        cluster.settle();
        const [first] = cluster.peers as [Peer];
        for (const peer of cluster.peers) {
          cluster.check(peer);
          checkIndexes(peer.engine);
          expect(dotNames(peer.engine.clock)).toEqual(dotNames(first.engine.clock));
          expect(peer.engine.hasResidue).toBe(false);
          for (const path of PATHS)
            expect(liveNames(peer.engine.read(path))).toEqual(liveNames(first.engine.read(path)));
          expect(space(peer.engine, 's').size + space(peer.engine, 'e').size, 'nothing is kept of residue').toBe(0);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('[engine] residue that melted before a restart is never taken for the residue of another frame', () => {
    const [a, b] = [new Engine(new StrictStore()), new Engine(new StrictStore())];
    a.begin(ACTORS[0] as Actor);
    const send = (to: Engine, paths: readonly string[]): void => {
      const told = a.clock.clone();
      const records = paths.map((path) => ({ path, entries: a.read(path).entries, residue: null }));
      to.receive(records, told, told.minus(to.clock));
    };
    a.apply(edit(PATHS[5] as string, 'put'), 1);
    for (const path of PATHS.slice(0, 4)) a.apply(edit(path, 'put'), 1);
    send(b, PATHS.slice(0, 4));
    expect(b.hasResidue).toBe(true);
    send(b, PATHS.slice(5));
    b.complete(a.clock);
    b.seal();
    const again = new Engine(b.store);
    const news = a.apply(edit(PATHS[0] as string, 'put'), 2) as Dot;
    for (const path of PATHS.slice(1, 5)) a.apply(edit(path, 'put'), 2);
    send(again, PATHS.slice(1, 5));
    expect(again.coverage(again.read(PATHS[0] as string)).has(news.actor, news.n)).toBe(false);
    send(again, PATHS.slice(0, 1));
    expect(liveNames(again.read(PATHS[0] as string))).toEqual([nameOf(news)]);
  });

  test('[engine] what covers a record at its sender covers it here, on and on', () => {
    const [a, b, c, d] = ACTORS.map((actor) => {
      const engine = new Engine(new StrictStore());
      engine.begin(actor);
      return engine;
    }) as [Engine, Engine, Engine, Engine];
    const path = PATHS[0] as string;
    const push = (from: Engine, to: Engine): void => {
      const row = from.read(path);
      const told = from.clock.clone();
      to.receive([{ path, entries: row.entries, residue: from.residueOf(row) }], told, told.minus(to.clock));
    };
    a.apply(edit(path, 'put'), 1);
    push(a, d);
    a.apply(edit(path, 'put'), 2);
    push(a, b);
    const last = b.apply(edit(path, 'put'), 3) as Dot;
    push(b, c);
    push(d, c);
    expect(liveNames(c.read(path)), 'what was replaced does not come back').toEqual([nameOf(last)]);
  });

  test('[engine] an omitted dot that is not here stays unknown, so that it can still come', () => {
    const [a, b] = [new Engine(new StrictStore()), new Engine(new StrictStore())];
    a.begin(ACTORS[0] as Actor);
    const path = PATHS[0] as string;
    a.apply(edit(path, 'put'), 1);
    const { entries } = a.read(path);
    const omitted = entries.map((entry): Entry => ({ ...entry, kind: 'omitted' }));
    b.receive([{ path, entries: omitted, residue: null }], a.clock, a.clock.clone());
    expect(b.read(path).entries).toEqual([]);
    b.receive([{ path, entries, residue: null }], a.clock, a.clock.clone());
    expect(liveNames(b.read(path))).toHaveLength(1);
  });

  test('[engine] tells its observer each change of a record and each growth of the clock, once', () => {
    const told: string[] = [];
    const engine = new Engine(new StrictStore(), {
      changed: (path, before, after) =>
        told.push(`${PATHS.indexOf(path)}: ${before.entries.length} → ${after.entries.length}`),
      learned: (actor, from, to) => told.push(`${ACTORS.indexOf(actor)}: ${from}–${to}`),
    });
    engine.begin(ACTORS[0] as Actor);
    engine.apply(edit(PATHS[0] as string, 'put'), 1);
    engine.apply({ path: PATHS[0] as string, decide: () => null }, 2);
    const target = new Clock();
    target.add(ACTORS[1] as Actor, 1, 4);
    engine.complete(target);
    engine.complete(target);
    expect(told).toEqual(['0: 0 → 1', '0: 1–1', '1: 1–4']);
  });
});

describe('an engine, part by part', { timeout: LONG_MS }, () => {
  const fresh = (actor = ACTORS[0] as Actor): Engine => {
    const engine = new Engine(new StrictStore());
    engine.begin(actor);
    return engine;
  };
  const path = (i: number): string => typed(keyPrefix(`key ${String(i).padStart(6, '0')}`), 'register');
  const sent = (engine: Engine, ...paths: string[]): SentRecord[] =>
    paths.map((at) => ({ path: at, entries: engine.read(at).entries, residue: null }));

  test('[engine] an actor that has written before is refused, and nothing is written without one', () => {
    const engine = new Engine(new StrictStore());
    expect(codeOf(() => engine.apply(edit(path(0), 'put'), 1))).toBe('NoActor');
    engine.begin(ACTORS[0] as Actor);
    engine.apply(edit(path(0), 'put'), 1);
    expect(codeOf(() => engine.begin(ACTORS[0] as Actor))).toBe('ActorInUse');
  });

  test('[walk] yields, in short reads, the dots that are wanted and held', () => {
    const engine = fresh();
    for (let i = 0; i < 300; i++) engine.apply(edit(path(i % 90), 'put'), i + 1);
    fc.assert(
      fc.property(
        clocks,
        fc.array(fc.tuple(fc.nat(320), fc.nat(40))),
        fc.integer({ min: 1, max: 20 }),
        (wanted, more, limit) => {
          for (const [from, count] of more) wanted.add(ACTORS[0] as Actor, from + 1, from + 1 + count);
          const expected = [...wanted.dots()].filter(({ actor, n }) => engine.pathOf(actor, n) !== null);
          const remaining = wanted.clone();
          const found: string[] = [];
          while (!remaining.isEmpty) {
            const read = engine.walk(remaining, limit);
            expect(read.length).toBeLessThanOrEqual(limit);
            for (const dot of read) {
              expect(dot.path).toBe(engine.pathOf(dot.actor, dot.n));
              found.push(nameOf(dot));
            }
          }
          expect(found.sort()).toEqual(expected.map(nameOf).sort());
        },
      ),
      { numRuns: 200 },
    );
  });

  test('[walk] reads about as much as it is asked for, however much there is', () => {
    const store = new StrictStore();
    const engine = new Engine(store);
    engine.begin(ACTORS[0] as Actor);
    for (let i = 0; i < 2_000; i++) engine.apply(edit(path(i), 'put'), i + 1);
    const remaining = engine.clock.clone();
    store.readCount = 0;
    expect(engine.walk(remaining, 10)).toHaveLength(10);
    expect(store.readCount).toBeLessThanOrEqual(11);
    expect(remaining.dotCount).toBe(1_990);
    // Two dots far apart are two reads, not one over all that is between.
    const far = new Clock();
    far.add(ACTORS[0] as Actor, 1);
    far.add(ACTORS[0] as Actor, 1_999);
    store.readCount = 0;
    expect(engine.walk(far, 10)).toHaveLength(2);
    expect(store.readCount).toBe(2);
  });

  test('[rows] may be written to while they are read, in both directions', () => {
    for (const reverse of [false, true]) {
      const engine = fresh();
      for (let i = 0; i < 1_000; i++) engine.apply(edit(path(i), 'put'), 1);
      const seen: string[] = [];
      for (const [at, row] of engine.rows(path(0), path(990), reverse)) {
        seen.push(at);
        expect(row.entries).toHaveLength(1);
        engine.apply(edit(at, 'put'), 2);
        engine.apply(edit(`${at.slice(0, -2)}+\0r`, 'put'), 2);
      }
      const expected = Array.from({ length: 990 }, (_, i) => path(i));
      const added = seen.filter((at) => at.includes('+'));
      expect(seen.filter((at) => !at.includes('+'))).toEqual(reverse ? expected.reverse() : expected);
      expect(new Set(added).size, 'none twice').toBe(added.length);
    }
  });

  test('[rows] leaving early costs a small page', () => {
    const store = new StrictStore();
    const engine = new Engine(store);
    engine.begin(ACTORS[0] as Actor);
    for (let i = 0; i < 1_000; i++) engine.apply(edit(path(i), 'put'), 1);
    store.readCount = 0;
    for (const _ of engine.rows(...ALL)) break;
    expect(store.readCount).toBeLessThanOrEqual(8);
  });

  test('[expired] lists what has expired, the longest first', () => {
    const engine = fresh();
    for (const [i, expires] of [
      [1, 300],
      [2, 70_000],
      [3, 255],
      [4, 256],
      [5, 0],
    ] as const)
      engine.apply(edit(path(i), 'put', expires), 1);
    expect(engine.expired(254, 10)).toEqual([]);
    expect(engine.expired(300, 10)).toEqual([path(3), path(4), path(1)]);
    expect(engine.expired(70_000, 2)).toEqual([path(3), path(4)]);
    engine.apply(edit(path(3), 'put', 80_000), 2);
    engine.apply(edit(path(4), 'delete'), 2);
    expect(engine.expired(1e15, 10)).toEqual([path(1), path(2), path(3)]);
  });

  test('[ghosts] are listed after a dot, in order', () => {
    const engine = fresh();
    for (let i = 0; i < 600; i++) engine.apply(edit(path(i % 20), i % 3 === 0 ? 'delete' : 'put'), 1);
    const all = engine.ghosts(Infinity);
    const [first] = engine.ghosts(1);
    expect(first).toEqual(all[0]);
    expect(engine.ghosts(Infinity, first)).toEqual(all.slice(1));
    expect(engine.ghosts(Infinity, all.at(-1))).toEqual([]);
    checkIndexes(engine);
  });

  test('[ghosts] dropping one raises its floor; a live dot, or one not here, is never dropped', () => {
    const engine = fresh();
    engine.apply(edit(path(0), 'put'), 1);
    engine.apply(edit(path(0), 'delete'), 2);
    const live = engine.apply(edit(path(1), 'put'), 3) as Dot;
    engine.dropGhost(ACTORS[0] as Actor, 2);
    expect(engine.read(path(0)).entries).toEqual([]);
    engine.dropGhost(live.actor, live.n);
    engine.dropGhost(ACTORS[1] as Actor, 7);
    expect(liveNames(engine.read(path(1)))).toEqual([nameOf(live)]);
    expect(dotNames(engine.floors)).toEqual([formatDot(ACTORS[0] as Actor, 1), formatDot(ACTORS[0] as Actor, 2)]);
    checkIndexes(engine);
    const more = new Clock();
    more.add(ACTORS[1] as Actor, 1, 3);
    engine.raiseFloors(more);
    engine.seal();
    expect(new Engine(engine.store).floors.max(ACTORS[1] as Actor)).toBe(3);
  });

  test('[alive] removes live dots inside the scope that are not held there, no ghosts, nothing outside', () => {
    fc.assert(
      fc.property(
        clocks,
        clocks,
        fc.array(fc.tuple(fc.nat(9), fc.constantFrom<Kind[]>('put', 'count', 'delete'))),
        (scope, held, writes) => {
          const engine = fresh();
          for (const [at, kind] of writes) engine.apply(edit(path(at), kind), 1);
          const expected = [...engine.rows(...ALL)].map(([at, row]): [string, string[]] => [
            at,
            row.entries
              .filter(({ actor, n, kind }) => kind === 'ghost' || !scope.has(actor, n) || held.has(actor, n))
              .map(nameOf),
          ]);
          const clockBefore = dotNames(engine.clock);
          engine.removeDead(scope, held);
          const left = [...engine.rows(...ALL)].map(([at, row]) => [at, row.entries.map(nameOf)]);
          expect(left).toEqual(expected.filter(([, names]) => names.length > 0));
          expect(dotNames(engine.clock)).toEqual(clockBefore);
          checkIndexes(engine);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('[heal] copies live dots that are not held, whatever the clock says, and removes nothing', () => {
    const [whole, broken] = [fresh(), new Engine(new StrictStore())];
    for (let i = 0; i < 4; i++) whole.apply(edit(path(i), i === 3 ? 'delete' : 'put'), 1);
    broken.complete(whole.clock);
    broken.begin(ACTORS[1] as Actor);
    broken.apply(edit(path(0), 'put'), 1);
    const records = sent(whole, path(0), path(1), path(3));
    expect(broken.copy(records)).toBe(2);
    expect(broken.copy(records)).toBe(0);
    expect(liveNames(broken.read(path(0)))).toHaveLength(2);
    expect(liveNames(broken.read(path(1)))).toHaveLength(1);
    expect(broken.read(path(3)).entries).toEqual([]);
    checkIndexes(broken);
  });

  test('[heal] the clock shrinks to what is held, and stays so; what comes again is news', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const cluster = new Cluster();
        for (const step of history) cluster.step(step);
        for (const { engine } of cluster.peers) {
          const rowsBefore = [...engine.rows(...ALL)].map(([at, { entries }]) => [at, entries.map(nameOf)]);
          engine.shrinkToHeld();
          expect(dotNames(engine.clock)).toEqual(rowsBefore.flatMap(([, names]) => names as string[]).sort());
          expect(engine.actor, 'its actor is not to be trusted any more').toBe(null);
          expect([...engine.rows(...ALL)].map(([at, { entries }]) => [at, entries.map(nameOf)])).toEqual(rowsBefore);
          checkIndexes(engine);
          engine.seal();
          expect(remembered(new Engine(engine.store, {}, engine.shard))).toEqual(remembered(engine));
        }
      }),
      { numRuns: 100 },
    );
  });

  test('[melt] rows that were kept for their residue alone go with it', () => {
    const [a, b] = [fresh(), new Engine(new StrictStore())];
    a.apply(edit(path(0), 'put'), 1);
    a.apply(edit(path(1), 'put'), 1);
    const told = a.clock.clone();
    b.receive([{ path: path(0), entries: [], residue: null }], told, told.clone());
    expect(b.hasResidue).toBe(true);
    expect([...b.rows(...ALL)]).toHaveLength(1);
    checkIndexes(b);
    b.complete(told);
    expect(b.hasResidue).toBe(false);
    expect([...b.rows(...ALL)]).toHaveLength(0);
    checkIndexes(b);
  });
});

describe('the clock in the store', () => {
  function crowded(store: StrictStore): Engine {
    const engine = new Engine(store);
    const target = new Clock();
    for (let i = 0; i < 10_000; i++) target.add(actorOf(i + 1), 1, 1_000 + i);
    engine.complete(target);
    engine.seal();
    engine.begin(ACTORS[3] as Actor);
    return engine;
  }

  test('[stored clock] beside ten thousand actors, one more event writes a few bytes', () => {
    const store = new StrictStore();
    const engine = crowded(store);
    expect(store.bytesPut).toBeLessThan(14 * 10_000);
    for (let i = 0; i < 2_000; i++) {
      store.bytesPut = 0;
      engine.apply(edit('r', 'put'), i + 1);
      engine.seal();
      expect(store.bytesPut).toBeLessThan(150);
    }
    expect(new Engine(store).clock.equals(engine.clock)).toBe(true);
  });

  test('[stored clock] news of every actor in turn is folded in now and then, at little cost each', () => {
    const store = new StrictStore();
    const engine = crowded(store);
    store.bytesPut = 0;
    const news = new Clock();
    for (let i = 0; i < 5_000; i++) {
      news.clear();
      news.add(actorOf(i + 1), 1_001 + i);
      engine.complete(news);
      engine.seal();
    }
    expect(store.bytesPut / 5_000).toBeLessThan(250);
    expect(new Engine(store).clock.equals(engine.clock)).toBe(true);
  });

  test('[stored clock] nothing new is nothing written', () => {
    const store = new StrictStore();
    const engine = crowded(store);
    store.bytesPut = 0;
    engine.seal();
    engine.complete(engine.clock.clone());
    engine.seal();
    expect(store.bytesPut).toBe(0);
  });
});

describe('keys', () => {
  test('[key] the end of a prefix lies behind all that begins with it, also behind 0xff', () => {
    const byteStrings = fc
      .array(fc.constantFrom('\0', 'a', '\xfe', '\xff'), { maxLength: 4 })
      .map((chars) => chars.join(''));
    fc.assert(
      fc.property(byteStrings, byteStrings, (tail, key) => {
        const prefix = `c${tail}`;
        expect(prefix <= key && key < endOfKeys(prefix)).toBe(key.startsWith(prefix));
        expect(prefix <= prefix + key && prefix + key < endOfKeys(prefix)).toBe(true);
        expect(endOfKeys(prefix)).toMatch(/^[\0-\xff]*$/);
      }),
      { numRuns: 1_000 },
    );
  });

  test('[key] numbers in them sort like the numbers, come back, and end themselves', () => {
    const numbers = fc.oneof(fc.nat(), fc.nat(600), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
    fc.assert(
      fc.property(numbers, numbers, (a, b) => {
        expect(keyOfNumber(a) < keyOfNumber(b)).toBe(a < b);
        expect(numberOfKey(`${keyOfNumber(a)}more`)).toBe(a);
        expect(keyOfNumber(a).startsWith(keyOfNumber(b))).toBe(a === b);
      }),
      { numRuns: 1_000 },
    );
  });
});
