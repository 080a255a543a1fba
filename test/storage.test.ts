/**
 * The storages: the contract over each of them, and what only a disk can do: be full, be locked, be someone else's.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { open as openRaw } from 'lmdb';
import { afterEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../crdts/memory.ts';
import type { Storage } from '../src/edges/storage/contract.ts';
import { type LmdbOptions, type LmdbPlatform, openLmdb } from '../src/edges/storage/lmdb.ts';
import { lockDirectory } from '../src/edges/storage/lock.ts';
import { memoryStorage } from '../src/edges/storage/memory.ts';
import { bytes, codeThrown, listed, storageContract, text } from './storage.contract.ts';

const temporary: string[] = [];
const undo: (() => void)[] = [];
const storages: Storage[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const storage of storages.splice(0)) await storage.close().catch(() => {});
  for (const step of undo.splice(0).reverse()) step();
  for (const dir of temporary.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'hearsay-test-'));
  temporary.push(dir);
  return dir;
}

async function openStore(options: LmdbOptions, machine?: Partial<LmdbPlatform>): Promise<Storage> {
  const storage = await openLmdb(options, machine);
  storages.push(storage);
  return storage;
}

function contractOver(machine: Partial<LmdbPlatform>, options: Omit<LmdbOptions, 'dir'>) {
  return async () => {
    const dir = mkdtempSync(join(tmpdir(), 'hearsay-test-'));
    const storage = await openLmdb({ dir, ...options }, machine);
    return { storage, cleanUp: async () => rmSync(dir, { recursive: true, force: true }) };
  };
}

storageContract('memory', async () => ({ storage: memoryStorage(), cleanUp: async () => {} }));
storageContract('lmdb, strict', contractOver({}, { durability: 'strict' }));
storageContract('lmdb, relaxed', contractOver({}, { durability: 'relaxed' }));
storageContract('lmdb, pages of 16 KiB', contractOver({ pageBytes: 16_384 }, {}));

describe('MemoryStore', () => {
  test('thousands of keys in any order read like a sorted map, while they come and while they go', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9_999 }), { minLength: 3_000, maxLength: 4_000 }), (numbers) => {
        const store = new MemoryStore();
        const keys = numbers.map((number) => String(number).padStart(4, '0'));
        for (const key of keys) store.put(key, bytes(key));
        for (const key of keys.slice(0, 1_500)) store.delete(key);
        const gone = new Set(keys.slice(0, 1_500));
        const expected = [...new Set(keys)].filter((key) => !gone.has(key)).sort();
        const [one = '', two = ''] = keys;
        const [low, high] = one < two ? [one, two] : [two, one];
        const within = expected.filter((key) => key >= low && key < high);
        expect(store.size).toBe(expected.length);
        expect(Array.from(store.range('', '\u0100'), ([key]) => key)).toEqual(expected);
        expect(Array.from(store.range(low, high), ([key]) => key)).toEqual(within);
        expect(Array.from(store.range(low, high, { reverse: true }), ([key]) => key)).toEqual(within.reverse());
        for (const key of expected) store.delete(key);
        expect([store.size, Array.from(store.range('', '\u0100'))]).toEqual([0, []]);
      }),
      { numRuns: 20 },
    );
  });

  test('keys that arrive in order and in reverse order fill many blocks', () => {
    const keys = Array.from({ length: 5_000 }, (_, index) => String(index).padStart(4, '0'));
    for (const arrival of [keys, keys.toReversed()]) {
      const store = new MemoryStore();
      for (const key of arrival) store.put(key, bytes(''));
      expect(Array.from(store.range('', '\u0100'), ([key]) => key)).toEqual(keys);
      expect(Array.from(store.range('4000', '4003', { reverse: true }), ([key]) => key)).toEqual([
        '4002',
        '4001',
        '4000',
      ]);
    }
  });
});

describe('lmdb: opening', () => {
  for (const durability of ['strict', 'relaxed'] as const) {
    test(`what was committed ${durability}ly is there after closing and opening again, what close found pending too`, async () => {
      const dir = join(temporaryDir(), 'made', 'on demand');
      const first = await openStore({ dir, durability });
      first.put('a', bytes('1'));
      await first.commit();
      first.put('b', bytes('2'));
      await first.close();
      const second = await openStore({ dir, durability });
      expect(listed(second)).toEqual(['a=1', 'b=2']);
      await second.close();
      expect(readdirSync(dir).sort()).toEqual(['data.mdb', 'lock.mdb']);
    });
  }

  test('a file of pages of 16 KiB opens on a machine of 4 KiB', async () => {
    const dir = temporaryDir();
    const first = await openStore({ dir }, { pageBytes: 16_384 });
    first.put('a', bytes('1'));
    await first.close();
    expect(listed(await openStore({ dir }))).toEqual(['a=1']);
  });

  test('without a binary of lmdb: StorageUnavailable, and nothing is made', async () => {
    const dir = join(temporaryDir(), 'store');
    const load = () => Promise.reject(new Error('No native build was found'));
    await expect(openStore({ dir }, { load, os: 'aix' })).rejects.toMatchObject({
      code: 'StorageUnavailable',
      facts: { os: 'aix' },
    });
    expect(existsSync(dir)).toBe(false);
  });

  test('a file in place of the directory, or of its parent: DirectoryNotWritable', async () => {
    const file = join(temporaryDir(), 'file');
    writeFileSync(file, 'mine');
    await expect(openStore({ dir: file })).rejects.toMatchObject({ code: 'DirectoryNotWritable' });
    await expect(openStore({ dir: join(file, 'below') })).rejects.toMatchObject({ code: 'DirectoryNotWritable' });
    expect(readFileSync(file, 'latin1')).toBe('mine');
  });

  test('a read-only directory: DirectoryNotWritable, and reading works', async () => {
    const dir = temporaryDir();
    const writer = await openStore({ dir });
    writer.put('a', bytes('1'));
    await writer.close();
    if (!makeReadOnly(dir)) return leftOut('root writes anywhere, and this system lets it mount nothing');
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'DirectoryNotWritable', facts: { dir } });
    expect(listed(await openStore({ dir, readOnly: true }))).toEqual(['a=1']);
  });

  test('opened with readOnly: nothing to read is StorageMissing, and writes are refused', async () => {
    const dir = join(temporaryDir(), 'store');
    await expect(openStore({ dir, readOnly: true })).rejects.toMatchObject({ code: 'StorageMissing' });
    expect(existsSync(dir)).toBe(false);
    await (await openStore({ dir })).close();
    const reader = await openStore({ dir, readOnly: true });
    expect(codeThrown(() => reader.put('a', bytes('')))).toBe('StorageReadOnly');
    expect(codeThrown(() => reader.delete('a'))).toBe('StorageReadOnly');
    await expect(reader.commit()).rejects.toMatchObject({ code: 'StorageReadOnly' });
    await reader.close();
  });

  test('a database of someone else: FormatForeign, byte for byte untouched', async () => {
    const dir = temporaryDir();
    const other = openRaw({ path: dir, noSubdir: false });
    await other.put('theirs', { precious: true });
    await other.close();
    await expectUntouched(dir, 'FormatForeign');
  });

  test('a file that is not of LMDB at all: FormatForeign, byte for byte untouched', async () => {
    for (const content of ['a few words', 'x'.repeat(10_000)]) {
      const dir = temporaryDir();
      writeFileSync(join(dir, 'data.mdb'), content);
      await expectUntouched(dir, 'FormatForeign');
    }
  });

  for (const [format, code] of [
    ['hearsay 2', 'FormatTooNew'],
    ['hearsay 999999', 'FormatTooNew'],
    ['hearsay x', 'FormatForeign'],
    ['somebody 1', 'FormatForeign'],
  ] as const) {
    test(`a store that says "${format}": ${code}, byte for byte untouched`, async () => {
      const dir = temporaryDir();
      const store = await openStore({ dir });
      store.put('a', bytes('1'));
      await store.close();
      await putFormat(dir, format);
      await expectUntouched(dir, code);
      await putFormat(dir, 'hearsay 1');
      expect(listed(await openStore({ dir }))).toEqual(['a=1']);
    });
  }

  test('a store left by a relaxed writer on a machine that has restarted: StorageTorn; in the same run it opens', async () => {
    const dir = temporaryDir();
    const child = await startChild(dir, writerSource('relaxed'));
    await child.line();
    await kill(child.process);
    await expect(openStore({ dir }, { bootId: async () => 'another' })).rejects.toMatchObject({ code: 'StorageTorn' });
    const strict = await openStore({ dir });
    expect(text(strict.get('key0'))).toBe('value 0');
    expect(existsSync(join(dir, 'relaxed'))).toBe(false);
    await strict.close();
    await openStore({ dir }, { bootId: async () => 'another' });
  });

  test('where boots have no name, a start within two minutes of the last is the same one', async () => {
    const dir = temporaryDir();
    writeFileSync(join(dir, 'relaxed'), 'second 1000');
    await expect(openStore({ dir }, { bootId: async () => 'second 1121' })).rejects.toMatchObject({
      code: 'StorageTorn',
    });
    const store = await openStore({ dir }, { bootId: async () => 'second 1120' });
    expect(listed(store)).toEqual([]);
  });
});

describe('lmdb: one writer', () => {
  test('a second opening in the same process is refused, until the first is closed', async () => {
    const dir = temporaryDir();
    const first = await openStore({ dir });
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'StorageLocked', facts: { pid: process.pid } });
    first.put('a', bytes('1'));
    await first.commit();
    const reader = await openStore({ dir, readOnly: true });
    expect(listed(reader)).toEqual(['a=1']);
    await reader.close();
    await first.close();
    expect(listed(await openStore({ dir }))).toEqual(['a=1']);
  });

  test('a second process is refused; it may read, and sees what is committed meanwhile', async () => {
    const dir = temporaryDir();
    const child = await startChild(dir, writerSource('strict'));
    await child.line();
    const refusal = await openStore({ dir }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'StorageLocked', facts: { pid: child.process.pid } });
    const reader = await openStore({ dir, readOnly: true });
    expect(text(reader.get('key0'))).toBe('value 0');
    const later = `key${Number(await child.line()) + 50}`;
    while (`key${await child.line()}` !== later);
    // LMDB gives one turn of the event loop one state; the next turn has a newer one.
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(reader.get(later)).toBeDefined();
    await reader.close();
  });

  test('kill -9 unlocks the store, and loses nothing that was acknowledged', async () => {
    for (const durability of ['strict', 'relaxed'] as const) {
      const dir = temporaryDir();
      let acknowledged = -1;
      for (let round = 0; round < 3; round++) {
        const child = await startChild(dir, writerSource(durability), String(acknowledged + 1));
        for (let i = 0; i < 100; i++) acknowledged = Number(await child.line());
        await kill(child.process);
        const storage = await openStore({ dir, durability });
        const keys = Array.from(storage.range('key', 'key\u0100'), ([key]) => key).length;
        const halves = Array.from(storage.range('half', 'half\u0100'), ([key]) => key).length;
        expect(keys).toBeGreaterThan(acknowledged);
        expect(halves).toBe(keys);
        for (let i = 0; i < keys; i++) expect(text(storage.get(`key${i}`))).toBe(`value ${i}`);
        acknowledged = keys - 1;
        await storage.close();
      }
    }
  });

  test('what dead holders left behind is removed; one that is about to hold is left alone; one that holds refuses', async () => {
    const dir = temporaryDir();
    const dead = ['writer-1-00112233445566ff.lock', 'writer-1-00112233445566ff.lock.new'];
    const die = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    for (const name of dead) spawnSync(process.execPath, ['-e', die, join(dir, name)]);
    writeFileSync(join(dir, 'mine'), '');
    expect(readdirSync(dir).sort()).toEqual(['mine', ...dead]);
    const passing = 'writer-2-00112233445566ff.lock.new';
    await listenAt(join(dir, passing));
    const lock = await lockDirectory(dir);
    const left = readdirSync(dir).filter((name) => !name.startsWith(`writer-${process.pid}-`));
    expect(left.sort()).toEqual(['mine', passing]);
    await lock.release();
    await listenAt(join(dir, 'writer-3-00112233445566ff.lock'));
    await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'StorageLocked', facts: { pid: 3 } });
  });

  test('the lock is kept in a directory whose path is too long for a socket', async () => {
    const dir = join(temporaryDir(), 'd'.repeat(100), 'e'.repeat(100));
    mkdirSync(dir, { recursive: true });
    const lock = await lockDirectory(dir);
    await expect(lockDirectory(dir)).rejects.toMatchObject({ code: 'StorageLocked' });
    await lock.release();
    await lock.release();
    await (await lockDirectory(dir)).release();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('of many that open at once, at most one holds the lock', async () => {
    const dir = temporaryDir();
    for (let round = 0; round < 5; round++) {
      const taken = await Promise.allSettled(Array.from({ length: 8 }, () => lockDirectory(dir)));
      const locks = taken.filter((result) => result.status === 'fulfilled');
      expect(locks.length).toBeLessThanOrEqual(1);
      for (const lock of locks) await lock.value.release();
      const refused = taken.filter((result) => result.status === 'rejected');
      for (const { reason } of refused) expect(reason).toMatchObject({ code: 'StorageLocked' });
    }
    await (await lockDirectory(dir)).release();
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('lmdb: failure', () => {
  test('a failed commit rejects everything pending, reads show the durable state, writes throw until opened again', async () => {
    const dir = temporaryDir();
    const cause = Object.assign(new Error('Input/output error'), { code: 5 });
    const faulty = failingLmdb(cause);
    const storage = await openStore({ dir }, { load: faulty.load });
    storage.put('a', bytes('durable'));
    await storage.commit();
    faulty.fail = true;
    storage.put('a', bytes('lost'));
    const first = storage.commit();
    await Promise.resolve();
    storage.delete('a');
    const second = storage.commit();
    storage.put('b', bytes('never committed'));
    for (const commit of await Promise.allSettled([first, second])) {
      expect(commit).toMatchObject({ status: 'rejected', reason: { code: 'StorageFailed', cause } });
    }
    expect(listed(storage)).toEqual(['a=durable']);
    expect(storage.pendingBytes).toBe(0);
    expect(codeThrown(() => storage.put('c', bytes('')))).toBe('StorageFailed');
    expect(codeThrown(() => storage.delete('a'))).toBe('StorageFailed');
    await expect(storage.commit()).rejects.toMatchObject({ code: 'StorageFailed' });
    await storage.close();
    expect(listed(await openStore({ dir }))).toEqual(['a=durable']);
  });

  test('the last commit of close may fail: it rejects, and everything is released all the same', async () => {
    const dir = temporaryDir();
    const faulty = failingLmdb(Object.assign(new Error('No space left on device'), { code: 28 }));
    const storage = await openStore({ dir }, { load: faulty.load });
    faulty.fail = true;
    storage.put('a', bytes('lost'));
    await expect(storage.close()).rejects.toMatchObject({ code: 'StorageFull' });
    expect(listed(await openStore({ dir }))).toEqual([]);
  });

  test('the limit of the file: StorageFull, and what was committed is kept; deletes make room', async () => {
    const dir = temporaryDir();
    const first = await openStore({ dir, mapSizeMax: 1_000_000 });
    let written = 0;
    const filling = (async () => {
      for (; ; written++) {
        first.put(`key${String(written).padStart(5, '0')}`, new Uint8Array(1_000));
        await first.commit();
      }
    })();
    await expect(filling).rejects.toMatchObject({ code: 'StorageFull', facts: { mapSizeMax: 1_000_000 } });
    expect(written).toBeGreaterThan(500);
    expect(listed(first).length).toBe(written);
    await first.close();
    const second = await openStore({ dir, mapSizeMax: 1_200_000 });
    expect(listed(second).length).toBe(written);
    for (let i = 0; i < written; i++) second.delete(`key${String(i).padStart(5, '0')}`);
    await second.commit();
    for (let i = 0; i < 100; i++) {
      second.put(`again${i}`, new Uint8Array(1_000));
      await second.commit();
    }
    expect(listed(second).length).toBe(100);
  });

  test('a full disk: StorageFull, what was acknowledged is kept, close does not hang', async () => {
    const dir = temporaryDir();
    if (!mount(['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', dir], dir)) {
      return leftOut('only root on Linux can mount a small file system');
    }
    const storage = await openStore({ dir });
    let acknowledged = 0;
    const filling = (async () => {
      for (; ; acknowledged++) {
        storage.put(`key${String(acknowledged).padStart(5, '0')}`, new Uint8Array(20_000));
        await storage.commit();
      }
    })();
    await expect(filling).rejects.toMatchObject({ code: 'StorageFull' });
    expect(acknowledged).toBeGreaterThan(10);
    await storage.close();
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'StorageFull', facts: { freeBytesMin: 262_144 } });
    const reader = await openStore({ dir, readOnly: true });
    const kept = Array.from(reader.range('', '\u0100'), ([key]) => key).length;
    expect(kept).toBe(acknowledged);
    await reader.close();
  });
});

/** Opening fails with `code`, and neither the data nor the list of files has changed. */
async function expectUntouched(dir: string, code: string): Promise<void> {
  const path = join(dir, 'data.mdb');
  const before = readFileSync(path);
  const files = readdirSync(dir).filter((name) => name !== 'lock.mdb');
  for (const readOnly of [false, true]) await expect(openStore({ dir, readOnly })).rejects.toMatchObject({ code });
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(readdirSync(dir).filter((name) => name !== 'lock.mdb')).toEqual(files);
}

