/**
 * The storage of a node: LMDB, a copy-on-write B+ tree in one memory-mapped file, through lmdb-js.
 *
 * LMDB reads synchronously and never needs recovery, but lmdb-js shows a write only once its transaction is committed on
 * another thread. So what is written stays in memory (the *overlay*) until then, and reads look there first:
 *
 *     put, delete        commit()               one transaction at a time              committed
 *     ───────────▶ open ──────────▶ queued ───────────────────────────────▶ writing ──────────────▶ LMDB
 *     read:        newest           second                                  third                   last
 *
 * Commits made while a transaction is under way gather in `queued` and share the next one, and so one fsync and one
 * promise: with 256 writers waiting each transaction carries the work of many of them. A key lives at most once in each
 * of the three, a deletion as a tombstone. The overlay is as large as what is not yet durable (`pendingBytes`); a caller
 * that awaits its commits, or watches that number, bounds it.
 *
 * Always true: a batch is in one transaction as a whole; transactions are in the order of the commits; a key that a
 * newer part of the overlay holds, deleted or not, hides the older parts and LMDB.
 *
 * Durability (followed with strace): `strict` is LMDB's own order, pages, fdatasync, then the root through a file opened with O_DSYNC,
 * and only then the promise. lmdb-js's default, `overlappingSync`, flushes after publishing and was 5 % faster here; it
 * needs a rule of recovery of its own, so it is off. `relaxed` leaves out both syncs. Then a process may die at any
 * time, but after a power cut the root may be on the disk and its pages not: the file would be torn, not just old. A file `relaxed` beside the data
 * holds the id of the machine's boot for as long as that may happen; a store last written by another boot is refused
 * (`StorageTorn`) instead of read as if it were whole.
 *
 * The layout: records in the named database `records`; beside it the key `format`, which says `hearsay 1`. A database
 * with anything else in it is not ours and is left as it is (LMDB's lock file, which every reader writes to, excepted).
 *
 * Traps of lmdb-js kept away from here: a key encoder must throw RangeError where a key does not fit, or long bounds are cut short
 * unseen; a put that throws inside a batch leaves the half before it in the transaction, so keys are checked at `put`; a
 * failed commit carries its cause in a second promise, `commitError`, which must be listened to.
 */
