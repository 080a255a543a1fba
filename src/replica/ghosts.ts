/**
 * When a delete may be forgotten. A ghost is dropped by its holder alone, when nobody can need it any more:
 *
 * ⚑ every member's clock contains it, as told here, and its record has no residue here.
 *
 * A counter's mark bears on additions that the resetter had not seen, so besides:
 *
 * ⚑ every actor that it names was *heard*: I know a clock of that actor's replica which contains the mark, and mine
 *   contains all of that clock. From then on the actor extends no chain that the mark names, and I have all that it did
 *   before. Another replica's word for it counts once my clock contains what its clock was then.
 * ⚑ An actor that has *ended* counts as heard once I know such a clock of every member: its own node's word on where it
 *   ended may be old (a restored backup), and others may have had more of it.
 * ⚑ No dot of a chain that it names is left in the record.
 *
 * A leaf knows too few clocks. It asks a member, and drops what it is told is stable. Members ask each other about marks:
 * one that has dropped a mark had heard whoever had to be, and so has everyone whose clock contains what its clock was then.
 *
 * What was dropped is remembered as the actor's floor (Engine.dropGhost), which makes rounds to those who missed it slow.
 * Dropping too late costs 30 bytes; dropping too early, for a member that comes back from a backup, is healed by `alive`.
 */
