/**
 * Every type against a model of its definition: random histories of operations and merges among a few replicas, late and
 * repeated messages, ghosts forgotten at any moment. At each step each replica answers what the operations that it has
 * seen say, and in the end all of them answer alike.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HearsayError } from '../crdts/error.ts';
import type { Handles, Place } from '../crdts/handles.ts';
import { Replica } from '../crdts/replica.ts';
import { AHEAD_MAX_MS, HybridTime, wallMsOf } from '../crdts/timestamp.ts';
import { actorOf, codeOf } from './support/arbitraries.ts';
import { type Act, type Leaf, World } from './support/model.ts';

/** Histories take seconds; on a machine that does much else, many. */
const LONG_MS = 60_000;

/** Where things live: a key, then fields of maps inside each other. */
type Way = readonly string[];

interface Spot {
  readonly name: string;
  readonly way: Way;
  readonly leaf: Leaf;
  readonly element?: string;
}

const spot = (way: string, leaf: Leaf, element?: string): Spot => ({
  name: `${way} ${leaf} ${element ?? ''}`,
  way: way.split('.'),
  leaf,
  ...(element === undefined ? {} : { element }),
});

/** One of each type at the top, several types under one name, and maps in maps. */
const SPOTS: readonly Spot[] = [
  spot('a', 'register'),
  spot('a', 'counter'),
  spot('a', 'flag'),
  spot('a', 'flag-disable-wins'),
  spot('a', 'set', 'x'),
  spot('a', 'set', 'y'),
  spot('a', 'set-remove-wins', 'x'),
  spot('a.f', 'register'),
  spot('a.f', 'counter'),
  spot('a.f', 'set', 'x'),
  spot('a.f.g', 'counter'),
  spot('a.f.g', 'flag-disable-wins'),
  spot('b', 'counter'),
];
/** What can be removed whole: a place with all that lies under it. */
const PLACES: readonly Way[] = [['a'], ['a', 'f'], ['a', 'f', 'g'], ['b']];

const placeOf = (replica: Handles<void>, [key, ...fields]: Way): Place<void> =>
  fields.reduce((place, field) => place.map().field(field), replica.key(key as string));

function perform(replica: Handles<void>, { way, leaf, element }: Spot, act: Act, ttlMs: number | undefined): void {
  const place = placeOf(replica, way);
  const wins = leaf === 'flag-disable-wins' || leaf === 'set-remove-wins' ? 'off' : 'on';
  switch (act.type) {
    case 'set':
      return place.register().set(act.value, { ttlMs });
    case 'add':
      return act.amount < 0 ? place.counter().subtract(-act.amount) : place.counter().add(act.amount);
    case 'on':
      return element === undefined
        ? place.flag({ wins }).enable({ ttlMs })
        : place.set({ wins }).add(element, { ttlMs });
    case 'off':
      return element === undefined ? place.flag({ wins }).disable() : place.set({ wins }).remove(element);
    case 'remove':
      if (leaf === 'register') return place.register().delete();
      if (leaf === 'counter') return place.counter().reset();
      return element === undefined ? place.flag().disable() : place.set().remove(element);
  }
}

/** All that a replica has to say about one spot. */
function answers(replica: Handles<void>, { way, leaf, element }: Spot): unknown[] {
  const place = placeOf(replica, way);
  switch (leaf) {
    case 'register':
      return [place.register().conflicts(), place.register().get()];
    case 'counter':
      return [place.counter().exact(), place.counter().get()];
    case 'flag':
    case 'flag-disable-wins':
      return [place.flag({ wins: leaf === 'flag' ? 'on' : 'off' }).get()];
    case 'set':
    case 'set-remove-wins':
      return [place.set({ wins: leaf === 'set' ? 'on' : 'off' }).has(element as string)];
  }
}

