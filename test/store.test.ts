/**
 * One store: options, what a write returns and when it is durable, batches, limits, change feeds, failure, the end.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { HearsayError } from '../crdts/error.ts';
import { Commit, Write } from '../src/commit.ts';
import { openLmdb } from '../src/edges/storage/lmdb.ts';
import { type OpenOptions, open, type Store, type WatchItem } from '../src/index.ts';
import { FaultStorage } from './support/fault-storage.ts';
import { afterEachTidy, codeOf, codeThrown, later, openStore, temporaryDir } from './support/stores.ts';

afterEachTidy();

/** The next `count` items. */
async function take(items: AsyncIterator<WatchItem>, count: number): Promise<WatchItem[]> {
  const taken: WatchItem[] = [];
  while (taken.length < count) {
    const { done, value } = await items.next();
    if (done === true) throw new Error(`the watch ended after ${taken.length} of ${count} items`);
    taken.push(value as WatchItem);
  }
  return taken;
}

/** An item as `key=value`, `key.field{element}` and so on. */
function shown(item: WatchItem): string {
  if (item.type === 'listing-begins') return '[';
  if (item.type === 'listing-ends') return ']';
  const { key, fields, type, element, isPresent, value } = item;
  const path = [key, ...fields].join('.') + (element === undefined ? '' : `{${JSON.stringify(element)}}`);
  return `${type} ${path} ${isPresent ? JSON.stringify(value) : 'gone'}`;
}

describe('options', () => {
  const wrong: [option: string, options: unknown][] = [
    ['options', undefined],
    ['dir', {}],
    ['dir', { dir: '' }],
    ['dir', { dir: 'x', storage: 'memory' }],
    ['storage', { storage: 'disk' }],
    ['storage', { storage: { get() {} } }],
    ['durability', { dir: 'x', durability: 'none' }],
    ['durability', { storage: 'memory', durability: 'strict' }],
    ['durabilty', { dir: 'x', durabilty: 'relaxed' }],
    ['name', { storage: 'memory', name: '' }],
    ['name', { storage: 'memory', name: 'x'.repeat(65) }],
    ['name', { storage: 'memory', name: '\ud800' }],
    ['role', { storage: 'memory', role: 'leader' }],
    ['interests', { storage: 'memory', interests: ['a'] }],
    ['interests', { storage: 'memory', role: 'leaf', interests: [] }],
    ['interests', { storage: 'memory', role: 'leaf', interests: [1] }],
    ['cluster', { storage: 'memory', cluster: 'mine' }],
    ['join', { storage: 'memory', join: 'http://host' }],
    ['join', { storage: 'memory', join: ['host:1'] }],
    ['listen', { storage: 'memory', listen: 7717 }],
    ['listen.port', { storage: 'memory', listen: {} }],
    ['listen.port', { storage: 'memory', listen: { port: 65_536 } }],
    ['listen.host', { storage: 'memory', listen: { port: 0, host: '' } }],
    ['listen.connectionsMax', { storage: 'memory', listen: { port: 0, connectionsMax: 0 } }],
    ['logger', { storage: 'memory', logger: console.log }],
    ['pace', { storage: 'memory', pace: 'fast' }],
    ['pace.checkMs', { storage: 'memory', pace: { checkMs: 0 } }],
    ['pace.roundMs', { storage: 'memory', pace: { roundMs: 5 } }],
  ];
  test.each(wrong)('a wrong %s is refused by its name: %j', async (option, options) => {
    const error = await open(options as OpenOptions).catch((refusal: unknown) => refusal);
    expect(error).toMatchObject({ code: 'InvalidOption', facts: { option } });
  });

  test('explicitly undefined options are absent ones', async () => {
    const store = await openStore({
      storage: 'memory',
      dir: undefined,
      join: undefined,
      listen: undefined,
      name: undefined,
    });
    expect(store.status()).toMatchObject({ role: 'member', listening: null, joined: [], storage: { kind: 'memory' } });
    expect([store.port, store.address]).toEqual([null, null]);
  });

  test('a port that is taken is refused, and nothing is held', async () => {
    const dir = temporaryDir();
    const first = await openStore({ storage: 'memory', listen: { port: 0 } });
    const second = open({ dir, listen: { port: first.port as number } });
    await expect(second).rejects.toMatchObject({ code: 'PortInUse' });
    await openStore({ dir });
  });

  test('a store keeps its cluster, its role and its interests', async () => {
    const dir = temporaryDir();
    const cluster = 'c'.repeat(32);
    await (await openStore({ dir, cluster, role: 'leaf', interests: ['a'] })).close();
    const again = await openStore({ dir, role: 'leaf', interests: ['a'] });
    expect(again.status()).toMatchObject({ cluster, role: 'leaf' });
    await again.close();
    const codes = [];
    const leaf = { dir, role: 'leaf', interests: ['a'] } as const;
    for (const options of [
      { ...leaf, cluster: 'd'.repeat(32) },
      { ...leaf, interests: ['b'] },
    ]) {
      codes.push(await open(options).catch(codeOf));
    }
    expect(codes).toEqual(['ClusterMismatch', 'InterestsChanged']);
  });
});

