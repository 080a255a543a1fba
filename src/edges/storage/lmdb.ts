/**
 * Opening the storage of a node: LMDB, a copy-on-write B+ tree in one memory-mapped file, through lmdb-js.
 *
 * A store that opens wrongly does more harm than one that does not open, so everything is looked at before anything is
 * written: can the directory be written, is there room, is nobody else writing, is the file ours, of a format we know,
 * and whole. Each answer has an error code of its own.
 *
 * Layout of the file: the records are in the named database `records`; beside it the key `format` says `hearsay 1`. A
 * database with anything else in it is foreign and stays as it is (but for `lock.mdb`, which LMDB's every reader writes).
 *
 * Durability, as followed with strace. `strict`: pages, fdatasync, the root through a file opened with O_DSYNC, then the
 * promise. This is LMDB's own order. lmdb-js's default, `overlappingSync`, publishes first and flushes afterwards; it
 * was up to a tenth faster here, but it adds a recovery of its own, and a failed flush makes its close() wait for ever.
 * `relaxed` leaves both syncs out. A process may then die at any time; but after a power cut the root may have reached
 * the disk and its pages not, and the file is torn rather than old. So a file `relaxed` beside the data names the boot
 * of the machine for as long as that can happen, and a store left so by another boot is refused (`StorageTorn`).
 *
 * Weakness: what is opened with `readOnly` on a read-only file system stays open until the process ends, since lmdb-js
 * forgets an environment whose lock file it could not open for writing.
 */