type Step =
  | { type: 'operate'; at: number; spot: number; choice: number; amount: number; ttlMs: number | undefined }
  | { type: 'remove'; at: number; place: number }
  | { type: 'merge'; from: number; to: number }
  | { type: 'send'; from: number; to: number }
  | { type: 'deliver'; message: number; to: number }
  | { type: 'wait'; ms: number }
  | { type: 'forget'; at: number; skip: number };

const REPLICA_COUNT_MAX = 4;
const who = fc.nat(REPLICA_COUNT_MAX - 1);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        type: fc.constant('operate' as const),
        at: who,
        spot: fc.nat(SPOTS.length - 1),
        choice: fc.nat(3),
        amount: fc.integer({ min: -9, max: 9 }),
        ttlMs: fc.oneof(
          { weight: 3, arbitrary: fc.constant(undefined) },
          { weight: 1, arbitrary: fc.integer({ min: 1, max: 60 }) },
        ),
      }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('remove' as const), at: who, place: fc.nat(3) }) },
    { weight: 5, arbitrary: fc.record({ type: fc.constant('merge' as const), from: who, to: who }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('send' as const), from: who, to: who }) },
    { weight: 3, arbitrary: fc.record({ type: fc.constant('deliver' as const), message: fc.nat(), to: who }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 50 }) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('forget' as const), at: who, skip: fc.nat(9) }) },
  ),
  { minLength: 1, maxLength: 60, size: 'max' },
);

/** A replica, and which operations it has seen. */
interface Peer {
  readonly replica: Replica;
  readonly seen: Set<number>;
}

class Group {
  readonly world = new World();
  readonly peers: readonly Peer[];
  readonly messages: { readonly changes: Uint8Array; readonly seen: ReadonlySet<number> }[] = [];
  nowMs = 1_000_000;
  /** How often changes came out of order and were asked for again. */
  retryCount = 0;

  constructor(count: number) {
    this.peers = Array.from({ length: count }, (_, i) => ({
      replica: new Replica({ actor: actorOf(i + 1), nowMs: () => this.nowMs }),
      seen: new Set<number>(),
    }));
  }

  peer(index: number): Peer {
    return this.peers[index % this.peers.length] as Peer;
  }

  step(step: Step): void {
    switch (step.type) {
      case 'operate':
        return this.#operate(step);
      case 'remove':
        return this.#remove(step.at % this.peers.length, PLACES[step.place] as Way);
      case 'merge':
        return this.merge(this.peer(step.from), this.peer(step.to));
      case 'send': {
        const from = this.peer(step.from);
        const changes = from.replica.changesSince(this.peer(step.to).replica.clock);
        this.messages.push({ changes, seen: new Set(from.seen) });
        return;
      }
      case 'deliver':
        return this.#deliver(step.message, this.peer(step.to));
      case 'wait':
        this.nowMs += step.ms;
        return;
      case 'forget':
        // Now and then a replica is left out, or not known: it must still come to the same in the end.
        return this.peer(step.at).replica.forget(
          this.peers.filter((_, i) => i !== step.skip).map(({ replica }) => replica.clock),
        );
    }
  }

