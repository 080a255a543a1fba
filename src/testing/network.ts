/**
 * The simulated network: connections of two directions, each a queue of byte messages that arrive in order, later.
 *
 * A connection keeps its order; across connections anything may overtake anything. A direction can be *held* (its messages
 * wait, as behind a cut cable that nobody has noticed yet), a connection can break with all, some or none of what is under
 * way still arriving, and either end learns of the break on its own, in its own time. Two nodes may have several
 * connections, an old one still delivering while the new one says hello.
 *
 * The network knows nothing of replicas: it says what arrives next, and the cluster hands it over.
 */
import type { LinkId } from '../replica/contract.ts';
import { Random } from './random.ts';

/** One end of a connection. */
export interface End {
  readonly link: LinkId;
  readonly node: number;
  readonly out: Direction;
  readonly in: Direction;
  /** The replica at this end counts the link as open. */
  isOpen: boolean;
}

interface Letter {
  /** null: the other end has closed; nothing comes after it. */
  readonly bytes: Uint8Array | null;
  readonly arrivesAtMs: number;
}

/** Messages from one end of a connection to the other. */
export class Direction {
  readonly connection: number;
  readonly from: number;
  readonly to: number;
  readonly #queue: Letter[] = [];
  readonly #random: Random;
  latencyMs: number;
  jitterMs: number;
  isHeld = false;
  byteCount = 0;
  #lastMs = 0;

  constructor(connection: number, from: number, to: number, latencyMs: number, jitterMs: number, random: Random) {
    this.connection = connection;
    this.from = from;
    this.to = to;
    this.latencyMs = latencyMs;
    this.jitterMs = jitterMs;
    this.#random = random;
  }

  get length(): number {
    return this.#queue.length;
  }

  /** When the next message arrives; infinitely late when there is none, or when it is held. */
  get nextMs(): number {
    const head = this.#queue[0];
    return head === undefined || this.isHeld ? Number.POSITIVE_INFINITY : head.arrivesAtMs;
  }

  /** The `index`-th message under way; null for the end of the connection, undefined beyond it. */
  at(index: number): Uint8Array | null | undefined {
    return this.#queue[index]?.bytes;
  }

  push(bytes: Uint8Array | null, nowMs: number): void {
    const delay = this.latencyMs + (this.jitterMs === 0 ? 0 : this.#random.next() * this.jitterMs);
    this.#lastMs = Math.max(this.#lastMs, nowMs + delay);
    this.#queue.push({ bytes, arrivesAtMs: this.#lastMs });
    this.byteCount += bytes?.length ?? 0;
  }

  shift(): Uint8Array | null {
    const letter = this.#queue.shift() as Letter;
    this.byteCount -= letter.bytes?.length ?? 0;
    return letter.bytes;
  }

  /** Loses all that is under way but the first `kept` messages. */
  truncate(kept: number): void {
    this.#queue.length = Math.min(kept, this.#queue.length);
    this.byteCount = this.#queue.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
  }

  /** Replaces one message: by none (lost), two (repeated) or another (garbled). */
  replace(index: number, ...by: Uint8Array[]): void {
    const letter = this.#queue[index];
    if (letter === undefined || letter.bytes === null) return;
    this.#queue.splice(index, 1, ...by.map((bytes) => ({ bytes, arrivesAtMs: letter.arrivesAtMs })));
    this.byteCount = this.#queue.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
  }

  /** Everything that is under way arrives now, as soon as it is not held, and what comes later at once. */
  hurry(nowMs: number): void {
    this.latencyMs = 0;
    this.jitterMs = 0;
    for (let i = 0; i < this.#queue.length; i++) {
      const { bytes, arrivesAtMs } = this.#queue[i] as Letter;
      this.#queue[i] = { bytes, arrivesAtMs: Math.min(arrivesAtMs, nowMs) };
    }
    this.#lastMs = Math.min(this.#lastMs, nowMs);
  }
}

export interface Connection {
  readonly id: number;
  readonly ends: readonly [End, End];
}

export class Network {
  readonly #seed: number;
  /** Connections with an open end or anything under way. */
  connections: Connection[] = [];
  readonly #ends: End[] = [];
  #count = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  connect(a: number, b: number, latencyMs: number, jitterMs: number): Connection {
    const id = this.#count++;
    const there = new Direction(id, a, b, latencyMs, jitterMs, Random.of(this.#seed, 3, id));
    const back = new Direction(id, b, a, latencyMs, jitterMs, Random.of(this.#seed, 4, id));
    const ends: readonly [End, End] = [
      { link: 2 * id, node: a, out: there, in: back, isOpen: true },
      { link: 2 * id + 1, node: b, out: back, in: there, isOpen: true },
    ];
    this.#ends.push(...ends);
    const connection = { id, ends };
    this.connections.push(connection);
    return connection;
  }

  /** The end that a node knows by this name. */
  end(link: LinkId): End | undefined {
    return this.#ends[link];
  }

  /** The end to which this direction leads. */
  receiver(direction: Direction): End {
    const end = this.#ends[2 * direction.connection] as End;
    return end.in === direction ? end : (this.#ends[2 * direction.connection + 1] as End);
  }

  /** This end is closed by whoever stands at it: the other end learns of it behind what is already under way. */
  close(end: End, nowMs: number): void {
    if (!end.isOpen) return;
    end.isOpen = false;
    end.in.truncate(0);
    end.out.push(null, nowMs);
  }

  /** Open connections between two nodes, oldest first. */
  between(a: number, b: number): Connection[] {
    return this.connections.filter(
      ({ ends: [x, y] }) => x.isOpen && y.isOpen && ((x.node === a && y.node === b) || (x.node === b && y.node === a)),
    );
  }

  /** Forgets connections that are closed at both ends. */
  sweep(): void {
    if (this.connections.some(({ ends: [x, y] }) => !x.isOpen && !y.isOpen)) {
      this.connections = this.connections.filter(({ ends: [x, y] }) => x.isOpen || y.isOpen);
    }
  }
}