describe('a write', () => {
  test('is readable at once, and durable when it was awaited', async () => {
    const dir = temporaryDir();
    const store = await openStore({ dir });
    const write = store.map('user:1').set('name', 'Ann');
    expect(store.map('user:1').get('name')).toBe('Ann');
    const { dots, durable } = await write;
    expect(dots).toEqual([expect.stringMatching(/^[0-9a-f]{16}:\d+$/)]);
    expect(durable).toBe(true);
    expect(await write).toEqual({ dots, durable });
    await store.close();
    expect((await openStore({ dir })).map('user:1').get('name')).toBe('Ann');
  });

  test('that changes nothing has no dots, and is durable when what it saw is', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    storage.hold();
    void store.register('a').set(1);
    void store.register('a').delete();
    const order: string[] = [];
    const nothing = store
      .register('a')
      .delete()
      .then(({ dots }) => order.push(`nothing ${dots.length}`));
    await nextTurn();
    order.push('released');
    storage.release();
    await nothing;
    expect(order).toEqual(['released', 'nothing 0']);
  });

  test('shares its commit with the others of its turn; at most two commits are under way, and the next one grows', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    const before = storage.commitCount;
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.register(`a${i}`).set(i)));
    expect(storage.commitCount - before).toBe(1);
    storage.hold();
    const writes: Write[] = [];
    for (let turn = 0; turn < 20; turn++) {
      for (let i = 0; i < 10; i++) writes.push(store.register(`b${i}`).set(turn));
      await nextTurn();
    }
    expect(storage.commitCount - before).toBe(3);
    storage.release();
    await Promise.all(writes);
    expect(storage.underWayMost).toBe(2);
    expect(storage.commitCount - before).toBe(4);
  });

  test('resolves in the order of writing', async () => {
    const store = await openStore();
    const order: number[] = [];
    const all = Array.from({ length: 20 }, async (_, i) => {
      if (i % 5 === 0) await nextTurn();
      await store.counter('n').add(1);
      order.push(i);
    });
    await Promise.all(all);
    const early = order.filter((i) => i % 5 !== 0);
    expect(early).toEqual(early.toSorted((a, b) => a - b));
  });

  test('is a full citizen among promises: then, catch, finally, all, and after it is durable', async () => {
    const store = await openStore();
    const write = store.flag('f').enable();
    const calls: string[] = [];
    await write.finally(() => calls.push('finally'));
    await write.catch(() => calls.push('never'));
    expect(await write.then(({ durable }) => durable)).toBe(true);
    expect(await write.then()).toMatchObject({ durable: true });
    expect(calls).toEqual(['finally']);
  });

  test('makes no promise until it is awaited', () => {
    const commit = new Commit();
    const write = new Write().settle(commit, []);
    expect(commit.unawaitedCount).toBe(1);
    void write.then(() => {});
    void write.then(() => {});
    expect(commit.unawaitedCount).toBe(0);
    commit.succeed();
  });

  test.each([
    ['InvalidValue', (store: Store) => store.register('a').set((() => {}) as never)],
    ['ValueTooLarge', (store: Store) => store.register('a').set('x'.repeat(1024 * 1024))],
    ['PathTooLong', (store: Store) => store.register('x'.repeat(1_100)).set(1)],
    ['InvalidAmount', (store: Store) => store.counter('a').add(0.5)],
    ['InvalidTtl', (store: Store) => store.register('a').set(1, { ttlMs: 0 })],
  ])('that cannot be made throws %s where it is called, and writes nothing', async (code, write) => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    const before = storage.commitCount;
    expect(codeThrown(() => write(store))).toBe(code);
    await nextTurn();
    expect(storage.commitCount).toBe(before);
  });

  test('is refused while too much is pending, and taken again when that is durable', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    storage.hold();
    const value = new Uint8Array(1_000_000).fill(200);
    let count = 0;
    const writes: Write[] = [];
    const code = codeThrown(() => {
      for (; count < 200; count++) writes.push(store.register(`k${count}`).set(value));
    });
    expect(code).toBe('Overloaded');
    expect(count).toBeGreaterThan(50);
    expect(count).toBeLessThan(75);
    expect(store.has(`k${count}`)).toBe(false);
    storage.release();
    await Promise.all(writes);
    await store.register('again').set(value);
  });

  test('with a time to live is gone for every reader when that has passed', async () => {
    const store = await openStore();
    void store.register('a').set(1, { ttlMs: 20 });
    void store.set('s').add('x', { ttlMs: 20 });
    expect([store.has('a'), store.has('s')]).toEqual([true, true]);
    const end = Date.now() + 21;
    while (Date.now() < end) await nextTurn();
    expect([store.has('a'), store.has('s'), store.register('a').get()]).toEqual([false, false, undefined]);
    expect([...store.keys()]).toEqual([]);
  });
});

