/**
 * A clock that lives in an ordered store: what changed since the last commit is written, not the whole.
 *
 * Every run of every process leaves an actor behind for ever. Ten thousand of them in one value would be 110 kB to
 * rewrite with each commit; one key for each would cost 30 bytes instead of 11. So the entries that changed since the
 * last fold stand under keys of their own (few: the actors that are alive), all others in one packed value.
 */
import { Reader, type Writer } from './bytes.ts';
import { Clock } from './clock.ts';
import type { Actor } from './dot.ts';
import type { OrderedStore } from './store.ts';
import { endOfKeys } from './stored-map.ts';

/** This many single entries, and a sixteenth of the clock, may stand beside the packed value before they are folded in. */
const SINGLE_ENTRIES_MAX = 64;

export class StoredClock {
  readonly clock: Clock;
  readonly #store: OrderedStore;
  readonly #packedKey: string;
  readonly #entryPrefix: string;
  readonly #single = new Set<Actor>();
  readonly #changed = new Set<Actor>();
  #isReplaced = false;

  /** `space`: the key prefix this clock has for itself. What is stored there is added to `clock`, which is kept from now on. */
  constructor(store: OrderedStore, space: string, clock: Clock) {
    this.clock = clock;
    this.#store = store;
    this.#packedKey = `${space}\x00`;
    this.#entryPrefix = `${space}\x01`;
    const packed = store.get(this.#packedKey);
    if (packed !== undefined) this.clock.addAll(Clock.read(new Reader(packed)));
    for (const [key, value] of store.range(this.#entryPrefix, endOfKeys(this.#entryPrefix))) {
      const actor = key.slice(this.#entryPrefix.length) as Actor;
      this.clock.addAll(Clock.read(new Reader(value)));
      this.#single.add(actor);
    }
  }

  add(actor: Actor, from: number, to: number): boolean {
    const grew = this.clock.add(actor, from, to);
    if (grew) this.#changed.add(actor);
    return grew;
  }

  /** Makes it this clock instead, also where that is less: only for a replica that found events of its own lost. */
  replace(clock: Clock): void {
    this.clock.clear();
    this.clock.addAll(clock);
    this.#isReplaced = true;
  }

  /** Writes what changed since the last call. */
  save(writer: Writer): void {
    for (const actor of this.#changed) this.#single.add(actor);
    if (this.#isReplaced || this.#single.size > SINGLE_ENTRIES_MAX + this.clock.actorCount / 16) {
      this.clock.write(writer.reset());
      this.#store.put(this.#packedKey, writer.finish());
      for (const actor of this.#single) this.#store.delete(this.#entryPrefix + actor);
      this.#single.clear();
      this.#isReplaced = false;
    } else {
      for (const actor of this.#changed) {
        const entry = new Clock();
        for (const { from, to } of this.clock.intervalsOf(actor)) entry.add(actor, from, to);
        entry.write(writer.reset());
        this.#store.put(this.#entryPrefix + actor, writer.finish());
      }
    }
    this.#changed.clear();
  }
}
