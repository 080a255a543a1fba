/**
 * Reading through writes that are not in the database yet: an ordered store of newer entries laid over older ones.
 *
 * A newer entry hides the older one under its key; a deletion is a *tombstone*, an entry that hides and is then dropped.
 * Example, tombstone = ×: `a1 c×` over `a0 b0 c0` reads `a1 b0`.
 *
 * Always lazy: nothing is read before it is asked for, and leaving the loop closes every source.
 */
import type { Key } from '../../../crdts/store.ts';

export type Entry = readonly [Key, Uint8Array];

/** The value of a deleted key; told from an empty value by identity. */
export const TOMBSTONE = new Uint8Array(0);

/** Both sources in one, in the order of both (descending with `reverse`); under one key only the newer entry. */
export function* overlaid(newer: Iterable<Entry>, older: Iterable<Entry>, reverse: boolean): Generator<Entry, void> {
  const upper = newer[Symbol.iterator]();
  const lower = older[Symbol.iterator]();
  try {
    let over = upper.next();
    let under = lower.next();
    while (over.done !== true || under.done !== true) {
      if (over.done === true || (under.done !== true && isBefore(under.value[0], over.value[0], reverse))) {
        yield under.value!;
        under = lower.next();
        continue;
      }
      if (under.done !== true && under.value[0] === over.value[0]) under = lower.next();
      yield over.value;
      over = upper.next();
    }
  } finally {
    upper.return?.();
    lower.return?.();
  }
}

/** The first `limit` entries that are not tombstones. */
export function* visible(entries: Iterable<Entry>, limit: number): Generator<Entry, void> {
  if (limit <= 0) return;
  let count = 0;
  for (const entry of entries) {
    if (entry[1] === TOMBSTONE) continue;
    yield entry;
    if (++count >= limit) return;
  }
}

function isBefore(left: Key, right: Key, reverse: boolean): boolean {
  return reverse ? left > right : left < right;
}
