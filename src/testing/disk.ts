/**
 * A disk that can be crashed: an ordered store whose batches become durable when the schedule says so.
 *
 * Writes are visible at once, as the contract of `OrderedStore` wants. `commit` closes a batch, `sync` makes the oldest
 * closed batch durable, `crash` undoes what is not. All of it in time proportional to what was written: a journal keeps,
 * for each write, the value that it replaced, and a crash walks it backwards. Nothing is copied but for a backup.
 *
 *     put x=1, commit → batch 1      put x=2, commit → batch 2      sync → 1 is durable      crash → x = 1
 */
import { MemoryStore } from '../../crdts/memory.ts';
import type { Key, OrderedStore, RangeOptions } from '../../crdts/store.ts';

/** What a disk held, durable, at one moment: to be restored, or cloned to another node. */
export type Backup = ReadonlyMap<Key, Uint8Array>;

/** Told of every write, before it is done; undefined: the key is deleted. What was there before, `disk.before` knows. */
export type DiskWatch = (disk: SimulatedDisk, key: Key, value: Uint8Array | undefined) => void;

export class SimulatedDisk implements OrderedStore {
  readonly #store = new MemoryStore();
  readonly #watch: DiskWatch | undefined;
  /** Per write that is not durable: its key, and what was there before. */
  #keys: Key[] = [];
  #before: (Uint8Array | undefined)[] = [];
  /** Where in the journal each closed batch ends, oldest first. */
  #ends: number[] = [];

  constructor(backup?: Backup, watch?: DiskWatch) {
    if (backup !== undefined) for (const [key, value] of backup) this.#store.put(key, value);
    this.#watch = watch;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#store.get(key);
  }

  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    return this.#store.range(start, end, options);
  }

  put(key: Key, value: Uint8Array): void {
    this.#watch?.(this, key, value);
    this.#keys.push(key);
    this.#before.push(this.#store.get(key));
    this.#store.put(key, value);
  }

  delete(key: Key): void {
    const before = this.#store.get(key);
    if (before === undefined) return;
    this.#watch?.(this, key, undefined);
    this.#keys.push(key);
    this.#before.push(before);
    this.#store.delete(key);
  }

  /** What the latest write of `key` that is not durable replaced; undefined: there was nothing, or no such write. */
  before(key: Key): Uint8Array | undefined {
    const at = this.#keys.lastIndexOf(key);
    return at < 0 ? undefined : this.#before[at];
  }

  /** Closed batches that are not durable. */
  get pendingCount(): number {
    return this.#ends.length;
  }

  get keyCount(): number {
    return this.#store.size;
  }

  /** The keys written since the last `commit`, with repeats. */
  keysOfOpenBatch(): readonly Key[] {
    return this.#keys.slice(this.#ends.at(-1) ?? 0);
  }

  commit(): void {
    this.#ends.push(this.#keys.length);
  }

  /** Makes the oldest closed batch durable. */
  sync(): void {
    const end = this.#ends.shift();
    if (end === undefined) return;
    if (end === this.#keys.length) {
      this.#keys.length = 0;
      this.#before.length = 0;
    } else {
      this.#keys.splice(0, end);
      this.#before.splice(0, end);
    }
    for (let i = 0; i < this.#ends.length; i++) this.#ends[i] = (this.#ends[i] as number) - end;
  }

  /** Power is gone: what is not durable is lost, but for the oldest `kept` closed batches, which had reached the disk untold. */
  crash(kept = 0): void {
    const end = kept > 0 ? (this.#ends[Math.min(kept, this.#ends.length) - 1] ?? 0) : 0;
    for (let i = this.#keys.length - 1; i >= end; i--) {
      const before = this.#before[i];
      if (before === undefined) this.#store.delete(this.#keys[i] as Key);
      else this.#store.put(this.#keys[i] as Key, before);
    }
    this.#keys.length = 0;
    this.#before.length = 0;
    this.#ends.length = 0;
  }

  /** What would be there after a crash. */
  backup(): Backup {
    const entries = new Map<Key, Uint8Array>(this.#store.range('', '\u0100'));
    for (let i = this.#keys.length - 1; i >= 0; i--) {
      const before = this.#before[i];
      if (before === undefined) entries.delete(this.#keys[i] as Key);
      else entries.set(this.#keys[i] as Key, before);
    }
    return entries;
  }
}