describe('a batch', () => {
  test('is one commit, and its reads see its writes', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    await store.register('before').set('kept');
    await store.counter('n').add(5);
    const before = storage.commitCount;
    const seen: unknown[] = [];
    const write = store.batch((batch) => {
      expect(batch).toBe(store);
      store.counter('n').add(2);
      store.counter('n').add(3);
      store.register('r').set({ deep: [1] });
      store.register('before').delete();
      for (const element of ['b', 'c', 'a']) store.set('s').add(element);
      store.set('s').remove('b');
      store.map('m').field('inner').map().set('x', 1);
      seen.push(store.counter('n').get(), store.register('r').get(), store.has('before'), [...store.set('s').values()]);
      seen.push([...store.keys()], [...store.keys('', { reverse: true, limit: 2 })], store.map('m').toObject());
    });
    expect(seen).toEqual([10, { deep: [1] }, false, ['a', 'c'], ['m', 'n', 'r', 's'], ['s', 'r'], { inner: { x: 1 } }]);
    expect(store.counter('n').get()).toBe(10);
    const { dots } = await write;
    expect(dots).toHaveLength(9);
    expect(storage.commitCount - before).toBe(1);
  });

  test('reads inside see old and new records in one order, both ways', async () => {
    const store = await openStore();
    for (const key of ['b', 'd', 'f']) await store.register(key).set('old');
    store.batch(() => {
      for (const key of ['a', 'c', 'd', 'g']) store.register(key).set('new');
      store.register('f').delete();
      const scanned = Array.from(store.scan(), ({ key, value }) => `${key} ${value() as string}`);
      expect(scanned).toEqual(['a new', 'b old', 'c new', 'd new', 'g new']);
      const reverse = Array.from(store.scan('', { reverse: true }), ({ key }) => key);
      expect(reverse).toEqual(['g', 'd', 'c', 'b', 'a']);
      expect([...store.keys('', { after: 'b', limit: 2 })]).toEqual(['c', 'd']);
    });
  });

  test('that throws writes nothing, also what was caught inside, and passes the error on', async () => {
    const store = await openStore();
    const boom = new Error('boom');
    const action = (): unknown =>
      store.batch(() => {
        store.register('a').set(1);
        throw boom;
      });
    expect(action).toThrow(boom);
    const caught = (): unknown =>
      store.batch(() => {
        store.register('a').set(1);
        try {
          store.batch(() => {
            store.register('b').set(1);
            throw boom;
          });
        } catch {}
      });
    expect(caught).toThrow(boom);
    expect([...store.keys()]).toEqual([]);
    await store.register('c').set(1);
    expect([...store.keys()]).toEqual(['c']);
  });

  test('inside a batch is part of it', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    const before = storage.commitCount;
    const { dots } = await store.batch(() => {
      store.register('a').set(1);
      store.batch(() => store.register('b').set(store.register('a').get() as number));
    });
    expect(dots.length).toBe(3 - (dots.length === 2 ? 1 : 0));
    expect(storage.commitCount - before).toBe(1);
    expect(store.register('b').get()).toBe(1);
  });

  test('gives its writes what it gives itself: durable together, or an error together', async () => {
    const store = await openStore();
    let inner: PromiseLike<unknown> | undefined;
    const write = store.batch(() => {
      inner = store
        .register('a')
        .set(1)
        .then((receipt) => receipt);
      return store.register('b').set(1);
    });
    expect(await inner).toEqual(await write);
    let lost: Promise<unknown> | undefined;
    expect(() =>
      store.batch(() => {
        lost = store.register('c').set(1).then(String, codeOf);
        throw new HearsayError('Mine', 'on purpose');
      }),
    ).toThrow('on purpose');
    expect(await lost).toBe('Mine');
  });

  test('must be synchronous', async () => {
    const store = await openStore();
    const code = codeThrown(() =>
      store.batch(async () => {
        store.register('a').set(1);
        await nextTurn();
        throw new Error('nobody hears of this');
      }),
    );
    expect(code).toBe('BatchNotSynchronous');
    expect(store.has('a')).toBe(false);
    await nextTurn();
  });

  test.each([
    [
      'operations',
      (store: Store) => {
        for (let i = 0; i <= 10_000; i++) store.set('s').add(i);
      },
    ],
    [
      'bytes',
      (store: Store) => {
        for (let i = 0; i < 9; i++) store.register(`r${i}`).set(new Uint8Array(1_000_000).fill(200));
      },
    ],
  ])('of too many %s is refused whole', async (_, compose) => {
    const store = await openStore();
    expect(codeThrown(() => store.batch(() => compose(store)))).toBe('BatchTooLarge');
    expect([...store.keys()]).toEqual([]);
  });

  test('of the greatest size is taken', async () => {
    const store = await openStore();
    const { dots } = await store.batch(() => {
      for (let i = 0; i < 10_000; i++) store.set('s').add(i);
    });
    expect(dots.length).toBeGreaterThanOrEqual(10_000);
    expect(store.set('s').size).toBe(10_000);
  });

  test('with nothing in it is fine', async () => {
    const store = await openStore();
    expect(await store.batch(() => {})).toEqual({ dots: [], durable: true });
  });
});

