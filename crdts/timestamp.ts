/**
 * Hybrid logical time: a wall clock that never runs backwards and never falls behind a timestamp it has seen.
 *
 * A timestamp is one integer: microseconds since 1970. Within the same millisecond the last three digits count events;
 * when more than 1,000 come, or the wall clock stands or steps back, it simply runs ahead, by one per event. That is the
 * paper's (l, c) in one number; it fits 2^52 until the year 2112.
 *
 * Timestamps arbitrate between *concurrent* writes only. A later write replaces an earlier one by its dots, whatever the
 * timestamps say, so a wrong clock can lose an argument but never an event. A timestamp too far ahead does not drag ours
 * along: it is refused here, counted by the caller, and its event is kept all the same.
 *
 * Source: Kulkarni, Demirbas et al., *Logical physical clocks* (2014), §4; bounded as in §5.
 */

import { NUMBERS_END } from './dot.ts';

/** Microseconds since 1970, 1 … 2^52 − 1. */
export type Timestamp = number;

/** A peer's clock may be ahead by this much before its timestamps are ignored. NTP keeps machines within a second. */
export const AHEAD_MAX_MS = 60_000;

export class HybridTime {
  #last: Timestamp = 0;

  /** A timestamp greater than every one issued or observed, until 2112. `wallMs`: milliseconds since 1970, however wrong. */
  next(wallMs: number): Timestamp {
    this.#last = Math.min(Math.max(Math.floor(wallMs) * 1000, this.#last + 1), NUMBERS_END - 1);
    return this.#last;
  }

  /** Takes note of a timestamp seen. False when it is more than `AHEAD_MAX_MS` ahead of `wallMs`: then it is ignored. */
  observe(timestamp: Timestamp, wallMs: number): boolean {
    if (timestamp > (wallMs + AHEAD_MAX_MS) * 1000) return false;
    if (timestamp > this.#last) this.#last = timestamp;
    return true;
  }
}

export const wallMsOf = (timestamp: Timestamp): number => Math.floor(timestamp / 1000);
