/**
 * The oracle: what must be, worked out from the events alone.
 *
 * It watches every simulated disk, and that is all it knows: a dot that appears in a dot index for the first time in this
 * world is an event of the replica that owns the disk, and the row that was there before says what the event replaced, that
 * is, what its author had seen. From this follows what any set of events comes to (a live dot, unless an event of the set
 * replaced it), with no clocks, joins or messages involved. Whatever way the replicas found there, they must arrive at it.
 *
 * A counter is worth the sum of what was added, less the additions that a surviving reset had seen. "Seen" is meant
 * literally: the chains that stood in its author's record.
 *
 * What no one can be blamed for, and nothing beyond it: an event that was not durable when its node crashed must vanish
 * without a trace; one that a disk lost after it was durable (a restored backup, power gone under `relaxed`) may survive or
 * not, and only if no other replica had it at that moment. Of an event that is gone so, a later event of the same record
 * may still carry the effect (it replaced it, and whoever has the later one knows that), and so its removals may outlive it.
 */
import { Reader, toByteString } from '../../crdts/bytes.ts';
import type { Clock } from '../../crdts/clock.ts';
import { type Actor, formatActor } from '../../crdts/dot.ts';
import { numberOfKey } from '../../crdts/engine.ts';
import { type Path, parsePath, SYSTEM } from '../../crdts/path.ts';
import { EMPTY_ROW, type Entry, expiryOf, readRow, type Row } from '../../crdts/record.ts';
import { counterValue } from '../../crdts/types/counter.ts';
import { Fingerprint } from '../replica/fingerprint.ts';
import type { SimulatedDisk } from './disk.ts';
import { failure } from './failure.ts';
import { isPathHeld } from './operations.ts';
import { cheapHash } from './random.ts';

/** A dot as one string: what stands behind the letter and shard in a key of the dot index. */
export type DotId = string;

/** One process of one node: from its start to its end. */
export interface ProcessRun {
  readonly node: number;
  readonly name: string;
  /** Batches closed, and batches that the replica was told are durable. */
  sealed: number;
  durable: number;
  /** The wall time of the call that is under way, for what expires. */
  wallMs: number;
}

/** Additions of one chain, up to one event. */
interface ChainSeen {
  readonly chain: string;
  readonly n: number;
}

export interface SimulatedEvent {
  readonly id: DotId;
  readonly actor: Actor;
  readonly n: number;
  readonly run: ProcessRun;
  readonly batch: number;
  readonly path: Path;
  readonly entry: Entry;
  readonly replaces: readonly DotId[];
  /** Of a counter's addition. */
  readonly chain?: string;
  readonly delta?: bigint;
  /** Of a counter's reset. */
  readonly seen?: readonly ChainSeen[];
  /** A disk lost it after it was durable, and no other replica had it then: it may be gone. */
  mayBeLost: boolean;
}

const SHARD_BYTES = 2;
const ROWS = `r${'\0'.repeat(SHARD_BYTES)}`;
const ROWS_END = `r${'\0'.repeat(SHARD_BYTES - 1)}\x01`;
const DOTS = `d${'\0'.repeat(SHARD_BYTES)}`;
const GHOSTS = `g${'\0'.repeat(SHARD_BYTES)}`;
const FINGERPRINT = `k${'\0'.repeat(SHARD_BYTES)}`;
const DOT_INDEX = 'd'.charCodeAt(0);
const GHOST_INDEX = 'g'.charCodeAt(0);

const idOf = (entry: Entry): DotId => dotId(entry.actor, entry.n);

/** As `keyOfNumber` writes it, which is hot here. */
export function dotId(actor: Actor, n: number): DotId {
  if (n < 0x100) return `${actor}\x01${String.fromCharCode(n)}`;
  let text = '';
  for (let rest = n; rest >= 1; rest = Math.floor(rest / 256)) text = String.fromCharCode(rest % 256) + text;
  return actor + String.fromCharCode(text.length) + text;
}

const rowOf = (bytes: Uint8Array | undefined): Row => (bytes === undefined ? EMPTY_ROW : readRow(new Reader(bytes)));

/** What a set of events comes to. */
export interface Expected {
  /** The dots that are live. */
  readonly live: ReadonlySet<DotId>;
  readonly counters: ReadonlyMap<Path, bigint>;
}

