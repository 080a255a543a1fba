/**
 * Records, the clock they add up to, and the dot index that makes sync cost the difference.
 * `Replica` (replica.ts) puts handles around it and works in memory alone. `Engine` (engine.ts) is what a durable node
 * adds: knowledge that comes in pieces, and a clock that outlives the process.
 *
 * Always kept together:
 *
 *     rows     path → row
 *     dots     dot → path: the dot index, one entry for each dot held, live or ghost; sync walks it
 *     ghosts   dot → null: those of them that are ghosts, to find those that may be dropped
 *
 * Always true: a dot is in the index iff it is in the row at that path; every dot held is in the clock; a dot in the clock
 * and not held was replaced, or was a ghost that this replica dropped (then its actor's floor is at least as high).
 *
 * Work per operation depends on the record it touches, never on the number of records.
 *
 * Sources: Gonçalves et al., *DottedDB* (2017), §III (node clock, key log); Brown et al., *Big(ger) sets* (2016) for the
 * decomposition of containers into records.
 */
import { Clock } from './clock.ts';
import { type Actor, type Dot, NUMBERS_END } from './dot.ts';
import { HearsayError } from './error.ts';
import type { Path } from './path.ts';
import { EMPTY_ROW, type Entry, type EntryKind, join, type Row, type SentRecord } from './record.ts';
import type { OrderedStore } from './store.ts';
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

/** Dead dots that are looked up at a time: the dots of one actor often share a page of the index. */
const DEAD_DOTS_MAX = 256;

export class Records {
  /** The clock. Read it; only this class changes it. */
  readonly clock: Clock;
  /** Per actor, up to where ghosts were dropped here or at whoever told us: as the clock of 1–n. */
  readonly floors: Clock;
  /** The actor of this run, once `begin` was called. Read it; `begin` sets it. */
  actor: Actor | null = null;
  readonly #rows: OrderedStore<Row>;
  protected readonly dots: OrderedStore<Path>;
  protected readonly ghostDots: OrderedStore<null>;

  constructor(
    rows: OrderedStore<Row>,
    dots: OrderedStore<Path>,
    ghosts: OrderedStore<null>,
    clock = new Clock(),
    floors = new Clock(),
  ) {
    this.clock = clock;
    this.floors = floors;
    this.#rows = rows;
    this.dots = dots;
    this.ghostDots = ghosts;
  }

  /** Takes the actor that local events get from now on. It must be new: random, and never used before by anyone. */
  begin(actor: Actor): void {
    if (this.clock.max(actor) !== 0) throw needsActor('ActorInUse');
    this.actor = actor;
  }

  // ---------------------------------------------------------------- reading

  read(path: Path): Row {
    return this.#rows.get(path) ?? EMPTY_ROW;
  }

