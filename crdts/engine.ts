/**
 * The engine: records in an ordered store, the clock they add up to, and the dot index that makes sync cost the
 * difference. src/replica puts streams, fingerprints and a durable disk around this very class; `Replica` (replica.ts)
 * puts handles around it and works in memory alone. There is no second join and no second index.
 *
 * What is stored, per shard (the key begins with a letter and the shard's two bytes):
 *
 *     r path → row            records
 *     d dot → path            the dot index: one entry for each dot held, live or ghost; sync walks it
 *     g dot → ""              ghosts, to find those that may be dropped
 *     x expiry path → ""      records with a time to live
 *     e path → ""             rows without dots, kept for their residue alone
 *     s number → clock        residue shared by the records of one frame
 *     c…, f…                  the clock, the floors
 *     u                       the next number of shared residue, and the union of all residue
 *
 * Always true: a dot is in the index iff it is in the row at that path; every dot held is in the clock; a dot in the clock
 * and not held was replaced, or was a ghost that this replica dropped (then its actor's floor is at least as high).
 *
 * Work per operation depends on the record it touches, never on the number of records.
 *
 * Sources: Gonçalves et al., *DottedDB* (2017), §III (node clock, key log); Brown et al., *Big(ger) sets* (2016) for the
 * decomposition of containers into records.
 */
import { fromByteString, Reader, toByteString, Writer } from './bytes.ts';
import { Clock, type DotSet } from './clock.ts';
import type { Actor, Dot } from './dot.ts';
import { HearsayError } from './error.ts';
import { endOfPrefix, type Path } from './path.ts';
import {
  EMPTY_ROW,
  type Entry,
  expiryOf,
  join,
  NO_BYTES,
  type Residue,
  type Row,
  readRow,
  type SentRecord,
  writeRow,
} from './record.ts';
import type { OrderedStore } from './store.ts';
import { StoredClock } from './stored-clock.ts';
import type { Timestamp } from './timestamp.ts';

/** One operation at one path, as a CRDT type describes it. */
export interface Edit {
  readonly path: Path;
  /** What the operation does to the dots it sees, with `dot` as the name of its event; null: nothing, and no event. */
  readonly decide: (seen: readonly Entry[], dot: Dot) => Decision | null;
}

export interface Decision {
  /** The dots that the operation does not replace. */
  readonly keep: readonly Entry[];
  readonly kind: 'live' | 'ghost';
  readonly body: Uint8Array;
  /** Wall time in ms, 0 = never. */
  readonly expires: number;
}

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

export interface HeldDot extends Dot {
  readonly path: Path;
}

/**
 * A walk reads on through gaps of up to this many dots that it does not want: a range read costs about as much as
 * stepping over that many entries.
 */
const WALK_GAP_MAX = 16;

/** The first page is small, since many readers leave after a few rows; no page holds more memory than the last needs. */
const ROWS_PAGE_MIN = 8;
const ROWS_PAGE_MAX = 256;

/** Rows that share a residue: fewer carry it themselves, which costs no key of its own. */
const SHARED_RESIDUE_RECORDS_MIN = 4;

export class Engine {
  readonly store: OrderedStore;
  readonly shard: number;
  readonly #observer: EngineObserver;
  readonly #clock: StoredClock;
  /** Per actor, up to where ghosts were dropped here or at whoever told us: as the clock of 1–n. */
  readonly #floors: StoredClock;
  /** Shared residue by its number, as in the store. */
  readonly #shared = new Map<number, Clock>();
  /** Never used again, not even after a restart: rows keep the number of residue that has long melted. */
  #sharedNext = 1;
  /** Every dot that some row's residue covers and the clock lacks. */
  readonly #uncovered = new Clock();
  #isUncoveredChanged = false;
  #actor: Actor | null = null;
  readonly #writer = new Writer();
  readonly #prefix: { readonly [space in 'r' | 'd' | 'g' | 'x' | 'e' | 's' | 'u']: string };

