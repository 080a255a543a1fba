/**
 * What every storage must do, written once: run it over each implementation with `storageContract(name, open)`.
 *
 * Values are compared as text, because a storage may return any kind of Uint8Array.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { HearsayError } from '../crdts/error.ts';
import { KEY_BYTES_MAX, type Key, type RangeOptions } from '../crdts/store.ts';
import type { Storage } from '../src/edges/storage/contract.ts';

export interface OpenedStorage {
  readonly storage: Storage;
  /** Removes what the storage left behind; the storage is closed by then. */
  readonly cleanUp: () => Promise<void>;
}

const HIGHEST = '\u0100';

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString('latin1');
}

/** The entries of a range as `key=value`. */
export function listed(storage: Storage, start: Key = '', end: Key = HIGHEST, options?: RangeOptions): string[] {
  return Array.from(storage.range(start, end, options), ([key, value]) => `${key}=${text(value)}`);
}

export function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}

export function codeThrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return undefined;
}

/** The three places an entry can be in; what is read must not depend on it. */
const stages = {
  pending: () => undefined,
  'being committed': (storage: Storage) => void storage.commit(),
  committed: (storage: Storage) => storage.commit(),
};

export function storageContract(name: string, open: () => Promise<OpenedStorage>): void {
  describe(`[storage] ${name}`, () => {
    const opened: OpenedStorage[] = [];
    const openStorage = async (): Promise<Storage> => {
      const one = await open();
      opened.push(one);
      return one.storage;
    };
    afterEach(async () => {
      for (const { storage, cleanUp } of opened.splice(0)) {
        await storage.close();
        await cleanUp();
      }
    });

    for (const [stage, reach] of Object.entries(stages)) {
      test(`a ${stage} write is seen by get and by ranges in both directions`, async () => {
        const storage = await openStorage();
        for (const key of ['b', 'd', 'a', 'c']) storage.put(key, bytes(key.toUpperCase()));
        await reach(storage);
        expect(text(storage.get('c'))).toBe('C');
        expect(storage.get('e')).toBeUndefined();
        expect(listed(storage)).toEqual(['a=A', 'b=B', 'c=C', 'd=D']);
        expect(listed(storage, 'b', 'd')).toEqual(['b=B', 'c=C']);
        expect(listed(storage, 'b', 'd', { reverse: true })).toEqual(['c=C', 'b=B']);
        expect(listed(storage, '', HIGHEST, { limit: 3 })).toEqual(['a=A', 'b=B', 'c=C']);
        expect(listed(storage, '', HIGHEST, { reverse: true, limit: 1 })).toEqual(['d=D']);
        expect(listed(storage, '', HIGHEST, { limit: 0 })).toEqual([]);
        expect(listed(storage, 'c', 'b')).toEqual([]);
        expect(listed(storage, 'b', 'b', { reverse: true })).toEqual([]);
      });

      test(`keys are in byte order, from 0x00 to 0xff, while they are ${stage}`, async () => {
        const storage = await openStorage();
        const keys = ['\x00', '\x00\x00', '\x00\xff', 'A', 'Aa', 'a', '\x7f', '\x80', '\xff', '\xff\x00', '\xff\xff'];
        for (const key of keys.toReversed()) storage.put(key, bytes(''));
        await reach(storage);
        expect(Array.from(storage.range('', HIGHEST), ([key]) => key)).toEqual(keys);
        expect(Array.from(storage.range('', HIGHEST, { reverse: true }), ([key]) => key)).toEqual(keys.toReversed());
        expect(Array.from(storage.range('\xff', '\xff\u0100'), ([key]) => key)).toEqual([
          '\xff',
          '\xff\x00',
          '\xff\xff',
        ]);
        expect(Array.from(storage.range('A', 'A\u0100', { reverse: true }), ([key]) => key)).toEqual(['Aa', 'A']);
        expect(Array.from(storage.range('A', 'A\x00'), ([key]) => key)).toEqual(['A']);
      });

      test(`newer entries and deletions hide a ${stage} entry`, async () => {
        const storage = await openStorage();
        for (const key of ['a', 'b', 'c', 'd']) storage.put(key, bytes('old'));
        await reach(storage);
        storage.delete('b');
        storage.delete('nothing');
        storage.put('c', bytes('new'));
        storage.delete('d');
        storage.put('d', bytes('again'));
        storage.put('bb', bytes('between'));
        expect(storage.get('b')).toBeUndefined();
        expect(listed(storage)).toEqual(['a=old', 'bb=between', 'c=new', 'd=again']);
        expect(listed(storage, '', HIGHEST, { reverse: true, limit: 2 })).toEqual(['d=again', 'c=new']);
        await storage.commit();
        expect(listed(storage)).toEqual(['a=old', 'bb=between', 'c=new', 'd=again']);
      });
    }

    test('the last write of a batch to a key stands', async () => {
      const storage = await openStorage();
      storage.put('a', bytes('1'));
      storage.delete('a');
      storage.put('b', bytes('1'));
      storage.put('b', bytes('2'));
      await storage.commit();
      expect(listed(storage)).toEqual(['b=2']);
    });

    test('values of no bytes and of a megabyte come back as they were', async () => {
      const storage = await openStorage();
      const large = new Uint8Array(1_000_000).map((_, index) => index % 251);
      storage.put('empty', new Uint8Array(0));
      storage.put('large', large);
      expect(storage.get('empty')?.length).toBe(0);
      await storage.commit();
      expect(storage.get('empty')?.length).toBe(0);
      expect(Buffer.compare(storage.get('large')!, large)).toBe(0);
      expect(Array.from(storage.range('', HIGHEST), ([, value]) => value.length)).toEqual([0, 1_000_000]);
    });

    test('a value that was read stays as it was, whatever is read or written later', async () => {
      const storage = await openStorage();
      for (let i = 0; i < 50; i++) storage.put(`key${i}`, bytes(`value ${i}`));
      await storage.commit();
      const first = storage.get('key0');
      const ranged = Array.from(storage.range('', HIGHEST, { limit: 1 }))[0]?.[1];
      for (let i = 1; i < 50; i++) storage.get(`key${i}`);
      storage.put('key0', bytes('changed'));
      await storage.commit();
      expect(text(storage.get('key0'))).toBe('changed');
      expect([text(first), text(ranged)]).toEqual(['value 0', 'value 0']);
    });

    test('leaving a range early is fine, again and again, and writing goes on', async () => {
      const storage = await openStorage();
      for (let i = 0; i < 300; i++) storage.put(`key${i}`, bytes('x'));
      await storage.commit();
      storage.put('key', bytes('pending'));
      for (let i = 0; i < 300; i++) {
        for (const [key] of storage.range('', HIGHEST, { reverse: i % 2 === 1 })) {
          expect(key).toBe(i % 2 === 1 ? 'key99' : 'key');
          break;
        }
      }
      await storage.commit();
      expect(listed(storage).length).toBe(301);
    });

    test(`keys of 1 to ${KEY_BYTES_MAX} bytes are taken, others are refused by put and unknown to the rest`, async () => {
      const storage = await openStorage();
      const longest = '\xff'.repeat(KEY_BYTES_MAX);
      storage.put(longest, bytes('longest'));
      storage.put('\x00', bytes('shortest'));
      expect(codeThrown(() => storage.put(`${longest}a`, bytes('')))).toBe('KeyTooLong');
      expect(codeThrown(() => storage.put('', bytes('')))).toBe('KeyEmpty');
      storage.delete(`${longest}a`);
      storage.delete('');
      await storage.commit();
      expect(text(storage.get(longest))).toBe('longest');
      expect([storage.get(`${longest}a`), storage.get('')]).toEqual([undefined, undefined]);
      expect(listed(storage, '\x01', `${longest}\xff\xff`)).toEqual([`${longest}=longest`]);
      expect(listed(storage, longest, HIGHEST, { reverse: true })).toEqual([`${longest}=longest`]);
      expect(listed(storage, `${longest}\x00`, HIGHEST)).toEqual([]);
    });

    test('commits resolve in their order, each with everything before it', async () => {
      const storage = await openStorage();
      const order: number[] = [];
      const commits: Promise<unknown>[] = [];
      for (let i = 0; i < 20; i++) {
        storage.put(`key${i}`, bytes(String(i)));
        commits.push(storage.commit().then(() => order.push(i)));
        if (i % 5 === 0) await commits[i];
      }
      await Promise.all(commits);
      expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
      expect(storage.pendingBytes).toBe(0);
    });

    test('a commit with nothing written resolves no earlier than the one before', async () => {
      const storage = await openStorage();
      await storage.commit();
      storage.put('a', bytes('1'));
      const order: string[] = [];
      const real = storage.commit().then(() => order.push('real'));
      const empty = storage.commit().then(() => order.push('empty'));
      await Promise.all([real, empty]);
      expect(order).toEqual(['real', 'empty']);
    });

    test('pendingBytes counts what is not durable yet', async () => {
      const storage = await openStorage();
      expect(storage.pendingBytes).toBe(0);
      storage.put('abc', bytes('12345'));
      expect(storage.pendingBytes).toBe(8);
      const first = storage.commit();
      storage.put('d', bytes('1'));
      expect(storage.pendingBytes).toBe(10);
      await first;
      expect(storage.pendingBytes).toBe(2);
      await storage.commit();
      expect(storage.pendingBytes).toBe(0);
    });

    test('close commits what is pending, may be called twice, and then everything throws StorageClosed', async () => {
      const storage = await openStorage();
      storage.put('a', bytes('1'));
      await Promise.all([storage.close(), storage.close()]);
      await storage.close();
      expect(codeThrown(() => storage.get('a'))).toBe('StorageClosed');
      expect(codeThrown(() => storage.put('a', bytes('2')))).toBe('StorageClosed');
      expect(codeThrown(() => storage.delete('a'))).toBe('StorageClosed');
      expect(codeThrown(() => storage.range('', HIGHEST))).toBe('StorageClosed');
      await expect(storage.commit()).rejects.toMatchObject({ code: 'StorageClosed' });
      expect(storage.pendingBytes).toBe(0);
    });

    test('an abandoned storage takes nothing more, says why, and can be closed', async () => {
      const storage = await openStorage();
      storage.put('a', bytes('1'));
      await storage.commit();
      storage.put('b', bytes('half of a batch'));
      const reason = new HearsayError('StorageFailed', 'given up by a test');
      storage.abandon(reason);
      storage.abandon(new HearsayError('StorageFull', 'only the first reason counts'));
      expect(codeThrown(() => storage.put('c', bytes('3')))).toBe('StorageFailed');
      expect(codeThrown(() => storage.delete('a'))).toBe('StorageFailed');
      await expect(storage.commit()).rejects.toBe(reason);
      expect(text(storage.get('a'))).toBe('1');
      expect(storage.pendingBytes).toBe(0);
      await storage.close();
      expect(codeThrown(() => storage.put('c', bytes('3')))).toBe('StorageClosed');
    });

    test('whatever is written, read and committed, it reads like a sorted map', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(anyStep, { maxLength: 60 }), async (steps) => {
          const { storage, cleanUp } = await open();
          try {
            await followModel(storage, steps);
          } finally {
            await storage.close();
            await cleanUp();
          }
        }),
        { numRuns: 60 },
      );
    });
  });
}

