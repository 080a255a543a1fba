/**
 * The guard: notices that events were lost, and heals it without ever removing anything.
 *
 * Where neither side has residue or an open round, equal clocks with unequal fingerprints can only mean lost events: bit
 * rot, a bug. Then, on each side:
 *
 *     alarm ──audit: read all records, sum them up──▶ the sum is not my running sum: I have lost events.
 *       │                                              My clock shrinks to what I hold, all links close, a new actor is
 *       │                                              taken, and peers send me again whatever else there is.
 *       └──▶ the sum is right: I am consistent in myself. Sums of 256 buckets of paths are compared with the peer's, and of
 *            buckets that differ each side copies to the other what it lacks.
 *
 * ⚑ Never by removing: which side is wrong, the one that still has a dot or the one that has not, cannot be known; a
 * delete that comes undone is seen and repeated, a lost record is not.
 *
 * The audit reads a page per tick, and keeps up with what is written behind it.
 */
import type { Path } from '../../crdts/path.ts';
import { PATHS_END } from '../../crdts/engine.ts';
import type { Row, SentRecord } from '../../crdts/record.ts';
import type { Core } from './core.ts';
import { FINGERPRINT_BYTES, Fingerprint } from './fingerprint.ts';
import type { Link } from './link.ts';
import type { Sender } from './sender.ts';

/** Records read in one tick of an audit or a copy: about 10 ms. */
const ROWS_A_TICK = 1_000;
const BUCKETS = 256;
/** Bytes of copied records in one message. */
const COPY_BYTES = 48 * 1024;

interface Audit {
  /** All paths before this one are summed up. */
  at: Path;
  readonly sum: Fingerprint;
  readonly buckets: readonly Fingerprint[];
}

interface PeerSums {
  /** null: not told yet. */
  readonly sums: Uint8Array | null;
  readonly isAnswerWanted: boolean;
}

interface Copying {
  readonly link: Link;
  readonly buckets: ReadonlySet<number>;
  at: Path;
}

export class Guard {
  readonly #core: Core;
  readonly #hash: (bytes: Uint8Array) => Uint8Array;
  readonly #running: () => Fingerprint;
  readonly #lost: (sum: Fingerprint) => void;
  readonly #senderOf: (link: Link) => Sender;
  #audit: Audit | null = null;
  /** Links to tell the buckets to when the audit is done, and what they have told of theirs. */
  readonly #peers = new Map<Link, PeerSums>();
  readonly #copying: Copying[] = [];

  /** `lost`: called when events were lost here, with the sum of what is left. */
  constructor(
    core: Core,
    hash: (bytes: Uint8Array) => Uint8Array,
    running: () => Fingerprint,
    lost: (sum: Fingerprint) => void,
    senderOf: (link: Link) => Sender,
  ) {
    this.#core = core;
    this.#hash = hash;
    this.#running = running;
    this.#lost = lost;
    this.#senderOf = senderOf;
  }

  get isBusy(): boolean {
    return this.#audit !== null || this.#copying.length > 0;
  }

  /** Equal clocks, unequal fingerprints. */
  alarm(link: Link): void {
    if (this.#peers.has(link)) return;
    this.#core.count('guard: alarm');
    this.#core.log('error', 'replicas with equal clocks differ: events were lost here or there; checking', {
      node: link.info?.node,
    });
    this.#begin(link, { sums: null, isAnswerWanted: true });
  }

  /** The peer is consistent in itself, and these are its sums. */
  buckets(link: Link, sums: Uint8Array, isAnswer: boolean): void {
    this.#begin(link, { sums, isAnswerWanted: !isAnswer });
  }

  closed(link: Link): void {
    this.#peers.delete(link);
    for (let i = this.#copying.length - 1; i >= 0; i--) if (this.#copying[i]?.link === link) this.#copying.splice(i, 1);
  }

  #begin(link: Link, peer: PeerSums): void {
    this.#peers.set(link, peer);
    this.#audit ??= {
      at: '',
      sum: new Fingerprint(this.#hash),
      buckets: Array.from({ length: BUCKETS }, () => new Fingerprint(this.#hash)),
    };
  }

  changed(path: Path, before: Row, after: Row): void {
    const audit = this.#audit;
    if (audit === null || path >= audit.at) return;
    audit.sum.change(path, before, after);
    audit.buckets[this.#bucketOf(path)]?.change(path, before, after);
  }

  #bucketOf(path: Path): number {
    return this.#hash(Uint8Array.from(path, (char) => char.charCodeAt(0)))[0] as number;
  }

  /** Goes on with what is under way, a page at a time. */
  tick(): void {
    if (this.#audit !== null) this.#auditSome(this.#audit);
    const copying = this.#copying[0];
    if (copying !== undefined && this.#senderOf(copying.link).hasRoom) this.#copySome(copying);
  }

  #auditSome(audit: Audit): void {
    let count = 0;
    for (const [path, row] of this.#core.engine.rows(audit.at, PATHS_END)) {
      if (++count > ROWS_A_TICK) return;
      audit.sum.addRow(path, row);
      audit.buckets[this.#bucketOf(path)]?.addRow(path, row);
      audit.at = `${path}\x00`;
    }
    this.#audit = null;
    if (!audit.sum.equals(this.#running().bytes())) {
      this.#peers.clear();
      this.#core.count('guard: events lost here');
      this.#core.log('error', 'events were lost from this store; fetching them again from the peers', {});
      return this.#lost(audit.sum);
    }
    this.#compare(audit.buckets);
  }

  #compare(buckets: readonly Fingerprint[]): void {
    const sums = new Uint8Array(BUCKETS * FINGERPRINT_BYTES);
    buckets.forEach((bucket, i) => sums.set(bucket.bytes(), i * FINGERPRINT_BYTES));
    const { shard } = this.#core.engine;
    for (const [link, { sums: theirs, isAnswerWanted }] of this.#peers) {
      if (!link.isReady) continue;
      if (isAnswerWanted) link.say({ type: 'buckets', shard, sums, isAnswer: theirs !== null }, this.#core.batch());
      // Without the peer's sums this is done once more, when its answer brings them.
      if (theirs === null) continue;
      const differing = buckets.flatMap((bucket, i) =>
        bucket.equals(theirs.subarray(i * FINGERPRINT_BYTES, (i + 1) * FINGERPRINT_BYTES)) ? [] : [i],
      );
      if (differing.length > 0) this.#copying.push({ link, buckets: new Set(differing), at: '' });
    }
    this.#peers.clear();
  }

  #copySome(copying: Copying): void {
    const { engine } = this.#core;
    const records: SentRecord[] = [];
    let count = 0;
    let bytes = 0;
    for (const [path, row] of engine.rows(copying.at, PATHS_END)) {
      if (++count > ROWS_A_TICK || bytes > COPY_BYTES) break;
      copying.at = `${path}\x00`;
      if (!copying.buckets.has(this.#bucketOf(path)) || !copying.link.wants(path)) continue;
      records.push({ path, entries: row.entries, residue: null });
      bytes += path.length + row.entries.reduce((sum, { body }) => sum + body.length + 32, 0);
    }
    if (records.length > 0) this.#senderOf(copying.link).copy(records);
    if (count <= ROWS_A_TICK && bytes <= COPY_BYTES) this.#copying.shift();
  }
}
