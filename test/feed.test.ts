/**
 * The change feed: whatever happens to the store, and however often its reader stops and resumes, the reader's copy ends
 * up as the store's contents.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../crdts/clock.ts';
import { actorFrom } from '../crdts/dot.ts';
import { Engine } from '../crdts/engine.ts';
import { MemoryStore } from '../crdts/memory.ts';
import { keyPrefix, keyRange, type Path, parsePath, typed } from '../crdts/path.ts';
import type { Entry } from '../crdts/record.ts';
import { HybridTime } from '../crdts/timestamp.ts';
import { registerValue, removeRecord, setRegister } from '../crdts/types/register.ts';
import { decodePosition, encodePosition, Feed, type FeedItem, type FeedOptions } from '../src/replica/feed.ts';

/** An engine that notes what changes, as a replica does for its feeds. */
class Source {
  readonly #changed = new Set<Path>();
  readonly engine: Engine;
  readonly #time = new HybridTime();
  feed: Feed | undefined;

  constructor(id: number) {
    this.engine = new Engine(new MemoryStore(), {
      changed: (path, before, after) => {
        if (before.entries !== after.entries) this.#changed.add(path);
      },
    });
    this.engine.begin(actorFrom(new Uint8Array(8).fill(id)));
  }

  /** One batch. */
  batch(work: () => void): void {
    work();
    this.feed?.changed([...this.#changed]);
    this.#changed.clear();
  }

  set(key: string, value: number): void {
    this.batch(() => this.engine.apply(setRegister(pathOf(key), value, 0), this.#time.next(0)));
  }

  remove(key: string): void {
    this.batch(() => this.engine.apply(removeRecord(pathOf(key)), this.#time.next(0)));
  }

  /** Sends one record as it is now, and no more of the round: the receiver is left with residue. */
  push(to: Source, key: string): void {
    const { engine } = this;
    const path = pathOf(key);
    const row = engine.read(path);
    const told = engine.clock.clone();
    const record = { path, entries: row.entries, residue: engine.residueOf(row) };
    to.batch(() => to.engine.receive([record], told, told.minus(to.engine.clock)));
  }

  /** Sends all that the receiver lacks, and completes its clock. */
  round(to: Source): void {
    const { engine } = this;
    const told = engine.clock.clone();
    const known = told.intersect(to.engine.clock);
    const missing = told.minus(to.engine.clock);
    const paths = new Set(engine.walk(missing.clone(), 10_000).map(({ path }) => path));
    // A round also sends what it has come to know as empty: here, all that either side has, to keep the test short.
    for (const [path] of to.engine.rows('', '\xff')) paths.add(path);
    const records = Array.from(paths, (path) => {
      const row = engine.read(path);
      return { path, entries: row.entries, residue: engine.residueOf(row) };
    });
    const isBelowFloor = !engine.floors.intersect(missing).isEmpty;
    const held = known.minus(known);
    if (isBelowFloor) for (const { actor, n } of engine.walk(known.clone(), 10_000)) held.add(actor, n);
    to.batch(() => {
      to.engine.receive(records, told, missing);
      if (isBelowFloor) to.engine.removeDead(known, held);
      to.engine.raiseFloors(engine.floors);
      to.engine.complete(told);
    });
  }

  /** Drops its ghosts, as where all members know them; whoever else there is is a leaf. */
  dropGhosts(): void {
    this.batch(() => {
      for (const { actor, n } of this.engine.ghosts(10_000)) {
        const path = this.engine.pathOf(actor, n) as Path;
        if (this.engine.residueOf(this.engine.read(path)) === null) this.engine.dropGhost(actor, n);
      }
    });
  }

  contents(): Map<string, unknown> {
    const contents = new Map<string, unknown>();
    for (const [path, { entries }] of this.engine.rows(ALL.start, ALL.end)) put(contents, path, entries);
    return contents;
  }
}

const ALL = keyRange('');
const pathOf = (key: string): Path => typed(keyPrefix(key), 'register');

function put(contents: Map<string, unknown>, path: Path, entries: readonly Entry[]): void {
  const { key } = parsePath(path);
  const value = registerValue(entries, 0);
  if (value === undefined) contents.delete(key);
  else contents.set(key, value);
}

/** Keeps a copy from items alone, and can be stopped after any of them. */
class Reader {
  readonly source: Source;
  readonly copy = new Map<string, unknown>();
  readonly told: string[] = [];
  readonly #options: Omit<FeedOptions, 'since'>;
  #feed: Feed | undefined;
  #listed: Set<string> | undefined;
  position: Clock | 'start' | 'now';

  constructor(source: Source, since: Clock | 'start' | 'now', options: Partial<FeedOptions> = {}) {
    this.source = source;
    this.position = since;
    this.#options = { ...ALL, bufferMax: 100, ...options };
    this.start();
  }

  start(): void {
    this.#feed = new Feed(this.source.engine, { ...this.#options, since: this.position });
    this.#listed = undefined;
    this.source.feed = this.#feed;
  }

  stop(): void {
    this.source.feed = this.#feed = undefined;
  }

  /** One page, or only the first `itemsMax` items of it. False: there was none. */
  read(limit: number, itemsMax = Number.POSITIVE_INFINITY): boolean {
    const page = this.#feed?.read(limit) ?? null;
    if (page === null) return false;
    page.items.slice(0, itemsMax).forEach((item, i) => {
      this.#take(item);
      const position = i === page.items.length - 1 ? page.after : page.before;
      // By way of its text, as apps keep it.
      this.position = decodePosition(encodePosition(position));
    });
    return true;
  }

  readAll(limit = 10): this {
    while (this.read(limit));
    return this;
  }

  get isReading(): boolean {
    return this.#feed !== undefined;
  }

  get hasMore(): boolean {
    return this.#feed?.hasMore ?? false;
  }

  #take(item: FeedItem): void {
    if (item.type === 'state') {
      put(this.copy, item.path, item.entries);
      const { key } = parsePath(item.path);
      this.#listed?.add(key);
      this.told.push(this.copy.has(key) ? `${key}=${String(this.copy.get(key))}` : `${key} gone`);
    } else if (item.type === 'listing-begins') {
      this.#listed = new Set();
      this.told.push('[');
    } else {
      for (const key of this.copy.keys()) if (this.#listed?.has(key) === false) this.copy.delete(key);
      this.#listed = undefined;
      this.told.push(']');
    }
  }

  takeTold(): string {
    return this.told.splice(0).join(' ');
  }
}

describe('a feed', () => {
  test('tells each changed path once, in the order of the first change, as it is when it is read', () => {
    const source = new Source(1);
    source.set('before', 0);
    const reader = new Reader(source, 'now');
    expect(reader.hasMore).toBe(false);
    source.set('a', 1);
    source.set('b', 1);
    source.set('a', 2);
    source.set('c', 1);
    source.remove('c');
    expect(reader.hasMore).toBe(true);
    expect(reader.readAll().takeTold()).toBe('a=2 b=1 c gone');
    expect(reader.hasMore).toBe(false);
    expect(reader.readAll().takeTold()).toBe('');
  });

  test('keeps to its range', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'start', keyRange('user:'));
    for (const key of ['user', 'user:', 'user:1', 'user:\u{10ffff}', 'user;', 'zebra']) source.set(key, 1);
    expect(reader.readAll().takeTold()).toBe('[ user:=1 user:1=1 user:\u{10ffff}=1 ]');
    for (const key of ['user', 'user:1', 'user;']) source.set(key, 2);
    expect(reader.readAll().takeTold()).toBe('user:1=2');
    const resumed = new Reader(source, source.engine.clock.minus(source.engine.clock), keyRange('user:'));
    expect(resumed.readAll(1).takeTold().split(' ').toSorted().join(' ')).toBe('user:1=2 user:=1 user:\u{10ffff}=1');
  });

  test('resumes with what has changed meanwhile, deletes included', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now');
    for (const key of ['a', 'b', 'c']) source.set(key, 1);
    reader.readAll();
    reader.stop();
    source.set('b', 2);
    source.remove('c');
    source.set('d', 1);
    reader.takeTold();
    reader.start();
    expect(reader.readAll().takeTold()).toBe('b=2 c gone d=1');
    expect(reader.copy).toEqual(source.contents());
  });

  test('from a position below a floor, lists everything between two marks', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now');
    for (const key of ['a', 'b', 'c']) source.set(key, 1);
    reader.readAll();
    reader.stop();
    source.remove('b');
    source.dropGhosts();
    reader.takeTold();
    reader.start();
    expect(reader.readAll(1).takeTold()).toBe('[ a=1 c=1 ]');
    expect(reader.copy).toEqual(source.contents());
    source.set('a', 2);
    expect(reader.readAll().takeTold()).toBe('a=2');
  });

  test('a listing tells what changed behind it afterwards, and lists what changes ahead of it as it is then', () => {
    const source = new Source(1);
    for (const key of ['a', 'b', 'c', 'd']) source.set(key, 1);
    const reader = new Reader(source, 'start');
    reader.read(2);
    source.set('a', 2);
    source.remove('b');
    source.set('c', 2);
    expect(reader.readAll(2).takeTold()).toBe('[ a=1 b=1 c=2 d=1 ] a=2 b gone');
    expect(reader.copy).toEqual(source.contents());
  });

  test('a full buffer is a resume from the last position: the newest states, no listing', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now', { bufferMax: 3 });
    source.set('z', 1);
    reader.readAll().takeTold();
    for (let i = 0; i < 10; i++) for (const key of ['a', 'b', 'c', 'd', 'e']) source.set(key, i);
    source.remove('z');
    expect(reader.readAll(2).takeTold()).toBe('a=9 b=9 c=9 d=9 e=9 z gone');
  });

  test('a buffer that overflows while it lists is made up for by a walk after the listing', () => {
    const source = new Source(1);
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    for (const key of keys) source.set(key, 1);
    const reader = new Reader(source, 'start', { bufferMax: 1 });
    reader.read(4);
    for (const key of keys) source.set(key, 2);
    reader.readAll(4);
    expect(reader.copy).toEqual(source.contents());
    expect(reader.takeTold().match(/\[/g)).toHaveLength(1);
  });

  test('changes that were too many to note are found in the index', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now');
    source.feed = undefined;
    source.set('a', 1);
    source.set('b', 1);
    reader.start();
    new Feed(source.engine, { ...ALL, since: 'now', bufferMax: 1 }).missed();
    expect(reader.readAll().takeTold()).toBe('');
    const feed = new Feed(source.engine, { ...ALL, since: 'now', bufferMax: 10 });
    source.set('c', 1);
    feed.missed();
    expect(feed.read(10)?.items).toHaveLength(1);
    expect(feed.read(10)).toBeNull();
  });

  test('the items of a page but the last carry the position before it: stopping in the middle repeats, and loses nothing', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now');
    for (const key of ['a', 'b', 'c']) source.set(key, 1);
    reader.read(10, 2);
    expect(reader.takeTold()).toBe('a=1 b=1');
    reader.start();
    expect(reader.readAll().takeTold()).toBe('a=1 b=1 c=1');
    reader.start();
    expect(reader.readAll().takeTold()).toBe('');
  });

  test('a long walk moves the position on with each page', () => {
    const source = new Source(1);
    const reader = new Reader(source, source.engine.clock.clone());
    for (let i = 0; i < 10; i++) source.set(`k${i}`, i);
    reader.start();
    reader.read(4);
    reader.start();
    reader.takeTold();
    expect(reader.readAll(4).takeTold()).toBe('k4=4 k5=5 k6=6 k7=7 k8=8 k9=9');
  });

  test('while nothing changes in the range, the position moves on all the same', () => {
    const source = new Source(1);
    const reader = new Reader(source, 'now', { ...keyRange('quiet'), bufferMax: 1 });
    for (let i = 0; i < 600; i++) source.set(`busy${i % 50}`, i);
    source.set('quiet1', 1);
    source.set('quiet2', 1);
    // Both are found by a walk, since the buffer has overflowed: one over little more than what came last.
    let pages = 0;
    while (reader.read(10)) pages++;
    expect(reader.takeTold()).toBe('quiet1=1 quiet2=1');
    expect(pages).toBeLessThan(10);
  });

  test('a value lost to an event that is not in the clock yet is told to whoever resumes right then', () => {
    const [a, b] = [new Source(2), new Source(1)];
    b.set('x', 1);
    a.set('x', 2);
    a.push(b, 'x');
    const reader = new Reader(b, 'start').readAll();
    expect(reader.copy).toEqual(new Map([['x', 2]]));
    reader.stop();
    // A removes its value and forgets the delete; then only a part of its round arrives.
    a.remove('x');
    a.dropGhosts();
    a.push(b, 'x');
    expect(b.contents()).toEqual(new Map([['x', 1]]));
    reader.start();
    expect(reader.readAll().takeTold()).toBe('[ x=2 ]');
    a.round(b);
    expect(reader.hasMore).toBe(true);
    expect(reader.readAll().takeTold()).toBe('[ x=1 ]');
  });

  test('whatever happens, and wherever the reader stops, its copy becomes the contents', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd');
    const side = fc.boolean();
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('set' as const), side, key, value: fc.nat(9) }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('remove' as const), side, key }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('push' as const), side, key }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('round' as const), side }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('drop' as const), side }) },
      {
        weight: 6,
        arbitrary: fc.record({
          do: fc.constant('read' as const),
          limit: fc.integer({ min: 1, max: 4 }),
          itemsMax: fc.constantFrom(0, 1, 2, 10, 10),
        }),
      },
      { weight: 2, arbitrary: fc.constant({ do: 'stop' as const }) },
    );
    const since = fc.constantFrom('start' as const, 'empty' as const);
    const bufferMax = fc.integer({ min: 1, max: 5 });
    const law = fc.property(
      fc.array(step, { maxLength: 60, size: 'max' }),
      since,
      bufferMax,
      (steps, from, bufferSize) => {
        const [a, b] = [new Source(1), new Source(2)];
        const nothing = a.engine.clock.clone();
        const reader = new Reader(b, from === 'start' ? 'start' : nothing, { bufferMax: bufferSize });
        for (const one of steps) {
          const [here, there] = 'side' in one && one.side ? [a, b] : [b, a];
          switch (one.do) {
            case 'set':
              here.set(one.key, one.value);
              break;
            case 'remove':
              here.remove(one.key);
              break;
            case 'push':
              here.push(there, one.key);
              break;
            case 'round':
              here.round(there);
              break;
            case 'drop':
              here.dropGhosts();
              break;
            case 'read':
              if (!reader.isReading) reader.start();
              reader.read(one.limit, one.itemsMax);
              // Taking less than a page is what a reader does that stops there.
              if (one.itemsMax < one.limit + 2) reader.start();
              break;
            case 'stop':
              reader.stop();
              break;
          }
        }
        if (!reader.isReading) reader.start();
        a.round(b);
        reader.readAll(3);
        expect(reader.copy).toEqual(b.contents());
      },
    );
    fc.assert(law, { numRuns: 3_000 });
  });
});

describe('a position', () => {
  test.each([
    ['nothing', []],
    ['another format', [2, 0]],
    ['a clock that goes on', [1, 0, 0]],
    ['half a clock', [1, 1, 1, 2, 3]],
  ])('that is %s is refused', (_, bytes) => {
    expect(() => decodePosition(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code: 'InvalidClock' }));
  });
});