async function putFormat(dir: string, format: string): Promise<void> {
  const keyEncoder = {
    writeKey: (key: string, target: Buffer, start: number) => start + target.write(key, start, 'latin1'),
    readKey: (source: Buffer, start: number, end: number) => source.toString('latin1', start, end),
  };
  const root = openRaw({ path: dir, noSubdir: false, encoding: 'binary', keyEncoder, overlappingSync: false });
  await root.put('format', Buffer.from(format));
  await root.close();
}

/** The real lmdb, but with `fail` set every batch is rejected as lmdb rejects one whose transaction failed. */
function failingLmdb(cause: Error) {
  const faulty = {
    fail: false,
    load: async () => ({
      open(options: Parameters<typeof openRaw>[0]) {
        const root = openRaw<Uint8Array, string>(options as never);
        const openDB = root.openDB.bind(root);
        root.openDB = ((name: string, dbOptions: object) => {
          const records = openDB<Uint8Array, string>(name, dbOptions);
          const batch = records.batch.bind(records);
          records.batch = (<T>(action: () => T) => {
            if (!faulty.fail) return batch(action);
            const error = new Error('Commit failed (see commitError for details)');
            return Promise.reject(Object.assign(error, { commitError: Promise.reject(cause) }));
          }) as typeof records.batch;
          return records;
        }) as typeof root.openDB;
        return root;
      },
    }),
  };
  return faulty;
}

