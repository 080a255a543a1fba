/**
 * An ordered store in memory: what tests, the simulator and browsers live on, and what a disk keeps its pending writes in.
 *
 * A Map answers point reads; beside it the keys alone are kept sorted, in blocks of at most `BLOCK_KEYS_MAX`. One sorted
 * array would move half a million pointers for an insert in the middle; a tree would cost more code and more memory than
 * it saves. A range starts with two binary searches (which block, where in it) and then walks.
 *
 * Always true: the blocks in order, end to end, are exactly the sorted keys of the Map; only the sole block may be empty.
 * Weakness: blocks that deletes have thinned out are not joined again; there are never more blocks than keys.
 */
import { checkKey, type Key, type OrderedStore, type RangeOptions } from './store.ts';

/**
 * An insert moves at most this many keys (8 bytes each) and splits its block one time in half as many.
 * Smaller makes the list of blocks longer, larger makes the moves longer: 128 to 1,024 measure alike.
 */
const BLOCK_KEYS_MAX = 512;

export class MemoryStore implements OrderedStore {
  readonly #values = new Map<Key, Uint8Array>();
  readonly #blocks: Key[][] = [[]];

  /** How many keys there are. */
  get size(): number {
    return this.#values.size;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#values.get(key);
  }

  put(key: Key, value: Uint8Array): void {
    checkKey(key);
    const sizeBefore = this.#values.size;
    this.#values.set(key, value);
    if (this.#values.size > sizeBefore) this.#insert(key);
  }

  delete(key: Key): void {
    if (!this.#values.delete(key)) return;
    const at = this.#blockOf(key);
    const block = this.#blocks[at]!;
    block.splice(lowerBound(block, key), 1);
    if (block.length === 0 && this.#blocks.length > 1) this.#blocks.splice(at, 1);
  }

  *range(start: Key, end: Key, options: RangeOptions = {}): Generator<readonly [Key, Uint8Array], void> {
    const { reverse = false, limit = Infinity } = options;
    const step = reverse ? -1 : 1;
    let at = this.#blockOf(reverse ? end : start);
    let block = this.#blocks[at]!;
    let index = lowerBound(block, reverse ? end : start) - (reverse ? 1 : 0);
    for (let count = 0; count < limit; ) {
      const key = block[index];
      if (key === undefined) {
        // Off this block at either side: go on at the near end of the next one.
        const next = this.#blocks[(at += step)];
        if (next === undefined) return;
        block = next;
        index = reverse ? block.length - 1 : 0;
        continue;
      }
      if (reverse ? key < start : key >= end) return;
      yield [key, this.#values.get(key)!];
      index += step;
      count++;
    }
  }

  #insert(key: Key): void {
    const blocks = this.#blocks;
    const at = this.#blockOf(key);
    const block = blocks[at]!;
    const index = lowerBound(block, key);
    if (index === block.length) {
      // Keys that arrive in order fill their blocks instead of leaving them half full.
      if (index === BLOCK_KEYS_MAX) blocks.splice(at + 1, 0, [key]);
      else block.push(key);
      return;
    }
    block.splice(index, 0, key);
    if (block.length > BLOCK_KEYS_MAX) blocks.splice(at + 1, 0, block.splice(BLOCK_KEYS_MAX / 2));
  }

  /** The last block whose first key is <= `key`, or the first block. */
  #blockOf(key: Key): number {
    const blocks = this.#blocks;
    let low = 0;
    let high = blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (blocks[middle]![0]! <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The first index whose key is >= `key`; the length if there is none. Asks the last key first: appending is common. */
function lowerBound(keys: readonly Key[], key: Key): number {
  let high = keys.length;
  if (high === 0 || keys[high - 1]! < key) return high;
  let low = 0;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