type Step =
  | { readonly type: 'put'; readonly key: Key; readonly value: string }
  | { readonly type: 'delete'; readonly key: Key }
  | { readonly type: 'commit'; readonly awaited: boolean }
  | {
      readonly type: 'range';
      readonly start: Key;
      readonly end: Key;
      readonly reverse: boolean;
      readonly limit: number;
    };

/** Few characters, so that keys meet; those at the ends of the order, because mistakes live there. */
const anyKey = fc.string({ unit: fc.constantFrom('\x00', '\x01', 'a', '\x80', '\xff'), minLength: 1, maxLength: 3 });
const anyBound = fc.oneof(anyKey, fc.constantFrom('', HIGHEST, 'a\u0100'));
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant('put' as const),
      key: anyKey,
      value: fc.string({ maxLength: 4, unit: 'grapheme-ascii' }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('delete' as const), key: anyKey }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('commit' as const), awaited: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('range' as const),
      start: anyBound,
      end: anyBound,
      reverse: fc.boolean(),
      limit: fc.integer({ min: 0, max: 6 }),
    }),
  },
);

async function followModel(storage: Storage, steps: readonly Step[]): Promise<void> {
  const model = new Map<Key, string>();
  const sorted = (): string[] => [...model.keys()].sort().map((key) => `${key}=${model.get(key)}`);
  const commits: Promise<void>[] = [];
  for (const step of steps) {
    switch (step.type) {
      case 'put':
        storage.put(step.key, bytes(step.value));
        model.set(step.key, step.value);
        break;
      case 'delete':
        storage.delete(step.key);
        model.delete(step.key);
        break;
      case 'commit':
        commits.push(storage.commit());
        if (step.awaited) await commits.at(-1);
        break;
      case 'range': {
        const { start, end, reverse, limit } = step;
        const keys = [...model.keys()].sort().filter((key) => key >= start && key < end);
        const expected = (reverse ? keys.reverse() : keys).slice(0, limit).map((key) => `${key}=${model.get(key)}`);
        expect(listed(storage, start, end, { reverse, limit })).toEqual(expected);
        for (const key of keys) expect(text(storage.get(key))).toBe(model.get(key));
        break;
      }
    }
  }
  expect(listed(storage)).toEqual(sorted());
  await Promise.all([...commits, storage.commit()]);
  expect(listed(storage)).toEqual(sorted());
  expect(listed(storage, '', HIGHEST, { reverse: true })).toEqual(sorted().reverse());
}
