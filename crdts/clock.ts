/**
 * A clock: the set of dots a replica has seen, kept as intervals per actor. A version vector that can have gaps.
 *
 * Why gaps: pushes overtake each other and bring single events ("a9 of node A, not yet a1–a8"); a plain version vector
 * could not say so without lying. Gaps close when a round completes, so that a clock at rest is one interval an actor.
 *
 *     {A: 1–4, 9} ∪ {A: 5–8, B: 1} = {A: 1–9, B: 1}
 *
 * Always true: the intervals of an actor are sorted, not empty, and neither touch nor overlap.
 * Costs: `has` and `add` are O(log intervals of the actor); whole-clock operations O(actors + intervals).
 *
 * Source: Gonçalves et al., *Concise server-wide causality management* (2015), §4; intervals as in Malkhi, Terry (2005).
 */
import { type Reader, refuseUnless, safeInteger, type Writer } from './bytes.ts';
import type { Actor, Dot } from './dot.ts';
import { firstIndex } from './search.ts';

/** Sorted, inclusive, flat: [from, to, from, to, …]. */
type Intervals = number[];

/** Anything that can say whether it contains a dot: a clock, or a clock with a record's residue. */
export interface DotSet {
  has(actor: Actor, n: number): boolean;
}

export class Clock implements DotSet {
  readonly #actors = new Map<Actor, Intervals>();

  get actorCount(): number {
    return this.#actors.size;
  }

  get isEmpty(): boolean {
    return this.#actors.size === 0;
  }

