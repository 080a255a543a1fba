/**
 * The receiving half of a stream: takes records and rounds from one peer, and acknowledges them once they are durable.
 *
 *     no round ──begin──▶ open ──complete, all applied──▶ no round, my clock contains the target
 *                          │  └──complete, some dot of mine unaccounted for──▶ named, still open
 *                          └──something refused──▶ spoilt ──complete──▶ ignored, counted, the sender told
 *
 * ⚑ From records my clock gains exactly the dots received; what else they cover stays as residue (Engine.receive).
 * ⚑ Only a complete lets my clock become mine ∪ target, and only if every record of its round was applied.
 * ⚑ After a slow round, only if every dot I hold inside the target was sent in it or lay in a scope: a leaf may have
 *   brought such a dot meanwhile, and whether it still lives the sender has not said.
 *
 * The target is what I lacked of the sender's clock when the round began; what I have come to know since does not matter.
 */
import { Reader } from '../../crdts/bytes.ts';
import { checkRecord } from '../../crdts/check.ts';
import { Clock } from '../../crdts/clock.ts';
import type { Actor } from '../../crdts/dot.ts';
import { PATH_BYTES_MAX } from '../../crdts/path.ts';
import { readRecords, type SentRecord } from '../../crdts/record.ts';
import type { Alive, Begin, Complete, Copies, Records } from '../protocol/messages.ts';
import { unreachable } from '../protocol/unreachable.ts';
import type { Core } from './core.ts';
import { decodeClock, encodeClock, type Link } from './link.ts';

/** Of a slow round, which dots were sent is remembered in this many intervals; what is beyond is asked about again. */
const SENT_INTERVALS_MAX = 10_000;
/** Unaccounted dots named at a time. */
const NAMED_DOTS = 2_000;

interface Round {
  /** What I lacked of the sender's clock when it began. */
  readonly target: Clock;
  /** When slow: the sender's whole clock then, the scopes listed so far, and the dots sent. */
  readonly whole: Clock | null;
  readonly scopes: Clock;
  readonly sent: Clock;
  isSpoilt: boolean;
}

/** What the replica does around each batch of records that came in. */
export interface Intake {
  /** Runs `work` with this link as the source of what is learned: it need not be told of it. */
  from(link: Link, work: () => void): void;
  /** Records were taken in from this link: timestamps are noted, and a leaf's records go on to the others at once. */
  taken(link: Link, records: readonly SentRecord[]): void;
}

export class Receiver {
  readonly #core: Core;
  readonly #link: Link;
  readonly #intake: Intake;
  /** The message that is being taken in. */
  #number = 0;
  /** The last message of which something was refused. */
  #refused = 0;
  #round: Round | null = null;

  constructor(core: Core, link: Link, intake: Intake) {
    this.#core = core;
    this.#link = link;
    this.#intake = intake;
  }

  get hasRound(): boolean {
    return this.#round !== null;
  }

  /** Takes in a message with data; `number` is its own on the link. */
  take(message: Records | Begin | Alive | Complete | Copies, number: number): void {
    this.#number = number;
    switch (message.type) {
      case 'records':
        return this.#records(message);
      case 'begin':
        return this.#begin(message);
      case 'alive':
        return this.#alive(message);
      case 'complete':
        return this.#complete(message);
      case 'copies':
        return this.#copies(message);
      default:
        return unreachable(message);
    }
  }

  #records(message: Records): void {
    const { engine } = this.#core;
    this.#link.peer.toldAll(decodeClock(message.told));
    const all = readRecords(new Reader(message.records), PATH_BYTES_MAX);
    const good = all.filter((record) => this.#isGood(record));
    const isRefused = good.length < all.length;
    // A frame of which something is refused implies nothing, so the dots that were taken are told one by one.
    const source = isRefused ? null : this.#link;
    const receive = (): void => engine.receive(good, this.#link.peer, this.#link.peer.ahead);
    if (source === null) receive();
    else this.#intake.from(source, receive);
    this.#intake.taken(this.#link, good);
    const round = this.#round;
    if (isRefused) this.#refused = this.#number;
    if (round !== null) {
      if (isRefused) round.isSpoilt = true;
      if (round.whole !== null && round.sent.intervalCount < SENT_INTERVALS_MAX) {
        for (const { entries } of good) for (const { actor, n } of entries) round.sent.add(actor, n);
      }
    }
    this.#acknowledge(isRefused);
  }

  #isGood(record: SentRecord): boolean {
    try {
      checkRecord(record);
      if (this.#core.isHeldHere(record.path)) return true;
      this.#core.count('refused: record outside the prefixes held here');
    } catch {
      this.#core.count('refused: record');
    }
    return false;
  }

  #begin(message: Begin): void {
    const { peer } = this.#link;
    peer.toldAll(decodeClock(message.told));
    const actors = message.actors === null ? null : readActors(message.actors);
    const isMeant = (actor: Actor): boolean => actors === null || actors.has(actor);
    if (this.#round !== null) this.#core.count('round: begun before the last was complete');
    this.#round = {
      target: filtered(peer.ahead, isMeant),
      whole: message.slow ? this.#wholeClock() : null,
      scopes: new Clock(),
      sent: new Clock(),
      // It skips what is under way in earlier messages, and the sender did not know yet that one of them was refused.
      isSpoilt: message.acked < this.#refused,
    };
    this.#acknowledge(false);
  }

