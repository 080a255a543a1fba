/**
 * Comparing two clocks without sending them: a hash for each of 64 buckets of actors, then the entries of those that
 * differ. Ten thousand ended actors are 110 kB of entries; what two replicas that meet again differ in is a few of them.
 */
import { malformed } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import type { Actor } from '../../crdts/dot.ts';
import { hashOfActor } from '../../crdts/hashed-clock.ts';

const BUCKETS = 64;
const HASH_BYTES = 8;

/** Smaller clocks are asked for as a whole: their entries cost no more than the hashes would. */
const ENTRIES_WITHOUT_DIGEST = 48;

const bucketOf = (actor: Actor): number => actor.charCodeAt(0) % BUCKETS;

/** What to ask with: a hash for each bucket, or nothing, which asks for everything. */
export function bucketDigest(clock: Clock): Uint8Array {
  return clock.actorCount <= ENTRIES_WITHOUT_DIGEST ? new Uint8Array(0) : hashes(clock);
}

function hashes(clock: Clock): Uint8Array {
  const sums = new Uint32Array(2 * BUCKETS);
  for (const actor of clock.actors()) {
    const bucket = bucketOf(actor);
    const [high, low] = hashOfActor(clock, actor);
    sums[2 * bucket] = (sums[2 * bucket] as number) + high;
    sums[2 * bucket + 1] = (sums[2 * bucket + 1] as number) + low;
  }
  const bytes = new Uint8Array(BUCKETS * HASH_BYTES);
  const view = new DataView(bytes.buffer);
  sums.forEach((sum, i) => view.setUint32(4 * i, sum));
  return bytes;
}

/** The entries that a peer with this digest lacks or has otherwise, and a bit for each bucket they fill; empty: all. */
export function entriesFor(clock: Clock, digest: Uint8Array): { buckets: Uint8Array; entries: Clock } {
  if (digest.length === 0) return { buckets: new Uint8Array(0), entries: clock };
  if (digest.length !== BUCKETS * HASH_BYTES) throw malformed('a digest of a clock has another length');
  const mine = hashes(clock);
  const buckets = new Uint8Array(BUCKETS / 8);
  for (let i = 0; i < mine.length; i++) {
    const bucket = Math.floor(i / HASH_BYTES);
    if (mine[i] !== digest[i]) buckets[bucket >> 3] = (buckets[bucket >> 3] as number) | (1 << (bucket & 7));
  }
  const entries = new Clock();
  clock.forEach((actor, from, to) => {
    if (isInBuckets(actor, buckets)) entries.add(actor, from, to);
  });
  return { buckets, entries };
}

export function isInBuckets(actor: Actor, buckets: Uint8Array): boolean {
  if (buckets.length === 0) return true;
  const bucket = bucketOf(actor);
  return ((buckets[bucket >> 3] ?? 0) & (1 << (bucket & 7))) !== 0;
}