  has(actor: Actor, n: number): boolean {
    return covers(this.#actors.get(actor), n, n);
  }

  /** The greatest n of `actor`, 0 when there is none. */
  max(actor: Actor): number {
    return this.#actors.get(actor)?.at(-1) ?? 0;
  }

  /** Adds `from`–`to` (inclusive) of `actor`; true when that changed anything. */
  add(actor: Actor, from: number, to: number = from): boolean {
    const intervals = this.#actors.get(actor);
    if (intervals === undefined) {
      this.#actors.set(actor, [from, to]);
    } else {
      const last = intervals.length - 1;
      // The common case by far: the actor's next event.
      if (from === (intervals[last] as number) + 1) intervals[last] = to;
      else if (!insert(intervals, from, to)) return false;
    }
    return true;
  }

  remove(actor: Actor, from: number, to: number = from): void {
    const intervals = this.#actors.get(actor);
    if (intervals === undefined) return;
    cut(intervals, from, to);
    if (intervals.length === 0) this.#actors.delete(actor);
  }

  addAll(other: Clock): void {
    other.forEach((actor, from, to) => this.add(actor, from, to));
  }

  removeAll(other: Clock): void {
    // Over the shorter of the two: what is missing is often a handful beside thousands of ended actors.
    for (const actor of (other.actorCount < this.actorCount ? other : this).#actors.keys()) {
      const cuts = other.#actors.get(actor);
      // From the end, so that it is right for a clock of itself, too.
      if (cuts !== undefined)
        for (let i = cuts.length - 2; i >= 0; i -= 2) this.remove(actor, cuts[i] as number, cuts[i + 1] as number);
    }
  }

  clear(): void {
    this.#actors.clear();
  }

  clone(): Clock {
    const copy = new Clock();
    for (const [actor, intervals] of this.#actors) copy.#actors.set(actor, intervals.slice());
    return copy;
  }

  /** The dots here that `other` lacks, as a new clock. */
  minus(other: Clock): Clock {
    const rest = this.clone();
    rest.removeAll(other);
    return rest;
  }

  /** The dots in both, as a new clock. */
  intersect(other: Clock): Clock {
    return this.minus(this.minus(other));
  }

  contains(other: Clock): boolean {
    for (const [actor, wanted] of other.#actors) {
      const mine = this.#actors.get(actor);
      for (let i = 0; i < wanted.length; i += 2) {
        if (!covers(mine, wanted[i] as number, wanted[i + 1] as number)) return false;
      }
    }
    return true;
  }

  equals(other: Clock): boolean {
    return this.contains(other) && other.contains(this);
  }

  actors(): IterableIterator<Actor> {
    return this.#actors.keys();
  }

  /** Calls `visit` for every interval, `from` and `to` inclusive; the clock may not change meanwhile. */
  forEach(visit: (actor: Actor, from: number, to: number) => void): void {
    for (const [actor, intervals] of this.#actors) {
      for (let i = 0; i < intervals.length; i += 2) visit(actor, intervals[i] as number, intervals[i + 1] as number);
    }
  }

  /** The intervals of one actor, `from` and `to` inclusive; a copy. */
  intervalsOf(actor: Actor): { from: number; to: number }[] {
    const intervals = this.#actors.get(actor) ?? [];
    return Array.from({ length: intervals.length / 2 }, (_, i) => ({
      from: intervals[2 * i] as number,
      to: intervals[2 * i + 1] as number,
    }));
  }

  /** From the actor's first dot on, as far as no gap is longer than `gapMax`; null when the actor has none. */
  firstRun(actor: Actor, gapMax: number): { from: number; to: number } | null {
    const intervals = this.#actors.get(actor);
    if (intervals === undefined) return null;
    let end = 1;
    while (end + 2 < intervals.length && (intervals[end + 1] as number) - (intervals[end] as number) - 1 <= gapMax)
      end += 2;
    return { from: intervals[0] as number, to: intervals[end] as number };
  }

  /** The parts of `from`–`to` of `actor` that are not here, in order. */
  gaps(actor: Actor, from: number, to: number): { from: number; to: number }[] {
    // Asked for every dot that is learned: no clocks are built here.
    const intervals = this.#actors.get(actor) ?? [];
    const gaps: { from: number; to: number }[] = [];
    let next = from;
    for (let at = firstEndingAtOrAfter(intervals, from); (intervals[at] as number) <= to; at += 2) {
      if ((intervals[at] as number) > next) gaps.push({ from: next, to: (intervals[at] as number) - 1 });
      next = (intervals[at + 1] as number) + 1;
    }
    if (next <= to) gaps.push({ from: next, to });
    return gaps;
  }

  /** Every dot. For tests and small clocks: a clock of a million events yields a million dots. */
  *dots(): Generator<Dot> {
    for (const [actor, intervals] of this.#actors) {
      for (let i = 0; i < intervals.length; i += 2) {
        for (let n = intervals[i] as number; n <= (intervals[i + 1] as number); n++) yield { actor, n };
      }
    }
  }

  get dotCount(): number {
    let count = 0;
    this.forEach((_, from, to) => (count += to - from + 1));
    return count;
  }

  get intervalCount(): number {
    let count = 0;
    for (const intervals of this.#actors.values()) count += intervals.length / 2;
    return count;
  }

  /** About 12 bytes for an actor without gaps: 8 for its name, the rest for a variable-length interval. */
  write(writer: Writer): void {
    writer.varint(this.#actors.size);
    for (const [actor, intervals] of this.#actors) {
      writer.byteString(actor);
      writeIntervals(writer, intervals);
    }
  }

  static read(reader: Reader): Clock {
    const clock = new Clock();
    const count = reader.varint();
    for (let i = 0; i < count; i++) {
      const actor = reader.byteString(8) as Actor;
      refuseUnless(!clock.#actors.has(actor), 'a clock');
      clock.#actors.set(actor, readIntervals(reader));
    }
    return clock;
  }
}

/** How many, then the distances from each bound to the next: a handful of bytes for an actor without gaps. */
function writeIntervals(writer: Writer, intervals: Intervals): void {
  writer.varint(intervals.length / 2);
  let last = 0;
  for (const bound of intervals) {
    writer.varint(bound - last);
    last = bound;
  }
}

function readIntervals(reader: Reader): Intervals {
  const intervals: Intervals = [];
  let last = -1;
  for (let left = reader.varint(); left > 0; left--) {
    // A beginning leaves a gap of at least one dot, and is at least 1.
    const from = safeInteger(Math.max(last, 0) + reader.varint());
    const to = safeInteger(from + reader.varint());
    refuseUnless(from > last + 1, 'a clock');
    intervals.push(from, to);
    last = to;
  }
  refuseUnless(last > 0, 'a clock');
  return intervals;
}

/** The index (even) of the first interval whose end is >= n; the length when there is none. */
const firstEndingAtOrAfter = (intervals: Intervals, n: number): number =>
  2 * firstIndex(intervals.length / 2, (i) => (intervals[2 * i + 1] as number) >= n);

function covers(intervals: Intervals | undefined, from: number, to: number): boolean {
  if (intervals === undefined) return false;
  const at = firstEndingAtOrAfter(intervals, to);
  return at < intervals.length && (intervals[at] as number) <= from;
}

function insert(intervals: Intervals, from: number, to: number): boolean {
  if (covers(intervals, from, to)) return false;
  const first = firstEndingAtOrAfter(intervals, from - 1);
  let end = first;
  let low = from;
  let high = to;
  while (end < intervals.length && (intervals[end] as number) <= to + 1) {
    low = Math.min(low, intervals[end] as number);
    high = Math.max(high, intervals[end + 1] as number);
    end += 2;
  }
  intervals.splice(first, end - first, low, high);
  return true;
}

function cut(intervals: Intervals, from: number, to: number): void {
  const first = firstEndingAtOrAfter(intervals, from);
  let end = first;
  const kept: number[] = [];
  while (end < intervals.length && (intervals[end] as number) <= to) {
    const low = intervals[end] as number;
    const high = intervals[end + 1] as number;
    if (low < from) kept.push(low, from - 1);
    if (high > to) kept.push(to + 1, high);
    end += 2;
  }
  if (end > first) intervals.splice(first, end - first, ...kept);
}