describe('removing a key', () => {
  test('removes more records than a batch may have, in several batches behind one handle', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    for (let from = 0; from < 25_000; from += 5_000) {
      await store.batch(() => {
        for (let i = from; i < from + 5_000; i++) store.set('s').add(i);
      });
    }
    await store.register('other').set(1);
    const before = storage.commitCount;
    const removed = store.delete('s');
    expect([store.has('s'), store.set('s').has(24_999)]).toEqual([false, false]);
    const { dots } = await removed;
    expect(dots).toHaveLength(25_000);
    expect(new Set(dots).size).toBe(25_000);
    expect(storage.commitCount - before).toBe(3);
    expect([...store.keys()]).toEqual(['other']);
    expect(codeThrown(() => store.batch(() => store.delete('other')))).toBeUndefined();
  }, 30_000);
});

describe('a failure of the storage', () => {
  test('fails every pending write, tells of those that nobody awaits once, and refuses writes from then on', async () => {
    const storage = new FaultStorage(await openLmdb({ dir: temporaryDir() }));
    const store = await openStore({ storage });
    await store.register('kept').set(1);
    const errors: HearsayError[] = [];
    store.on('error', (error) => errors.push(error));
    storage.hold();
    const awaited = [store.register('lost').set(1).then(String, codeOf)];
    void store.register('lost too').set(1);
    await nextTurn();
    awaited.push(store.register('kept').set(2).then(String, codeOf));
    void store.counter('lost three').add(1);
    void store.counter('lost three').add(1);
    storage.fail();
    expect(await Promise.all(awaited)).toEqual(['StorageFailed', 'StorageFailed']);
    expect(errors.map(({ code, facts }) => [code, facts['lost']])).toEqual([['StorageFailed', 3]]);
    expect(codeThrown(() => store.register('more').set(1))).toBe('StorageFailed');
    expect(codeThrown(() => store.batch(() => store.register('more').set(1)))).toBe('StorageFailed');
    expect(codeThrown(() => store.watch())).toBe('StorageFailed');
    await expect(store.flush()).rejects.toMatchObject({ code: 'StorageFailed' });
    // Reads show what the disk has.
    expect([...store.keys()]).toEqual(['kept']);
    expect(store.register('kept').get()).toBe(1);
    expect(store.status()).toMatchObject({ state: 'failed', failure: { code: 'StorageFailed' } });
    await store.close();
    expect(errors).toHaveLength(1);
  });

  test('keeps its own code, and without a listener becomes a process warning, never an unhandled rejection', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    const warnings: Error[] = [];
    const warn = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warn);
    later(() => process.off('warning', warn));
    void store.register('a').set(1);
    storage.fail('StorageFull');
    while (warnings.length === 0) await nextTurn();
    expect(warnings).toEqual([expect.objectContaining({ code: 'StorageFull' })]);
  });

  test('is told to every watch, and opening the store again goes on from what is durable', async () => {
    const dir = temporaryDir();
    const storage = new FaultStorage(await openLmdb({ dir }));
    const store = await openStore({ storage });
    store.on('error', () => {});
    await store.register('a').set(1);
    const watch = store.watch('');
    const next = watch.next().then(String, codeOf);
    const idle = store.watch('');
    storage.hold();
    void store.register('a').set(2);
    await nextTurn();
    storage.fail();
    expect(await next).toBe('StorageFailed');
    expect(await watch.next()).toEqual({ done: true, value: undefined });
    await expect(idle.next()).rejects.toMatchObject({ code: 'StorageFailed' });
    await store.close();
    const again = await openStore({ dir });
    expect(again.register('a').get()).toBe(1);
    await again.register('a').set(3);
  });

  test('while closing is what close rejects with, and everything is released all the same', async () => {
    const dir = temporaryDir();
    const storage = new FaultStorage(await openLmdb({ dir }));
    const store = await openStore({ storage });
    storage.hold();
    const write = store.register('a').set(1).then(String, codeOf);
    const closed = store.close();
    storage.fail();
    await expect(closed).rejects.toMatchObject({ code: 'StorageFailed' });
    expect(await write).toBe('StorageFailed');
    await openStore({ dir });
  });
});

