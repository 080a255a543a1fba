/**
 * The ordered key-value store an engine lives on: the contract, and its in-memory implementation.
 *
 * The engine is synchronous, so reads are too, and they see every write made before them, durable or not.
 * When a write becomes durable is not this contract's business: src/edges/storage adds `commit`.
 *
 * Keys are *byte strings*: JavaScript strings whose every char code is 0–255, one char a byte. They compare with `<` in
 * byte order, are usable as Map keys, cannot be changed behind our back, and cost no conversion for ASCII keys.
 */

import { HearsayError, overLimit } from './error.ts';

/** A key: a string of char codes 0–255, at least one and at most `KEY_BYTES_MAX` of them. Order is byte order. */
export type Key = string;

/** What LMDB takes on pages of 4 KiB is 1,978 bytes; a little less leaves an edge room for a prefix of its own. */
export const KEY_BYTES_MAX = 1_900;

/**
 * Throws `KeyTooLong` or `KeyEmpty` for a key that no store can hold; every `put` of bytes calls it first.
 * Char codes above 255 are a bug of the caller and not looked for: that would cost a pass over every key.
 */
export function checkKey(key: Key): void {
  if (key.length > KEY_BYTES_MAX) throw overLimit('KeyTooLong', 'a key in bytes', KEY_BYTES_MAX, 'shorten it');
  if (key.length === 0) throw new HearsayError('KeyEmpty', 'A key needs at least one byte.');
}

/** `V`: what is stored. Bytes, for what may be a disk; in memory alone it may be anything. */
export interface OrderedStore<V = Uint8Array> {
  /** The value under `key`, or undefined (also for a key that no store can hold). The bytes are the caller's to read for as long as it likes, never to change. */
  get(key: Key): V | undefined;
  /** Sets `key`; the store takes over `value`, which must not be changed afterwards. A store of bytes throws `KeyTooLong`, `KeyEmpty`. */
  put(key: Key, value: V): void;
  /** Removes `key`; a key that is not there is fine. */
  delete(key: Key): void;
  /**
   * The entries with `start` <= key < `end`, in key order, or from the end backwards with `reverse`.
   * The bounds need not be keys: '' is below every key, '\u0100' above every key.
   * The store must not be written while the iteration is under way: collect first, then write.
   * Leaving the loop early releases whatever the iteration held.
   */
  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, V]>;
}

export interface RangeOptions {
  /** From `end` (exclusive) down to `start` (inclusive). Default false. */
  readonly reverse?: boolean;
  /** At most this many entries; default no limit. */
  readonly limit?: number;
}
