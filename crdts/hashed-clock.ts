/**
 * Hashes of clocks: 64 bits, so that two replicas find out that their clocks are equal without sending them.
 *
 * The hash of a clock is the sum of a hash of each actor's intervals: the order of actors does not matter, some of the
 * actors can be compared alone (src/replica/digest.ts), and a change costs its actor alone, where the clock keeps up its
 * hash. Not against forgery: actors are random and peers are members.
 */
import { Clock } from './clock.ts';
import type { Actor } from './dot.ts';

/** Two unsigned 32-bit numbers; equal clocks have equal hashes. */
export type ClockHash = readonly [high: number, low: number];

/** A clock that keeps up its hash: with thousands of actors, `hashOf` costs what changed since it was asked last. */
export class HashedClock extends Clock {
  readonly #shares = new Map<Actor, ClockHash>();
  readonly #stale = new Set<Actor>();
  #sum: ClockHash = [0, 0];

  override add(actor: Actor, from: number, to: number = from): boolean {
    const grew = super.add(actor, from, to);
    if (grew) this.#stale.add(actor);
    return grew;
  }

  override remove(actor: Actor, from: number, to: number = from): void {
    super.remove(actor, from, to);
    this.#stale.add(actor);
  }

  override clear(): void {
    for (const actor of this.actors()) this.#stale.add(actor);
    super.clear();
  }

  hash(): ClockHash {
    let [high, low] = this.#sum;
    for (const actor of this.#stale) {
      const before = this.#shares.get(actor) ?? [0, 0];
      const after = hashOfActor(this, actor);
      high = (high - before[0] + after[0]) >>> 0;
      low = (low - before[1] + after[1]) >>> 0;
      if (this.max(actor) > 0) this.#shares.set(actor, after);
      else this.#shares.delete(actor);
    }
    this.#stale.clear();
    this.#sum = [high, low];
    return this.#sum;
  }
}

export function hashOf(clock: Clock): ClockHash {
  if (clock instanceof HashedClock) return clock.hash();
  let [high, low] = [0, 0];
  for (const actor of clock.actors()) {
    const share = hashOfActor(clock, actor);
    high = (high + share[0]) >>> 0;
    low = (low + share[1]) >>> 0;
  }
  return [high, low];
}

/** The share of one actor in the hash; [0, 0] for an actor that is not in the clock. */
export function hashOfActor(clock: Clock, actor: Actor): ClockHash {
  const intervals = clock.intervalsOf(actor);
  if (intervals.length === 0) return [0, 0];
  let high = 0x9e3779b9;
  let low = 0x85ebca6b;
  const take = (word: number): void => {
    [high, low] = mix(high, low, word);
  };
  for (let i = 0; i < actor.length; i++) take(actor.charCodeAt(i));
  for (const { from, to } of intervals) {
    for (const bound of [from, to]) {
      take(bound >>> 0);
      take(Math.floor(bound / 0x100000000));
    }
  }
  return [high, low];
}

/** Two lanes of a multiply-xorshift mix (constants of MurmurHash3). */
function mix(high: number, low: number, word: number): [number, number] {
  let a = Math.imul(high ^ word, 0xcc9e2d51);
  a = Math.imul((a << 15) | (a >>> 17), 0x1b873593);
  let b = Math.imul(low ^ word, 0x38b34ae5) + a;
  b = Math.imul((b << 13) | (b >>> 19), 5) + 0x561ccd1b;
  a ^= b >>> 16;
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b);
  return [(a ^ (a >>> 13)) >>> 0, b >>> 0];
}
