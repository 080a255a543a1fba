/** The errors that both opening and writing a store on a disk can end in, and how to tell them apart. */
import { statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { HearsayError } from '../../../crdts/error.ts';

/** LMDB's MDB_MAP_FULL, and a full disk of Windows; lmdb-js gives numbers where Node gives names. */
const FULL_CODES: readonly unknown[] = [
  'ENOSPC',
  'EDQUOT',
  constants.errno.ENOSPC,
  constants.errno.EDQUOT,
  ...(process.platform === 'win32' ? [112] : []),
  -30_792,
];

/** Whether `error` says that there was no room, on the disk or in the map. */
export function isFull(error: unknown): boolean {
  return FULL_CODES.includes((error as { code?: unknown } | undefined)?.code);
}

/**
 * What went wrong when `bytes` of entries were to be written. LMDB reports a write that the disk took only in part as an
 * I/O error, and that is how most disks fill up; so on one, the room that is left is asked for.
 */
export function commitFailure(dir: string, cause: unknown, bytes: number): HearsayError {
  const code = (cause as { code?: unknown } | undefined)?.code;
  const isShort = (code === constants.errno.EIO || code === 'EIO') && freeBytesOf(dir) < bytes + SHORT_WRITE_BYTES;
  return isShort || isFull(cause) ? storageFull(dir, cause) : storageFailed(dir, cause);
}

/** A transaction rewrites pages beside those of its entries: with less than this to spare, it may not have fitted. */
const SHORT_WRITE_BYTES = 256 * 1024;

function freeBytesOf(dir: string): number {
  try {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize;
  } catch {
    // The disk does not even answer: then it is not its room that was missing.
    return Infinity;
  }
}

export function storageFull(dir: string, cause: unknown, facts: Readonly<Record<string, unknown>> = {}): HearsayError {
  const text =
    `There is no room for more in the store in ${dir}. What was committed before is kept. ` +
    'Free space on its disk or raise its limit, then open the store again.';
  return new HearsayError('StorageFull', text, { dir, ...facts }, cause);
}

export function storageFailed(dir: string, cause: unknown): HearsayError {
  const text =
    `The store in ${dir} failed (${messageOf(cause)}). What was committed before is kept, the rest was dropped. ` +
    'Look at the disk, then open the store again.';
  return new HearsayError('StorageFailed', text, { dir }, cause);
}

export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
