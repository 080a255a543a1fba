/**
 * An ordered store of bytes in memory: what tests, the simulator and browsers live on, and what a disk keeps its pending
 * writes in. It takes the keys that a disk would take.
 */
import { SortedMap } from './sorted-map.ts';
import { checkKey, type Key } from './store.ts';

export class MemoryStore extends SortedMap<Uint8Array> {
  override put(key: Key, value: Uint8Array): void {
    checkKey(key);
    super.put(key, value);
  }
}