describe('closing', () => {
  test('makes what is pending durable, refuses what comes later, and is idempotent', async () => {
    const dir = temporaryDir();
    const store = await openStore({ dir });
    const writes = Array.from({ length: 500 }, (_, i) => store.register(`k${i}`).set(i));
    const closed = store.close();
    expect(store.close()).toBe(closed);
    expect(codeThrown(() => store.register('late').set(1))).toBe('StorageClosed');
    expect(codeThrown(() => store.watch())).toBe('StorageClosed');
    expect(codeThrown(() => store.join('http://127.0.0.1:1'))).toBe('StorageClosed');
    await expect(store.synced()).rejects.toMatchObject({ code: 'StorageClosed' });
    const receipts = await Promise.all(writes);
    expect(receipts).toHaveLength(500);
    await closed;
    expect(store.status().state).toBe('closed');
    expect(codeThrown(() => store.register('k1').get())).toBe('StorageClosed');
    const again = await openStore({ dir });
    expect([...again.keys()]).toHaveLength(500);
  });

  test('while writers go on ends them with StorageClosed, and nothing acknowledged is lost', async () => {
    const dir = temporaryDir();
    const store = await openStore({ dir });
    const acknowledged: string[] = [];
    const ends: unknown[] = [];
    const writers = Array.from({ length: 20 }, async (_, writer) => {
      try {
        for (let i = 0; ; i++) {
          await store.register(`${writer}-${i}`).set(i);
          acknowledged.push(`${writer}-${i}`);
        }
      } catch (error) {
        ends.push(codeOf(error));
      }
    });
    while (acknowledged.length < 200) await nextTurn();
    await store.close();
    await Promise.all(writers);
    expect(ends).toEqual(Array.from({ length: 20 }, () => 'StorageClosed'));
    const again = await openStore({ dir });
    expect(acknowledged.filter((key) => !again.has(key))).toEqual([]);
  });

  test('happens at the end of a block with `await using`', async () => {
    let outer: Store;
    {
      await using store = await open({ storage: 'memory' });
      outer = store;
      void store.register('a').set(1);
    }
    expect(outer.status().state).toBe('closed');
  });
});

