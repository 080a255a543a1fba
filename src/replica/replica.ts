/**
 * The replica: one store, its clock, and the streams that bring peers' clocks up to it. Synchronous and pure; the dance
 * with its surroundings is in contract.ts, the two halves of a stream in sender.ts and receiver.ts.
 *
 * This file is where they meet: it hands what happens to those whom it concerns, in one place, in one order.
 *
 *     a local write   → engine → its path goes to every link's sender → seal: pushed, held back until durable
 *     a message       → its link → receiver or sender → engine → acknowledged, held back until durable
 *     any change      → fingerprint, change feed, rounds under way, audits
 *     any dot learned → every link's difference of clocks
 *     time            → rounds that are due, heartbeats, checks, ghosts, expiry
 */
import { Reader, toByteString, Writer } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import { type Actor, type Dot, formatActor } from '../../crdts/dot.ts';
import { type Edit, Engine } from '../../crdts/engine.ts';
import { HearsayError } from '../../crdts/error.ts';
import { hashOf } from '../../crdts/hashed-clock.ts';
import { keyRange, type Path, SYSTEM } from '../../crdts/path.ts';
import type { Row, SentRecord } from '../../crdts/record.ts';
import type { Key, OrderedStore, RangeOptions } from '../../crdts/store.ts';
import { HybridTime } from '../../crdts/timestamp.ts';
import { decodeFrame } from '../protocol/codec.ts';
import {
  type Ask,
  type Check,
  type Entries,
  type Hello,
  MESSAGE_BYTES_MAX,
  type Message,
  VERSION_MAX,
  VERSION_MIN,
} from '../protocol/messages.ts';
import { unreachable } from '../protocol/unreachable.ts';
import type {
  Effect,
  LinkId,
  LinkStatus,
  Now,
  Pace,
  ReplicaCore,
  ReplicaOptions,
  ReplicaStatus,
  Role,
} from './contract.ts';
import { type Core, jittered } from './core.ts';
import { bucketDigest, entriesFor, isInBuckets } from './digest.ts';
import { Expiry } from './expiry.ts';
import { Fingerprint } from './fingerprint.ts';
import { Ghosts } from './ghosts.ts';
import { Guard } from './guard.ts';
import { hex, Identity, unhex } from './identity.ts';
import { decodeClock, encodeClock, Link } from './link.ts';
import { Receiver } from './receiver.ts';
import { Sender } from './sender.ts';

const PACE: Pace = {
  roundDelayMs: 150,
  checkMs: 5_000,
  heartbeatMs: 2_000,
  silenceMs: 15_000,
  sweepMs: 1_000,
  expiryGraceMs: 60_000,
};

/** A share of the round delay after which peers are told what came from others, so that they do not send it as well. */
const TOLD_SHARE = 0.4;
/** Paths noted as changed in one batch; a feed that misses some walks the dot index instead. */
const CHANGED_PATHS_MAX = 100_000;
/** A copy of this directory is believed to be running elsewhere after two links of its id live side by side for this long. */
const CLONE_HEARTBEATS = 3;

interface Peer {
  readonly link: Link;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly isDialer: boolean;
  /** Parts of a larger message under way. */
  parts: Uint8Array[];
  partBytes: number;
}