export class Oracle {
  readonly #events = new Map<DotId, SimulatedEvent>();
  readonly #runs = new Map<Actor, ProcessRun>();
  /** Actors by the order of their appearance, per node: their names in stories. */
  readonly #names = new Map<Actor, string>();
  readonly #actorsOfNode = new Map<string, number>();
  readonly #isCounter = new Map<Path, boolean>();
  /** Events that were not durable when their node crashed: nobody may ever hear of them. */
  readonly #untold = new Map<DotId, SimulatedEvent>();
  /** Wherever a disk has gone back: records of which a durable event may be lost. */
  readonly #excused = new Set<Path>();
  /** Records that a disk lost without a trace, and the dots in them that nobody else held. */
  readonly #rotten = new Map<Path, { readonly events: number }>();
  readonly #rottenDots = new Set<DotId>();
  readonly #expiryGraceMs: number;
  /** Told of every event, for stories. */
  onEvent: ((event: SimulatedEvent) => void) | undefined;
  /** Told of every ghost that its holder drops. */
  onDrop: ((run: ProcessRun, event: SimulatedEvent) => void) | undefined;

  constructor(expiryGraceMs: number) {
    this.#expiryGraceMs = expiryGraceMs;
  }

  get eventCount(): number {
    return this.#events.size;
  }

  events(): IterableIterator<SimulatedEvent> {
    return this.#events.values();
  }

  /** True when a disk went back on events that no other replica had. */
  get hasExcuses(): boolean {
    return this.#excused.size > 0;
  }

  name(actor: Actor): string {
    return this.#names.get(actor) ?? formatActor(actor);
  }

  /** "B2:7": the seventh event of the second actor of node B. */
  nameOf(id: DotId): string {
    return `${this.name(id.slice(0, 8) as Actor)}:${numberOfKey(id.slice(8))}`;
  }

  /** The record as it was before the latest write that is not durable. */
  rowBefore(disk: SimulatedDisk, path: Path): Row {
    return rowOf(disk.before(ROWS + path));
  }

  // ---------------------------------------------------------------- watching

  /** A key is about to be written to the disk of `run`, or deleted from it. */
  watch(run: ProcessRun, disk: SimulatedDisk, key: string, value: Uint8Array | undefined): void {
    if (value === undefined) return this.#gone(run, disk, key);
    if (key.charCodeAt(0) !== DOT_INDEX) return;
    const id = key.slice(1 + SHARD_BYTES);
    const event = this.#events.get(id);
    if (event === undefined) this.#happened(run, disk, id, toByteString(value));
    else if (event.run !== run) this.#heard(run, event, toByteString(value));
  }