  #operate({ at, spot, choice, amount, ttlMs }: Step & { type: 'operate' }): void {
    const where = SPOTS[spot] as Spot;
    const act = actOf(where.leaf, choice, amount, `value ${this.world.operations.length}`);
    const ttl = act.type === 'set' || act.type === 'on' ? ttlMs : undefined;
    // Every operation has a millisecond of its own, so that timestamps say in which order they happened.
    this.nowMs++;
    perform(this.peer(at).replica, where, act, ttl);
    this.#note(at, where, act, ttl === undefined ? 0 : this.nowMs + ttl);
  }

  #remove(at: number, place: Way): void {
    this.nowMs++;
    const { replica, seen } = this.peer(at);
    placeOf(replica, place).delete();
    const under = SPOTS.filter(({ way }) => place.every((name, i) => way[i] === name));
    for (const where of under) {
      const isOffWins = where.leaf === 'flag-disable-wins' || where.leaf === 'set-remove-wins';
      // Off-wins things are turned off, also expired ones, but not a second time.
      if (!isOffWins) this.#note(at, where, { type: 'remove' }, 0);
      else if (this.world.isOn(where.name, seen, 0)) this.#note(at, where, { type: 'off' }, 0);
    }
  }

  #note(at: number, { name, leaf }: Spot, act: Act, expires: number): void {
    const replica = at % this.peers.length;
    const { seen } = this.peer(at);
    seen.add(this.world.happen({ at: name, leaf, act, past: new Set(seen), time: this.nowMs, replica, expires }));
  }

  merge(from: Peer, to: Peer): void {
    to.replica.merge(from.replica.changesSince(to.replica.clock));
    for (const id of from.seen) to.seen.add(id);
  }

  #deliver(index: number, to: Peer): void {
    if (this.messages.length === 0) return;
    const { changes, seen } = this.messages[index % this.messages.length] as Group['messages'][number];
    const before = to.replica.changesSince();
    try {
      to.replica.merge(changes);
      for (const id of seen) to.seen.add(id);
    } catch (error) {
      if (!(error instanceof HearsayError) || error.code !== 'ChangesOutOfOrder') throw error;
      this.retryCount++;
      expect(to.replica.changesSince(), 'changes out of order change nothing').toEqual(before);
      // Asking again, with the clock of now, never fails.
      for (const from of this.peers) if (from !== to) this.merge(from, to);
    }
  }

  /** Everybody merges with everybody until all is known everywhere. */
  settle(): void {
    for (let round = 0; round < 2; round++)
      for (const from of this.peers) for (const to of this.peers) if (from !== to) this.merge(from, to);
  }

  check({ replica, seen }: Peer): void {
    const { world, nowMs } = this;
    const isThere = (place: Way): boolean =>
      SPOTS.some(
        ({ name, way, leaf }) => place.every((part, i) => way[i] === part) && world.isPresent(name, leaf, seen, nowMs),
      );
    const actual: unknown[] = [
      ...SPOTS.map((where) => [where.name, ...answers(replica, where)]),
      ...PLACES.map((place) => [place, placeOf(replica, place).has()]),
    ];
    const expected: unknown[] = [
      ...SPOTS.map((where) => [where.name, ...this.#expected(where, seen)]),
      ...PLACES.map((place) => [place, isThere(place)]),
    ];
    // `expect` is slow, and this is asked a million times.
    if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected);
  }

  #expected({ name, leaf }: Spot, seen: ReadonlySet<number>): unknown[] {
    switch (leaf) {
      case 'register': {
        const values = this.world.conflicts(name, seen, this.nowMs).map(({ act }) => act.type === 'set' && act.value);
        return [values, values[0]];
      }
      case 'counter': {
        const sum = this.world.sum(name, seen);
        return [sum, Number(sum)];
      }
      case 'flag':
      case 'flag-disable-wins':
      case 'set':
      case 'set-remove-wins':
        return [this.world.isOn(name, seen, this.nowMs)];
    }
  }
}

function actOf(leaf: Leaf, choice: number, amount: number, value: string): Act {
  switch (leaf) {
    case 'register':
      return choice === 0 ? { type: 'remove' } : { type: 'set', value };
    case 'counter':
      return choice === 0 ? { type: 'remove' } : { type: 'add', amount };
    case 'flag':
    case 'set':
      return choice < 2 ? { type: 'remove' } : { type: 'on' };
    case 'flag-disable-wins':
    case 'set-remove-wins':
      return choice < 2 ? { type: 'off' } : { type: 'on' };
  }
}

/** Runs a history; checks whoever a step touched, and everybody at the end. Returns the group for more questions. */
function live(count: number, history: readonly Step[]): Group {
  const group = new Group(count);
  for (const step of history) {
    group.step(step);
    if ('at' in step) group.check(group.peer(step.at));
    if ('to' in step) group.check(group.peer(step.to));
  }
  group.settle();
  for (const peer of group.peers) group.check(peer);
  return group;
}

