/**
 * The sending half of a stream: what brings one peer's clock up to mine. Pushes, rounds, and the ghosts' last word.
 *
 *     idle ──clock lacks something for roundDelayMs──▶ walking ──all walked, changed paths sent──▶ listing (if slow)
 *       ▲                                                                                             │
 *       └──────────── acknowledged (or refused: again later) ◀── completing ◀── complete sent ◀──────┘
 *
 * A *push* carries records that were just written here. It claims nothing beyond their dots. A *round* notes my clock (the
 * target) and sends every record that holds a dot of the target which the peer lacks; then *complete* lets the peer add
 * the target to its clock. What makes that true although records change while the round runs:
 *
 * ⚑ A record that loses a dot ahead of the walk is put on a list and sent too, as it then is, even if nothing is left of it.
 * ⚑ A path is skipped only once the peer has every dot that its record held when the round began; a path on the list is not.
 * ⚑ Records are read, and my clock told, in one synchronous step per frame.
 * ⚑ Floors go with complete, as they are when it is sent.
 *
 * When the peer's clock is below my floors, ghosts that I no longer have cannot tell it what was deleted. Then the round is
 * *slow*: of all that the peer has and I have seen, I list what I still hold (alive), and the peer drops the rest.
 *
 * A leaf's rounds complete for its own actors only: the rest of its clock is true only for its prefixes.
 */
import { Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import type { Actor } from '../../crdts/dot.ts';
import type { Path } from '../../crdts/path.ts';
import { type Entry, NO_BYTES, type Row, type SentRecord, writeRecords } from '../../crdts/record.ts';
import { FRAME_BYTES_MAX, WINDOW_BYTES_MAX } from '../protocol/messages.ts';
import type { Now } from './contract.ts';
import { type Core, jittered } from './core.ts';
import { encodeClock, type Link, type Said } from './link.ts';

/** Records are added to a frame until it is about this long; room is left for the record that crosses the line. */
const FRAME_BYTES_GOAL = FRAME_BYTES_MAX - 8 * 1024;
/** What a dot costs on the wire beside its payload, at most; for estimates. */
const ENTRY_BYTES = 32;
/** Dots read from the index at a time. */
const WALK_DOTS = 64;
/** Dots listed alive in one message, about: an interval of them costs two bytes or more. */
const ALIVE_DOTS = 8192;
/** Paths waiting for a push. More are left to the next round, which finds them by their dots. */
const PENDING_PATHS_MAX = 10_000;
/** Paths that changed ahead of a walk, at first and at most. A round that would need more begins again with twice as long a list. */
const CHANGED_PATHS = 1_000;
const CHANGED_PATHS_MAX = 128_000;

/** One for all senders: it is used within one synchronous step. */
const writer = new Writer(FRAME_BYTES_MAX);

/** A message with data that is not acknowledged yet. */
interface InFlight {
  readonly number: number;
  readonly bytes: number;
  readonly isPush: boolean;
  /** What its acknowledgement says of the peer's clock. */
  readonly dots: readonly Entry[];
  target: Clock | null;
}

interface Round {
  /** What the peer will have when it is complete, of what it lacked. */
  readonly target: Clock;
  /** Still to be walked: first what only I can be expected to deliver, then what others have had a while to. */
  readonly own: Clock;
  readonly others: Clock;
  readonly othersMs: number;
  readonly changed: Set<Path>;
  /** A changed path found no place on the list: this round cannot be completed. */
  isListFull: boolean;
  /** When slow: of what the peer had at the beginning and I have seen, what is not listed yet. */
  readonly unlisted: Clock | null;
  isCompleting: boolean;
}

export class Sender {
  readonly #core: Core;
  readonly #link: Link;
  readonly #pending = new Set<Path>();
  readonly #flight: InFlight[] = [];
  readonly #flightDots = new Clock();
  #flightBytes = 0;
  #acked = 0;
  #round: Round | null = null;
  /** Of a leaf: what others wrote and its rounds have walked over. It cannot complete it, so it is no reason for another round. */
  readonly #walked = new Clock();
  #roundMs: number;
  #changedMax = CHANGED_PATHS;

  constructor(core: Core, link: Link, nowMs: number) {
    this.#core = core;
    this.#link = link;
    this.#roundMs = nowMs;
  }

  get hasRound(): boolean {
    return this.#round !== null;
  }

  get isIdle(): boolean {
    return this.#round === null && this.#flight.length === 0 && this.#pending.size === 0;
  }

  // ---------------------------------------------------------------- what happens here

  /** A record was written here (or by a leaf attached here) and should go to the peer at once. */
  written(path: Path): void {
    if (!this.#link.wants(path)) return;
    if (this.#pending.size < PENDING_PATHS_MAX) this.#pending.add(path);
    else this.#core.count('pushes left to a round');
  }

  /** A record changed, for whatever reason. ⚑ If it lost a dot ahead of the walk, the round must send it as well. */
  changed(path: Path, before: Row, after: Row): void {
    const round = this.#round;
    if (round === null || round.isCompleting || round.changed.has(path)) return;
    const isLossAhead = before.entries.some(
      (entry) =>
        (round.own.has(entry.actor, entry.n) || round.others.has(entry.actor, entry.n)) &&
        !after.entries.includes(entry),
    );
    if (!isLossAhead || !this.#link.wants(path)) return;
    this.#core.count('round: changed ahead of the walk');
    if (round.changed.size < this.#changedMax) round.changed.add(path);
    else round.isListFull = true;
  }

  /** My clock has grown, and the peer lacks it: it gets a while to come by a push or from others before a round sends it. */
  learned(now: Now): void {
    if (this.#round === null && this.#roundMs === Number.POSITIVE_INFINITY) this.#roundMs = this.#later(now);
  }

  #later(now: Now): number {
    return now.monoMs + jittered(this.#core.pace.roundDelayMs, 0.4, this.#core.random);
  }

  // ---------------------------------------------------------------- sending

  /** Sends what may be sent now: a push when none is under way, then the round as far as the window reaches. */
  advance(now: Now): void {
    if (!this.#link.isReady) return;
    this.#push(now);
    if (this.#round === null && now.monoMs >= this.#roundMs) this.#begin(now);
    this.#walk(now);
  }

  /** The monotonic time at which `advance` has something to do, if nothing happens before. */
  nextMs(): number {
    if (!this.#link.isReady) return Number.POSITIVE_INFINITY;
    const round = this.#round;
    if (round === null) return this.#isMissingSomething() ? this.#roundMs : Number.POSITIVE_INFINITY;
    // Without room it is an acknowledgement that lets it go on, not time.
    const isWaiting = !round.isCompleting && round.own.isEmpty && !round.others.isEmpty && this.#hasRoom;
    return isWaiting ? round.othersMs : Number.POSITIVE_INFINITY;
  }

  get #hasRoom(): boolean {
    return this.#flightBytes + FRAME_BYTES_MAX <= WINDOW_BYTES_MAX;
  }

  #push(now: Now): void {
    if (this.#pending.size === 0 || !this.#hasRoom || this.#flight.some((message) => message.isPush)) return;
    const records: SentRecord[] = [];
    let bytes = 0;
    for (const path of this.#pending) {
      if (bytes >= FRAME_BYTES_GOAL) break;
      this.#pending.delete(path);
      // Asked again: what was written before the peer's hello was noted for a peer whose prefixes were not known.
      if (!this.#link.wants(path)) continue;
      const row = this.#core.engine.read(path);
      if (!row.entries.some((entry) => !this.#willHave(entry))) continue;
      const record = this.#recordOf(path, row);
      records.push(record);
      bytes += sizeOf(record);
    }
    if (records.length > 0) this.#sendRecords(records, true, now);
  }

  #willHave({ actor, n }: Entry): boolean {
    return this.#link.peer.has(actor, n) || this.#flightDots.has(actor, n);
  }

  /** The record as it is now; payloads only of dots that the peer has not acknowledged, ghosts only if it has never had them. */
  #recordOf(path: Path, row: Row): SentRecord {
    const { peer } = this.#link;
    const entries: Entry[] = [];
    for (const entry of row.entries) {
      if (!peer.has(entry.actor, entry.n)) entries.push(entry);
      else if (entry.kind === 'live') entries.push(omitted(entry));
    }
    return { path, entries, residue: this.#core.engine.residueOf(row) };
  }

  /** ⚑ One instant: called in the same synchronous step in which the records were read. */
  #sendRecords(records: readonly SentRecord[], isPush: boolean, now: Now): void {
    const { shard } = this.#core.engine;
    writeRecords(writer.reset(), records);
    const told = this.#link.takeUntold(now.monoMs);
    const dots = records.flatMap(({ entries }) => entries.filter((entry) => entry.kind !== 'omitted'));
    for (const { actor, n } of dots) this.#flightDots.add(actor, n);
    const message = { type: 'records', shard, told, records: writer.finish() } as const;
    this.#sent(this.#link.say(message, this.#core.batch()), dots, isPush);
    for (const { path } of records) {
      this.#pending.delete(path);
      // The frame goes before the round's complete, on the same ordered link: what the list would send is in it.
      this.#round?.changed.delete(path);
    }
  }

  #sent(said: Said, dots: readonly Entry[] = [], isPush = false, target: Clock | null = null): void {
    // Of a message in parts, the parts have a window of their own.
    const bytes = Math.min(said.bytes, FRAME_BYTES_MAX);
    this.#flightBytes += bytes;
    this.#flight.push({ number: said.number, bytes, isPush, dots, target });
  }

  #begin(now: Now): void {
    const { engine, identity, role, random, pace } = this.#core;
    const { peer } = this.#link;
    this.#roundMs = Number.POSITIVE_INFINITY;
    if (!this.#isMissingSomething()) return;
    const target = peer.behind.minus(this.#walked);
    const actors = role === 'leaf' ? [...target.actors()].filter((actor) => identity.isOwn(actor)) : null;
    const own = new Clock();
    const others = new Clock();
    target.forEach((actor, from, to) => (this.#isMineToDeliver(actor) ? own : others).add(actor, from, to));
    const isSlow = isBelow(actors === null ? target : only(target, actors), engine.floors);
    if (isSlow) this.#core.count('round: slow');
    this.#round = {
      target,
      own,
      others,
      othersMs: this.#hasOtherPeers() ? now.monoMs + jittered(pace.roundDelayMs, 0.4, random) : now.monoMs,
      changed: new Set(),
      isListFull: false,
      // Also of a leaf: for its prefixes its whole clock is true, and the peer looks at no others.
      unlisted: isSlow ? engine.clock.minus(peer.behind) : null,
      isCompleting: false,
    };
    this.#core.count('round: begun');
    const message = {
      type: 'begin',
      shard: engine.shard,
      told: this.#link.takeUntold(now.monoMs),
      slow: isSlow,
      acked: this.#acked,
      actors: actors === null ? null : packActors(actors),
    } as const;
    this.#sent(this.#link.say(message, this.#core.batch()));
  }

  /** True when a round would have something to bring. */
  #isMissingSomething(): boolean {
    const { behind } = this.#link.peer;
    return !behind.isEmpty && (this.#walked.isEmpty || !this.#walked.contains(behind));
  }

  #isMineToDeliver(actor: Actor): boolean {
    if (this.#core.identity.isOwn(actor)) return true;
    for (const link of this.#core.links.values()) if (link.info?.role === 'leaf' && link.actor === actor) return true;
    return false;
  }

  #hasOtherPeers(): boolean {
    for (const link of this.#core.links.values())
      if (link !== this.#link && link.isReady && link.info?.role === 'member') return true;
    return false;
  }

  #walk(now: Now): void {
    const round = this.#round;
    if (round === null || round.isCompleting) return;
    while (!round.own.isEmpty && this.#hasRoom) this.#walkSome(round, round.own, now);
    if (!round.own.isEmpty || (!round.others.isEmpty && now.monoMs < round.othersMs)) return;
    // What others have delivered meanwhile need not even be read: of such a path the peer has every dot of the beginning,
    // or another of them is still to be walked.
    round.others.removeAll(round.others.minus(this.#link.peer.behind));
    while (!round.others.isEmpty && this.#hasRoom) this.#walkSome(round, round.others, now);
    if (!round.others.isEmpty) return;
    if (round.isListFull) return this.#beginAgain(now);
    while (round.changed.size > 0 && this.#hasRoom) this.#sendChanged(round, now);
    if (round.changed.size > 0) return;
    while (round.unlisted !== null && !round.unlisted.isEmpty && this.#hasRoom) this.#list(round.unlisted);
    if (round.unlisted !== null && !round.unlisted.isEmpty) return;
    if (this.#hasRoom) this.#complete(round);
  }

  /** Sends one frame of records that hold dots of `remaining`, or finds that none are left. */
  #walkSome(round: Round, remaining: Clock, now: Now): void {
    const { engine } = this.#core;
    const records: SentRecord[] = [];
    const visited = new Set<Path>();
    let bytes = 0;
    while (!remaining.isEmpty && bytes < FRAME_BYTES_GOAL) {
      const found = engine.walk(remaining, WALK_DOTS);
      for (const { actor, n, path } of found) {
        if (bytes >= FRAME_BYTES_GOAL) {
          // Read, but not sent with this frame: it is ahead of the walk again.
          if (!visited.has(path)) remaining.add(actor, n);
          continue;
        }
        if (visited.has(path) || !this.#link.wants(path)) continue;
        visited.add(path);
        const row = engine.read(path);
        // ⚑ Unless it changed ahead of the walk, the record holds at least all dots that it held when the round began.
        if (!round.changed.has(path) && row.entries.every((entry) => this.#willHave(entry))) {
          this.#core.count('round: skipped, the peer has it');
          continue;
        }
        const record = this.#recordOf(path, row);
        records.push(record);
        bytes += sizeOf(record);
        for (const entry of row.entries) {
          round.own.remove(entry.actor, entry.n);
          round.others.remove(entry.actor, entry.n);
        }
      }
    }
    if (records.length > 0) this.#sendRecords(records, false, now);
  }

  /** ⚑ Records that lost a dot ahead of the walk, as they are now: also when nothing is left of them. */
  #sendChanged(round: Round, now: Now): void {
    const records: SentRecord[] = [];
    let bytes = 0;
    for (const path of round.changed) {
      if (bytes >= FRAME_BYTES_GOAL) break;
      const row = this.#core.engine.read(path);
      if (row.entries.length === 0) this.#core.count('round: empty record sent');
      const record = this.#recordOf(path, row);
      records.push(record);
      bytes += sizeOf(record);
    }
    this.#sendRecords(records, false, now);
  }

  #beginAgain(now: Now): void {
    this.#core.count('round: begun again');
    this.#changedMax = Math.min(2 * this.#changedMax, CHANGED_PATHS_MAX);
    this.#round = null;
    this.#roundMs = now.monoMs;
    this.#begin(now);
  }

  /** ⚑ Of a piece of what both have seen: what I hold of it now, after the target was noted. */
  #list(unlisted: Clock): void {
    const { engine } = this.#core;
    const before = unlisted.clone();
    const held = new Clock();
    for (const { actor, n } of engine.walk(unlisted, ALIVE_DOTS)) held.add(actor, n);
    this.#sayAlive(before.minus(unlisted), held);
  }

  #sayAlive(scope: Clock, held: Clock): void {
    const { shard } = this.#core.engine;
    const message = {
      type: 'alive',
      shard,
      scope: encodeClock(scope),
      held: encodeClock(held),
    } as const;
    this.#sent(this.#link.say(message, this.#core.batch()));
  }

  #complete(round: Round): void {
    round.isCompleting = true;
    const { shard } = this.#core.engine;
    const message = { type: 'complete', shard, floors: this.#link.takeUntoldFloors() } as const;
    this.#sent(this.#link.say(message, this.#core.batch()), [], false, round.target);
  }

  /** Records to be copied whatever the clocks say, after a guard alarm. */
  copy(records: readonly SentRecord[]): void {
    writeRecords(writer.reset(), records);
    const message = {
      type: 'copies',
      shard: this.#core.engine.shard,
      records: writer.finish(),
    } as const;
    this.#sent(this.#link.say(message, this.#core.batch()));
  }

  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  // ---------------------------------------------------------------- what the peer answers

  /** All up to that number is durable there. `isRefused`: something of that message itself was not taken; it implies nothing. */
  acknowledged(upTo: number, isRefused: boolean, now: Now): void {
    const { peer } = this.#link;
    this.#acked = upTo;
    let count = 0;
    for (const message of this.#flight) {
      if (message.number > upTo) break;
      count++;
      this.#flightBytes -= message.bytes;
      for (const { actor, n } of message.dots) this.#flightDots.remove(actor, n);
      if (isRefused && message.number === upTo) continue;
      for (const { actor, n } of message.dots) peer.told(actor, n, n);
      if (message.target !== null) this.#completed(message.target, now);
    }
    this.#flight.splice(0, count);
    if (isRefused) this.#abandon(now);
    if (this.#round === null && this.#roundMs === Number.POSITIVE_INFINITY && !peer.behind.isEmpty)
      this.#roundMs = this.#later(now);
  }

  #completed(target: Clock, now: Now): void {
    const { peer } = this.#link;
    const { role, identity } = this.#core;
    // ⚑ A leaf completes for its own actors only. What it holds of others has been sent and acknowledged dot by dot.
    target.forEach((actor, from, to) => {
      if (role === 'member' || identity.isOwn(actor)) peer.told(actor, from, to);
      else this.#walked.add(actor, from, to);
    });
    this.#core.count('round: completed');
    this.#changedMax = CHANGED_PATHS;
    this.#round = null;
    this.#roundMs = this.#isMissingSomething() ? this.#later(now) : Number.POSITIVE_INFINITY;
  }

  #abandon(now: Now): void {
    this.#core.count('round: refused by the peer');
    this.#round = null;
    this.#roundMs = this.#later(now);
  }

  /** ⚑ The complete could not take effect: the peer holds these dots, and I have said nothing of them. Now I do. */
  named(dots: Clock): void {
    const round = this.#round;
    if (round === null || !round.isCompleting) return;
    for (const message of this.#flight) message.target = null;
    const { engine } = this.#core;
    const scope = dots.intersect(engine.clock);
    const held = new Clock();
    for (const { actor, n } of engine.walk(scope.clone(), Number.POSITIVE_INFINITY)) held.add(actor, n);
    this.#core.count('round: named dots answered');
    this.#sayAlive(scope, held);
    this.#complete(round);
  }
}

/** A literal, not a spread: V8 builds spreads with overwritten fields through slow transitions, microseconds each. */
const omitted = ({ actor, n, time }: Entry): Entry => ({ actor, n, time, kind: 'omitted', expires: 0, body: NO_BYTES });

const sizeOf = ({ path, entries, residue }: SentRecord): number =>
  path.length +
  entries.reduce((sum, { body }) => sum + body.length + ENTRY_BYTES, 0) +
  (residue === null ? 0 : 16 * residue.intervalCount);

/** True when some dot of `missing` may have been a ghost that was dropped. */
function isBelow(missing: Clock, floors: Clock): boolean {
  for (const actor of missing.actors()) {
    const first = missing.firstRun(actor, 0);
    if (first !== null && first.from <= floors.max(actor)) return true;
  }
  return false;
}

function only(clock: Clock, actors: readonly Actor[]): Clock {
  const part = new Clock();
  for (const actor of actors) for (const { from, to } of clock.intervalsOf(actor)) part.add(actor, from, to);
  return part;
}

function packActors(actors: readonly Actor[]): Uint8Array {
  writer.reset();
  for (const actor of actors) writer.byteString(actor);
  return writer.finish();
}
