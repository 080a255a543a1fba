/**
 * Luck from a seed: the same seed gives the same numbers, on every machine. Everything the simulator decides comes from here.
 *
 * Each node, connection and run draws from a source of its own (`Random.of(seed, …names)`), so that taking one step out of
 * a schedule changes as little as possible of what happens in the rest: that is what makes shrinking work.
 *
 * mulberry32: 32 bits of state, one multiplication or two a number. Good enough to pick interleavings, and nothing else.
 */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A source that depends on every one of `parts`, integers of any size. */
  static of(...parts: number[]): Random {
    let state = 0x9e3779b9;
    for (const part of parts) {
      state = Math.imul(state ^ (part >>> 0), 0x85ebca6b);
      state = Math.imul((state ^ (state >>> 13)) + Math.floor(part / 0x100000000), 0xc2b2ae35);
      state ^= state >>> 16;
    }
    return new Random(state);
  }

  /** 0 <= x < 1 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** An integer, 0 <= x < `end`. */
  int(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** An integer, `low` <= x <= `high`. */
  between(low: number, high: number): number {
    return low + this.int(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of `items`, which must not be empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.int(items.length)] as T;
  }

  /** The name of an entry, drawn by the weights; at least one must be above 0. */
  weighted<K extends string>(weights: Readonly<Partial<Record<K, number>>>): K {
    let total = 0;
    for (const name in weights) total += weights[name] as number;
    let rest = this.next() * total;
    let last: K | undefined;
    for (const name in weights) {
      if ((weights[name] as number) <= 0) continue;
      last = name;
      rest -= weights[name] as number;
      if (rest < 0) break;
    }
    return last as K;
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = this.int(256);
    return bytes;
  }
}

/** Of long bytes only so many at either end count: nobody here makes values that differ in the middle alone. */
const ENDS = 256;

/**
 * 128 bits that depend on every byte of short ones: what simulated replicas hash with, since a cryptographic hash would be a third of
 * the time of a run. No one forges anything here. (Four lanes of a multiply-xorshift, as in MurmurHash3.)
 */
export function cheapHash(bytes: Uint8Array): Uint8Array {
  let a = 0x9e3779b9 ^ bytes.length;
  let b = 0x243f6a88;
  let c = 0xb7e15162;
  let d = 0xdeadbeef;
  const isLong = bytes.length > 2 * ENDS;
  for (let i = 0; i < bytes.length; i = i + 1 === ENDS && isLong ? bytes.length - ENDS : i + 1) {
    const byte = bytes[i] as number;
    a = Math.imul(a ^ byte, 0x85ebca6b) + b;
    b = Math.imul(b ^ (a >>> 15), 0xc2b2ae35) + c;
    c = Math.imul(c + byte, 0x27d4eb2f) ^ (d >>> 11);
    d = (d << 5) ^ (d >>> 27) ^ Math.imul(c, 0x165667b1) ^ a;
  }
  const out = new Uint8Array(16);
  for (let i = 0; i < 4; i++) {
    a = Math.imul(a ^ (d >>> 13), 0x85ebca6b) + c;
    d = Math.imul(d ^ (a >>> 16), 0xc2b2ae35) + b;
    b = Math.imul(b + i, 0x27d4eb2f) ^ (d >>> 7);
    c ^= b + a;
    const word = a ^ (a >>> 14) ^ d;
    out[4 * i] = word >>> 24;
    out[4 * i + 1] = word >>> 16;
    out[4 * i + 2] = word >>> 8;
    out[4 * i + 3] = word;
  }
  return out;
}
