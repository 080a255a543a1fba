/**
 * A link: what one replica knows of one connection, and the queue of what it says on it.
 *
 *     hello ──their hello──▶ comparing ──their clock is known──▶ ready ──▶ closed
 *
 * The queue keeps two promises. Nothing leaves before all that was in the store when it was said is durable: each message
 * carries the number of the batch it waits for. And order: what is said later never overtakes, since a message means
 * something only with all that was told before it (a record's coverage is the clock as told so far). Heartbeats and
 * acknowledgements of parts tell nothing about data, and do overtake.
 */
import { Reader, Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import type { Actor } from '../../crdts/dot.ts';
import { encodeMessage } from '../protocol/codec.ts';
import { FRAME_BYTES_MAX, type Message, WINDOW_BYTES_MAX } from '../protocol/messages.ts';
import type { Effect, LinkId, Role } from './contract.ts';
import { PeerClock } from './peer-clock.ts';

/** Room for the head of a part, so that it stays below `FRAME_BYTES_MAX`. */
const PART_BYTES_MAX = FRAME_BYTES_MAX - 64;

interface Queued {
  /** null: the acknowledgement beside it, which is encoded when it leaves. */
  readonly bytes: Uint8Array | null;
  readonly ack: Acknowledgement | null;
  /** Waits until this batch is durable. */
  readonly batch: number;
  /** The number of the last message that has left whole when this has. */
  readonly number: number;
  /** A part of a larger message: waits for room in the window as well. */
  readonly isPart: boolean;
}

/** Several in a row that wait for the same batch become one. */
interface Acknowledgement {
  readonly number: number;
  readonly shard: number;
  upTo: number;
  readonly told: Clock;
  readonly refused: boolean;
}

/** A message that was queued: its number on this link, and its size on the wire. */
export interface Said {
  readonly number: number;
  readonly bytes: number;
}

/** What the peer said of itself. */
export interface PeerInfo {
  readonly node: string;
  readonly name: string;
  readonly role: Role;
  readonly nonce: string;
  /** Path prefixes; null: everything. */
  readonly interests: readonly string[] | null;
}

export type LinkState = 'hello' | 'comparing' | 'ready' | 'closed';

export class Link {
  readonly id: LinkId;
  state: LinkState = 'hello';
  info: PeerInfo | null = null;
  /** The actor that the peer writes under in this run; null before its first write. */
  actor: Actor | null = null;
  readonly peer: PeerClock;
  /** The peer has asked its question, so it has a clock of mine to add to: from here on it may be sent data. */
  isAsked = false;
  /** Dots that I have learned and not told this peer, nor had from it. */
  readonly untold = new Clock();
  readonly untoldFloors = new Clock();

  openedMs: number;
  heardMs: number;
  beatMs: number;
  checkMs: number;
  toldMs: number;
  skewMs: number | null = null;
  bytesSent = 0;
  bytesReceived = 0;

  readonly #queue: Queued[] = [];
  #said = 0;
  #sent = 0;
  #heard = 0;
  #partBytes = 0;
  readonly #effects: Effect[];

  constructor(id: LinkId, mine: Clock, effects: Effect[], nowMs: number) {
    this.id = id;
    this.peer = new PeerClock(mine);
    this.#effects = effects;
    this.openedMs = nowMs;
    this.heardMs = nowMs;
    this.beatMs = nowMs;
    this.checkMs = nowMs;
    this.toldMs = nowMs;
  }

  /** True when both sides know each other's clocks. */
  get isReady(): boolean {
    return this.state === 'ready' && this.isAsked;
  }

  wants(path: string): boolean {
    const interests = this.info?.interests ?? null;
    return interests === null || interests.some((prefix) => path.startsWith(prefix));
  }

  /** Queues a message that may leave once `batch` is durable. */
  say(message: Message, batch: number): Said {
    const number = ++this.#said;
    const bytes = encodeMessage(message, number);
    if (bytes.length <= FRAME_BYTES_MAX) {
      this.#queue.push({ bytes, ack: null, batch, number, isPart: false });
      return { number, bytes: bytes.length };
    }
    for (let at = 0; at < bytes.length; at += PART_BYTES_MAX) {
      const isLast = at + PART_BYTES_MAX >= bytes.length;
      const part = encodeMessage({ type: 'part', bytes: bytes.subarray(at, at + PART_BYTES_MAX), isLast });
      this.#queue.push({ bytes: part, ack: null, batch, number: isLast ? number : number - 1, isPart: true });
    }
    return { number, bytes: bytes.length };
  }

  /** False when a message was lost or repeated before this one: then nothing on this link can be trusted any more. */
  isNext(number: number): boolean {
    if (number === 0) return true;
    this.#heard++;
    return number === this.#heard;
  }

  /** All messages up to number `upTo` are taken in, and durable with `batch`; refused: something of that last one was not. */
  acknowledge(shard: number, upTo: number, refused: boolean, batch: number): void {
    const last = this.#queue.at(-1);
    const ack = last?.batch === batch ? last.ack : null;
    if (ack !== null && !ack.refused && !refused) {
      ack.upTo = upTo;
      ack.told.addAll(this.untold);
    } else {
      const number = ++this.#said;
      const acknowledgement = { number, shard, upTo, told: this.untold.clone(), refused };
      this.#queue.push({ bytes: null, ack: acknowledgement, batch, number, isPart: false });
    }
    this.untold.clear();
  }

  /** Sends at once, past the queue: only what tells nothing about data. */
  sayNow(message: Message): void {
    if (this.state !== 'closed') this.#send(encodeMessage(message));
  }

  /** Lets go what may go, now that all batches up to `durable` are on disk. */
  pump(durable: number): void {
    let sent = 0;
    for (const { bytes, ack, batch, number, isPart } of this.#queue) {
      if (batch > durable) break;
      if (bytes === null) {
        if (ack !== null) this.#send(encodeMessage({ ...ack, type: 'ack', told: encodeClock(ack.told) }, ack.number));
      } else {
        if (isPart && this.#partBytes > 0 && this.#partBytes + bytes.length > WINDOW_BYTES_MAX) break;
        if (isPart) this.#partBytes += bytes.length;
        this.#send(bytes);
      }
      sent++;
      this.#sent = number;
    }
    if (sent > 0) this.#queue.splice(0, sent);
  }

  partArrived(byteCount: number): void {
    this.#partBytes = Math.max(0, this.#partBytes - byteCount);
  }

  /** A heartbeat: overtakes what waits, and tells how much was sent before it. */
  beat(wallMs: number): void {
    this.sayNow({ type: 'beat', wallMs: Math.max(0, Math.floor(wallMs)), sent: this.#sent });
  }

  /** False when what the peer had sent before its heartbeat is not what has arrived. */
  hasHeardAll(sent: number): boolean {
    return sent === this.#heard;
  }

  get isQueueEmpty(): boolean {
    return this.#queue.length === 0;
  }

  #send(bytes: Uint8Array): void {
    this.bytesSent += bytes.length;
    this.#effects.push({ type: 'send', link: this.id, bytes });
  }

  /** What was learned since this was last asked, encoded; it counts as told from now on. */
  takeUntold(nowMs: number): Uint8Array {
    this.toldMs = nowMs;
    return this.#take(this.untold);
  }

  takeUntoldFloors(): Uint8Array {
    return this.#take(this.untoldFloors);
  }

  #take(clock: Clock): Uint8Array {
    if (clock.isEmpty) return new Uint8Array(0);
    const bytes = encodeClock(clock);
    clock.clear();
    return bytes;
  }
}

const writer = new Writer();

/** A clock as messages carry it: nothing at all for an empty one. */
export function encodeClock(clock: Clock): Uint8Array {
  if (clock.isEmpty) return new Uint8Array(0);
  clock.write(writer.reset());
  return writer.finish();
}

export function decodeClock(bytes: Uint8Array): Clock {
  return bytes.length === 0 ? new Clock() : Clock.read(new Reader(bytes));
}