import { access, constants, mkdir, open, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { uptime } from 'node:os';
import type { Database, RootDatabase, RootDatabaseOptionsWithPath } from 'lmdb';
import { HearsayError } from '../../../crdts/error.ts';
import { MemoryStore } from '../../../crdts/memory.ts';
import { checkKey, KEY_BYTES_MAX, type Key, type RangeOptions } from '../../../crdts/store.ts';
import type { Durability, Storage } from './contract.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';

export interface LmdbOptions {
  /** The directory of the store, made when missing. Nothing else should live in it. */
  readonly dir: string;
  /** Default `strict`. */
  readonly durability?: Durability;
  /**
   * To look into a store, also while another process writes it: no lock is taken, each tick reads what is durable then,
   * writes throw `StorageReadOnly`. Default false.
   */
  readonly readOnly?: boolean;
  /**
   * How large the file may grow, in bytes; a commit that may not fit fails with `StorageFull`. Pages freed by deletes
   * are used again but the file never shrinks. Default: what the disk holds.
   */
  readonly mapSizeMax?: number;
}

/** What differs between machines; a test hands in its own. */
export interface LmdbPlatform {
  /** Imports lmdb, and with it the binary prebuilt for this platform. */
  readonly load: () => Promise<Lmdb>;
  /** The same text for as long as the machine runs, another one after each start. */
  readonly bootId: () => Promise<string>;
  readonly os: NodeJS.Platform;
  /** The page size of a new file; default that of the system, 4 KiB or (Apple silicon) 16 KiB. Existing files keep theirs. */
  readonly pageBytes?: number;
}

export interface Lmdb {
  open(options: RootDatabaseOptionsWithPath): RootDatabase<Uint8Array, Key>;
}

const FORMAT_KEY = 'format';
const FORMAT_NAME = 'hearsay';
/** Raised when older code could misread what newer code writes. */
const FORMAT_VERSION = 1;
const RECORDS = 'records';
const DATA_FILE = 'data.mdb';
const RELAXED_FILE = 'relaxed';

/** LMDB's first meta page: a page header of 24 bytes, then this, in the byte order of the machine. */
const LMDB_MAGIC = 0xbeefc0de;
const LMDB_MAGIC_OFFSET = 24;

/**
 * With less than this free, not even an empty store can be opened. The lock file is mapped into memory, and a mapped
 * page that the disk has no room for kills the process (SIGBUS) instead of giving an error: look before.
 */
const FREE_BYTES_MIN = 256 * 1024;

/** No key is longer than KEY_BYTES_MAX, so a bound cut off here still stands between the same two keys. */
const BOUND_BYTES_MAX = KEY_BYTES_MAX + 1;

/** The value of a deleted key in the overlay; told from an empty value by identity. */
const TOMBSTONE = new Uint8Array(0);

/** Below and above every key. */
const LOWEST = '';
const HIGHEST = '\u0100';

const thisPlatform: LmdbPlatform = {
  load: async () => (await import('lmdb')) as unknown as Lmdb,
  bootId: readBootId,
  os: process.platform,
};

/**
 * Opens the store in `options.dir`, making it when there is none. Throws, each with what to do in its message:
 * `StorageUnavailable` (no lmdb for this platform), `DirectoryNotWritable`, `StorageLocked` (open for writing elsewhere),
 * `StorageFull`, `StorageMissing` (only when reading), `FormatForeign`, `FormatTooNew`, `StorageTorn`, and `StorageFailed` for
 * anything else. After a throw nothing is held, and a file that was refused is as it was.
 */
export async function openLmdb(options: LmdbOptions, platform: Partial<LmdbPlatform> = {}): Promise<Storage> {
  const { dir, readOnly = false } = options;
  const machine: LmdbPlatform = { ...thisPlatform, ...platform };
  const lmdb = await loadLmdb(machine);
  if (readOnly) {
    await expectData(dir);
    return openData(lmdb, options, machine, undefined);
  }
  const lock = await prepareDirectory(dir, machine);
  try {
    return await openData(lmdb, options, machine, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function loadLmdb(machine: LmdbPlatform): Promise<Lmdb> {
  try {
    return await machine.load();
  } catch (cause) {
    const text =
      `The lmdb package cannot be loaded on ${machine.os} ${process.arch}: there is no prebuilt binary of it, or it was left out ` +
      'when installing. Install again without --omit=optional, build it there (npm rebuild lmdb), or use the memory storage.';
    throw new HearsayError('StorageUnavailable', text, { os: machine.os, arch: process.arch }, cause);
  }
}

/** Makes the directory, sees that there is room in it, and takes its lock, which also shows that it can be written. */
async function prepareDirectory(dir: string, machine: LmdbPlatform): Promise<DirectoryLock> {
  try {
    await mkdir(dir, { recursive: true });
    await access(dir, constants.W_OK);
    const { bavail, bsize } = await statfs(dir);
    const freeBytes = bavail * bsize;
    if (freeBytes < FREE_BYTES_MIN) throw full(dir, undefined, { freeBytes, freeBytesMin: FREE_BYTES_MIN });
    return await lockDirectory(dir, machine.os);
  } catch (cause) {
    if (cause instanceof HearsayError) throw cause;
    if (isFull(cause)) throw full(dir, cause);
    const text =
      `${dir} cannot be written (${messageOf(cause)}). It must be a directory that this user may create files in, ` +
      'on a file system that is local and not mounted read-only.';
    throw new HearsayError('DirectoryNotWritable', text, { dir }, cause);
  }
}

async function expectData(dir: string): Promise<void> {
  const size = await sizeOf(join(dir, DATA_FILE));
  if (size > 0) return;
  throw new HearsayError('StorageMissing', `There is no store in ${dir} to read. Check the path.`, { dir });
}

/** Opens and judges the file, then begins to keep the promise of `durability`. Closes LMDB again when anything is wrong. */
async function openData(
  lmdb: Lmdb,
  options: LmdbOptions,
  machine: LmdbPlatform,
  lock: DirectoryLock | undefined,
): Promise<Storage> {
  const { dir, durability = 'strict', mapSizeMax = Infinity } = options;
  await refuseOtherFile(dir);
  const bootId = await machine.bootId();
  const lastBootId = await refuseTorn(dir, bootId);
  let root: RootDatabase<Uint8Array, Key> | undefined;
  try {
    root = lmdb.open(lmdbOptions(options, machine));
    refuseOtherFormat(dir, root, lock !== undefined);
    const records = openRecords(root);
    if (records === undefined) throw foreign(dir, 'it has no records');
    if (lock !== undefined) await promise(dir, durability, root, bootId, lastBootId);
    return new LmdbStorage(root, records, { dir, durability, mapSizeMax, lock });
  } catch (error) {
    await root?.close();
    throw opening(dir, error);
  }
}

/** Refuses a file that is not LMDB's at all before LMDB touches it. */
async function refuseOtherFile(dir: string): Promise<void> {
  const path = join(dir, DATA_FILE);
  if ((await sizeOf(path)) === 0) return;
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new HearsayError('StorageFailed', `${path} cannot be read (${messageOf(cause)}).`, { dir }, cause);
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, LMDB_MAGIC_OFFSET);
    if (bytesRead === 4 && new Uint32Array(buffer.buffer, buffer.byteOffset, 1)[0] === LMDB_MAGIC) return;
  } finally {
    await file.close();
  }
  throw foreign(dir, `${DATA_FILE} is not a file of LMDB, or was written on a machine of the other byte order`);
}

/** Returns the boot under which a `relaxed` writer left the store unsynced, if any. */
async function refuseTorn(dir: string, bootId: string): Promise<string | undefined> {
  const last = await readFile(join(dir, RELAXED_FILE), 'latin1').catch(() => undefined);
  if (last === undefined || sameBoot(last, bootId)) return last;
  const text =
    `The machine stopped while the store in ${dir} was written with durability 'relaxed', so the file may be torn. ` +
    'Move the directory away and let this node fetch its data from its peers again, or restore a backup.';
  throw new HearsayError('StorageTorn', text, { dir });
}

/** Looks at the format record; in a database without any entry, writes it. */
function refuseOtherFormat(dir: string, root: RootDatabase<Uint8Array, Key>, writable: boolean): void {
  const bytes = root.getBinary(FORMAT_KEY);
  if (bytes === undefined) {
    for (const key of root.getKeys({ start: LOWEST, limit: 1 })) throw foreign(dir, `it begins with the key ${JSON.stringify(key)}`);
    if (!writable) throw foreign(dir, 'it is empty');
    root.transactionSync(() => {
      // The promise of this put settles with the transaction; returned, it would make close() wait for ever.
      void root.put(FORMAT_KEY, Buffer.from(`${FORMAT_NAME} ${FORMAT_VERSION}`, 'latin1'));
      openRecords(root);
    });
    return;
  }
  const format = Buffer.from(bytes).toString('latin1');
  const version = new RegExp(`^${FORMAT_NAME} ([1-9][0-9]{0,8})$`).exec(format)?.[1];
  if (version === undefined) throw foreign(dir, `its format record says ${JSON.stringify(format)}`);
  if (Number(version) <= FORMAT_VERSION) return;
  const text =
    `The store in ${dir} has format ${version}, this version of hearsay knows ${FORMAT_VERSION}. It is untouched: ` +
    'open it with the version that wrote it, or a newer one.';
  throw new HearsayError('FormatTooNew', text, { dir, format: Number(version), formatMax: FORMAT_VERSION });
}

/** Before the first write: what an earlier relaxed writer left is synced, and `relaxed` is noted durably. */
async function promise(
  dir: string,
  durability: Durability,
  root: RootDatabase<Uint8Array, Key>,
  bootId: string,
  lastBootId: string | undefined,
): Promise<void> {
  if (durability === 'relaxed') {
    if (lastBootId === undefined) await writeFile(join(dir, RELAXED_FILE), bootId, { encoding: 'latin1', flush: true });
  } else if (lastBootId !== undefined) {
    await sync(root);
    await rm(join(dir, RELAXED_FILE), { force: true });
  }
}

function lmdbOptions(options: LmdbOptions, machine: LmdbPlatform): RootDatabaseOptionsWithPath {
  return {
    path: options.dir,
    noSubdir: false,
    encoding: 'binary',
    keyEncoder,
    maxDbs: 2,
    readOnly: options.readOnly ?? false,
    noSync: options.durability === 'relaxed' && options.readOnly !== true,
    overlappingSync: false,
    // Our batches are whole already; gathering what one event turn writes would only add a turn.
    eventTurnBatching: false,
    ...(machine.pageBytes === undefined ? {} : { pageSize: machine.pageBytes }),
  };
}

function openRecords(root: RootDatabase<Uint8Array, Key>): Records | undefined {
  return root.openDB<Uint8Array, Key>(RECORDS, { encoding: 'binary', keyEncoder } as object) as Records | undefined;
}

/** lmdb's types name neither of the two ways to read bytes. */
type Records = Database<Uint8Array, Key> & { getBinary(key: Key): Uint8Array | undefined };

/** Byte strings go into lmdb's buffers and out of them without an object in between. */
const keyEncoder = {
  writeKey(key: Key, target: Buffer, start: number): number {
    if (start + key.length > target.length) throw new RangeError('The key does not fit into the buffer');
    return start + target.latin1Write(key, start, key.length);
  },
  readKey(source: Buffer, start: number, end: number): Key {
    return source.latin1Slice(start, end);
  },
};

declare global {
  interface Buffer {
    latin1Write(text: string, offset: number, length: number): number;
    latin1Slice(start: number, end: number): string;
  }
}

/** Batches that are written in one transaction. Their commits all return `promise`. */
interface Group {
  readonly entries: MemoryStore;
  bytes: number;
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: HearsayError) => void;
}

interface Settings {
  readonly dir: string;
  readonly durability: Durability;
  readonly mapSizeMax: number;
  /** Undefined for a storage opened to be read. */
  readonly lock: DirectoryLock | undefined;
}

class LmdbStorage implements Storage {
  readonly kind = 'lmdb';
  readonly #root: RootDatabase<Uint8Array, Key>;
  readonly #records: Records;
  readonly #settings: Settings;
  #open = new MemoryStore();
  #openBytes = 0;
  #queued: Group | undefined;
  #writing: Group | undefined;
  #failure: HearsayError | undefined;
  #closing: Promise<void> | undefined;

  constructor(root: RootDatabase<Uint8Array, Key>, records: Records, settings: Settings) {
    this.#root = root;
    this.#records = records;
    this.#settings = settings;
  }

  get pendingBytes(): number {
    return this.#openBytes + (this.#queued?.bytes ?? 0) + (this.#writing?.bytes ?? 0);
  }

  get(key: Key): Uint8Array | undefined {
    this.#assertOpen();
    const value = this.#open.get(key) ?? this.#queued?.entries.get(key) ?? this.#writing?.entries.get(key);
    if (value !== undefined) return value === TOMBSTONE ? undefined : value;
    if (key.length === 0 || key.length > KEY_BYTES_MAX) return undefined;
    // A copy. `getBinaryFast` would return the one buffer that lmdb reads everything into, to save 0.1 µs of 1 µs.
    return this.#records.getBinary(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.#assertWritable();
    this.#open.put(key, value);
    this.#openBytes += key.length + value.length;
  }

  delete(key: Key): void {
    this.#assertWritable();
    if (key.length === 0 || key.length > KEY_BYTES_MAX) return;
    this.#open.put(key, TOMBSTONE);
    this.#openBytes += key.length;
  }

  range(start: Key, end: Key, options: RangeOptions = {}): Iterable<readonly [Key, Uint8Array]> {
    this.#assertOpen();
    const reverse = options.reverse ?? false;
    const limit = options.limit ?? Infinity;
    const layers = [this.#open, this.#queued?.entries, this.#writing?.entries].filter((layer) => layer?.size);
    if (layers.length === 0) return rangeOf(this.#records, start, end, reverse, limit);
    let merged = rangeOf(this.#records, start, end, reverse, Infinity);
    for (const layer of layers.reverse()) merged = overlaid(layer!.range(start, end, { reverse }), merged, reverse);
    return visible(merged, limit);
  }

  commit(): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#open.size > 0) this.#enqueue();
    return (this.#queued ?? this.#writing)?.promise ?? Promise.resolve();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { lock, durability, dir } = this.#settings;
    try {
      if (lock !== undefined && this.#failure === undefined) {
        await this.commit();
        if (durability === 'relaxed') {
          await sync(this.#root);
          await rm(join(dir, RELAXED_FILE), { force: true });
        }
      }
    } finally {
      await this.#root.close();
      await lock?.release();
    }
  }

  /** Moves the open batch into the queue. */
  #enqueue(): void {
    if (this.#queued === undefined) {
      this.#queued = newGroup(this.#open);
      this.#open = new MemoryStore();
      // Commits made in this same turn come along: the transaction begins after it.
      if (this.#writing === undefined) queueMicrotask(() => this.#write());
    } else {
      const { entries } = this.#queued;
      for (const [key, value] of this.#open.range(LOWEST, HIGHEST)) entries.put(key, value);
      this.#open = new MemoryStore();
    }
    this.#queued.bytes += this.#openBytes;
    this.#openBytes = 0;
  }

  /** Begins the next transaction; there is none under way. */
  #write(): void {
    const group = this.#queued;
    if (group === undefined) return;
    this.#queued = undefined;
    this.#writing = group;
    const records = this.#records;
    if (!this.#fits(group.bytes)) {
      this.#fail(full(this.#settings.dir, undefined, { mapSizeMax: this.#settings.mapSizeMax, batchBytes: group.bytes }));
      return;
    }
    const written = records.batch(() => {
      // In key order, which LMDB likes best. One promise for the batch; those of the puts are one and the same.
      for (const [key, value] of group.entries.range(LOWEST, HIGHEST)) {
        if (value === TOMBSTONE) void records.remove(key);
        else void records.put(key, value);
      }
    });
    written.then(
      () => this.#written(group),
      (error: Error & { commitError?: Promise<never> }) => {
        if (error.commitError === undefined) this.#fail(this.#failedBy(error));
        else error.commitError.catch((cause: unknown) => this.#fail(this.#failedBy(cause)));
      },
    );
  }
}