  /**
   * The rows with `start` <= path < `end`, rows without dots included, in path order or backwards. Reads ahead in small
   * pages, so that whoever iterates may write meanwhile: it sees what was there when its page was read.
   */
  *rows(start: Path, end: Path, reverse = false): Generator<readonly [Path, Row]> {
    for (let limit = ROWS_PAGE_MIN; ; limit = Math.min(2 * limit, ROWS_PAGE_MAX)) {
      const page = Array.from(this.#rows.range(start, end, { reverse, limit }));
      yield* page;
      const last = page.at(-1)?.[0];
      if (last === undefined || page.length < limit) return;
      if (reverse) end = last;
      else start = `${last}\x00`;
    }
  }

  /**
   * The next dots held here among `remaining`, at most `limit`; takes what it has walked over out of `remaining`, so that
   * calling it until that is empty is a walk in short reads, between which anything may happen.
   */
  walk(remaining: Clock, limit: number): HeldDot[] {
    const found: HeldDot[] = [];
    for (const actor of [...remaining.actors()]) {
      for (;;) {
        const run = remaining.firstRun(actor, WALK_GAP_MAX);
        if (run === null) break;
        let last = run.to;
        for (const [key, path] of this.dots.range(keyOfDot(actor, run.from), keyOfDot(actor, run.to + 1))) {
          const { n } = dotOfKey(key);
          if (!remaining.has(actor, n)) continue;
          if (found.length === limit) {
            last = n - 1;
            break;
          }
          found.push({ actor, n, path });
        }
        remaining.remove(actor, run.from, last);
        if (last < run.to) return found;
      }
    }
    return found;
  }

  /** The ghosts held here, in dot order, after the dot `after`; at most `limit`. */
  ghosts(limit: number, after?: Dot): Dot[] {
    const start = after === undefined ? '' : keyOfDot(after.actor, after.n + 1);
    return Array.from(this.ghostDots.range(start, '\u0100', { limit }), ([key]) => dotOfKey(key));
  }

  /** Where `dot` is held; null when it is not. */
  pathOf(actor: Actor, n: number): Path | null {
    return this.dots.get(keyOfDot(actor, n)) ?? null;
  }

  // ---------------------------------------------------------------- writing

  /** Carries out one operation as a new event of this replica's actor; null when the operation decides that nothing happens. */
  apply(edit: Edit, time: Timestamp): Dot | null {
    const actor = this.actor;
    if (actor === null) throw needsActor('NoActor');
    const before = this.read(edit.path);
    const dot = { actor, n: this.clock.max(actor) + 1 };
    // Somebody claimed events of this actor that it never had, up to the last number there is.
    if (dot.n >= NUMBERS_END) throw needsActor('ActorInUse');
    const decision = edit.decide(before.entries, dot);
    if (decision === null) return null;
    const { keep, kind, body, expires } = decision;
    this.write(edit.path, before, {
      // A literal with all fields in their order: V8 builds `{ ...dot, … }` through slow transitions, microseconds each.
      entries: [...keep, { actor, n: dot.n, time, kind, expires, body }],
      residue: before.residue,
    });
    this.learn(actor, dot.n, dot.n);
    return dot;
  }

  /**
   * Joins records of a peer that has seen `told`, all of those in which it holds a dot that my clock lacks; then my clock
   * contains `told`.
   */
  merge(records: readonly SentRecord[], told: Clock): void {
    for (const { path, entries } of records) {
      const before = this.read(path);
      const after = join(before.entries, entries, this.clock, this.clock, told);
      if (after !== before.entries) this.write(path, before, { entries: after, residue: null });
      for (const { actor, n } of entries) this.learn(actor, n, n);
    }
    told.forEach((actor, from, to) => this.learn(actor, from, to));
  }

  /**
   * What a peer says is no longer alive: of the dots in `scope`, all that it has seen, it still holds only `held`.
   * Removes the other live dots of the scope. ⚑ Only inside the scope, and no ghosts: those go by their holder's decision.
   */
  removeDead(scope: Clock, held: Clock): void {
    const dead = scope.minus(held);
    while (!dead.isEmpty) for (const { actor, n } of this.walk(dead, DEAD_DOTS_MAX)) this.#remove(actor, n, 'live');
  }

  /** Drops a ghost and raises the floor of its actor; nothing where it is not held. Whether it may go is the caller's to know. */
  dropGhost(actor: Actor, n: number): void {
    if (this.#remove(actor, n, 'ghost')) this.raiseFloor(actor, n);
  }

  /** Takes one dot out of its record; false where no such dot of that kind is held. */
  #remove(actor: Actor, n: number, kind: EntryKind): boolean {
    const path = this.pathOf(actor, n);
    if (path === null) return false;
    const before = this.read(path);
    const entries = before.entries.filter((entry) => entry.n !== n || entry.actor !== actor || entry.kind !== kind);
    if (entries.length === before.entries.length) return false;
    this.write(path, before, { ...before, entries });
    return true;
  }

  raiseFloors(floors: Clock): void {
    floors.forEach((actor, _, to) => this.raiseFloor(actor, to));
  }

  protected raiseFloor(actor: Actor, n: number): void {
    this.floors.add(actor, 1, n);
  }

  protected learn(actor: Actor, from: number, to: number): void {
    this.clock.add(actor, from, to);
  }

  /** The one place where a row, its dot index and its ghosts change, all together. */
  protected write(path: Path, before: Row, after: Row): void {
    if (after.entries.length === 0 && after.residue === null) this.#rows.delete(path);
    else this.#rows.put(path, after);
    for (const entry of before.entries) {
      if (after.entries.includes(entry)) continue;
      const key = keyOfDot(entry.actor, entry.n);
      this.dots.delete(key);
      if (entry.kind === 'ghost') this.ghostDots.delete(key);
    }
    for (const entry of after.entries) if (!before.entries.includes(entry)) this.index(path, entry);
  }

  protected index(path: Path, entry: Entry): void {
    const key = keyOfDot(entry.actor, entry.n);
    this.dots.put(key, path);
    if (entry.kind === 'ghost') this.ghostDots.put(key, null);
  }
}

/** `NoActor`: there is none yet. `ActorInUse`: it has written before, here or elsewhere. */
const needsActor = (code: string): HearsayError => new HearsayError(code, 'this replica needs a new actor to write');

const keyOfDot = (actor: Actor, n: number): string => actor + keyOfNumber(n);
const dotOfKey = (key: string): Dot => ({ actor: key.slice(0, 8) as Actor, n: numberOfKey(key.slice(8)) });

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