import { Reader, Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import { type Actor, type Dot, formatDot } from '../../crdts/dot.ts';
import type { Entry } from '../../crdts/record.ts';
import { chainBegin, readMark } from '../../crdts/types/counter.ts';
import type { Core, Now } from './core.ts';
import { decodeClock, encodeClock, type Link } from './link.ts';
import type { PeerClock } from './peer-clock.ts';

/** Ghosts looked at in one sweep; the next goes on where it stopped. */
const GHOSTS_A_SWEEP = 1_000;
/** Marks that wait for actors to be heard, at most, at a time; others wait for their turn. */
const MARKS_MAX = 1_000;

/** With a sweep a second, half a minute. */
const SWEEPS_BETWEEN_QUESTIONS = 32;

/** A mark that is still held, and what was heard about it. */
interface Waiting extends Dot {
  /** Actors heard, whether named by the mark or not. */
  readonly actors: Set<Actor>;
  /** Nodes of which such a clock is known. */
  readonly nodes: Set<string>;
}

/** "At this moment of the link, these things held"; true for me once my clock contains what the peer's was. */
interface Claim {
  readonly lacking: Clock;
  readonly apply: () => void;
}

export class Ghosts {
  readonly #core: Core;
  /** The last known clock of each member that was ever connected in this run. */
  readonly #members = new Map<string, PeerClock>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #claims = new Map<Link, Claim[]>();
  /** Marks that a link was asked about lately. */
  readonly #asked = new Map<Link, Clock>();
  #sweeps = 0;
  /** Pairs of a mark and an actor heard that the other peers have not been told. */
  readonly #news = new Map<string, { mark: Dot; actors: Set<Actor> }>();
  #after: Dot | undefined;

  constructor(core: Core) {
    this.#core = core;
  }

  /** The clock of a member's new connection stands for that member from now on, also after the connection is gone. */
  knows(node: string, peer: PeerClock): void {
    this.#members.set(node, peer);
  }

  learned(actor: Actor, from: number, to: number, isLinked: (peer: PeerClock) => boolean): void {
    for (const peer of this.#members.values()) if (!isLinked(peer)) peer.learned(actor, from, to);
  }

  closed(link: Link): void {
    this.#claims.delete(link);
    this.#asked.delete(link);
  }

  /**
   * One look at some of the ghosts. Drops those that may go; asks a member when this is a leaf. True when it dropped some
   * and there are more: then the next look should come soon.
   */
  sweep(now: Now): boolean {
    const { engine, role } = this.#core;
    this.#hear();
    const page = engine.ghosts(GHOSTS_A_SWEEP, this.#after);
    this.#after = page.length < GHOSTS_A_SWEEP ? undefined : page.at(-1);
    if (role === 'leaf') {
      this.#askStable(page);
      return false;
    }
    const clocks = this.#clocksOfOthers();
    const stable = page.filter((ghost) => isKnownTo(clocks, ghost));
    const left = stable.filter((ghost) => !this.#dropIfFree(ghost));
    this.#askAbout(left.filter((ghost) => this.#isMark(ghost)));
    this.#tellNews(now);
    return left.length < stable.length && this.#after !== undefined;
  }

  /** The last known clocks of all other members; null while one of them was never met in this run. */
  #clocksOfOthers(): PeerClock[] | null {
    const clocks: PeerClock[] = [];
    for (const node of this.#core.identity.members()) {
      if (node === this.#core.identity.node) continue;
      const clock = this.#members.get(node);
      if (clock === undefined) return null;
      clocks.push(clock);
    }
    return clocks;
  }

  /**
   * `ghost` is stable: drops it unless its record has residue, or it is a mark that still waits. `isVouched`: a member has
   * dropped it, and my clock contains what that member's was; so whoever had to be heard was.
   */
  #dropIfFree(ghost: Dot, isVouched = false): boolean {
    const { engine } = this.#core;
    const path = engine.pathOf(ghost.actor, ghost.n);
    if (path === null) return false;
    const row = engine.read(path);
    const entry = row.entries.find(({ actor, n }) => actor === ghost.actor && n === ghost.n);
    if (entry?.kind !== 'ghost') return false;
    if (engine.residueOf(row) !== null) return this.#keep('ghost: kept for residue');
    if (entry.body.length > 0 && !this.#isMarkDone(entry, row.entries, isVouched))
      return this.#keep('ghost: mark kept');
    engine.dropGhost(ghost.actor, ghost.n);
    this.#waiting.delete(formatDot(ghost.actor, ghost.n));
    this.#core.count('ghost: dropped');
    return true;
  }

  #keep(why: string): false {
    this.#core.count(why);
    return false;
  }

  // ---------------------------------------------------------------- marks

  #isMarkDone(mark: Entry, entries: readonly Entry[], isVouched: boolean): boolean {
    const chains = readMark(mark.body);
    const isChainLeft = entries.some(
      (entry) =>
        entry.kind === 'live' &&
        chains.some(({ actor, begin }) => actor === entry.actor && begin === chainBegin(entry)),
    );
    if (isChainLeft) return false;
    if (isVouched) return true;
    const waiting = this.#waitingFor(mark);
    return waiting !== null && chains.every(({ actor }) => this.#isHeard(actor, waiting));
  }

  #waitingFor({ actor, n }: Dot): Waiting | null {
    const key = formatDot(actor, n);
    let waiting = this.#waiting.get(key);
    if (waiting === undefined) {
      if (this.#waiting.size >= MARKS_MAX) return null;
      waiting = { actor, n, actors: new Set(), nodes: new Set() };
      this.#waiting.set(key, waiting);
    }
    return waiting;
  }

  #isHeard(actor: Actor, { actors, nodes }: Waiting): boolean {
    const { engine, identity } = this.#core;
    if (actor === engine.actor || actors.has(actor)) return true;
    if (!this.#hasEnded(actor)) return false;
    for (const node of identity.members()) if (node !== identity.node && !nodes.has(node)) return false;
    this.#core.count('ghost: ended actor heard of all members');
    return true;
  }

  /** It can write no more: its node has begun another run, or is connected and says that it writes under another actor. */
  #hasEnded(actor: Actor): boolean {
    const { identity, engine } = this.#core;
    const node = identity.nodeOf(actor);
    if (node === null) return false;
    if (node === identity.node) return actor !== engine.actor;
    for (const link of this.#core.links.values())
      if (link.isReady && link.info?.node === node) return link.actor !== actor;
    return (
      identity
        .nodes()
        .get(node)
        ?.runs.some((run) => run.actor === actor && run.ended !== 0) ?? false
    );
  }

  /** Looks at every link: whose clock contains which marks, and does mine contain that clock? */
  #hear(): void {
    for (const link of this.#core.links.values()) {
      if (!link.isReady || link.info === null) continue;
      this.#settle(link);
      const { node } = link.info;
      const { actor } = link;
      const marks = [...this.#waiting.values()].filter(
        (mark) =>
          link.peer.has(mark.actor, mark.n) && !(mark.nodes.has(node) && (actor === null || mark.actors.has(actor))),
      );
      if (marks.length > 0) {
        this.#claim(link, () => {
          for (const mark of marks) {
            mark.nodes.add(node);
            if (actor !== null) this.#heard(mark, actor);
          }
        });
      }
    }
  }

  #heard(mark: Waiting, actor: Actor): void {
    if (mark.actors.has(actor)) return;
    mark.actors.add(actor);
    const key = formatDot(mark.actor, mark.n);
    const news = this.#news.get(key) ?? { mark, actors: new Set() };
    news.actors.add(actor);
    this.#news.set(key, news);
  }

  /** ⚑ What a peer's clock says counts once mine contains it, as it is told now. One claim waits per link, and its successor. */
  #claim(link: Link, apply: () => void): void {
    const claims = this.#claims.get(link) ?? [];
    const lacking = link.peer.ahead.clone();
    // A later clock of the peer contains the earlier, so what waits for the earlier may as well wait for this one.
    const last = claims.length >= 2 ? claims.pop() : undefined;
    claims.push({
      lacking,
      apply() {
        last?.apply();
        apply();
      },
    });
    this.#claims.set(link, claims);
    this.#settle(link);
  }

  #settle(link: Link): void {
    const claims = this.#claims.get(link);
    if (claims === undefined) return;
    while (claims[0] !== undefined && this.#core.engine.clock.contains(claims[0].lacking)) {
      claims[0].apply();
      this.#core.count('ghost: clock heard');
      claims.shift();
    }
  }

  /** Tells what was heard to those who cannot hear it themselves: in a partial mesh, or of a leaf attached here. */
  #tellNews(now: Now): void {
    if (this.#news.size === 0) return;
    const writer = new Writer();
    for (const { mark, actors } of this.#news.values()) {
      writer.byteString(mark.actor);
      writer.varint(mark.n);
      writer.varint(actors.size);
      for (const actor of actors) writer.byteString(actor);
    }
    this.#news.clear();
    const heard = writer.finish();
    const { shard } = this.#core.engine;
    for (const link of this.#core.links.values()) {
      if (!link.isReady || link.info?.role !== 'member') continue;
      link.say({ type: 'heard', shard, told: link.takeUntold(now.monoMs), heard }, this.#core.batch());
    }
  }

  /** Another's word for which actors were heard of which marks: ⚑ it counts once my clock contains what theirs was then. */
  told(link: Link, heard: Uint8Array): void {
    const reader = new Reader(heard);
    const pairs: { mark: Waiting; actors: Actor[] }[] = [];
    while (!reader.done) {
      const dot: Dot = { actor: reader.byteString(8) as Actor, n: reader.varint() };
      const actors = Array.from(
        { length: Math.min(reader.varint(), reader.left) },
        () => reader.byteString(8) as Actor,
      );
      const mark = this.#core.engine.pathOf(dot.actor, dot.n) === null ? null : this.#waitingFor(dot);
      if (mark !== null) pairs.push({ mark, actors });
    }
    if (pairs.length === 0) return;
    this.#claim(link, () => {
      for (const { mark, actors } of pairs) for (const actor of actors) this.#heard(mark, actor);
      this.#core.count('ghost: passed on as heard');
    });
  }

  // ---------------------------------------------------------------- asking a member

  /**
   * Marks that wait here, although every member knows them: another member may have dropped them while I was away, and
   * what it had heard it told to those who were there. Each link is asked about each now and then: it may not have dropped
   * the mark yet, or not know yet that everyone has it.
   */
  #askAbout(marks: readonly Dot[]): void {
    if (this.#sweeps++ % SWEEPS_BETWEEN_QUESTIONS === 0) this.#asked.clear();
    if (marks.length === 0) return;
    for (const link of this.#core.links.values()) {
      if (!link.isReady || link.info?.role !== 'member') continue;
      const asked = this.#asked.get(link) ?? new Clock();
      this.#asked.set(link, asked);
      const dots = new Clock();
      for (const { actor, n } of marks) if (asked.add(actor, n)) dots.add(actor, n);
      if (!dots.isEmpty)
        link.say({ type: 'ask-stable', shard: this.#core.engine.shard, dots: encodeClock(dots) }, this.#core.batch());
    }
  }

  #askStable(ghosts: readonly Dot[]): void {
    if (ghosts.length === 0) return;
    const dots = new Clock();
    for (const { actor, n } of ghosts) dots.add(actor, n);
    for (const link of this.#core.links.values()) {
      if (!link.isReady || link.info?.role !== 'member') continue;
      link.say({ type: 'ask-stable', shard: this.#core.engine.shard, dots: encodeClock(dots) }, this.#core.batch());
      return;
    }
  }

  /** Of these dots, those that every member's clock contains; of marks, those that I have dropped, or replaced by later ones. */
  answerStable(link: Link, dots: Uint8Array): void {
    const stable = new Clock();
    const clocks = this.#clocksOfOthers();
    let count = 0;
    for (const dot of decodeClock(dots).dots()) {
      if (++count > GHOSTS_A_SWEEP) break;
      if (this.#core.engine.clock.has(dot.actor, dot.n) && isKnownTo(clocks, dot) && !this.#isMark(dot))
        stable.add(dot.actor, dot.n);
    }
    if (!stable.isEmpty)
      link.say({ type: 'stable', shard: this.#core.engine.shard, dots: encodeClock(stable) }, this.#core.batch());
  }

  #isMark({ actor, n }: Dot): boolean {
    const path = this.#core.engine.pathOf(actor, n);
    return (
      path !== null &&
      this.#core.engine
        .read(path)
        .entries.some((entry) => entry.actor === actor && entry.n === n && entry.body.length > 0)
    );
  }

  /** A member says: these are stable, and of marks, I have dropped them. ⚑ A leaf drops nothing else. */
  toldStable(link: Link, dots: Uint8Array): void {
    const marks: Dot[] = [];
    let count = 0;
    for (const dot of decodeClock(dots).dots()) {
      if (++count > GHOSTS_A_SWEEP) break;
      if (this.#isMark(dot)) marks.push(dot);
      else if (this.#core.role === 'leaf') this.#dropIfFree(dot);
    }
    if (marks.length > 0) this.#claim(link, () => marks.forEach((mark) => this.#dropVouched(mark)));
  }

  #dropVouched(mark: Dot): void {
    if (this.#core.role === 'leaf' || isKnownTo(this.#clocksOfOthers(), mark)) this.#dropIfFree(mark, true);
  }
}

const isKnownTo = (clocks: readonly PeerClock[] | null, { actor, n }: Dot): boolean =>
  clocks !== null && clocks.every((clock) => clock.has(actor, n));
