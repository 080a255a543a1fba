/**
 * The engine: records (records.ts) as a durable node keeps them. It adds what a replica in memory does without:
 *
 * Knowledge in pieces. A push brings some records of a peer, not all that its clock covers; what is covered for those
 * records alone stays with them as *residue*, until a round completes and the clock itself contains it.
 * Restarts: what changed of the clocks and of the residue is written by `seal`, before every commit.
 * An index of what expires, and the means to heal a replica that lost events. src/replica puts streams, fingerprints and
 * a durable disk around this very class. There is no second join and no second index.
 *
 * What is stored, per shard (the key begins with a letter and the shard's two bytes):
 *
 *     r path → row            records
 *     d dot → path            the dot index
 *     g dot → ""              ghosts
 *     x expiry path → ""      records with a time to live
 *     e path → ""             rows without dots, kept for their residue alone
 *     s number → clock        residue shared by the records of one frame
 *     c…, f…                  the clock, the floors
 *     u                       the next number of shared residue, and the union of all residue
 */
import { fromByteString, Reader, toByteString, Writer } from './bytes.ts';
import { Clock, type DotSet } from './clock.ts';
import type { Actor } from './dot.ts';
import { HashedClock } from './hashed-clock.ts';
import type { Path } from './path.ts';
import {
  EMPTY_ROW,
  expiryOf,
  join,
  NO_BYTES,
  type Residue,
  type Row,
  readRow,
  type SentRecord,
  writeRow,
} from './record.ts';
import { keyOfNumber, numberOfKey, Records } from './records.ts';
import type { OrderedStore } from './store.ts';
import { StoredClock } from './stored-clock.ts';
import { StoredMap, type ValueCodec } from './stored-map.ts';

export { type Decision, type Edit, type HeldDot, keyOfNumber, numberOfKey } from './records.ts';

/** Told of every change, in order, inside the operation that makes it; must not write to the engine. */
export interface EngineObserver {
  /** The record at `path` is now `after`. */
  changed?(path: Path, before: Row, after: Row): void;
  /** The clock now contains `from`–`to` of `actor`, and contained nothing of it before. */
  learned?(actor: Actor, from: number, to: number): void;
  /** Ghosts of `actor` up to `n` may have been dropped, here or where it was told. */
  floorRaised?(actor: Actor, n: number): void;
}

/** After every path: they begin with `SYSTEM` or text. */
export const PATHS_END: Path = '\xff';

/** Rows that share a residue: fewer carry it themselves, which costs no key of its own. */
const SHARED_RESIDUE_RECORDS_MIN = 4;

const writer = new Writer();

const ROW: ValueCodec<Row> = {
  encode(row) {
    writeRow(writer.reset(), row);
    return writer.finish();
  },
  decode: (bytes) => readRow(new Reader(bytes)),
};
const CLOCK: ValueCodec<Clock> = {
  encode(clock) {
    clock.write(writer.reset());
    return writer.finish();
  },
  decode: (bytes) => Clock.read(new Reader(bytes)),
};
const PATH: ValueCodec<Path> = { encode: fromByteString, decode: toByteString };
const NOTHING: ValueCodec<null> = { encode: () => NO_BYTES, decode: () => null };

/** After every key. */
const KEYS_END = '\u0100';

export class Engine extends Records {
  readonly store: OrderedStore;
  readonly shard: number;
  readonly #observer: EngineObserver;
  readonly #storedClock: StoredClock;
  readonly #storedFloors: StoredClock;
  /** Shared residue by its number, as in the store. */
  readonly #shared = new Map<number, Clock>();
  /** Never used again, not even after a restart: rows keep the number of residue that has long melted. */
  #sharedNext = 1;
  /** Every dot that some row's residue covers and the clock lacks. */
  readonly #uncovered = new Clock();
  #isUncoveredChanged = false;
  readonly #expiries: StoredMap<null>;
  readonly #empty: StoredMap<null>;
  readonly #residues: StoredMap<Clock>;
  readonly #unionKey: string;

