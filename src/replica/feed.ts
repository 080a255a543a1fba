/**
 * A change feed: what has changed under a range of paths since a position, the newest state of each path, from memory
 * that is bounded however slow its reader is.
 *
 * A position is a clock: all events seen by a reader who took everything up to there. So resuming is what sync does with
 * a peer: walk the dot index over *clock less position*, and tell each path that is met, deletes included, since a
 * delete leaves a ghost in the index. And a reader that is too slow is one that resumes: its list of changed paths
 * overflows, is thrown away, and the walk starts from the last position it took in full. The index is the buffer.
 *
 *     since ──resume──▶ walking ──────────▶ live ◀───────────────┐
 *               │                            │  list overflows: │ resume from the position
 *               └─below a floor─▶ listing ──▶┘ ─────────────────▶┘
 *
 * Ghosts are dropped in the end, and their actors' floors say up to where: from a position below a floor, a delete might
 * go untold. Then everything there is gets listed, between two marks: what is not listed is not there.
 *
 * Always true: a reader who took all items before one, and resumes from that item's position, gets every state that it
 * has not seen; it may get some twice.
 *
 * One subtlety. A record may have lost a dot to an event that is not in the clock yet (residue): no walk finds that. Who
 * was reading then was told; who resumes right then was not. So a walk begun while there is residue looks again when the
 * last of it has melted: if what the clock has come to contain meanwhile lies below a floor, it lists.
 *
 * Left to the caller: when to read, and to hand out only what is durable: read right after `seal`, hand out after
 * `durable`. Weakness: a time to live that ends is told when the record is removed, not in the moment it ends.
 */
