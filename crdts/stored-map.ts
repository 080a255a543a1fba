/**
 * A part of a store of bytes, as an ordered store of its own: its keys have a common prefix, which nobody here sees, and
 * its values are what the bytes stand for.
 */
import type { Key, OrderedStore, RangeOptions } from './store.ts';

export interface ValueCodec<V> {
  encode(value: V): Uint8Array;
  decode(bytes: Uint8Array): V;
}

export class StoredMap<V> implements OrderedStore<V> {
  readonly #store: OrderedStore;
  readonly #prefix: string;
  readonly #end: string;
  readonly #codec: ValueCodec<V>;

  constructor(store: OrderedStore, prefix: string, codec: ValueCodec<V>) {
    this.#store = store;
    this.#prefix = prefix;
    this.#end = endOfKeys(prefix);
    this.#codec = codec;
  }

  get(key: Key): V | undefined {
    const bytes = this.#store.get(this.#prefix + key);
    return bytes === undefined ? undefined : this.#codec.decode(bytes);
  }

  put(key: Key, value: V): void {
    this.#store.put(this.#prefix + key, this.#codec.encode(value));
  }

  delete(key: Key): void {
    this.#store.delete(this.#prefix + key);
  }

  *range(start: Key, end: Key, options?: RangeOptions): Generator<readonly [Key, V], void> {
    const until = end === '\u0100' ? this.#end : this.#prefix + end;
    for (const [key, bytes] of this.#store.range(this.#prefix + start, until, options)) {
      yield [key.slice(this.#prefix.length), this.#codec.decode(bytes)];
    }
  }
}

/** The least byte string after all keys that begin with `prefix`, which must have a byte below 0xff. */
export function endOfKeys(prefix: string): string {
  // A 0xff cannot be raised, and a shard's number may end in some.
  const raisable = prefix.replace(/\xff+$/, '');
  return raisable.slice(0, -1) + String.fromCharCode(raisable.charCodeAt(raisable.length - 1) + 1);
}
