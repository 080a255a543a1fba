/**
 * A store in memory that holds its user to the contract, and counts. Disks are less patient than memory: they forget
 * iterators that are written under, and know no key but bytes.
 */
import { MemoryStore } from '../../crdts/memory.ts';
import type { Key, OrderedStore, RangeOptions } from '../../crdts/store.ts';

const isBytes = (key: Key): boolean => /^[\0-\xff]*$/.test(key);

export class StrictStore implements OrderedStore {
  readonly #store = new MemoryStore();
  #iterationCount = 0;
  /** Keys and values put since it was last set to 0. */
  bytesPut = 0;
  /** Entries that ranges have yielded since it was last set to 0. */
  readCount = 0;

  get(key: Key): Uint8Array | undefined {
    this.#check(key);
    return this.#store.get(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.#check(key);
    this.#checkIsIdle();
    this.bytesPut += key.length + value.length;
    this.#store.put(key, value);
  }

  delete(key: Key): void {
    this.#check(key);
    this.#checkIsIdle();
    this.#store.delete(key);
  }

  *range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    this.#check(start);
    if (end !== '\u0100') this.#check(end);
    this.#iterationCount++;
    try {
      for (const entry of this.#store.range(start, end, options)) {
        this.readCount++;
        yield entry;
      }
    } finally {
      this.#iterationCount--;
    }
  }

  #check(key: Key): void {
    if (!isBytes(key)) throw new Error(`not a key of bytes: ${JSON.stringify(key)}`);
  }

  #checkIsIdle(): void {
    if (this.#iterationCount > 0) throw new Error('the store is written while it is iterated');
  }
}
