/** A storage whose commits can be held back, counted and made to fail. */
import { HearsayError } from '../../crdts/error.ts';
import type { Key, RangeOptions } from '../../crdts/store.ts';
import type { Storage } from '../../src/edges/storage/contract.ts';
import { memoryStorage } from '../../src/edges/storage/memory.ts';

export class FaultStorage implements Storage {
  readonly kind = 'faulty';
  readonly #inner: Storage;
  #held: (() => void)[] | null = null;
  #failure: HearsayError | null = null;
  commitCount = 0;
  underWayCount = 0;
  underWayMost = 0;

  constructor(inner: Storage = memoryStorage()) {
    this.#inner = inner;
  }

  /** Commits wait from now on. */
  hold(): void {
    this.#held ??= [];
  }

  /** The commits that wait go on, one after the other, and later ones do not wait. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const go of held) go();
  }

  /** Commits fail from now on, also those that wait. */
  fail(code = 'StorageFailed'): HearsayError {
    this.#failure = new HearsayError(code, 'the disk of a test failed');
    this.release();
    return this.#failure;
  }

  async commit(): Promise<void> {
    this.commitCount++;
    this.underWayMost = Math.max(this.underWayMost, ++this.underWayCount);
    try {
      if (this.#held !== null) await new Promise<void>((resolve) => this.#held?.push(resolve));
      if (this.#failure !== null) {
        this.#inner.abandon(this.#failure);
        throw this.#failure;
      }
      await this.#inner.commit();
    } finally {
      this.underWayCount--;
    }
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#inner.get(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.#inner.put(key, value);
  }

  delete(key: Key): void {
    this.#inner.delete(key);
  }

  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    return this.#inner.range(start, end, options);
  }

  abandon(error: HearsayError): void {
    this.#inner.abandon(error);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
