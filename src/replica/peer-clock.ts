/**
 * What a peer's clock contains, kept as its difference to mine.
 *
 * Copies of whole clocks would cost, for every peer, an entry for each actor that ever was. The differences are what sync
 * works with anyway: `behind` is what rounds have to send, `ahead` is what they will bring and what residue is made of.
 * In sync both are empty, whatever the clocks have grown to.
 *
 * Always true: behind ⊆ mine, ahead ∩ mine = ∅; the peer's clock = (mine − behind) ∪ ahead, as far as it has told.
 */
import { Clock, type DotSet } from '../../crdts/clock.ts';
import type { Actor } from '../../crdts/dot.ts';

export class PeerClock implements DotSet {
  readonly #mine: Clock;
  /** Dots of mine that the peer lacks. */
  readonly behind = new Clock();
  /** Dots of the peer that I lack. */
  readonly ahead = new Clock();

  /** Starts out equal to `mine`, which is watched, not copied: call `learned` whenever it grows. */
  constructor(mine: Clock) {
    this.#mine = mine;
  }

  has(actor: Actor, n: number): boolean {
    return this.#mine.has(actor, n) ? !this.behind.has(actor, n) : this.ahead.has(actor, n);
  }

  get isEqual(): boolean {
    return this.behind.isEmpty && this.ahead.isEmpty;
  }

  /** My clock has just come to contain these dots. */
  learned(actor: Actor, from: number, to: number): void {
    for (const gap of this.ahead.gaps(actor, from, to)) this.behind.add(actor, gap.from, gap.to);
    this.ahead.remove(actor, from, to);
  }

  /** The peer's clock contains these dots. */
  told(actor: Actor, from: number, to: number): void {
    for (const gap of this.#mine.gaps(actor, from, to)) this.ahead.add(actor, gap.from, gap.to);
    this.behind.remove(actor, from, to);
  }

  toldAll(clock: Clock): void {
    clock.forEach((actor, from, to) => this.told(actor, from, to));
  }

  /** The peer's clock is mine, as it is now. */
  replaceByMine(): void {
    this.behind.clear();
    this.ahead.clear();
  }

  /** The peer's clock is exactly `entries` as far as actors for which `isMeant` are concerned. */
  replace(entries: Clock, isMeant: (actor: Actor) => boolean): void {
    for (const clock of [this.behind, this.ahead]) {
      for (const actor of [...clock.actors()]) if (isMeant(actor)) clock.remove(actor, 1, Number.MAX_SAFE_INTEGER);
    }
    for (const actor of this.#mine.actors()) {
      if (!isMeant(actor)) continue;
      for (const { from, to } of this.#mine.intervalsOf(actor)) {
        for (const gap of entries.gaps(actor, from, to)) this.behind.add(actor, gap.from, gap.to);
      }
    }
    entries.forEach((actor, from, to) => {
      for (const gap of this.#mine.gaps(actor, from, to)) this.ahead.add(actor, gap.from, gap.to);
    });
  }
}