const counts = fc.integer({ min: 2, max: REPLICA_COUNT_MAX });

describe('all types, over random histories', { timeout: LONG_MS }, () => {
  test('[types] each replica answers what the operations it has seen say, and in the end all answer alike', () => {
    fc.assert(
      fc.property(counts, steps, (count, history) => {
        const { peers } = live(count, history);
        const first = peers[0] as Peer;
        for (const { replica } of peers) {
          expect(replica.map('a').toObject()).toEqual(first.replica.map('a').toObject());
          expect([...replica.keys()]).toEqual([...first.replica.keys()]);
          expect(replica.changesSince(first.replica.clock).length, 'nothing is left to be said').toBeLessThan(200);
        }
      }),
      { numRuns: 300 },
    );
  });

  /** The same steps, about a few things only: then they meet more often. */
  const about = (...names: string[]): fc.Arbitrary<Step[]> => {
    const spots = SPOTS.flatMap(({ name }, i) => (names.includes(name.trim()) ? [i] : []));
    return steps.map((history) =>
      history.map((step) =>
        step.type === 'operate' ? { ...step, spot: spots[step.spot % spots.length] as number } : step,
      ),
    );
  };

  test('[types] the same, with messages late, repeated and out of order all the time', () => {
    const isAboutMessages = (step: Step): boolean => step.type !== 'merge' && step.type !== 'wait';
    const histories = about('a register', 'a.f set x').map((history) => history.filter(isAboutMessages));
    let retryCount = 0;
    fc.assert(
      fc.property(counts, histories, (count, history) => {
        retryCount += live(count, history).retryCount;
      }),
      { numRuns: 400 },
    );
    expect(retryCount, 'changes did come out of order').toBeGreaterThan(0);
  });

  test('[counter] is exact over additions, subtractions, resets and removals around it', () => {
    const histories = about('a.f counter', 'b counter').map((history) =>
      history.filter(({ type }) => type !== 'send' && type !== 'deliver' && type !== 'wait'),
    );
    fc.assert(
      fc.property(counts, histories, (count, history) => {
        live(count, history);
      }),
      { numRuns: 600 },
    );
  });

  test('[types] a replica that was never heard of learns all, whoever it asks and whatever was forgotten', () => {
    fc.assert(
      fc.property(counts, steps, who, (count, history, asked) => {
        const group = live(count, history);
        const everybody = group.peers.map(({ replica }) => replica.clock);
        for (const { replica } of group.peers) replica.forget(everybody);
        const stranger = {
          replica: new Replica({ actor: actorOf(99), nowMs: () => group.nowMs }),
          seen: new Set<number>(),
        };
        group.merge(group.peer(asked), stranger);
        group.check(stranger);
        for (const peer of group.peers) {
          group.merge(stranger, peer);
          group.check(peer);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('timestamps', { timeout: LONG_MS }, () => {
  test('[register] a later write is the greater one, whatever the wall clocks say; a concurrent one is judged by time', () => {
    // Clocks apart by less than what is believed: then timestamps follow from who had seen what.
    const offsets = fc.array(fc.integer({ min: 0, max: AHEAD_MAX_MS - 1_000 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(counts, offsets, steps, (count, offsetMs, history) => {
        let nowMs = 1_000_000;
        const world = new World();
        const peers = Array.from({ length: count }, (_, i) => ({
          replica: new Replica({ actor: actorOf(i + 1), nowMs: () => nowMs + (offsetMs[i] as number) }),
          seen: new Set<number>(),
        }));
        for (const step of history) {
          if (step.type === 'merge') {
            const [from, to] = [peers[step.from % count] as Peer, peers[step.to % count] as Peer];
            to.replica.merge(from.replica.changesSince(to.replica.clock));
            for (const id of from.seen) to.seen.add(id);
          } else if (step.type === 'operate') {
            const replica = step.at % count;
            const { seen, replica: store } = peers[replica] as Peer;
            const greatestSeen = Math.max(0, ...[...seen].map((id) => world.operations[id]?.time ?? 0));
            const time = Math.max((nowMs + (offsetMs[replica] as number)) * 1_000, greatestSeen + 1);
            const value = `value ${world.operations.length}`;
            const way = step.spot % 2 === 0 ? 'a' : 'b';
            store.register(way).set(value);
            const act = { type: 'set', value } as const;
            seen.add(world.happen({ at: way, leaf: 'register', act, past: new Set(seen), time, replica, expires: 0 }));
          } else if (step.type === 'wait') {
            nowMs += step.ms * 100;
          }
          for (const { replica, seen } of peers) {
            for (const key of ['a', 'b']) {
              const expected = world
                .conflicts(key, seen, nowMs)
                .sort((a, b) => b.time - a.time)
                .map(({ time, act }) => [time, act.type === 'set' ? act.value : null] as const);
              const actual = replica.register(key).conflicts();
              expect(new Set(actual)).toEqual(new Set(expected.map(([, value]) => value)));
              expect(actual).toHaveLength(expected.length);
              // Equal times are decided by the dot, which is nothing a model should know.
              const winners = expected.filter(([time]) => time === expected[0]?.[0]).map(([, value]) => value);
              if (actual.length > 0) expect(winners).toContain(actual[0]);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test('[time] never runs backwards, and never falls behind what it has seen and believes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ wallMs: fc.integer({ min: -10, max: 2e12 }), seen: fc.integer({ min: 0, max: 3e15 }) })),
        (events) => {
          const time = new HybridTime();
          let last = 0;
          for (const { wallMs, seen } of events) {
            const isBelieved = time.observe(seen, wallMs);
            expect(isBelieved).toBe(seen <= (wallMs + AHEAD_MAX_MS) * 1_000);
            const next = time.next(wallMs);
            expect(next).toBeGreaterThan(last);
            if (isBelieved) expect(next).toBeGreaterThan(seen);
            expect(next).toBeGreaterThanOrEqual(wallMs * 1_000);
            last = next;
          }
        },
      ),
    );
    expect(wallMsOf(new HybridTime().next(1_234))).toBe(1_234);
  });

  test('[time] a timestamp too far ahead does not drag ours along, and its event is kept', () => {
    let nowMs = 1_000_000;
    const wrong = new Replica({ actor: actorOf(1), nowMs: () => nowMs + 10 * AHEAD_MAX_MS });
    const right = new Replica({ actor: actorOf(2), nowMs: () => nowMs });
    const other = new Replica({ actor: actorOf(3), nowMs: () => nowMs });
    wrong.register('a').set('wrong');
    right.merge(wrong.changesSince());
    expect(right.register('a').get()).toBe('wrong');
    right.register('a').set('right');
    expect(right.register('a').get(), 'later, so it replaces the other').toBe('right');
    nowMs++;
    other.register('a').set('other');
    right.merge(other.changesSince());
    expect(right.register('a').conflicts(), 'concurrent: judged by a time that was not dragged along').toEqual([
      'other',
      'right',
    ]);
  });

  test('[time] a wall clock beyond reason cannot make records that nobody can read', () => {
    const broken = new Replica({ actor: actorOf(1), nowMs: () => 1e18 });
    const other = new Replica({ actor: actorOf(2), nowMs: () => 1_000_000 });
    broken.register('a').set(1);
    broken.register('b').set(2);
    expect(broken.register('a').get()).toBe(1);
    other.merge(broken.changesSince());
    expect(other.map('a').has('x')).toBe(false);
    expect([other.register('a').get(), other.register('b').get()]).toEqual([1, 2]);
  });
});

/** Two replicas that can exchange all they have, and a hand on the time. */
function pair() {
  let nowMs = 1_000_000;
  const a = new Replica({ actor: actorOf(1), nowMs: () => nowMs });
  const b = new Replica({ actor: actorOf(2), nowMs: () => nowMs });
  return {
    a,
    b,
    wait: (ms: number) => {
      nowMs += ms;
    },
    sync: () => {
      b.merge(a.changesSince(b.clock));
      a.merge(b.changesSince(a.clock));
    },
  };
}

/** Three replicas, who hear of each other when they are told. */
function three() {
  const [a, b, c] = [1, 2, 3].map((i) => new Replica({ actor: actorOf(i), nowMs: () => 1_000 }));
  return {
    ...({ a, b, c } as { a: Replica; b: Replica; c: Replica }),
    tell: (from: Replica, to: Replica): void => to.merge(from.changesSince(to.clock)),
  };
}

describe('each type, by its example', () => {
  test('[register] concurrent writes are all kept until somebody who saw them writes', () => {
    const { a, b, sync, wait } = pair();
    a.register('drink').set('tea');
    wait(1);
    b.register('drink').set('coffee');
    sync();
    for (const replica of [a, b]) expect(replica.register('drink').conflicts()).toEqual(['coffee', 'tea']);
    a.register('drink').set('mate');
    sync();
    for (const replica of [a, b]) expect(replica.register('drink').conflicts()).toEqual(['mate']);
  });

  test('[counter] additions concurrent with a reset survive it, and two resets subtract once', () => {
    const { a, b, sync } = pair();
    a.counter('n').add(5);
    sync();
    a.counter('n').reset();
    b.counter('n').reset();
    a.counter('n').add(2);
    b.counter('n').subtract(7);
    sync();
    for (const replica of [a, b]) expect(replica.counter('n').get()).toBe(-5);
  });

  test('[counter] a reset that takes over the mark of another one names what that one named', () => {
    const { a, b, c, tell } = three();
    a.counter('n').add(5);
    tell(a, b);
    b.counter('n').reset();
    a.counter('n').add(2);
    tell(b, c);
    b.counter('n').add(1);
    tell(b, c);
    c.counter('n').reset();
    for (const from of [a, b, c]) for (const to of [a, b, c]) if (from !== to) tell(from, to);
    for (const replica of [a, b, c]) expect(replica.counter('n').get()).toBe(2);
  });

  test('[counter] sums beyond the safe integers are exact', () => {
    const { a, b, sync } = pair();
    for (const replica of [a, b]) for (let i = 0; i < 3; i++) replica.counter('n').add(Number.MAX_SAFE_INTEGER);
    sync();
    a.counter('n').subtract(1);
    sync();
    const expected = 6n * BigInt(Number.MAX_SAFE_INTEGER) - 1n;
    for (const replica of [a, b]) expect(replica.counter('n').exact()).toBe(expected);
    b.counter('n').reset();
    a.counter('n').add(Number.MAX_SAFE_INTEGER);
    sync();
    for (const replica of [a, b]) expect(replica.counter('n').exact()).toBe(BigInt(Number.MAX_SAFE_INTEGER));
  });

  test('[counter] a thousand resets leave a mark no longer than the actors that may still add', () => {
    const { a, b, sync } = pair();
    for (let i = 0; i < 1_000; i++) {
      a.counter('n').add(1);
      b.counter('n').add(1);
      sync();
      (i % 2 === 0 ? a : b).counter('n').reset();
    }
    sync();
    expect(a.changesSince().length).toBeLessThan(150);
    for (const replica of [a, b]) expect(replica.counter('n').get()).toBe(0);
  });

  test('[flag] a concurrent enable and disable: who wins is the kind of the flag', () => {
    const { a, b, sync } = pair();
    for (const wins of ['on', 'off'] as const) a.flag('f', { wins }).enable();
    sync();
    for (const wins of ['on', 'off'] as const) {
      a.flag('f', { wins }).enable();
      b.flag('f', { wins }).disable();
    }
    sync();
    for (const replica of [a, b]) {
      expect(replica.flag('f').get()).toBe(true);
      expect(replica.flag('f', { wins: 'off' }).get()).toBe(false);
    }
    a.flag('f', { wins: 'off' }).enable();
    sync();
    for (const replica of [a, b]) expect(replica.flag('f', { wins: 'off' }).get(), 'who saw both decides').toBe(true);
  });

  test('[set] elements are the same when their encodings are', () => {
    const { a } = pair();
    a.set('s').add({ x: 1, y: 2 });
    a.set('s').add(1);
    expect(a.set('s').has({ y: 2, x: 1 })).toBe(true);
    expect(a.set('s').has(1n)).toBe(false);
    expect([...a.set('s')]).toEqual([1, { x: 1, y: 2 }]);
    expect(a.set('s').size).toBe(2);
  });

  test('[map] a concurrent update survives the removal of all around it', () => {
    const { a, b, sync } = pair();
    a.map('m').field('in').map().set('old', 1);
    a.map('m').field('n').counter().add(5);
    sync();
    a.delete('m');
    b.map('m').field('in').map().set('new', 2);
    b.map('m').field('n').counter().add(2);
    sync();
    for (const replica of [a, b]) expect(replica.map('m').toObject()).toEqual({ in: { new: 2 }, n: 2 });
  });

  test('[ttl] a record ends everywhere at once, at the end of its longest; a concurrent extension survives the removal', () => {
    const { a, b, sync, wait } = pair();
    a.register('r').set(1, { ttlMs: 100 });
    sync();
    a.register('r').set(2, { ttlMs: 50 });
    b.register('r').set(3, { ttlMs: 80 });
    sync();
    wait(79);
    for (const replica of [a, b])
      expect(replica.register('r').conflicts(), 'the shorter one is still there').toHaveLength(2);
    wait(1);
    for (const replica of [a, b]) expect([replica.register('r').get(), replica.has('r')]).toEqual([undefined, false]);
    a.delete('r');
    b.register('r').set(4, { ttlMs: 10 });
    sync();
    for (const replica of [a, b]) expect(replica.register('r').get()).toBe(4);
    wait(10);
    for (const replica of [a, b]) expect([...replica.keys()]).toEqual([]);
  });

  test('[ttl] one without an end, concurrently, makes the record last', () => {
    const { a, b, sync, wait } = pair();
    a.set('s').add('x', { ttlMs: 10 });
    b.set('s').add('x');
    sync();
    wait(1_000);
    for (const replica of [a, b]) expect(replica.set('s').has('x')).toBe(true);
  });
});

describe('changes', { timeout: LONG_MS }, () => {
  test('[changes] hold what the other lacks, and no more', () => {
    const { a, b, sync } = pair();
    for (let i = 0; i < 1_000; i++) a.set('s').add(i);
    sync();
    a.set('s').add('one more');
    expect(a.changesSince(b.clock).length).toBeLessThan(120);
    expect(a.changesSince(a.clock).length).toBeLessThan(100);
  });

  test('[changes] made for a clock that was not reached are refused, and change nothing', () => {
    const { a, b, sync } = pair();
    a.register('x').set(1);
    sync();
    a.register('x').set(2);
    const stranger = new Replica({ actor: actorOf(3), nowMs: () => 0 });
    expect(codeOf(() => stranger.merge(a.changesSince(b.clock)))).toBe('ChangesOutOfOrder');
    expect([...stranger.keys()]).toEqual([]);
  });

  test('[changes] a deletion whose ghost was forgotten still reaches who was left out', () => {
    const { a, b, sync } = pair();
    a.register('gone').set(1);
    a.register('kept').set(1);
    sync();
    a.delete('gone');
    a.forget([a.clock]);
    b.register('mine').set(1);
    sync();
    for (const replica of [a, b]) expect([...replica.keys()]).toEqual(['kept', 'mine']);
  });

  test('[changes] a deletion whose ghost was forgotten is passed on by who never had the ghost', () => {
    const { a, b, c, tell } = three();
    a.register('x').set(1);
    tell(a, c);
    a.delete('x');
    a.forget([a.clock]);
    tell(a, b);
    tell(b, c);
    expect([...c.keys()]).toEqual([]);
  });

  test('[changes] without its ghost, a deletion never leaves behind what was heard of meanwhile', () => {
    const { a, b, c, tell } = three();
    a.register('x').set(1);
    tell(a, c);
    a.delete('x');
    a.forget([a.clock]);
    const changes = a.changesSince(b.clock);
    tell(c, b);
    expect(codeOf(() => b.merge(changes))).toBe('ChangesOutOfOrder');
    tell(a, b);
    expect([...b.keys()]).toEqual([]);
  });

  test('[changes] forgotten ghosts cost nothing any more', () => {
    const { a, b, sync } = pair();
    for (let i = 0; i < 500; i++) a.set('s').add(i);
    a.set('s').clear();
    sync();
    const before = a.changesSince().length;
    for (const replica of [a, b]) replica.forget([a.clock, b.clock]);
    expect(before).toBeGreaterThan(5_000);
    expect(a.changesSince().length).toBeLessThan(100);
    sync();
    expect(a.set('s').size).toBe(0);
  });

  test('[changes] hostile bytes are refused as Malformed or ChangesOutOfOrder, and change nothing', () => {
    const { a, b, sync } = pair();
    a.register('r').set({ a: [1, 'x'] }, { ttlMs: 50 });
    a.counter('c').add(3);
    sync();
    b.counter('c').reset();
    b.set('s').add('x');
    a.map('m').field('f').flag().enable();
    const honest = a.changesSince(b.clock);
    const damages = fc.array(fc.tuple(fc.nat(honest.length - 1), fc.nat(255), fc.nat(2)), { maxLength: 3 });
    let refusedCount = 0;
    fc.assert(
      fc.property(damages, (damage) => {
        const changes = [...honest];
        for (const [position, byte, way] of damage) changes.splice(position, way, byte);
        const victim = new Replica({ actor: actorOf(9), nowMs: () => 1_000_000 });
        victim.merge(b.changesSince());
        const before = victim.changesSince();
        const code = codeOf(() => victim.merge(Uint8Array.from(changes)));
        if (code === undefined) {
          // It was a lie well told: whatever it says can be read, written, sent and merged.
          for (const { value } of [...victim.scan()]) value();
          for (const key of [...victim.keys()]) victim.delete(key);
          const next = new Replica({ actor: actorOf(8), nowMs: () => 1_000_000 });
          next.merge(victim.changesSince());
          return;
        }
        refusedCount++;
        expect(['Malformed', 'ChangesOutOfOrder']).toContain(code);
        expect(victim.changesSince()).toEqual(before);
      }),
      { numRuns: 3_000 },
    );
    expect(refusedCount).toBeGreaterThan(0);
  });

  test('[changes] who claims events of mine cannot make me name an event that has no name', () => {
    const { a } = pair();
    const thief = new Replica({ actor: actorOf(2), nowMs: () => 0 });
    thief.register('x').set(1);
    const changes = thief.changesSince();
    // What is told first: the format, and a clock of one actor with one interval from 1. Now it names another.
    const nameOfA = Array.from(actorOf(1), (char) => char.charCodeAt(0));
    const toTheLast = [1, 1, 254, 255, 255, 255, 255, 255, 255, 15];
    a.merge(Uint8Array.from([1, 1, ...nameOfA, ...toTheLast, ...changes.slice(13)]));
    const before = a.changesSince();
    expect(codeOf(() => a.register('x').set(2))).toBe('ActorInUse');
    expect(a.changesSince()).toEqual(before);
  });
});