  /** A ghost leaves a record either because an event replaced it, or because its holder drops it. */
  #gone(run: ProcessRun, disk: SimulatedDisk, key: string): void {
    if (key.charCodeAt(0) !== GHOST_INDEX || this.onDrop === undefined) return;
    const event = this.#events.get(key.slice(1 + SHARD_BYTES));
    if (event === undefined) return;
    const before = rowOf(disk.before(ROWS + event.path));
    const after = rowOf(disk.get(ROWS + event.path));
    const isReplaced = after.entries.some(
      ({ actor, n }) => !before.entries.some((e) => e.n === n && e.actor === actor),
    );
    if (!isReplaced) this.onDrop(run, event);
  }

  /** The write call of `run` answered with this dot: it must name an event of that call, `from` its number among all. */
  answered(run: ProcessRun, actor: Actor, n: number, from: number): void {
    const event = this.#events.get(dotId(actor, n));
    if (event === undefined || event.run !== run || event.batch !== run.sealed + 1) {
      failure('DotReused', `${run.name} names a new event ${this.name(actor)}:${n}, which is an older one, or none`);
    }
    if (this.#events.size <= from) failure('DotReused', `${run.name} answered with an event that did not happen now`);
  }

  #happened(run: ProcessRun, disk: SimulatedDisk, id: DotId, path: Path): void {
    const actor = id.slice(0, 8) as Actor;
    const n = numberOfKey(id.slice(8));
    const untold = this.#untold.get(id);
    if (untold !== undefined) {
      const where = `${run.name} has ${this.nameOf(id)}, which was not durable when ${untold.run.name} crashed`;
      if (this.#runs.get(actor) !== run) failure('ToldBeforeDurable', where);
      failure('DotReused', where);
    }
    this.#name(run, actor, n);
    const before = rowOf(disk.before(ROWS + path));
    const after = rowOf(disk.get(ROWS + path));
    const entry = after.entries.find((each) => each.n === n && each.actor === actor);
    if (entry === undefined)
      return failure('IndexWithoutRow', `${run.name} indexes ${this.nameOf(id)} at a row without it`);
    const replaced = before.entries.filter(
      ({ n: m, actor: a }) => !after.entries.some((e) => e.n === m && e.actor === a),
    );
    const event: SimulatedEvent = {
      id,
      actor,
      n,
      run,
      batch: run.sealed + 1,
      path,
      entry,
      replaces: replaced.map(idOf),
      mayBeLost: false,
      ...(this.#isCounterPath(path) ? countingOf(entry, before, replaced) : undefined),
    };
    this.#events.set(id, event);
    this.onEvent?.(event);
  }

  #name(run: ProcessRun, actor: Actor, n: number): void {
    const owner = this.#runs.get(actor);
    if (owner === undefined) {
      const count = (this.#actorsOfNode.get(run.name) ?? 0) + 1;
      this.#actorsOfNode.set(run.name, count);
      this.#names.set(actor, `${run.name}${count}`);
      this.#runs.set(actor, run);
      if (n !== 1) failure('DotFromNowhere', `${run.name} has event ${n} of an actor that nobody has heard of`);
    } else if (owner !== run) {
      // A leaf keeps its actor over a clean close.
      if (owner.node !== run.node) failure('DotFromNowhere', `${run.name} made up event ${this.name(actor)}:${n}`);
      this.#runs.set(actor, run);
    }
    if (n > 1 && !this.#events.has(dotId(actor, n - 1))) {
      failure('DotSkipped', `${run.name} names ${this.name(actor)}:${n} before ${n - 1}`);
    }
  }

  #heard(run: ProcessRun, event: SimulatedEvent, path: Path): void {
    if (path !== event.path)
      failure('DotReused', `${run.name} holds ${this.nameOf(event.id)} at another path than its author`);
    if (event.run.durable < event.batch) {
      failure(
        'ToldBeforeDurable',
        `${run.name} was told of ${this.nameOf(event.id)} before it was durable at ${event.run.name}`,
      );
    }
  }

  #isCounterPath(path: Path): boolean {
    let is = this.#isCounter.get(path);
    if (is === undefined) {
      is = !path.startsWith(SYSTEM) && parsePath(path).type === 'counter';
      this.#isCounter.set(path, is);
    }
    return is;
  }

  /** An event that no operation of the schedule asked for may only remove what has expired, or say who a node is. */
  checkOwnWork(event: SimulatedEvent, disk: SimulatedDisk): void {
    if (event.path.startsWith(SYSTEM)) return;
    const expires = expiryOf(rowOf(disk.before(ROWS + event.path)).entries);
    if (event.entry.kind === 'ghost' && expires !== 0 && expires + this.#expiryGraceMs <= event.run.wallMs) return;
    failure(
      'UninvitedWrite',
      `${event.run.name} wrote ${this.nameOf(event.id)} by itself to a record that has not expired`,
    );
  }

  // ---------------------------------------------------------------- what disks lose

  /** `run` has crashed: events of its batches that are not durable never happened, and must not be known to anyone. */
  crashed(run: ProcessRun): void {
    for (const event of this.#events.values()) {
      if (event.run !== run || event.batch <= run.durable) continue;
      this.#untold.set(event.id, event);
      this.#events.delete(event.id);
    }
  }

  /** The clock of a replica went from `before` back to `after`; `others` are the clocks of all other replicas. */
  wentBack(before: Clock, after: Clock, others: readonly Clock[]): void {
    for (const event of this.#events.values()) {
      const { actor, n } = event;
      if (!before.has(actor, n) || after.has(actor, n) || others.some((clock) => clock.has(actor, n))) continue;
      event.mayBeLost = true;
      this.#excused.add(event.path);
    }
  }

  /**
   * Takes a record off a disk. With `isWhole` also its dots off the indexes, and its share off the stored fingerprint: the
   * disk is as if these writes had never been; else the fingerprint is spoilt. What nobody else holds of the record may be
   * gone for good, and what it said was deleted may come undone. False when there is no record to take.
   */
  rot(disk: SimulatedDisk, index: number, isWhole: boolean, others: readonly SimulatedDisk[]): boolean {
    const rows = [...disk.range(ROWS, ROWS_END)].filter(([key]) => !key.startsWith(SYSTEM, ROWS.length));
    const row = rows[index % Math.max(1, rows.length)];
    if (row === undefined) return false;
    const [key, bytes] = row;
    this.#rotten.set(key.slice(ROWS.length), { events: this.#events.size });
    disk.delete(key);
    for (const entry of rowOf(bytes).entries) {
      const id = idOf(entry);
      if (!others.some((other) => other.get(DOTS + id) !== undefined)) this.#rottenDots.add(id);
      if (isWhole) for (const space of [DOTS, GHOSTS]) disk.delete(space + id);
    }
    const sum = new Fingerprint(cheapHash, isWhole ? disk.get(FINGERPRINT) : undefined);
    if (isWhole) sum.change(key.slice(ROWS.length), rowOf(bytes), EMPTY_ROW);
    disk.put(FINGERPRINT, sum.bytes());
    disk.commit();
    disk.sync();
    return true;
  }

  // ---------------------------------------------------------------- judging

  /** What the events of `clock` come to. */
  expect(clock: Clock): Expected {
    const live = new Set<DotId>();
    const counters = new Map<Path, bigint>();
    const chains = new Map<string, number>();
    const survivors: SimulatedEvent[] = [];
    for (const event of this.#events.values()) {
      if (!clock.has(event.actor, event.n)) continue;
      survivors.push(event);
      if (event.entry.kind === 'live') live.add(event.id);
      if (event.seen === undefined) continue;
      for (const { chain, n } of event.seen) if (n > (chains.get(chain) ?? 0)) chains.set(chain, n);
    }
    for (const { replaces } of survivors) for (const id of replaces) live.delete(id);
    for (const { path, chain, delta, n, seen } of survivors) {
      if (chain === undefined && seen === undefined) continue;
      const counts = chain !== undefined && n > (chains.get(chain) ?? 0);
      counters.set(path, (counters.get(path) ?? 0n) + (counts ? (delta as bigint) : 0n));
    }
    return { live, counters };
  }

  /** All durable events are in `clock`, but for those that a disk may have lost; and none that was never told is. */
  checkSurvivors(clock: Clock, who: string): void {
    let known = 0;
    for (const event of this.#events.values()) {
      if (clock.has(event.actor, event.n)) known++;
      else if (!event.mayBeLost && event.run.durable >= event.batch) {
        failure('WriteLost', `${who} lacks ${this.nameOf(event.id)}, which was durable at ${event.run.name}`);
      }
    }
    for (const { actor, n, id, run } of this.#untold.values()) {
      if (clock.has(actor, n))
        failure('ToldBeforeDurable', `${who} claims ${this.nameOf(id)}, which ${run.name} lost, told to nobody`);
    }
    if (clock.dotCount !== known)
      failure('UnknownEvents', `the clock of ${who} has ${clock.dotCount} events, of which ${known} happened`);
  }

  /**
   * The rows on `disk` are what is expected: exactly, or exactly the share of a leaf with `interests` (undefined: all,
   * system records included).
   */
  checkContents(disk: SimulatedDisk, expected: Expected, who: string, interests?: readonly string[] | null): void {
    let found = 0;
    const isShare = interests !== undefined;
    for (const [key, value] of disk.range(ROWS, ROWS_END)) {
      const path = key.slice(ROWS.length);
      if (isShare && path.startsWith(SYSTEM)) continue;
      const { entries } = rowOf(value);
      if (isShare && !isPathHeld(interests, path) && entries.length > 0)
        failure('NotItsShare', `${who} holds a record outside its prefixes`);
      for (const entry of entries) found += this.#checkEntry(path, entry, expected, who);
      const sum = expected.counters.get(path);
      if (sum !== undefined && counterValue(entries) !== sum && !this.#excused.has(path) && this.#rotten.size === 0) {
        failure('CounterNotExact', `a counter at ${who} is ${counterValue(entries)} and must be ${sum}`);
      }
    }
    const wanted = isShare ? this.#share(expected.live, interests) : expected.live;
    if (found !== wanted.size) this.#checkMissing(disk, wanted, who);
  }

  #checkEntry(path: Path, entry: Entry, expected: Expected, who: string): number {
    const id = idOf(entry);
    const event = this.#events.get(id);
    if (event === undefined) return failure('DotFromNowhere', `${who} holds ${this.nameOf(id)}, which never happened`);
    const { kind, time, expires, body } = event.entry;
    const same = entry.kind === kind && entry.time === time && entry.expires === expires && isSame(entry.body, body);
    if (!same || event.path !== path)
      failure('DotReused', `${who} holds ${this.nameOf(id)} with contents that its author did not give it`);
    if (kind !== 'live') return 0;
    if (expected.live.has(id)) return 1;
    // A replica that finds events lost forgets all that it no longer holds, what was replaced included: that may be undone.
    if (this.#rotten.size > 0) return 0;
    return failure('CameBack', `${who} holds ${this.nameOf(id)} live, although ${this.#replacersOf(id)} replaced it`);
  }

  #checkMissing(disk: SimulatedDisk, wanted: ReadonlySet<DotId>, who: string): void {
    for (const id of wanted) {
      if (disk.get(DOTS + id) !== undefined || this.#rottenDots.has(id)) continue;
      if (this.#isOverRot((this.#events.get(id) as SimulatedEvent).path)) continue;
      // The removal that reached this record may have been lost itself, with its effect handed on by a later event.
      const { path } = this.#events.get(id) as SimulatedEvent;
      if (this.#excused.has(path) && this.#lostReplacers(id).length > 0) continue;
      failure('Vanished', `${who} lacks ${this.nameOf(id)}, and no event that survives replaced it`);
    }
  }

  /** Whoever lost a record and then has a new one there says by it that the lost dots were replaced. */
  #isOverRot(path: Path): boolean {
    const rot = this.#rotten.get(path);
    return rot !== undefined && [...this.#events.values()].slice(rot.events).some((event) => event.path === path);
  }

  #share(live: ReadonlySet<DotId>, interests: readonly string[] | null): Set<DotId> {
    const share = new Set<DotId>();
    for (const id of live) {
      const { path } = this.#events.get(id) as SimulatedEvent;
      if (!path.startsWith(SYSTEM) && isPathHeld(interests, path)) share.add(id);
    }
    return share;
  }

  #lostReplacers(id: DotId): SimulatedEvent[] {
    return [...this.#events.values()].filter((event) => event.mayBeLost && event.replaces.includes(id));
  }

  #replacersOf(id: DotId): string {
    const names = [...this.#events.values()]
      .filter(({ replaces }) => replaces.includes(id))
      .map((e) => this.nameOf(e.id));
    return names.length === 0 ? 'nothing known' : names.join(', ');
  }
}

/** The dots of the rows on a disk that are live, as one string: equal for equal contents. Rows outside `isWanted` do not count. */
export function contentsOf(disk: SimulatedDisk, isWanted: (path: Path) => boolean = () => true): string {
  const ids: DotId[] = [];
  for (const [key, value] of disk.range(ROWS, ROWS_END)) {
    if (!isWanted(key.slice(ROWS.length))) continue;
    for (const entry of rowOf(value).entries) if (entry.kind === 'live') ids.push(idOf(entry));
  }
  return ids.sort().join('');
}

/**
 * How many ghosts a disk holds that nobody can need once every member has them. A counter's mark is needed as long as
 * additions that it bears on are there; without `withMarks` marks do not count at all.
 */
export function ghostsOf(disk: SimulatedDisk, withMarks = true): number {
  let count = 0;
  for (const [, value] of disk.range(ROWS, ROWS_END)) {
    const { entries } = rowOf(value);
    const isMarkNeeded = !withMarks || entries.some(({ kind }) => kind === 'live');
    for (const { kind, body } of entries) if (kind === 'ghost' && (body.length === 0 || !isMarkNeeded)) count++;
  }
  return count;
}

/** The latest time, `maxMs` or before, at which a record on this disk expires; 0 when none does. */
export function latestExpiry(disk: SimulatedDisk, maxMs: number): number {
  let latest = 0;
  for (const [, value] of disk.range(ROWS, ROWS_END)) {
    const expires = expiryOf(rowOf(value).entries);
    if (expires > latest && expires <= maxMs) latest = expires;
  }
  return latest;
}

/** What an event at a counter means for its sum, from the row before it. */
function countingOf(
  entry: Entry,
  before: Row,
  replaced: readonly Entry[],
): Pick<SimulatedEvent, 'chain' | 'delta' | 'seen'> {
  if (entry.kind === 'ghost') {
    const seen = before.entries.filter(({ kind }) => kind === 'live').map((e) => ({ chain: chainOf(e).name, n: e.n }));
    return { seen };
  }
  const { name, total } = chainOf(entry);
  const extended = replaced.find((e) => e.kind === 'live' && chainOf(e).name === name);
  return { chain: name, delta: total - (extended === undefined ? 0n : chainOf(extended).total) };
}

function chainOf(entry: Entry): { name: string; total: bigint } {
  const reader = new Reader(entry.body);
  const name = dotId(entry.actor, reader.varint());
  return { name, total: BigInt(reader.varint()) - BigInt(reader.varint()) };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
