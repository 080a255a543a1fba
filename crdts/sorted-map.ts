/**
 * A map whose keys are sorted: an ordered store in memory, for values of any kind.
 *
 * A Map answers point reads; beside it the keys alone are kept sorted, in blocks of at most `BLOCK_KEYS_MAX`. One sorted
 * array would move half a million pointers for an insert in the middle; a tree would cost more code and more memory than
 * it saves. A range starts with two binary searches (which block, where in it) and then walks.
 *
 * Always true: the blocks in order, end to end, are exactly the sorted keys of the Map; only the sole block may be empty.
 * Weakness: blocks that deletes have thinned out are not joined again; there are never more blocks than keys.
 */
import { firstIndex } from './search.ts';
import type { Key, OrderedStore, RangeOptions } from './store.ts';

/**
 * An insert moves at most this many keys (8 bytes each) and splits its block one time in half as many.
 * Smaller makes the list of blocks longer, larger makes the moves longer: 128 to 1,024 measure alike.
 */
const BLOCK_KEYS_MAX = 512;

export class SortedMap<V> implements OrderedStore<V> {
  readonly #values = new Map<Key, V>();
  readonly #blocks: Key[][] = [[]];

  /** How many keys there are. */
  get size(): number {
    return this.#values.size;
  }

  get(key: Key): V | undefined {
    return this.#values.get(key);
  }

  put(key: Key, value: V): void {
    if (!this.#values.has(key)) this.#insert(key);
    this.#values.set(key, value);
  }

  delete(key: Key): void {
    if (!this.#values.delete(key)) return;
    const at = this.#blockOf(key);
    const block = this.#blocks[at]!;
    block.splice(lowerBound(block, key), 1);
    if (block.length === 0 && this.#blocks.length > 1) this.#blocks.splice(at, 1);
  }

  *range(start: Key, end: Key, options: RangeOptions = {}): Generator<readonly [Key, V], void> {
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
    return Math.max(0, firstIndex(blocks.length, (i) => blocks[i]![0]! > key) - 1);
  }
}

/** The first index whose key is >= `key`; the length if there is none. Asks the last key first: appending is common. */
const lowerBound = (keys: readonly Key[], key: Key): number =>
  keys.length === 0 || keys.at(-1)! < key ? keys.length : firstIndex(keys.length, (i) => keys[i]! >= key);