describe('a watch', () => {
  test('tells the newest state of everything that changes, of every type, deletes included', async () => {
    const store = await openStore();
    const items = store.watch();
    const told = async (count: number): Promise<string[]> => (await take(items, count)).map(shown);
    void store.register('r').set({ a: 1 });
    void store.counter('c').add(2);
    void store.counter('c').add(3);
    void store.flag('f').enable();
    void store.flag('g', { wins: 'off' }).enable();
    void store.set('s').add('x');
    void store.set('t', { wins: 'off' }).add(null);
    void store.map('m').field('inner').map().set('deep', [1]);
    expect(await told(7)).toEqual([
      'register r {"a":1}',
      'counter c 5',
      'flag f true',
      'flag-disable-wins g true',
      'set s{"x"} true',
      'set-remove-wins t{null} true',
      'register m.inner.deep [1]',
    ]);
    for (const key of ['r', 'c', 'f', 'g', 's', 't', 'm']) void store.delete(key);
    expect(await told(7)).toEqual([
      'register r gone',
      'counter c gone',
      'flag f gone',
      'flag-disable-wins g gone',
      'set s{"x"} gone',
      'set-remove-wins t{null} gone',
      'register m.inner.deep gone',
    ]);
  });

  test('keeps to its prefix and to what comes after it began', async () => {
    const store = await openStore();
    void store.register('user:0').set(0);
    const items = store.watch('user:');
    void store.register('other').set(1);
    void store.register('user:1').set(1);
    void store.register('user;').set(1);
    void store.register('user:2').set(2);
    const told = (await take(items, 2)).map(shown);
    // What was written in the turn of the beginning may be told or not.
    expect(told.filter((text) => !text.includes('user:0'))).toEqual(
      told.slice(-2).filter((t) => !t.includes('user:0')),
    );
    expect(told.at(-1)).toMatch(/^register user:[12] /);
  });

  test('tells nothing before it is durable, and then its newest state', async () => {
    const storage = new FaultStorage();
    const store = await openStore({ storage });
    const items = store.watch();
    storage.hold();
    const told: string[] = [];
    const first = items.next().then(({ value }) => told.push(shown(value as WatchItem)));
    void store.register('a').set(1);
    for (let i = 0; i < 5; i++) await nextTurn();
    void store.register('a').set(2);
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(told).toEqual([]);
    storage.release();
    await first;
    expect(told[0]).toMatch(/^register a [12]$/);
    if (told[0] === 'register a 1') expect((await take(items, 1)).map(shown)).toEqual(['register a 2']);
  });

  test('of a slow reader gets the newest states from a bounded buffer, however much changes', async () => {
    const store = await openStore();
    const items = store.watch('', { bufferMax: 10 });
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 100; i++) void store.register(`k${i}`).set(round);
      await store.flush();
    }
    const told = (await take(items, 100)).map(shown);
    expect(told.toSorted()).toEqual(Array.from({ length: 100 }, (_, i) => `register k${i} 4`).toSorted());
    await store.register('last').set(1);
    expect((await take(items, 1)).map(shown)).toEqual(['register last 1']);
  });

  test('resumes from the clock of any item, also after the store was closed, and tells deletes', async () => {
    const dir = temporaryDir();
    const store = await openStore({ dir, listen: { port: 0 } });
    // A member that is away: until it has heard of a delete, that is not forgotten.
    const away = await openStore({ storage: 'memory', join: [store.address as string] });
    await store.register('a').set(1);
    await away.synced();
    await away.close();
    const items = store.watch();
    for (const key of ['b', 'c']) await store.register(key).set(1);
    const since = (await take(items, 2)).at(-1)?.clock as string;
    await store.register('b').set(2);
    await store.delete('c');
    await store.close();
    const again = await openStore({ dir });
    await again.register('d').set(1);
    const resumed = again.watch('', { since });
    expect((await take(resumed, 3)).map(shown).toSorted()).toEqual(['register b 2', 'register c gone', 'register d 1']);
    await again.register('e').set(1);
    const [last] = await take(resumed, 1);
    expect(shown(last!)).toBe('register e 1');
    const nothing = again.watch('', { since: last?.clock });
    await again.register('f').set(1);
    expect((await take(nothing, 1)).map(shown)).toEqual(['register f 1']);
  });

  test('from before what was forgotten gets everything, between two marks', async () => {
    const store = await openStore();
    const items = store.watch();
    for (const key of ['a', 'b', 'c']) await store.register(key).set(1);
    const since = (await take(items, 3)).at(-1)?.clock;
    await store.delete('b');
    // Alone in its cluster, it may forget the delete at its next sweep.
    while ((await firstOf(store, since)) !== '[') await nextTurn();
    const resumed = store.watch('', { since });
    expect((await take(resumed, 4)).map(shown)).toEqual(['[', 'register a 1', 'register c 1', ']']);
    await store.register('d').set(1);
    expect((await take(resumed, 1)).map(shown)).toEqual(['register d 1']);
  });

  test("from 'start' lists everything first", async () => {
    const store = await openStore();
    await store.register('a').set(1);
    await store.set('s').add('x');
    await store.register('gone').set(1);
    await store.delete('gone');
    await store.register('expired').set(1, { ttlMs: 1 });
    const end = Date.now() + 2;
    while (Date.now() < end) await nextTurn();
    const items = store.watch('', { since: 'start' });
    expect((await take(items, 4)).map(shown)).toEqual(['[', 'register a 1', 'set s{"x"} true', ']']);
  });

  test('lists thousands of records while they are written to', async () => {
    const store = await openStore();
    for (let i = 0; i < 3_000; i++) void store.register(`k${i}`).set(0);
    await store.flush();
    const copy = new Map<string, unknown>();
    const items = store.watch('', { since: 'start', bufferMax: 50 });
    for await (const item of items) {
      if (item.type === 'listing-begins') continue;
      if (item.type === 'listing-ends') break;
      copy.set(item.key, item.value);
      if (copy.size % 100 === 0) void store.register(`k${copy.size}`).set(copy.size);
    }
    expect(copy.size).toBe(3_000);
  });

  test('ends with its loop, its signal, `return` and the store; then it costs nothing', async () => {
    const store = await openStore();
    const abort = new AbortController();
    const bySignal = store.watch('', { signal: abort.signal }).next();
    const byReturn = store.watch();
    const waiting = byReturn.next();
    const byStore = store.watch();
    const end = byStore.next();
    abort.abort();
    expect(await bySignal).toEqual({ done: true, value: undefined });
    await byReturn.return();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await byReturn.next()).toEqual({ done: true, value: undefined });
    const aborted = store.watch('', { signal: AbortSignal.abort() });
    expect(await aborted.next()).toEqual({ done: true, value: undefined });
    void store.register('a').set(1);
    for await (const item of store.watch('', { since: 'start' })) {
      expect(item.type).toBe('listing-begins');
      break;
    }
    await take(byStore, 0);
    await end;
    const last = byStore.next();
    await store.close();
    expect(await last).toEqual({ done: true, value: undefined });
  });

  test('several at once, and several `next` at once, each get theirs in order', async () => {
    const store = await openStore();
    const [one, other] = [store.watch(), store.watch('a')];
    const asked = [one.next(), one.next(), one.next()];
    void store.register('a').set(1);
    void store.register('b').set(2);
    void store.register('c').set(3);
    const told = (await Promise.all(asked)).map(({ value }) => shown(value as WatchItem));
    expect(told).toEqual(['register a 1', 'register b 2', 'register c 3']);
    expect((await take(other, 1)).map(shown)).toEqual(['register a 1']);
  });

  test.each([
    ['InvalidClock', { since: '' }],
    ['InvalidClock', { since: 'AgA' }],
    ['InvalidClock', { since: 'nonsense' }],
    ['InvalidOption', { since: 5 }],
    ['InvalidOption', { bufferMax: 0 }],
    ['InvalidOption', { signal: {} }],
  ])('refuses with %s: %j', async (code, options) => {
    const store = await openStore();
    expect(codeThrown(() => store.watch('', options as never))).toBe(code);
  });
});

async function firstOf(store: Store, since: string | undefined): Promise<string> {
  const watch = store.watch('', { since });
  const [item] = await take(watch, 1);
  await watch.return();
  return shown(item!);
}