  #wholeClock(): Clock {
    const whole = this.#core.engine.clock.minus(this.#link.peer.behind);
    whole.addAll(this.#link.peer.ahead);
    return whole;
  }

  #alive(message: Alive): void {
    const scope = decodeClock(message.scope);
    const held = decodeClock(message.held);
    this.#keepUnspoken(scope, held);
    this.#core.engine.removeDead(scope, held);
    this.#round?.scopes.addAll(scope);
    this.#core.count('round: alive applied');
    this.#acknowledge(false);
  }

  /** A leaf's clock is true for its prefixes: dots of other paths count as held by it. */
  #keepUnspoken(scope: Clock, held: Clock): void {
    if (this.#link.info?.interests === null) return;
    const dead = scope.minus(held);
    while (!dead.isEmpty) {
      for (const { actor, n, path } of this.#core.engine.walk(dead, NAMED_DOTS)) {
        if (!this.#link.wants(path)) held.add(actor, n);
      }
    }
  }

  #complete(message: Complete): void {
    const round = this.#round;
    const { engine } = this.#core;
    // In any case: the sender counts its floors as told. Floors that are too high make rounds slow, and nothing worse.
    engine.raiseFloors(decodeClock(message.floors));
    if (round === null || round.isSpoilt) {
      this.#core.count('round: complete ignored');
      this.#round = null;
      return this.#acknowledge(true);
    }
    const unaccounted = this.#unaccounted(round);
    if (!unaccounted.isEmpty) {
      this.#core.count('round: dots named');
      this.#link.say({ type: 'named', shard: engine.shard, dots: encodeClock(unaccounted) }, this.#core.batch());
      return this.#acknowledge(false);
    }
    this.#round = null;
    this.#intake.from(this.#link, () => engine.complete(round.target));
    this.#acknowledge(false);
  }

  /** ⚑ Dots held here that the sender has seen, of which this round has not said whether they still live. */
  #unaccounted(round: Round): Clock {
    const unaccounted = new Clock();
    if (round.whole === null) return unaccounted;
    const rest = round.whole.intersect(this.#core.engine.clock);
    rest.removeAll(round.scopes);
    rest.removeAll(round.sent);
    while (!rest.isEmpty && unaccounted.isEmpty) {
      for (const { actor, n, path } of this.#core.engine.walk(rest, NAMED_DOTS)) {
        if (this.#link.wants(path)) unaccounted.add(actor, n);
      }
    }
    return unaccounted;
  }

  #copies(message: Copies): void {
    const all = readRecords(new Reader(message.records), PATH_BYTES_MAX);
    const copied = this.#core.engine.copy(all.filter((record) => this.#isGood(record)));
    if (copied > 0) this.#core.count('guard: dots copied');
    this.#acknowledge(false);
  }

  #acknowledge(refused: boolean): void {
    this.#link.acknowledge(this.#core.engine.shard, this.#number, refused, this.#core.batch());
  }
}

function filtered(clock: Clock, isMeant: (actor: Actor) => boolean): Clock {
  const part = new Clock();
  clock.forEach((actor, from, to) => {
    if (isMeant(actor)) part.add(actor, from, to);
  });
  return part;
}

function readActors(bytes: Uint8Array): Set<Actor> {
  const reader = new Reader(bytes);
  const actors = new Set<Actor>();
  while (!reader.done) actors.add(reader.byteString(8) as Actor);
  return actors;
}