/** Writes two keys a commit, and prints the number of each commit that was acknowledged. */
function writerSource(durability: string): string {
  return `
    import { openLmdb } from '${new URL('../src/edges/storage/lmdb.ts', import.meta.url).href}';
    const [dir, from = '0'] = process.argv.slice(-2);
    const storage = await openLmdb({ dir, durability: '${durability}' });
    for (let i = Number(from); ; i++) {
      storage.put('key' + i, Buffer.from('value ' + i));
      storage.put('half' + i, Buffer.from('value ' + i));
      await storage.commit();
      process.stdout.write(i + '\\n');
    }`;
}

interface Child {
  readonly process: ChildProcess;
  /** The next line that it prints. Fails when it ends instead. */
  line(): Promise<string>;
}

async function startChild(dir: string, source: string, from = '0'): Promise<Child> {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source, dir, from], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    async line() {
      const next = await lines.next();
      if (next.done === true) throw new Error('The child process ended before it was to');
      return next.value;
    },
  };
}

function kill(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

function listenAt(path: string): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  undo.push(() => server.close());
  return new Promise((resolve) => server.listen(path, resolve));
}

/** Mounts something on `dir`, until the test is over. False where that is not possible. */
function mount(options: string[], dir: string): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  if (spawnSync('mount', options, { stdio: 'ignore' }).status !== 0) return false;
  // Lazily: lmdb-js never closes what it has opened on a read-only file system.
  undo.push(() => spawnSync('umount', ['--lazy', dir], { stdio: 'ignore' }));
  return true;
}

/** Permissions do not bind root: for it a read-only mount of the directory on itself. */
function makeReadOnly(dir: string): boolean {
  if (process.platform === 'win32') return false;
  if (process.getuid?.() === 0) {
    return mount(['--bind', dir, dir], dir) && mount(['-o', 'remount,ro,bind', dir], dir);
  }
  chmodSync(dir, 0o555);
  undo.push(() => chmodSync(dir, 0o755));
  return true;
}

function leftOut(reason: string): void {
  console.info(`Left out: ${expect.getState().currentTestName}: ${reason}.`);
}