import { malformed, Reader, Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import type { HeldDot } from '../../crdts/engine.ts';
import { HearsayError } from '../../crdts/error.ts';
import type { Path } from '../../crdts/path.ts';
import type { Entry, Row } from '../../crdts/record.ts';

/** What a feed reads from: the engine. */
export interface FeedSource {
  readonly clock: Clock;
  readonly floors: Clock;
  readonly hasResidue: boolean;
  read(path: Path): Row;
  rows(start: Path, end: Path): Iterable<readonly [Path, Row]>;
  walk(remaining: Clock, limit: number): HeldDot[];
}

export interface FeedOptions {
  /** The paths to tell of: `start` <= path < `end`. */
  readonly start: Path;
  readonly end: Path;
  /** Where to resume; `start`: from a listing of everything; `now`: nothing but what changes from here on. */
  readonly since: Clock | 'start' | 'now';
  /** Changed paths to remember while nobody reads; at least 1. */
  readonly bufferMax: number;
}

export type FeedItem =
  /** The record at `path`, as it is now; empty, or without live dots, where it was removed. */
  | { readonly type: 'state'; readonly path: Path; readonly entries: readonly Entry[] }
  | { readonly type: 'listing-begins' }
  | { readonly type: 'listing-ends' };

export interface FeedPage {
  /** May be empty when there is more: reading on costs as much as before, so let others run in between. */
  readonly items: readonly FeedItem[];
  /** The position for all items but the last, and for the last. Never changed afterwards. */
  readonly before: Clock;
  readonly after: Clock;
}

type Phase =
  | { readonly type: 'live' }
  | { readonly type: 'walking'; readonly target: Clock; readonly missing: Clock; readonly remaining: Clock }
  | { readonly type: 'listing'; readonly target: Clock; cursor: Path; hasBegun: boolean };

/** So many batches without a change in the range, and the position moves on by itself: what is elsewhere need not be walked over later. */
const QUIET_BATCHES = 256;

const LIVE: Phase = { type: 'live' };

export class Feed {
  readonly #source: FeedSource;
  readonly #start: Path;
  readonly #end: Path;
  readonly #bufferMax: number;
  /** Paths changed since they were last read, oldest change first. */
  readonly #changed = new Set<Path>();
  #hasOverflowed = false;
  #phase: Phase = LIVE;
  #position: Clock;
  #quietCount = 0;
  /** The clock at the last resume, while residue of that time is left. */
  #unsettled: Clock | null = null;

  constructor(source: FeedSource, { start, end, since, bufferMax }: FeedOptions) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    this.#bufferMax = bufferMax;
    this.#position = typeof since === 'string' ? (since === 'now' ? source.clock.clone() : new Clock()) : since;
    if (since === 'start') this.#list();
    else if (since !== 'now') this.#resume();
  }

  /** Paths that changed, in the order they did. Called for every batch, when the clock contains it and no later one. */
  changed(paths: readonly Path[]): void {
    const hadMore = this.hasMore;
    for (const path of paths) {
      if (path < this.#start || path >= this.#end || this.#hasOverflowed) continue;
      // Still to be listed, as it is by then.
      if (this.#phase.type === 'listing' && path >= this.#phase.cursor) continue;
      this.#changed.add(path);
      if (this.#changed.size > this.#bufferMax) this.missed();
    }
    if (hadMore || this.hasMore || ++this.#quietCount < QUIET_BATCHES) return;
    this.#quietCount = 0;
    this.#position = this.#source.clock.clone();
  }

  /** More changed than was told here: the index knows. */
  missed(): void {
    this.#hasOverflowed = true;
    this.#changed.clear();
  }

  /** Whether `read` has something to do. */
  get hasMore(): boolean {
    return (
      this.#changed.size > 0 ||
      this.#hasOverflowed ||
      this.#phase.type !== 'live' ||
      (this.#unsettled !== null && !this.#source.hasResidue)
    );
  }

  /** The next items, from at most `limit` records or dots; null when there is nothing to tell. */
  read(limit: number): FeedPage | null {
    this.#settle();
    if (this.#phase.type === 'live' && this.#hasOverflowed) this.#resume();
    switch (this.#phase.type) {
      case 'live':
        return this.#readChanged(limit);
      case 'walking':
        return this.#readWalk(this.#phase, limit);
      case 'listing':
        return this.#readListing(this.#phase, limit);
    }
  }

  #settle(): void {
    if (this.#unsettled === null || this.#source.hasResidue) return;
    const learned = this.#source.clock.minus(this.#unsettled);
    this.#unsettled = null;
    if (this.#isBelowFloor(learned)) this.#list();
  }

  /** Whether among `dots` there may be deletes that were forgotten here. Floors reach from 1 up. */
  #isBelowFloor(dots: Clock): boolean {
    for (const actor of dots.actors()) {
      if ((dots.firstRun(actor, 0)?.from ?? Number.POSITIVE_INFINITY) <= this.#source.floors.max(actor)) return true;
    }
    return false;
  }

  #forget(): void {
    this.#changed.clear();
    this.#hasOverflowed = false;
  }

  /** From the position on. */
  #resume(): void {
    const { clock, hasResidue } = this.#source;
    const missing = clock.minus(this.#position);
    if (this.#isBelowFloor(missing)) return this.#list();
    this.#forget();
    this.#unsettled = hasResidue ? clock.clone() : null;
    this.#phase = missing.isEmpty
      ? LIVE
      : { type: 'walking', target: clock.clone(), missing, remaining: missing.clone() };
  }

  #list(): void {
    this.#forget();
    this.#unsettled = null;
    this.#phase = { type: 'listing', target: this.#source.clock.clone(), cursor: this.#start, hasBegun: false };
  }

  #readChanged(limit: number): FeedPage | null {
    if (this.#changed.size === 0) return null;
    const items: FeedItem[] = [];
    for (const path of this.#changed) {
      if (items.length === limit) break;
      this.#changed.delete(path);
      items.push(this.#state(path));
    }
    return this.#page(items, this.#changed.size === 0 ? this.#source.clock.clone() : this.#position);
  }

  #readWalk({ target, missing, remaining }: Phase & { type: 'walking' }, limit: number): FeedPage | null {
    // A ghost that is dropped ahead of the walk is not met any more: only the list of changes knows of it then, and no
    // position may say that it was told before it was.
    const isForgetful = this.#isBelowFloor(missing);
    if (isForgetful && this.#hasOverflowed) {
      this.#list();
      return this.read(limit);
    }
    const paths = new Set(this.#source.walk(remaining, limit).map(({ path }) => path));
    const items: FeedItem[] = [];
    for (const path of paths) {
      if (path < this.#start || path >= this.#end) continue;
      this.#changed.delete(path);
      items.push(this.#state(path));
    }
    const told = isForgetful ? this.#position : target.minus(remaining);
    return this.#page(items, remaining.isEmpty ? this.#goLive(told) : told);
  }

  #readListing(phase: Phase & { type: 'listing' }, limit: number): FeedPage {
    const items: FeedItem[] = phase.hasBegun ? [] : [{ type: 'listing-begins' }];
    phase.hasBegun = true;
    let count = 0;
    for (const [path, { entries }] of this.#source.rows(phase.cursor, this.#end)) {
      phase.cursor = `${path}\x00`;
      if (entries.some(({ kind }) => kind === 'live')) items.push({ type: 'state', path, entries });
      if (++count === limit) return this.#page(items, this.#position);
    }
    items.push({ type: 'listing-ends' });
    return this.#page(items, this.#goLive(phase.target));
  }

  /** `told` was told, and what changed since is in the list, unless that has overflowed. Returns the position now. */
  #goLive(told: Clock): Clock {
    this.#phase = LIVE;
    return this.#changed.size === 0 && !this.#hasOverflowed ? this.#source.clock.clone() : told;
  }

  #state(path: Path): FeedItem {
    return { type: 'state', path, entries: this.#source.read(path).entries };
  }

  #page(items: readonly FeedItem[], after: Clock): FeedPage {
    const before = this.#position;
    this.#position = after;
    return { items, before, after };
  }
}

const POSITION_FORMAT = 1;

export function encodePosition(position: Clock): Uint8Array {
  const writer = new Writer();
  writer.byte(POSITION_FORMAT);
  position.write(writer);
  return writer.finish();
}

/** Throws `InvalidClock`. */
export function decodePosition(bytes: Uint8Array): Clock {
  try {
    const reader = new Reader(bytes);
    if (reader.byte() !== POSITION_FORMAT) throw malformed('not a position of a format known here');
    const position = Clock.read(reader);
    if (!reader.done) throw malformed('a position goes on after its end');
    return position;
  } catch (cause) {
    const text = 'this is no clock to resume a feed from: pass one that came with an item, or none';
    throw new HearsayError('InvalidClock', text, {}, cause);
  }
}