  constructor(store: OrderedStore, observer: EngineObserver = {}, shard = 0) {
    this.store = store;
    this.shard = shard;
    this.#observer = observer;
    const suffix = String.fromCharCode(shard >> 8, shard & 0xff);
    const space = (letter: string): string => letter + suffix;
    this.#prefix = {
      r: space('r'),
      d: space('d'),
      g: space('g'),
      x: space('x'),
      e: space('e'),
      s: space('s'),
      u: space('u'),
    };
    this.#clock = new StoredClock(store, space('c'));
    this.#floors = new StoredClock(store, space('f'));
    const uncovered = store.get(this.#prefix.u);
    if (uncovered !== undefined) {
      const reader = new Reader(uncovered);
      this.#sharedNext = reader.varint();
      this.#uncovered.addAll(Clock.read(reader));
    }
    for (const [key, value] of store.range(this.#prefix.s, endOfPrefix(this.#prefix.s))) {
      this.#shared.set(numberOfKey(key.slice(this.#prefix.s.length)), Clock.read(new Reader(value)));
    }
  }

  /** The clock. Read it; only the engine changes it. */
  get clock(): Clock {
    return this.#clock.clock;
  }

  get floors(): Clock {
    return this.#floors.clock;
  }

  /** The actor of this run, once `begin` was called. */
  get actor(): Actor | null {
    return this.#actor;
  }

  /** Takes the actor that local events get from now on. It must be new: random, and never used before by anyone. */
  begin(actor: Actor): void {
    if (this.clock.max(actor) !== 0) throw actorInUse();
    this.#actor = actor;
  }

  /** Ends the actor: the next local event needs a new one. */
  end(): void {
    this.#actor = null;
  }

  // ---------------------------------------------------------------- reading

  read(path: Path): Row {
    const bytes = this.store.get(this.#prefix.r + path);
    return bytes === undefined ? EMPTY_ROW : readRow(new Reader(bytes));
  }

  /**
   * The rows with `start` <= path < `end`, rows without dots included, in path order or backwards. Reads ahead in small
   * pages, so that whoever iterates may write meanwhile: it sees what was there when its page was read.
   */
  *rows(start: Path, end: Path, reverse = false): Generator<[Path, Row]> {
    const { r } = this.#prefix;
    for (let limit = ROWS_PAGE_MIN; ; limit = Math.min(2 * limit, ROWS_PAGE_MAX)) {
      const page = Array.from(this.store.range(r + start, r + end, { reverse, limit }));
      for (const [key, value] of page) yield [key.slice(r.length), readRow(new Reader(value))];
      const last = page.at(-1)?.[0].slice(r.length);
      if (last === undefined || page.length < limit) return;
      if (reverse) end = last;
      else start = `${last}\x00`;
    }
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

  /**
   * The next dots held here among `remaining`, at most `limit`; takes what it has walked over out of `remaining`, so that
   * calling it until that is empty is a walk in short reads, between which anything may happen.
   */
  walk(remaining: Clock, limit: number): HeldDot[] {
    const found: HeldDot[] = [];
    for (const actor of [...remaining.actors()]) {
      const prefix = this.#prefix.d + actor;
      for (
        let run = remaining.firstRun(actor, WALK_GAP_MAX);
        run !== null;
        run = remaining.firstRun(actor, WALK_GAP_MAX)
      ) {
        let last = run.to;
        for (const [key, value] of this.store.range(prefix + keyOfNumber(run.from), prefix + keyOfNumber(run.to + 1))) {
          const n = numberOfKey(key.slice(prefix.length));
          if (!remaining.has(actor, n)) continue;
          if (found.length === limit) {
            last = n - 1;
            break;
          }
          found.push({ actor, n, path: toByteString(value) });
        }
        remaining.remove(actor, run.from, last);
        if (last < run.to) return found;
      }
    }
    return found;
  }

  /** The ghosts held here, in dot order, after the dot `after`; at most `limit`. */
  ghosts(limit: number, after?: Dot): Dot[] {
    const { g } = this.#prefix;
    const start = after === undefined ? g : g + after.actor + keyOfNumber(after.n + 1);
    return Array.from(this.store.range(start, endOfPrefix(g), { limit }), ([key]) => ({
      actor: key.slice(g.length, g.length + 8) as Actor,
      n: numberOfKey(key.slice(g.length + 8)),
    }));
  }

  /** Where `dot` is held; null when it is not. */
  pathOf(actor: Actor, n: number): Path | null {
    const value = this.store.get(this.#prefix.d + actor + keyOfNumber(n));
    return value === undefined ? null : toByteString(value);
  }

  /** Paths of records that expired at or before `nowMs`, the longest expired first; at most `limit`. */
  expired(nowMs: number, limit: number): Path[] {
    const { x } = this.#prefix;
    return Array.from(this.store.range(x, x + keyOfNumber(nowMs + 1), { limit }), ([key]) =>
      key.slice(x.length + 1 + key.charCodeAt(x.length)),
    );
  }

  // ---------------------------------------------------------------- writing

  /** Carries out one operation as a new event of this replica's actor; null when the operation decides that nothing happens. */
  apply(edit: Edit, time: Timestamp): Dot | null {
    const actor = this.#actor;
    if (actor === null) throw new HearsayError('NoActor', 'this replica has no actor yet: call begin first');
    const before = this.read(edit.path);
    const dot = { actor, n: this.clock.max(actor) + 1 };
    // Somebody claimed events of this actor that it never had, up to the last number there is.
    if (!Number.isSafeInteger(dot.n)) throw actorInUse();
    const decision = edit.decide(before.entries, dot);
    if (decision === null) return null;
    const { keep, kind, body, expires } = decision;
    this.#write(edit.path, before, {
      entries: [...keep, { ...dot, time, kind, body, expires }],
      residue: before.residue,
    });
    this.#learn(actor, dot.n, dot.n);
    return dot;
  }

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
        this.#write(path, before, { entries: after, residue: kept });
      for (const { kind, actor, n } of entries) if (kind !== 'omitted') this.#learn(actor, n, n);
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
      this.#write(path, before, { entries: [...before.entries, ...lacking], residue: before.residue });
      for (const { actor, n } of lacking) this.#learn(actor, n, n);
    }
    return copied;
  }