export class Replica implements ReplicaCore {
  readonly engine: Engine;
  readonly identity: Identity;
  readonly #options: ReplicaOptions;
  readonly #pace: Pace;
  readonly #core: Core;
  readonly #time = new HybridTime();
  readonly #fingerprint: { current: Fingerprint };
  readonly #ghosts: Ghosts;
  readonly #guard: Guard;
  readonly #expiry: Expiry;
  readonly #nonce: string;
  readonly #held: readonly string[] | null;
  readonly #peers = new Map<LinkId, Peer>();
  readonly #links = new Map<LinkId, Link>();
  readonly #counts = new Map<string, number>();
  #effects: Effect[] = [];
  #changed = new Set<Path>();
  #changedTaken: Path[] | null = [];
  /** The link that what is learned now comes from. */
  #source: Link | null = null;
  #now: Now;
  /** The number of the batch that writes go to now, and of the last one that is durable. */
  #batch = 1;
  #durable = 0;
  #isDirty = false;
  #isFingerprintChanged = false;
  #sweepMs: number;
  #wentBack = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#now = options.now;
    this.#sweepMs = options.now.monoMs;
    this.#pace = { ...PACE, ...options.pace };
    this.#nonce = toByteString(options.randomBytes(8));
    const store = new WatchedStore(options.store, () => (this.#isDirty = true));
    this.engine = new Engine(store, {
      changed: (path, before, after) => this.#onChanged(path, before, after),
      learned: (actor, from, to) => this.#onLearned(actor, from, to),
      floorRaised: (actor, n) => this.#onFloorRaised(actor, n),
    });
    this.identity = new Identity(this.engine, { ...options, store });
    this.#held = this.identity.interests?.map((prefix) => keyRange(prefix).start).concat(SYSTEM) ?? null;
    this.#fingerprint = { current: new Fingerprint(options.hash, store.get(this.#fingerprintKey)) };
    this.#core = {
      engine: this.engine,
      identity: this.identity,
      role: options.role,
      pace: this.#pace,
      random: options.random,
      links: this.#links,
      batch: () => (this.#isDirty ? this.#batch : this.#batch - 1),
      isHeldHere: (path) => this.#isHeldHere(path),
      count: (name) => this.#count(name),
      log: (level, message, fields = {}) => this.#effects.push({ type: 'log', level, message, fields }),
    };
    this.#ghosts = new Ghosts(this.#core);
    this.#guard = new Guard(
      this.#core,
      options.hash,
      () => this.#fingerprint.current,
      (sum) => this.#onEventsLost(sum),
      (link) => (this.#peers.get(link.id) as Peer).sender,
    );
    this.#expiry = new Expiry(this.#core, (edits) => this.write(edits, this.#now));
  }

  get node(): string {
    return this.identity.node;
  }

  get isDirty(): boolean {
    return this.#isDirty;
  }

  get #fingerprintKey(): Key {
    return `k${String.fromCharCode(this.engine.shard >> 8, this.engine.shard & 0xff)}`;
  }