import { access, constants, mkdir, open, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import type { RootDatabaseOptionsWithPath } from 'lmdb';
import { HearsayError } from '../../../crdts/error.ts';
import type { Durability, Storage } from './contract.ts';
import { keyEncoder, LmdbStorage, type Records, type Root } from './lmdb-storage.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { isFull, messageOf, storageFailed, storageFull } from './storage-errors.ts';

export interface LmdbOptions {
  /** The directory of the store, made when missing. Nothing else should live in it. */
  readonly dir: string;
  /** Default `strict`. */
  readonly durability?: Durability;
  /**
   * To look into a store, also while another process writes it: takes no lock, reads in each turn what is durable by
   * then, and writes throw `StorageReadOnly`. Default false.
   */
  readonly readOnly?: boolean;
  /**
   * Bytes that the data may take on the disk; a commit beyond fails with `StorageFull`. Kept to within what a single
   * transaction rewrites. Room that deletes leave is used again, but the file never shrinks. Default: no limit.
   */
  readonly mapSizeMax?: number;
}

/** What differs between machines; tests hand in their own. */
export interface LmdbPlatform {
  /** Imports lmdb, and with it the binary that was prebuilt for this platform. */
  readonly load: () => Promise<Lmdb>;
  /** The same text for as long as the machine runs, another after each start. */
  readonly bootId: () => Promise<string>;
  readonly os: NodeJS.Platform;
  /** Page size of a new file; default that of the system: 4 KiB, 16 KiB on Apple silicon. A file keeps its own. */
  readonly pageBytes?: number;
}

export interface Lmdb {
  open(options: RootDatabaseOptionsWithPath): Root;
}

const FORMAT_KEY = 'format';
/** Raise it when older code could misread what newer code writes. */
const FORMAT_VERSION = 1;
const DATA_FILE = 'data.mdb';
const RELAXED_FILE = 'relaxed';

/** LMDB's first page: a header of 24 bytes, then this number in the byte order of the machine. */
const LMDB_MAGIC = 0xbeefc0de;
const LMDB_MAGIC_OFFSET = 24;

/**
 * Below this even an empty store is not opened. LMDB maps its lock file into memory, and a mapped page for which the
 * disk has no room kills the process (SIGBUS) instead of giving an error.
 */
const FREE_BYTES_MIN = 256 * 1024;

const thisMachine: LmdbPlatform = {
  load: () => import('lmdb'),
  bootId: readBootId,
  os: process.platform,
};

/**
 * Opens the store in `options.dir`, and makes it when there is none. Throws, each time with what to do about it:
 * `StorageUnavailable` (no lmdb for this platform), `DirectoryNotWritable`, `StorageLocked` (someone writes it),
 * `StorageFull`, `StorageMissing` (when only reading), `FormatForeign`, `FormatTooNew`, `StorageTorn`; else
 * `StorageFailed`. After a throw nothing is held, and a file that was refused is as it was.
 */
export async function openLmdb(options: LmdbOptions, machine: Partial<LmdbPlatform> = {}): Promise<Storage> {
  const platform: LmdbPlatform = { ...thisMachine, ...machine };
  const lmdb = await loadLmdb(platform);
  if (options.readOnly === true) {
    await refuseMissing(options.dir);
    return openData(lmdb, options, platform);
  }
  const lock = await prepareDirectory(options.dir, platform);
  try {
    return await openData(lmdb, options, platform, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function loadLmdb(platform: LmdbPlatform): Promise<Lmdb> {
  try {
    return await platform.load();
  } catch (cause) {
    const facts = { os: platform.os, arch: process.arch };
    const text =
      `lmdb cannot be loaded on ${facts.os} ${facts.arch}: there is no prebuilt binary of it, or the install left it out. ` +
      'Install again without --omit=optional, build it there (npm rebuild lmdb), or use the memory storage.';
    throw new HearsayError('StorageUnavailable', text, facts, cause);
  }
}

async function refuseMissing(dir: string): Promise<void> {
  if ((await sizeOf(join(dir, DATA_FILE))) > 0) return;
  throw new HearsayError('StorageMissing', `There is no store in ${dir} to read: check the path.`, { dir });
}

/** Makes the directory, checks the room in it, and takes its lock, which proves that files can be made there. */
async function prepareDirectory(dir: string, platform: LmdbPlatform): Promise<DirectoryLock> {
  try {
    await mkdir(dir, { recursive: true });
    await access(dir, constants.W_OK);
    const { bavail, bsize } = await statfs(dir);
    const freeBytes = bavail * bsize;
    if (freeBytes < FREE_BYTES_MIN) throw storageFull(dir, undefined, { freeBytes, freeBytesMin: FREE_BYTES_MIN });
    return await lockDirectory(dir, platform.os);
  } catch (cause) {
    if (cause instanceof HearsayError) throw cause;
    if (isFull(cause)) throw storageFull(dir, cause);
    const text =
      `${dir} cannot be written (${messageOf(cause)}). It must be a directory in which this user may create files, ` +
      'on a local file system that is not mounted read-only.';
    throw new HearsayError('DirectoryNotWritable', text, { dir }, cause);
  }
}

/** Without `lock`: to read. LMDB is closed again when anything is wrong. */
async function openData(
  lmdb: Lmdb,
  options: LmdbOptions,
  platform: LmdbPlatform,
  lock?: DirectoryLock,
): Promise<Storage> {
  const { dir, durability = 'strict', mapSizeMax = Infinity } = options;
  let root: Root | undefined;
  try {
    const dataPath = join(dir, DATA_FILE);
    await refuseOtherFile(dir, dataPath);
    const bootId = await platform.bootId();
    const unsynced = await refuseTorn(dir, bootId);
    root = lmdb.open(lmdbOptions(options, platform));
    const isEmpty = refuseOtherFormat(dir, root);
    if (lock !== undefined) {
      await prepareDurability(dir, durability, bootId, unsynced, root);
      if (isEmpty) writeFormat(root);
    }
    const records = openRecords(root);
    if (records === undefined) throw foreign(dir, 'it has no records');
    return new LmdbStorage(root, records, {
      dir,
      dataPath,
      mapSizeMax,
      readOnly: lock === undefined,
      beforeClose: () => (durability === 'relaxed' ? endRelaxed(dir, records) : Promise.resolve()),
      afterClose: () => lock?.release() ?? Promise.resolve(),
    });
  } catch (cause) {
    await root?.close();
    if (cause instanceof HearsayError) throw cause;
    throw isFull(cause) ? storageFull(dir, cause) : storageFailed(dir, cause);
  }
}

function lmdbOptions(options: LmdbOptions, platform: LmdbPlatform): RootDatabaseOptionsWithPath {
  const readOnly = options.readOnly ?? false;
  return {
    path: options.dir,
    noSubdir: false,
    encoding: 'binary',
    keyEncoder,
    maxDbs: 2,
    readOnly,
    noSync: options.durability === 'relaxed' && !readOnly,
    overlappingSync: false,
    // A batch of ours is whole already: lmdb need not gather what one turn of the event loop writes.
    eventTurnBatching: false,
    ...(platform.pageBytes === undefined ? {} : { pageSize: platform.pageBytes }),
  };
}

/** Undefined when there are none, and `root` is only for reading. */
function openRecords(root: Root): Records | undefined {
  const options = { encoding: 'binary' as const, keyEncoder };
  return root.openDB<Uint8Array, string>('records', options);
}

/** Looks at the file before LMDB does: what is not LMDB's must not meet it. */
async function refuseOtherFile(dir: string, dataPath: string): Promise<void> {
  if ((await sizeOf(dataPath)) === 0) return;
  const magic = new Uint32Array(1);
  const file = await open(dataPath, 'r');
  try {
    await file.read(new Uint8Array(magic.buffer), 0, magic.byteLength, LMDB_MAGIC_OFFSET);
  } finally {
    await file.close();
  }
  if (magic[0] !== LMDB_MAGIC)
    throw foreign(dir, `${DATA_FILE} is not of LMDB, or from a machine of the other byte order`);
}

/** Reads the format record. True: there is nothing in the database at all, so it is ours to begin. */
function refuseOtherFormat(dir: string, root: Root): boolean {
  const bytes = root.getBinary(FORMAT_KEY);
  if (bytes === undefined) {
    for (const key of root.getKeys({ limit: 1, start: '\0' })) {
      throw foreign(dir, `it holds the key ${JSON.stringify(key.slice(0, 40))}`);
    }
    return true;
  }
  const format = bytes.toString('latin1', 0, 40);
  const version = /^hearsay ([1-9][0-9]{0,8})$/.exec(format)?.[1];
  if (version === undefined) throw foreign(dir, `its format is ${JSON.stringify(format)}`);
  if (Number(version) <= FORMAT_VERSION) return false;
  const text =
    `The store in ${dir} has format ${version}, and this version of hearsay knows formats up to ${FORMAT_VERSION}. ` +
    'Nothing was changed: open it with the version that wrote it, or with a newer one.';
  throw new HearsayError('FormatTooNew', text, { dir, format: Number(version), formatMax: FORMAT_VERSION });
}

function writeFormat(root: Root): void {
  root.transactionSync(() => {
    // Its promise settles with the transaction; were it returned, close() would wait for ever.
    void root.put(FORMAT_KEY, Buffer.from(`hearsay ${FORMAT_VERSION}`, 'latin1'));
  });
}

function foreign(dir: string, why: string): HearsayError {
  const text = `${dir} holds a database that hearsay did not write: ${why}. Nothing was changed: choose another directory.`;
  return new HearsayError('FormatForeign', text, { dir });
}

/** True: written with `relaxed` since this machine started, and not synced since. Of an earlier start: refused. */
async function refuseTorn(dir: string, bootId: string): Promise<boolean> {
  const lastBootId = await readFile(join(dir, RELAXED_FILE), 'latin1').catch(() => undefined);
  if (lastBootId === undefined) return false;
  if (isSameBoot(lastBootId, bootId)) return true;
  const text =
    `The machine stopped while the store in ${dir} was open with durability 'relaxed': its file may be torn. ` +
    'Move the directory away and let this node fetch its data from the others again, or restore a backup.';
  throw new HearsayError('StorageTorn', text, { dir });
}

/** Before the first write: syncs what a relaxed writer left, or notes that this one is relaxed. */
async function prepareDurability(
  dir: string,
  durability: Durability,
  bootId: string,
  unsynced: boolean,
  root: Root,
): Promise<void> {
  if (durability === 'strict') {
    if (unsynced) await endRelaxed(dir, root);
  } else if (!unsynced) {
    await writeFile(join(dir, RELAXED_FILE), bootId, { encoding: 'latin1', flush: true });
  }
}

/** In this order: the note goes only once what it warns of cannot happen any more. */
async function endRelaxed(dir: string, database: Root | Records): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const { env } = database as unknown as { env: { sync(callback: (error?: Error) => void): void } };
    env.sync((error) => (error === undefined ? resolve() : reject(storageFailed(dir, error))));
  });
  await rm(join(dir, RELAXED_FILE), { force: true });
}

/** Linux names each boot; elsewhere the second of the start, as far as the wall clock can tell. */
async function readBootId(): Promise<string> {
  const id = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => undefined);
  return id?.trim() ?? `second ${Math.round(Date.now() / 1_000 - uptime())}`;
}

/** The wall clock may have been set in between: two minutes are taken for the same start. */
const BOOT_SECONDS_APART_MAX = 120;

function isSameBoot(left: string, right: string): boolean {
  const [leftSecond, rightSecond] = [left, right].map((id) => /^second (\d+)$/.exec(id)?.[1]);
  if (leftSecond === undefined || rightSecond === undefined) return left === right;
  return Math.abs(Number(leftSecond) - Number(rightSecond)) <= BOOT_SECONDS_APART_MAX;
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  return found?.size ?? 0;
}