  /** A round is complete: the clock now contains all of `target`, and residue that it covers is no longer needed. */
  complete(target: Clock): void {
    target.forEach((actor, from, to) => this.#learn(actor, from, to));
    this.melt();
  }

  /**
   * What a peer says is no longer alive: of the dots in `scope`, all that it has seen, it still holds only `held`.
   * Removes the other live dots of the scope. ⚑ Only inside the scope, and no ghosts: those go by their holder's decision.
   */
  removeDead(scope: Clock, held: Clock): void {
    const dead = scope.minus(held);
    while (!dead.isEmpty) {
      for (const { actor, n, path } of this.walk(dead, 256)) {
        const before = this.read(path);
        const entries = before.entries.filter(
          (entry) => entry.kind === 'ghost' || entry.n !== n || entry.actor !== actor,
        );
        if (entries.length < before.entries.length) this.#write(path, before, { entries, residue: before.residue });
      }
    }
  }

  /** Drops one ghost and raises the floor of its actor; nothing where no such ghost is held. Whether it may go is the caller's to know (ghosts.ts). */
  dropGhost(actor: Actor, n: number): void {
    const path = this.pathOf(actor, n);
    if (path === null) return;
    const before = this.read(path);
    const entries = before.entries.filter(
      (entry) => entry.kind === 'live' || entry.n !== n || entry.actor !== actor,
    );
    if (entries.length === before.entries.length) return;
    this.#write(path, before, { entries, residue: before.residue });
    this.#raiseFloor(actor, n);
  }

  raiseFloors(floors: Clock): void {
    floors.forEach((actor, _, to) => this.#raiseFloor(actor, to));
  }

  #raiseFloor(actor: Actor, n: number): void {
    if (this.#floors.add(actor, 1, n)) this.#observer.floorRaised?.(actor, n);
  }

  /** Forgets residue that the clock has come to contain, and rows that were kept for it alone. */
  melt(): void {
    for (const [number, residue] of this.#shared) {
      if (!this.clock.contains(residue)) continue;
      this.#shared.delete(number);
      this.store.delete(this.#prefix.s + keyOfNumber(number));
    }
    if (this.hasResidue) return;
    const { e } = this.#prefix;
    const empty = Array.from(this.store.range(e, endOfPrefix(e)), ([key]) => key.slice(e.length));
    for (const path of empty) {
      const row = this.read(path);
      if (row.entries.length === 0) this.#write(path, row, EMPTY_ROW);
      this.store.delete(e + path);
    }
  }

  /**
   * After lost events: the clock becomes exactly the dots that the records hold, so that peers send again whatever else
   * there is, and the dot index is made anew from the records. Reads the whole store, and this replica needs a new actor.
   */
  shrinkToHeld(): void {
    const { d, g } = this.#prefix;
    for (const space of [d, g]) {
      const keys = Array.from(this.store.range(space, endOfPrefix(space)), ([key]) => key);
      for (const key of keys) this.store.delete(key);
    }
    const held = new Clock();
    this.#uncovered.clear();
    for (const [path, { entries, residue }] of this.rows('', PATHS_END)) {
      // What the clock forgets, the residue of a row may have said as well: there it counts again.
      const covered = this.#resolve(residue);
      if (covered !== null) this.#uncover(covered);
      for (const { actor, n, kind } of entries) {
        held.add(actor, n);
        this.store.put(d + actor + keyOfNumber(n), fromByteString(path));
        if (kind === 'ghost') this.store.put(g + actor + keyOfNumber(n), NO_BYTES);
      }
    }
    this.#clock.replace(held);
    this.#actor = null;
  }

  /** Writes the clock, the floors and the union of residue where they changed. Call it before every commit. */
  seal(): void {
    this.#clock.save(this.#writer);
    this.#floors.save(this.#writer);
    if (!this.#isUncoveredChanged) return;
    this.#isUncoveredChanged = false;
    this.#uncovered.removeAll(this.clock);
    this.#writer.reset().varint(this.#sharedNext);
    this.#uncovered.write(this.#writer);
    this.store.put(this.#prefix.u, this.#writer.finish());
  }

  #learn(actor: Actor, from: number, to: number): void {
    if (from === to) {
      if (this.#clock.add(actor, from, to)) this.#observer.learned?.(actor, from, to);
      return;
    }
    for (const gap of this.clock.gaps(actor, from, to)) {
      this.#clock.add(actor, gap.from, gap.to);
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
    residue.write(this.#writer.reset());
    this.store.put(this.#prefix.s + keyOfNumber(number), this.#writer.finish());
    this.#uncover(residue);
    return number;
  }

  #uncover(residue: Clock): void {
    this.#uncovered.addAll(residue);
    this.#isUncoveredChanged = true;
  }

  /** The one place where a row, its dot index, its ghosts and its expiry change, all together. */
  #write(path: Path, before: Row, after: Row): void {
    const { r, d, g, x, e } = this.#prefix;
    if (after.entries.length === 0 && after.residue === null) {
      this.store.delete(r + path);
    } else {
      if (after.residue instanceof Clock) this.#uncover(after.residue);
      if (after.entries.length === 0) this.store.put(e + path, NO_BYTES);
      writeRow(this.#writer.reset(), after);
      this.store.put(r + path, this.#writer.finish());
    }
    for (const entry of before.entries) {
      if (after.entries.includes(entry)) continue;
      const key = entry.actor + keyOfNumber(entry.n);
      this.store.delete(d + key);
      if (entry.kind === 'ghost') this.store.delete(g + key);
    }
    for (const entry of after.entries) {
      if (before.entries.includes(entry)) continue;
      const key = entry.actor + keyOfNumber(entry.n);
      this.store.put(d + key, fromByteString(path));
      if (entry.kind === 'ghost') this.store.put(g + key, NO_BYTES);
    }
    const expiredBefore = expiryOf(before.entries);
    const expiresAfter = expiryOf(after.entries);
    if (expiredBefore !== expiresAfter) {
      if (expiredBefore !== 0) this.store.delete(x + keyOfNumber(expiredBefore) + path);
      if (expiresAfter !== 0) this.store.put(x + keyOfNumber(expiresAfter) + path, NO_BYTES);
    }
    this.#observer.changed?.(path, before, after);
  }
}

const actorInUse = (): HearsayError => new HearsayError('ActorInUse', 'this actor has written before: take a new one');

const union = (a: DotSet, b: DotSet): DotSet => ({ has: (actor, n) => a.has(actor, n) || b.has(actor, n) });

/** A number as a key part: how many bytes, then the bytes, greatest first. Sorts like the number, ends itself. */
export function keyOfNumber(n: number): string {
  let text = '';
  for (let rest = n; rest >= 1; rest = Math.floor(rest / 256)) text = String.fromCharCode(rest % 256) + text;
  return String.fromCharCode(text.length) + text;
}

export function numberOfKey(key: string): number {
  let n = 0;
  for (let i = 1; i <= key.charCodeAt(0); i++) n = n * 256 + key.charCodeAt(i);
  return n;
}
