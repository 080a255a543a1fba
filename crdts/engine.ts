/**
 * The engine: records (records.ts) as a durable node keeps them. It adds what a replica in memory does without:
 *
 * Knowledge in pieces. A push brings some records of a peer, not all that its clock covers; what is covered for those
 * records alone stays with them as *residue*, until a round completes and the clock itself contains it.
 * Restarts: what changed of the clocks and of the residue is written by `seal`, before every commit.
 * An index of what expires, and the means to heal a replica that lost events. src/replica puts streams, fingerprints and
 * a durable disk around this very class. There is no second join and no second index.
 *
 * What is stored beside the records:
 *
 *     x expiry path → ""      records with a time to live
 *     e path → ""             rows without dots, kept for their residue alone
 *     s number → clock        residue shared by the records of one frame
 *     c…, f…                  the clock, the floors
 *     u                       the next number of shared residue, and the union of all residue
 */
import { Reader } from './bytes.ts';
import { Clock, type DotSet } from './clock.ts';
import type { Actor } from './dot.ts';
import { endOfPrefix, type Path } from './path.ts';
import { EMPTY_ROW, expiryOf, join, NO_BYTES, type Residue, type Row, type SentRecord } from './record.ts';
import { keyOfNumber, numberOfKey, Records } from './records.ts';
import type { OrderedStore } from './store.ts';
import { StoredClock } from './stored-clock.ts';

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

export class Engine extends Records {
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
  readonly #expiries: string;
  readonly #empty: string;
  readonly #residues: string;
  readonly #union: string;

  constructor(store: OrderedStore, observer: EngineObserver = {}, shard = 0) {
    super(store, shard);
    this.#observer = observer;
    this.#expiries = this.space('x');
    this.#empty = this.space('e');
    this.#residues = this.space('s');
    this.#union = this.space('u');
    this.#storedClock = new StoredClock(store, this.space('c'), this.clock);
    this.#storedFloors = new StoredClock(store, this.space('f'), this.floors);
    const union = store.get(this.#union);
    if (union !== undefined) {
      const reader = new Reader(union);
      this.#sharedNext = reader.varint();
      this.#uncovered.addAll(Clock.read(reader));
    }
    for (const [key, value] of store.range(this.#residues, endOfPrefix(this.#residues))) {
      this.#shared.set(numberOfKey(key.slice(this.#residues.length)), Clock.read(new Reader(value)));
    }
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
    const x = this.#expiries;
    return Array.from(this.store.range(x, x + keyOfNumber(nowMs + 1), { limit }), ([key]) =>
      key.slice(x.length + 1 + key.charCodeAt(x.length)),
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
      this.store.delete(this.#residues + keyOfNumber(number));
    }
    if (this.hasResidue) return;
    const e = this.#empty;
    const empty = Array.from(this.store.range(e, endOfPrefix(e)), ([key]) => key.slice(e.length));
    for (const path of empty) {
      const row = this.read(path);
      if (row.entries.length === 0) this.write(path, row, EMPTY_ROW);
      this.store.delete(e + path);
    }
  }

  /**
   * After lost events: the clock becomes exactly the dots that the records hold, so that peers send again whatever else
   * there is, and the dot index is made anew from the records. Reads the whole store, and this replica needs a new actor.
   */
  shrinkToHeld(): void {
    for (const space of [this.dots, this.ghostDots]) {
      const keys = Array.from(this.store.range(space, endOfPrefix(space)), ([key]) => key);
      for (const key of keys) this.store.delete(key);
    }
    const held = new Clock();
    this.#uncovered.clear();
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
    this.#storedClock.save(this.writer);
    this.#storedFloors.save(this.writer);
    if (!this.#isUncoveredChanged) return;
    this.#isUncoveredChanged = false;
    this.#uncovered.removeAll(this.clock);
    this.writer.reset().varint(this.#sharedNext);
    this.#uncovered.write(this.writer);
    this.store.put(this.#union, this.writer.finish());
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
    residue.write(this.writer.reset());
    this.store.put(this.#residues + keyOfNumber(number), this.writer.finish());
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
    if (after.entries.length === 0 && after.residue !== null) this.store.put(this.#empty + path, NO_BYTES);
    const expiredBefore = expiryOf(before.entries);
    const expiresAfter = expiryOf(after.entries);
    if (expiredBefore !== expiresAfter) {
      if (expiredBefore !== 0) this.store.delete(this.#expiries + keyOfNumber(expiredBefore) + path);
      if (expiresAfter !== 0) this.store.put(this.#expiries + keyOfNumber(expiresAfter) + path, NO_BYTES);
    }
    this.#observer.changed?.(path, before, after);
  }
}

const union = (a: DotSet, b: DotSet): DotSet => ({ has: (actor, n) => a.has(actor, n) || b.has(actor, n) });