  #isHeldHere(path: Path): boolean {
    return this.#held === null || this.#held.some((prefix) => path.startsWith(prefix));
  }

  #count(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  // ---------------------------------------------------------------- writing

  write(edits: readonly Edit[], now: Now): Dot[] {
    this.#now = now;
    const outside = edits.find(({ path }) => !this.#isHeldHere(path));
    if (outside !== undefined) {
      throw new HearsayError(
        'OutsideInterests',
        'this leaf does not hold that key: open it with a prefix that contains the key',
        {
          interests: this.identity.interests,
        },
      );
    }
    const dots: Dot[] = [];
    for (const edit of edits) {
      this.#ensureActor();
      const dot = this.#apply(edit);
      if (dot !== null) dots.push(dot);
    }
    return dots;
  }

  #apply(edit: Edit): Dot | null {
    const dot = this.engine.apply(edit, this.#time.next(this.#now.wallMs));
    if (dot !== null) for (const { sender } of this.#peers.values()) sender.written(edit.path);
    return dot;
  }

  /** A member takes a new actor at its first write after every start, so that no dot is ever used twice. */
  #ensureActor(): void {
    if (this.engine.actor !== null) return;
    this.identity.begin((edit) => this.#apply(edit), this.#now.wallMs);
    this.#count('actor: begun');
  }

  // ---------------------------------------------------------------- durability

  seal(now: Now): number {
    this.#now = now;
    this.#advance(now);
    this.engine.seal();
    if (this.#isFingerprintChanged) {
      this.engine.store.put(this.#fingerprintKey, this.#fingerprint.current.bytes());
      this.#isFingerprintChanged = false;
    }
    this.#changedTaken = this.#changed.size < CHANGED_PATHS_MAX ? [...this.#changed] : null;
    this.#changed.clear();
    this.#isDirty = false;
    return this.#batch++;
  }

  takeChanged(): Path[] | null {
    return this.#changedTaken;
  }

  durable(batch: number, now: Now): void {
    this.#now = now;
    this.#durable = Math.max(this.#durable, batch);
    this.#advance(now);
  }

  /** Sends what may be sent: new frames into the queues, and from the queues what has become durable. */
  #advance(now: Now): void {
    for (const { link, sender } of this.#peers.values()) {
      sender.advance(now);
      link.pump(this.#durable);
    }
  }

  takeEffects(): Effect[] {
    if (this.#effects.length === 0) return [];
    // The links hold on to the array itself, so it is emptied rather than replaced.
    return this.#effects.splice(0);
  }

  // ---------------------------------------------------------------- what everyone wants to know

  #onChanged(path: Path, before: Row, after: Row): void {
    if (before.entries === after.entries) return;
    this.#fingerprint.current.change(path, before, after);
    this.#isFingerprintChanged = true;
    this.#guard.changed(path, before, after);
    this.identity.changed(path);
    for (const { sender } of this.#peers.values()) sender.changed(path, before, after);
    if (this.#changed.size < CHANGED_PATHS_MAX && isLiveChanged(before, after)) this.#changed.add(path);
  }

  #onLearned(actor: Actor, from: number, to: number): void {
    this.#isDirty = true;
    for (const { link, sender } of this.#peers.values()) {
      link.peer.learned(actor, from, to);
      if (link !== this.#source) link.untold.add(actor, from, to);
      sender.learned(this.#now);
    }
    this.#ghosts.learned(actor, from, to, (peer) => this.#isLinked(peer));
  }

  #isLinked(peer: unknown): boolean {
    for (const { link } of this.#peers.values()) if (link.peer === peer) return true;
    return false;
  }

  #onFloorRaised(actor: Actor, n: number): void {
    this.#isDirty = true;
    // A leaf speaks for its own actors alone.
    if (this.#options.role === 'leaf' && !this.identity.isOwn(actor)) return;
    for (const { link } of this.#peers.values()) link.untoldFloors.add(actor, 1, n);
  }

  #onEventsLost(sum: Fingerprint): void {
    this.engine.shrinkToHeld();
    this.#fingerprint.current = sum;
    this.#isFingerprintChanged = true;
    this.#isDirty = true;
    for (const { link } of [...this.#peers.values()])
      this.#hangUp(link, 'Recovering', 'this replica lost events and compares clocks anew');
  }

  // ---------------------------------------------------------------- links

  connect(id: LinkId, now: Now, isDialer = false): void {
    this.#now = now;
    const link = new Link(id, this.engine.clock, this.#effects, now.monoMs);
    const sender = new Sender(this.#core, link, now.monoMs);
    const receiver = new Receiver(this.#core, link, {
      from: (source, work) => this.#from(source, work),
      taken: (source, records) => this.#taken(source, records),
    });
    this.#peers.set(id, { link, sender, receiver, isDialer, parts: [], partBytes: 0 });
    this.#links.set(id, link);
    const { identity, engine } = this;
    const hello: Hello = {
      type: 'hello',
      versionMin: VERSION_MIN,
      versionMax: VERSION_MAX,
      cluster: unhex(identity.cluster ?? ''),
      node: unhex(identity.node),
      name: this.#options.name,
      role: this.#options.role,
      actor: engine.actor === null ? new Uint8Array(0) : bytesOf(engine.actor),
      nonce: bytesOf(this.#nonce),
      interests: this.#held === null ? null : encodeInterests(this.#held),
      wallMs: Math.max(0, Math.floor(now.wallMs)),
      shard: engine.shard,
      clockHash: hashBytes(engine.clock),
      floorsHash: hashBytes(this.#floorsToTell()),
    };
    link.say(hello, this.#core.batch());
    link.pump(this.#durable);
  }

  /** A leaf speaks for its own actors alone. */
  #floorsToTell(): Clock {
    if (this.#options.role === 'member') return this.engine.floors;
    const own = new Clock();
    this.engine.floors.forEach((actor, from, to) => {
      if (this.identity.isOwn(actor)) own.add(actor, from, to);
    });
    return own;
  }

  disconnect(id: LinkId, now: Now): void {
    this.#now = now;
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.link.state = 'closed';
    this.#peers.delete(id);
    this.#links.delete(id);
    this.#ghosts.closed(peer.link);
    this.#guard.closed(peer.link);
  }

  /** Says why, and closes. */
  #hangUp(link: Link, code: string, reason: string): void {
    if (link.state === 'closed') return;
    link.sayNow({ type: 'bye', code, reason });
    this.#effects.push({ type: 'close', link: link.id, code, reason });
    this.#count(`link: closed, ${code}`);
    this.disconnect(link.id, this.#now);
  }

  close(now: Now): void {
    this.#now = now;
    for (const { link } of [...this.#peers.values()]) this.#hangUp(link, 'Closing', 'this node is shutting down');
  }

  receive(id: LinkId, bytes: Uint8Array, now: Now): void {
    this.#now = now;
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.link.heardMs = now.monoMs;
    peer.link.bytesReceived += bytes.length;
    try {
      this.#take(peer, bytes, now);
    } catch (error) {
      this.#refuse(peer.link, error);
    }
    this.#noticeForgery(peer.link);
    this.#advance(now);
  }

  #refuse(link: Link, error: unknown): void {
    const isExpected = error instanceof HearsayError;
    this.#count(isExpected ? 'refused: message' : 'bug: a message could not be handled');
    this.#core.log(isExpected ? 'warn' : 'error', 'a message from a peer could not be read; closing the link', {
      node: link.info?.node,
      reason: error instanceof Error ? (isExpected ? error.message : error.stack) : String(error),
    });
    this.#hangUp(
      link,
      isExpected ? error.code : 'InternalError',
      isExpected ? error.message : 'a message could not be handled',
    );
  }

  #take(peer: Peer, bytes: Uint8Array, now: Now): void {
    const { number, message } = decodeFrame(bytes);
    if (!peer.link.isNext(number)) throw new HearsayError('MessageLost', 'a message was lost or repeated on this link');
    if (message === null) return this.#count('ignored: unknown type of message');
    if (message.type === 'part') return this.#takePart(peer, message.bytes, message.isLast, now);
    if (peer.link.state === 'hello' && message.type !== 'hello' && message.type !== 'bye')
      throw new HearsayError('HelloExpected', 'a peer must say hello first');
    this.#handle(peer, message, number, now);
  }

  #takePart(peer: Peer, bytes: Uint8Array, isLast: boolean, now: Now): void {
    peer.link.sayNow({ type: 'part-ack', byteCount: bytes.length });
    peer.partBytes += bytes.length;
    if (peer.partBytes > MESSAGE_BYTES_MAX)
      throw new HearsayError('MessageTooLarge', 'a message in parts is too large', { limit: MESSAGE_BYTES_MAX });
    peer.parts.push(bytes);
    if (!isLast) return;
    const whole = new Uint8Array(peer.partBytes);
    let at = 0;
    for (const part of peer.parts) {
      whole.set(part, at);
      at += part.length;
    }
    peer.parts = [];
    peer.partBytes = 0;
    this.#take(peer, whole, now);
  }

  #handle(peer: Peer, message: Message, number: number, now: Now): void {
    const { link, sender, receiver } = peer;
    switch (message.type) {
      case 'hello':
        return this.#onHello(peer, message);
      case 'ask':
        return this.#onAsk(link, message);
      case 'entries':
        return this.#onEntries(link, message);
      case 'told':
        return link.peer.toldAll(decodeClock(message.told));
      case 'records':
      case 'begin':
      case 'alive':
      case 'complete':
      case 'copies':
        if (link.state !== 'ready')
          throw new HearsayError('AskExpected', 'a peer sent data before clocks were compared');
        return receiver.take(message, number);
      case 'ack':
        link.peer.toldAll(decodeClock(message.told));
        return sender.acknowledged(message.upTo, message.refused, now);
      case 'named':
        return sender.named(decodeClock(message.dots));
      case 'check':
        return this.#onCheck(peer, message);
      case 'heard':
        link.peer.toldAll(decodeClock(message.told));
        return this.#ghosts.told(link, message.heard);
      case 'ask-stable':
        return this.#ghosts.answerStable(link, message.dots);
      case 'stable':
        return this.#ghosts.toldStable(link, message.dots);
      case 'buckets':
        return this.#guard.buckets(link, message.sums, message.isAnswer);
      case 'beat':
        if (!link.hasHeardAll(message.sent)) throw new HearsayError('MessageLost', 'a message was lost on this link');
        link.skewMs = message.wallMs - now.wallMs;
        return;
      case 'part-ack':
        return link.partArrived(message.byteCount);
      case 'bye':
        return this.#onBye(link, message.code, message.reason);
      case 'part':
        throw new HearsayError('Malformed', 'a part inside a message in parts');
      default:
        return unreachable(message);
    }
  }

  #onHello(peer: Peer, hello: Hello): void {
    const { link } = peer;
    if (link.state !== 'hello') throw new HearsayError('HelloRepeated', 'a peer said hello twice');
    const refusal = this.#refusalOf(hello);
    if (refusal !== null) return this.#hangUp(link, ...refusal);
    const node = hex(hello.node);
    const nonce = toByteString(hello.nonce);
    if (node === this.identity.node) return this.#onOwnId(link, nonce);
    link.info = {
      node,
      name: hello.name,
      role: hello.role,
      nonce,
      interests: hello.interests === null ? null : decodeInterests(hello.interests),
    };
    link.actor = hello.actor.length === 0 ? null : (toByteString(hello.actor) as Actor);
    link.skewMs = hello.wallMs - this.#now.wallMs;
    if (!this.#isKept(peer)) return this.#hangUp(link, 'Duplicate', 'there is another link between the same two nodes');
    this.#compare(link, hello);
    if (this.#options.role === 'member' && !this.identity.isKnown) this.#ensureActor();
  }

  #refusalOf(hello: Hello): [code: string, reason: string] | null {
    if (hello.versionMin > VERSION_MAX || hello.versionMax < VERSION_MIN) {
      return [
        'VersionMismatch',
        `this node speaks protocol ${VERSION_MIN}–${VERSION_MAX}, you ${hello.versionMin}–${hello.versionMax}: upgrade the older one`,
      ];
    }
    if (hello.role === 'leaf' && this.#options.role === 'leaf')
      return ['LeafToLeaf', 'leaves sync with members only: join a member'];
    if (hello.shard !== this.engine.shard) return ['ShardUnknown', `this node holds no shard ${hello.shard}`];
    const theirs = hello.cluster.length === 0 ? null : hex(hello.cluster);
    if (this.identity.agreeOnCluster(theirs, hex(hello.node)) === null) {
      return [
        'ClusterMismatch',
        `this node belongs to cluster ${this.identity.cluster}, you to ${theirs}: stores of two clusters never mix`,
      ];
    }
    return null;
  }

  /** One link per pair of processes: of several, the newest that the lesser node dialled. */
  #isKept({ link, isDialer }: Peer): boolean {
    const { node, nonce } = link.info as NonNullable<Link['info']>;
    const isMineTheLesser = this.identity.node < node;
    for (const other of [...this.#peers.values()]) {
      if (other.link === link || other.link.info?.node !== node || other.link.info.nonce !== nonce) continue;
      const isNewerBetter = isDialer === other.isDialer || isDialer === isMineTheLesser;
      if (!isNewerBetter) return false;
      this.#hangUp(other.link, 'Duplicate', 'there is a newer link between the same two nodes');
    }
    return true;
  }

  /** Somebody has my id: myself, or a process that runs on a copy of my directory. One of the two has to take a new one. */
  #onOwnId(link: Link, nonce: string): void {
    if (nonce === this.#nonce) return this.#hangUp(link, 'SelfConnection', 'this is the same node');
    this.#count('identity: a copy of this store is running');
    this.#hangUp(link, 'SameNode', 'a copy of this store is running under the same id: one of the two takes a new one');
    if (this.#nonce > nonce) this.#renew();
  }

  #renew(): void {
    this.#core.log('warn', 'a copy of this store is running elsewhere: going on under a new node id', {
      before: this.identity.node,
    });
    this.identity.renew();
    for (const { link } of [...this.#peers.values()]) this.#hangUp(link, 'Renamed', 'this node has a new id');
  }

  #onBye(link: Link, code: string, reason: string): void {
    this.#core.log(code === 'Closing' || code === 'Duplicate' ? 'debug' : 'warn', 'a peer closed the link', {
      node: link.info?.node,
      code,
      reason,
    });
    this.#count(`link: closed by the peer, ${code.slice(0, 32)}`);
    this.#effects.push({ type: 'close', link: link.id, code, reason });
    this.disconnect(link.id, this.#now);
    if (code === 'CloneSeen') this.#renew();
  }

  // ---------------------------------------------------------------- comparing clocks

  #compare(link: Link, hello: Hello): void {
    const { engine } = this;
    const isClockEqual = equalBytes(hello.clockHash, hashBytes(engine.clock));
    const isFloorsEqual = equalBytes(hello.floorsHash, hashBytes(engine.floors));
    // From here on the peer's clock is taken to be mine as it is now, but for what the answer says.
    link.peer.replaceByMine();
    if (isClockEqual && isFloorsEqual) this.#compared(link);
    else link.state = 'comparing';
    const ask: Ask = {
      type: 'ask',
      shard: engine.shard,
      clock: isClockEqual ? null : bucketDigest(engine.clock),
      floors: isFloorsEqual ? null : bucketDigest(engine.floors),
    };
    link.say(ask, this.#core.batch());
  }

  #onAsk(link: Link, ask: Ask): void {
    if (link.isAsked) throw new HearsayError('AskRepeated', 'a peer asked for clocks twice');
    link.isAsked = true;
    if (ask.clock === null && ask.floors === null) return;
    const clock = ask.clock === null ? null : entriesFor(this.engine.clock, ask.clock);
    const floors = ask.floors === null ? null : entriesFor(this.#floorsToTell(), ask.floors);
    // What the answer contains is told; so is what lies in buckets that are equal.
    if (clock !== null) link.untold.clear();
    if (floors !== null) link.untoldFloors.clear();
    const entries: Entries = {
      type: 'entries',
      shard: this.engine.shard,
      clockBuckets: clock?.buckets ?? null,
      clock: encodeClock(clock?.entries ?? new Clock()),
      floorsBuckets: floors?.buckets ?? null,
      floors: encodeClock(floors?.entries ?? new Clock()),
    };
    link.say(entries, this.#core.batch());
  }

  #onEntries(link: Link, entries: Entries): void {
    if (link.state !== 'comparing') throw new HearsayError('EntriesUnexpected', 'a peer answered what was not asked');
    const { clockBuckets } = entries;
    if (clockBuckets !== null)
      link.peer.replace(decodeClock(entries.clock), (actor) => isInBuckets(actor, clockBuckets));
    // Floors only ever rise; knowing them early costs a slower round at most.
    this.engine.raiseFloors(decodeClock(entries.floors));
    this.#compared(link);
  }

  /** What the peer's clock contains is known; not before may anyone reckon with it. */
  #compared(link: Link): void {
    link.state = 'ready';
    if (link.info?.role === 'member') this.#ghosts.knows(link.info.node, link.peer);
    this.#noticeLostEvents(link);
  }

  /** A peer knows more of my own earlier events than I do: this disk was lost, or restored. They come back like anyone's. */
  #noticeLostEvents(link: Link): void {
    for (const actor of link.peer.ahead.actors()) {
      if (!this.identity.isOwn(actor)) continue;
      if (!this.#wentBack)
        this.#core.log('warn', 'peers have events of this node that it lost: its store went back in time', {
          actor: formatActor(actor),
        });
      this.#wentBack = true;
    }
  }

  /** A peer has events of the actor that I write under: somebody else does too. From now on I write under another. */
  #noticeForgery(link: Link): void {
    const { actor } = this.engine;
    if (actor === null || link.peer.ahead.max(actor) === 0) return;
    this.#count('actor: used by another');
    this.#core.log('error', 'another process writes under the actor of this one: taking a new one', {
      actor: formatActor(actor),
    });
    this.engine.end();
  }

  #onCheck({ link, sender, receiver }: Peer, check: Check): void {
    // Sent when all of the sender's clock was told, so where I think that clocks are equal they have to be.
    if (!link.isReady || !link.peer.isEqual) return;
    if (!equalBytes(check.clockHash, hashBytes(this.engine.clock))) {
      this.#count('check: clocks differ');
      return this.#hangUp(link, 'ClocksDiffer', 'clocks that should be equal are not: comparing anew');
    }
    const isComparable =
      check.fingerprint.length > 0 &&
      !this.engine.hasResidue &&
      !sender.hasRound &&
      !receiver.hasRound &&
      !this.#guard.isBusy;
    if (isComparable && !this.#fingerprint.current.equals(check.fingerprint)) this.#guard.alarm(link);
  }

  // ---------------------------------------------------------------- taking in

  #from(link: Link, work: () => void): void {
    this.#source = link;
    try {
      work();
    } finally {
      this.#source = null;
    }
  }

  #taken(link: Link, records: readonly SentRecord[]): void {
    let latest = 0;
    for (const { path, entries } of records) {
      for (const { time } of entries) latest = Math.max(latest, time);
      // A leaf is attached here and to nobody else, so what it writes goes on as if it were written here.
      if (link.info?.role === 'leaf')
        for (const { link: other, sender } of this.#peers.values()) if (other !== link) sender.written(path);
      if (path.startsWith(SYSTEM)) this.#noticeActors(link);
    }
    if (latest > 0 && !this.#time.observe(latest, this.#now.wallMs)) this.#count('timestamps too far ahead');
  }

  /** The peer has taken its actor after its hello: its first event says so. */
  #noticeActors(link: Link): void {
    if (link.info === null) return;
    const run = this.identity.nodes().get(link.info.node)?.runs.at(-1);
    if (run !== undefined && run.ended === 0 && link.peer.has(run.actor, 1)) link.actor = run.actor;
  }

  // ---------------------------------------------------------------- time

  tick(now: Now): void {
    this.#now = now;
    for (const peer of [...this.#peers.values()]) this.#tickLink(peer, now);
    this.#guard.tick();
    if (now.monoMs >= this.#sweepMs) {
      const isMoreWaiting = this.#ghosts.sweep(now);
      this.#sweepMs = now.monoMs + (isMoreWaiting ? this.#pace.sweepMs / 20 : this.#pace.sweepMs);
      this.#expiry.sweep(now);
      this.#noticeClones(now);
      this.engine.melt();
    }
    this.#advance(now);
  }

  #tickLink({ link, sender, receiver }: Peer, now: Now): void {
    const { random } = this.#options;
    if (now.monoMs - link.heardMs >= this.#pace.silenceMs)
      return this.#hangUp(link, 'Silence', 'nothing was heard of the peer for too long');
    if (!link.isReady && now.monoMs - link.openedMs >= this.#pace.silenceMs) {
      return this.#hangUp(link, 'Silence', 'the peer did not get to comparing clocks');
    }
    // Not before the hello has left: a heartbeat overtakes what waits for the disk.
    if (now.monoMs >= link.beatMs && link.bytesSent > 0) {
      link.beatMs = now.monoMs + jittered(this.#pace.heartbeatMs, 0.1, random);
      link.beat(now.wallMs);
    }
    if (!link.isReady) return;
    if (!link.untold.isEmpty && now.monoMs >= this.#toldAtMs(link)) {
      link.say({ type: 'told', shard: this.engine.shard, told: link.takeUntold(now.monoMs) }, this.#core.batch());
    }
    if (now.monoMs >= link.checkMs) {
      link.checkMs = now.monoMs + jittered(this.#pace.checkMs, 0.2, random);
      if (link.untold.isEmpty && sender.isIdle && link.isQueueEmpty) this.#check(link, receiver);
    }
  }

  #toldAtMs(link: Link): number {
    return link.toldMs + TOLD_SHARE * this.#pace.roundDelayMs;
  }

  #check(link: Link, receiver: Receiver): void {
    const isWhole = this.#options.role === 'member' && link.info?.role === 'member';
    const isComparable = isWhole && !this.engine.hasResidue && !receiver.hasRound && !this.#guard.isBusy;
    const check: Check = {
      type: 'check',
      shard: this.engine.shard,
      clockHash: hashBytes(this.engine.clock),
      fingerprint: isComparable ? this.#fingerprint.current.bytes() : new Uint8Array(0),
    };
    link.say(check, this.#core.batch());
  }

  /** Two links of one node id, both alive for a while: two processes run on copies of one directory. The newer is told. */
  #noticeClones(now: Now): void {
    const byNode = new Map<string, Link>();
    const settledMs = CLONE_HEARTBEATS * this.#pace.heartbeatMs;
    for (const { link } of [...this.#peers.values()]) {
      if (link.info === null || now.monoMs - link.openedMs < settledMs || now.monoMs - link.heardMs > settledMs)
        continue;
      if (byNode.has(link.info.node))
        this.#hangUp(link, 'CloneSeen', 'another process runs under the same node id: take a new one');
      else byNode.set(link.info.node, link);
    }
  }

  nextTickMs(): number {
    let next = this.#guard.isBusy ? this.#now.monoMs : this.#sweepMs;
    for (const { link, sender } of this.#peers.values()) {
      if (link.bytesSent > 0) next = Math.min(next, link.beatMs);
      next = Math.min(next, link.heardMs + this.#pace.silenceMs, sender.nextMs());
      if (link.isReady)
        next = Math.min(next, link.checkMs, link.untold.isEmpty ? Number.POSITIVE_INFINITY : this.#toldAtMs(link));
    }
    return next;
  }

  // ---------------------------------------------------------------- looking in

  status(_now: Now): ReplicaStatus {
    const { engine, identity } = this;
    return {
      cluster: identity.cluster,
      node: identity.node,
      name: this.#options.name,
      role: this.#options.role,
      actor: engine.actor === null ? null : formatActor(engine.actor),
      fingerprint: hex(this.#fingerprint.current.bytes()),
      clock: hex(hashBytes(engine.clock)),
      actors: engine.clock.actorCount,
      hasResidue: engine.hasResidue,
      wentBack: this.#wentBack,
      members: [...identity.members()].sort(),
      links: Array.from(this.#peers.values(), ({ link }) => statusOf(link)),
      counts: Object.fromEntries(this.#counts),
    };
  }
}

/** False when only ghosts came or went, which no reader sees. */
function isLiveChanged({ entries: before }: Row, { entries: after }: Row): boolean {
  return (
    before.some((entry) => entry.kind === 'live' && !after.includes(entry)) ||
    after.some((entry) => entry.kind === 'live' && !before.includes(entry))
  );
}

function statusOf(link: Link): LinkStatus {
  const { info } = link;
  const state = link.isReady
    ? link.peer.isEqual
      ? 'equal'
      : 'syncing'
    : link.state === 'hello'
      ? 'hello'
      : 'comparing';
  return {
    link: link.id,
    state,
    node: info?.node ?? null,
    name: info?.name ?? null,
    role: info === null ? null : (info.role satisfies Role),
    eventsToSend: link.peer.behind.dotCount,
    eventsToReceive: link.peer.ahead.dotCount,
    bytesSent: link.bytesSent,
    bytesReceived: link.bytesReceived,
    clockSkewMs: link.skewMs,
  };
}

/** Passes everything on, and says when something was written. */
class WatchedStore implements OrderedStore {
  readonly #store: OrderedStore;
  readonly #onWrite: () => void;

  constructor(store: OrderedStore, onWrite: () => void) {
    this.#store = store;
    this.#onWrite = onWrite;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#store.get(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.#onWrite();
    this.#store.put(key, value);
  }

  delete(key: Key): void {
    this.#onWrite();
    this.#store.delete(key);
  }

  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    return this.#store.range(start, end, options);
  }
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

function hashBytes(clock: Clock): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  hashOf(clock).forEach((lane, i) => view.setUint32(4 * i, lane));
  return bytes;
}

function encodeInterests(prefixes: readonly string[]): Uint8Array {
  const writer = new Writer();
  for (const prefix of prefixes) writer.byteStringBlob(prefix);
  return writer.finish();
}

function decodeInterests(bytes: Uint8Array): string[] {
  const reader = new Reader(bytes);
  const prefixes: string[] = [];
  while (!reader.done) prefixes.push(reader.byteStringBlob());
  return prefixes;
}