  constructor(store: OrderedStore, observer: EngineObserver = {}, shard = 0) {
    const space = (letter: string): string => letter + String.fromCharCode(shard >> 8, shard & 0xff);
    super(
      new StoredMap(store, space('r'), ROW),
      new StoredMap(store, space('d'), PATH),
      new StoredMap(store, space('g'), NOTHING),
      new HashedClock(),
      new HashedClock(),
    );
    this.store = store;
    this.shard = shard;
    this.#observer = observer;
    this.#expiries = new StoredMap(store, space('x'), NOTHING);
    this.#empty = new StoredMap(store, space('e'), NOTHING);
    this.#residues = new StoredMap(store, space('s'), CLOCK);
    this.#unionKey = space('u');
    this.#storedClock = new StoredClock(store, space('c'), this.clock);
    this.#storedFloors = new StoredClock(store, space('f'), this.floors);
    const union = store.get(this.#unionKey);
    if (union !== undefined) {
      const reader = new Reader(union);
      this.#sharedNext = reader.varint();
      this.#uncovered.addAll(Clock.read(reader));
    }
    for (const [key, residue] of this.#residues.range('', KEYS_END)) this.#shared.set(numberOfKey(key), residue);
  }

  /** Ends the actor: the next local event needs a new one. */
  end(): void {
    this.actor = null;
  }

  /** What covers `path` here: the clock, and what of the row's residue the clock lacks. */
  coverage(row: Row): DotSet {
    const residue = this.#resolve(row.residue);
    return residue === null ? this.clock : union(this.clock, residue);
  }

  /** The row's residue, without what the clock has come to contain; null when nothing is left of it. */
  residueOf(row: Row): Clock | null {
    const residue = this.#resolve(row.residue);
    if (residue === null || this.clock.contains(residue)) return null;
    return residue.minus(this.clock);
  }

  /** True while some row may be covered by more than the clock: then equal clocks do not mean equal contents. */
  get hasResidue(): boolean {
    this.#uncovered.removeAll(this.clock);
    return !this.#uncovered.isEmpty;
  }

  #resolve(residue: Residue): Clock | null {
    // A number that is not there any more was melted: the clock has come to contain it.
    return typeof residue === 'number' ? (this.#shared.get(residue) ?? null) : residue;
  }

  /** Paths of records that expired at or before `nowMs`, the longest expired first; at most `limit`. */
  expired(nowMs: number, limit: number): Path[] {
    return Array.from(this.#expiries.range('', keyOfNumber(nowMs + 1), { limit }), ([key]) =>
      key.slice(1 + key.charCodeAt(0)),
    );
  }

  // ---------------------------------------------------------------- writing

  /**
   * Joins records of one instant of a peer: `told` is its clock at that instant, `ahead` the part of it that my clock
   * lacks. ⚑ My clock then has exactly the dots received; what else I now cover stays as residue on those records.
   */
  receive(records: readonly SentRecord[], told: DotSet, ahead: Clock): void {
    const beyond = ahead.clone();
    // Nor what was omitted: where it is not in my clock, as its sender believes, I must not claim to have seen it.
    for (const { entries } of records) for (const { actor, n } of entries) beyond.remove(actor, n);
    beyond.removeAll(this.clock);
    let shared: number | null = null;
    for (const { path, entries, residue } of records) {
      const before = this.read(path);
      const after = join(
        before.entries,
        entries,
        this.clock,
        this.coverage(before),
        residue === null ? told : union(told, residue),
      );
      let kept: Residue = this.#sum(this.residueOf(before), residue?.minus(this.clock) ?? null);
      if (!beyond.isEmpty) {
        if (kept === null && records.length >= SHARED_RESIDUE_RECORDS_MIN) kept = shared ??= this.#share(beyond);
        else kept = this.#sum(beyond, kept);
      }
      if (after !== before.entries || kept !== before.residue)
        this.write(path, before, { entries: after, residue: kept });
      for (const { kind, actor, n } of entries) if (kind !== 'omitted') this.learn(actor, n, n);
    }
  }

  /**
   * Adds to the records what of `records` is not held here, whatever the clocks say. Only for healing: two replicas with
   * equal clocks and unequal contents, where what one side lacks is copied and nothing is ever removed.
   */
  copy(records: readonly SentRecord[]): number {
    let copied = 0;
    for (const { path, entries } of records) {
      const before = this.read(path);
      const lacking = entries.filter(({ kind, actor, n }) => kind === 'live' && this.pathOf(actor, n) === null);
      if (lacking.length === 0) continue;
      copied += lacking.length;
      this.write(path, before, { entries: [...before.entries, ...lacking], residue: before.residue });
      for (const { actor, n } of lacking) this.learn(actor, n, n);
    }
    return copied;
  }

  /** A round is complete: the clock now contains all of `target`, and residue that it covers is no longer needed. */
  complete(target: Clock): void {
    target.forEach((actor, from, to) => this.learn(actor, from, to));
    this.melt();
  }

  /** Forgets residue that the clock has come to contain, and rows that were kept for it alone. */
  melt(): void {
    for (const [number, residue] of this.#shared) {
      if (!this.clock.contains(residue)) continue;
      this.#shared.delete(number);
      this.#residues.delete(keyOfNumber(number));
    }
    if (this.hasResidue) return;
    for (const [path] of [...this.#empty.range('', KEYS_END)]) {
      const row = this.read(path);
      if (row.entries.length === 0) this.write(path, row, EMPTY_ROW);
      this.#empty.delete(path);
    }
  }

  /**
   * After lost events: the clock becomes exactly the dots that the records hold, so that peers send again whatever else
   * there is, and the dot index is made anew from the records. Reads the whole store, and this replica needs a new actor.
   */
  shrinkToHeld(): void {
    for (const index of [this.dots, this.ghostDots]) {
      for (const [key] of [...index.range('', KEYS_END)]) index.delete(key);
    }
    const held = new Clock();
    this.#uncovered.clear();
    this.#isUncoveredChanged = true;
    for (const [path, { entries, residue }] of this.rows('', PATHS_END)) {
      // What the clock forgets, the residue of a row may have said as well: there it counts again.
      const covered = this.#resolve(residue);
      if (covered !== null) this.#uncover(covered);
      for (const entry of entries) {
        held.add(entry.actor, entry.n);
        this.index(path, entry);
      }
    }
    this.#storedClock.replace(held);
    this.actor = null;
  }

  /** Writes the clock, the floors and the union of residue where they changed. Call it before every commit. */
  seal(): void {
    this.#storedClock.save(writer);
    this.#storedFloors.save(writer);
    if (!this.#isUncoveredChanged) return;
    this.#isUncoveredChanged = false;
    this.#uncovered.removeAll(this.clock);
    writer.reset().varint(this.#sharedNext);
    this.#uncovered.write(writer);
    this.store.put(this.#unionKey, writer.finish());
  }

  protected override raiseFloor(actor: Actor, n: number): void {
    if (this.#storedFloors.add(actor, 1, n)) this.#observer.floorRaised?.(actor, n);
  }

  protected override learn(actor: Actor, from: number, to: number): void {
    if (from === to) {
      if (this.#storedClock.add(actor, from, to)) this.#observer.learned?.(actor, from, to);
      return;
    }
    for (const gap of this.clock.gaps(actor, from, to)) {
      this.#storedClock.add(actor, gap.from, gap.to);
      this.#observer.learned?.(actor, gap.from, gap.to);
    }
  }

  #sum(a: Clock | null, b: Clock | null): Clock | null {
    if (a === null || a.isEmpty) return b === null || b.isEmpty ? null : b;
    const sum = a.clone();
    if (b !== null) sum.addAll(b);
    return sum;
  }

  #share(residue: Clock): number {
    const number = this.#sharedNext++;
    this.#shared.set(number, residue);
    this.#residues.put(keyOfNumber(number), residue);
    this.#uncover(residue);
    return number;
  }

  #uncover(residue: Clock): void {
    this.#uncovered.addAll(residue);
    this.#isUncoveredChanged = true;
  }

  /** With the row, what is known of when it expires and of what it covers. */
  protected override write(path: Path, before: Row, after: Row): void {
    super.write(path, before, after);
    if (after.residue instanceof Clock) this.#uncover(after.residue);
    if (after.entries.length === 0 && after.residue !== null) this.#empty.put(path, null);
    const expiredBefore = expiryOf(before.entries);
    const expiresAfter = expiryOf(after.entries);
    if (expiredBefore !== expiresAfter) {
      if (expiredBefore !== 0) this.#expiries.delete(keyOfNumber(expiredBefore) + path);
      if (expiresAfter !== 0) this.#expiries.put(keyOfNumber(expiresAfter) + path, null);
    }
    this.#observer.changed?.(path, before, after);
  }
}

const union = (a: DotSet, b: DotSet): DotSet => ({ has: (actor, n) => a.has(actor, n) || b.has(actor, n) });
