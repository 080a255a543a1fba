/**
 * The ordered key-value store an engine lives on: the contract, and its in-memory implementation.
 *
 * The engine is synchronous, so reads are too, and they see every write made before them, durable or not.
 * When a write becomes durable is not this contract's business: src/edges/storage adds `commit`.
 *
 * Keys are *byte strings*: JavaScript strings whose every char code is 0–255, one char a byte. They compare with `<` in
 * byte order, are usable as Map keys, cannot be changed behind our back, and cost no conversion for ASCII keys.
 */

/** A key: a string of char codes 0–255, at most 1,900 of them. Order is byte order. */
export type Key = string;

export interface OrderedStore {
  /** The value under `key`, or undefined. The bytes are the caller's to read for as long as it likes, never to change. */
  get(key: Key): Uint8Array | undefined;
  /** Sets `key`; the store takes over `value`, which must not be changed afterwards. */
  put(key: Key, value: Uint8Array): void;
  /** Removes `key`; a key that is not there is fine. */
  delete(key: Key): void;
  /**
   * The entries with `start` <= key < `end`, in key order, or from the end backwards with `reverse`.
   * The store must not be written while the iteration is under way: collect first, then write.
   * Leaving the loop early releases whatever the iteration held.
   */
  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]>;
}

export interface RangeOptions {
  /** From `end` (exclusive) down to `start` (inclusive). Default false. */
  readonly reverse?: boolean;
  /** At most this many entries; default no limit. */
  readonly limit?: number;
}
