/**
 * A storage without a disk: for tests, caches and replicas that may forget. Everything a disk storage promises holds
 * except durability, so that code which works on it works on a disk: commits resolve later, in order, never at once.
 */
import { HearsayError } from '../../../crdts/error.ts';
import { MemoryStore } from '../../../crdts/memory.ts';
import type { Key, RangeOptions } from '../../../crdts/store.ts';
import type { Storage } from './contract.ts';

/** A new, empty storage. What it holds is gone once it is closed. */
export function memoryStorage(): Storage {
  return new MemoryStorage();
}

class MemoryStorage implements Storage {
  readonly kind = 'memory';
  #store: MemoryStore | undefined = new MemoryStore();
  #pendingBytes = 0;
  #committingBytes = 0;
  #failure: HearsayError | undefined;

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#opened().get(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.#writable().put(key, value);
    this.#pendingBytes += key.length + value.length;
  }

  delete(key: Key): void {
    this.#writable().delete(key);
    this.#pendingBytes += key.length;
  }

  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    return this.#opened().range(start, end, options);
  }

  async commit(): Promise<void> {
    this.#writable();
    const bytes = this.#pendingBytes - this.#committingBytes;
    this.#committingBytes += bytes;
    await Promise.resolve();
    this.#committingBytes -= bytes;
    this.#pendingBytes -= bytes;
  }

  abandon(error: HearsayError): void {
    this.#failure ??= error;
    this.#pendingBytes = this.#committingBytes;
  }

  async close(): Promise<void> {
    if (this.#store === undefined) return;
    const committed = this.#failure === undefined ? this.commit() : undefined;
    this.#store = undefined;
    await committed;
  }

  #writable(): MemoryStore {
    if (this.#failure !== undefined && this.#store !== undefined) throw this.#failure;
    return this.#opened();
  }

  #opened(): MemoryStore {
    if (this.#store === undefined) throw new HearsayError('StorageClosed', 'This storage is closed: open another one.');
    return this.#store;
  }
}
