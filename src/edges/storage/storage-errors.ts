/** The errors that both opening and writing a store on a disk can end in, and how to tell them apart. */
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
