/**
 * A cluster in a box: replicas, their disks and the network between them, under one virtual clock. A second "node.ts".
 *
 * The replica here is the real one, and so is every byte that goes between two of them; only time, luck, disk and network
 * are made up. Nothing happens but by a call, so that a cluster does the same thing whenever it is asked the same way.
 *
 * Time stands still unless `run` lets it pass, and then jumps from one thing that happens to the next: a message arrives, a
 * replica's timer is due, a batch is closed, a batch becomes durable.
 */
import { Clock } from '../../crdts/clock.ts';
import type { Dot } from '../../crdts/dot.ts';
import { type Edit, Engine } from '../../crdts/engine.ts';
import type { Host } from '../../crdts/handles.ts';
import type {
  Effect,
  LinkId,
  Now,
  Pace,
  ReplicaCore,
  ReplicaOptions,
  ReplicaStatus,
  Role,
} from '../replica/contract.ts';
import { pathOfNode } from '../replica/identity.ts';
import { type Backup, SimulatedDisk } from './disk.ts';
import { failure, SimulationFailure } from './failure.ts';
import { type Direction, type End, Network } from './network.ts';
import { Oracle, type ProcessRun, type SimulatedEvent } from './oracle.ts';
import { cheapHash, Random } from './random.ts';
import { type Tampering, tampered } from './tampering.ts';
import { describeMessage } from './wire.ts';

/** The wall clock at the beginning of every simulation: 2025-01-01. */
const EPOCH_MS = 1_735_689_600_000;

const CLUSTER = '00112233445566778899aabbccddeeff';

/** More than this in flight on one connection means that a window is not kept: 256 KiB of messages, and as much of parts. */
const FLIGHT_BYTES_MAX = (2 * 256 + 64) * 1024;
const MESSAGE_BYTES_MAX = 64 * 1024;

/** A schedule makes some hundred things happen, a few thousand at most; replicas that never rest do more. */
const HAPPENINGS_MAX = 40_000;

export type ReplicaMaker = (options: ReplicaOptions) => ReplicaCore;

export interface ClusterOptions {
  readonly seed: number;
  readonly create: ReplicaMaker;
  readonly pace: Partial<Pace>;
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly spreadMs?: number;
  readonly sealMs: number;
  readonly syncMs: number;
  readonly redialMs: number | null;
}

/** One machine: a disk, and a process that is up or down. */
export class SimulatedNode {
  readonly index: number;
  readonly name: string;
  readonly role: Role;
  readonly interests: readonly string[] | null;
  disk: SimulatedDisk;
  core: ReplicaCore | null = null;
  /** For handles, once somebody has asked for them in this run. */
  host: Host<void> | null = null;
  run: ProcessRun;
  runCount = 0;
  skewMs = 0;
  /** The machine's monotonic clock begins somewhere. */
  readonly monoBaseMs: number;
  isDiskHeld = false;
  saved: Backup | null = null;
  /** A copy of another node's directory, so that two processes have one history. */
  isClone = false;
  tickAtMs = Number.POSITIVE_INFINITY;
  sealAtMs = Number.POSITIVE_INFINITY;
  /** Batches that are closed and not durable: when each will be. */
  readonly syncs: { batch: number; atMs: number }[] = [];

  constructor(index: number, role: Role, interests: readonly string[] | null, disk: SimulatedDisk, run: ProcessRun) {
    this.index = index;
    this.name = run.name;
    this.role = role;
    this.interests = interests;
    this.disk = disk;
    this.run = run;
    this.monoBaseMs = 1_000_000 * (index + 1);
  }
}

const NODE_NAMES = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

export class Cluster {
  nowMs = 0;
  readonly nodes: SimulatedNode[] = [];
  readonly network: Network;
  readonly oracle: Oracle;
  readonly #options: ClusterOptions;
  /** Ways that are held, as `from * 64 + to`; connections made meanwhile are held as well. */
  readonly #held = new Set<number>();
  readonly #traps: { from: number; to: number; how: Tampering; index: number }[] = [];
  readonly #redials: { a: number; b: number; atMs: number }[] = [];
  readonly #spread: Random;
  #isHurried = false;
  #rotten: SimulatedNode | null = null;
  #latencyMs: number;
  #jitterMs: number;
  #happenings = 0;
  #bytes = 0;
  #messages = 0;
  #isWriting = false;
  /** What the oracle threw inside a replica, which may have caught it: a replica survives whatever a peer sends. */
  #found: unknown;
  /** What the replicas counted, over all their runs. */
  readonly counts = new Map<string, number>();
  /** True once a disk lost records without a trace: then guards have work to do, and deletes may come undone. */
  get hasRotted(): boolean {
    return this.#rotten !== null;
  }
  /** True once a disk came back older than it was, so that guard alarms and lost events are possible. */
  hasGoneBack = false;
  /** Tells the story, a line at a time. */
  tell: ((line: string) => void) | undefined;
  /** With `tell`: every message as it arrives, too. */
  isTellingAll = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#latencyMs = options.latencyMs;
    this.#jitterMs = options.jitterMs;
    this.#spread = Random.of(options.seed, 5);
    this.network = new Network(options.seed);
    this.oracle = new Oracle(options.pace.expiryGraceMs ?? 60_000);
    this.oracle.onEvent = (event) => this.#happened(event);
    this.oracle.onDrop = (run, event) => this.#dropped(this.nodes[run.node] as SimulatedNode, event);
  }

  get pace(): Pick<Pace, 'sweepMs' | 'expiryGraceMs' | 'heartbeatMs'> {
    const { sweepMs = 1_000, expiryGraceMs = 60_000, heartbeatMs = 2_000 } = this.#options.pace;
    return { sweepMs, expiryGraceMs, heartbeatMs };
  }

  get byteCount(): number {
    return this.#bytes;
  }

  get messageCount(): number {
    return this.#messages;
  }

  // ---------------------------------------------------------------- nodes

  addNode(role: Role, interests: readonly string[] | null = null, backup?: Backup): SimulatedNode {
    const index = this.nodes.length;
    const run: ProcessRun = { node: index, name: NODE_NAMES[index] ?? `N${index}`, sealed: 0, durable: 0, wallMs: 0 };
    const disk = new SimulatedDisk(backup, (from, key, value) => this.#watch(index, from, key, value));
    const node = new SimulatedNode(index, role, interests, disk, run);
    this.nodes.push(node);
    this.start(node);
    return node;
  }

  #watch(index: number, disk: SimulatedDisk, key: string, value: Uint8Array | undefined): void {
    try {
      this.oracle.watch((this.nodes[index] as SimulatedNode).run, disk, key, value);
    } catch (error) {
      this.#found ??= error;
      throw error;
    }
  }

  #happened(event: SimulatedEvent): void {
    const node = this.nodes[event.run.node] as SimulatedNode;
    if (!this.#isWriting) this.oracle.checkOwnWork(event, node.disk);
    if (this.tell === undefined) return;
    const replaced = event.replaces.map((id) => this.oracle.nameOf(id)).join(', ');
    const what = this.#isWriting ? 'event' : 'own event';
    this.tell(`   ${what} ${this.oracle.nameOf(event.id)}${replaced === '' ? '' : ` replaces ${replaced}`}`);
  }

  /** ⚑ A member drops a ghost only when every member that it knows has it, durable, and its record has no residue. */
  #dropped(node: SimulatedNode, event: SimulatedEvent): void {
    if (node.role !== 'member' || node.core === null || this.hasGoneBack) return;
    const engine = new Engine(node.disk);
    const who = `${node.name} drops the ghost ${this.oracle.nameOf(event.id)}`;
    for (const other of this.nodes) {
      if (other === node || other.role !== 'member' || other.isClone || other.core === null) continue;
      if (engine.read(pathOfNode(other.core.node)).entries.length === 0) continue;
      if (durableClockOn(other.disk).has(event.actor, event.n)) continue;
      failure('DroppedTooEarly', `${who}, of which ${other.name} has not heard`);
    }
    // What the replica knows beyond its last batch the disk does not show.
    if (this.#options.sealMs > 0) return;
    if (engine.residueOf(this.oracle.rowBefore(node.disk, event.path)) !== null)
      failure('DroppedTooEarly', `${who} from a record with residue`);
  }

  start(node: SimulatedNode): void {
    if (node.core !== null) return;
    node.runCount++;
    node.run = { node: node.index, name: node.name, sealed: 0, durable: 0, wallMs: 0 };
    const luck = Random.of(this.#options.seed, 1, node.index, node.runCount);
    const names = Random.of(this.#options.seed, 2, node.index, node.runCount);
    const now = this.#now(node);
    node.core = this.#guarded(node, () =>
      this.#options.create({
        store: node.disk,
        hash: cheapHash,
        random: () => luck.next(),
        randomBytes: (count) => names.bytes(count),
        now,
        name: node.name,
        role: node.role,
        cluster: CLUSTER,
        interests: node.interests ?? undefined,
        pace: this.#options.pace,
      }),
    );
    this.#after(node);
  }

  /** The process is gone, and with it what was not durable, but for the oldest `kept` closed batches. Returns what it had counted. */
  crash(node: SimulatedNode, kept = 0): void {
    if (node.core === null) return;
    // What only this disk still had of what another has lost may go with what is not durable here.
    const before = this.hasGoneBack ? clockOn(node.disk) : null;
    this.#end(node);
    node.run.durable += Math.min(kept, node.disk.pendingCount);
    node.disk.crash(kept);
    this.oracle.crashed(node.run);
    if (before !== null) this.#wentBack(node, before);
  }

  /** A clean end: says goodbye, and everything becomes durable. */
  stop(node: SimulatedNode): void {
    const { core } = node;
    if (core === null) return;
    this.#guarded(node, () => core.close(this.#now(node)));
    this.#carryOutAll(node, core.takeEffects());
    if (core.isDirty) this.#seal(node);
    while (node.syncs.length > 0) this.#sync(node);
    this.#end(node);
  }

  #end(node: SimulatedNode): void {
    this.#collectCounts(node);
    node.core = null;
    node.host = null;
    node.tickAtMs = Number.POSITIVE_INFINITY;
    node.sealAtMs = Number.POSITIVE_INFINITY;
    node.syncs.length = 0;
    for (const { ends } of this.network.connections) {
      for (const end of ends) if (end.node === node.index) this.network.close(end, this.nowMs);
    }
    this.network.sweep();
  }

  /** The counters of a process that ends, or of the moment, are added to those of the whole simulation. */
  #collectCounts(node: SimulatedNode): void {
    if (node.core === null) return;
    const { counts } = node.core.status(this.#now(node));
    for (const name in counts) this.counts.set(name, (this.counts.get(name) ?? 0) + (counts[name] as number));
  }

  /** Of a node that is up. */
  statusOf(node: SimulatedNode): ReplicaStatus {
    return (node.core as ReplicaCore).status(this.#now(node));
  }

  collectAllCounts(): void {
    for (const node of this.nodes) this.#collectCounts(node);
  }

  backup(node: SimulatedNode): void {
    node.saved = node.disk.backup();
  }

  /** Crashes, loses its disk, and comes back with `saved` in its place. */
  restore(node: SimulatedNode, saved: Backup): void {
    const before = clockOn(node.disk);
    this.crash(node);
    node.disk = new SimulatedDisk(saved, (disk, key, value) => this.#watch(node.index, disk, key, value));
    this.#wentBack(node, before);
    this.start(node);
  }

  #wentBack(node: SimulatedNode, before: Clock): void {
    this.hasGoneBack = true;
    this.oracle.wentBack(
      before,
      clockOn(node.disk),
      this.#otherMembers(node).map(({ disk }) => clockOn(disk)),
    );
  }

  #otherMembers(node: SimulatedNode): SimulatedNode[] {
    return this.nodes.filter((other) => other !== node && other.role === 'member');
  }

  /**
   * The disk of a member that is down loses the `index`-th of its users' records. False when it has none, or another disk
   * has rotted already: what two have lost nobody can bring back.
   */
  rot(node: SimulatedNode, index: number, isWhole: boolean): boolean {
    if (node.core !== null || node.role !== 'member' || (this.#rotten ?? node) !== node) return false;
    const others = this.#otherMembers(node).map(({ disk }) => disk);
    const before = clockOn(node.disk);
    if (!this.oracle.rot(node.disk, index, isWhole, others)) return false;
    // What the guard does then is to forget what it does not hold, as if the disk had gone back to nothing.
    this.oracle.wentBack(before, new Clock(), others.map(clockOn));
    this.hasGoneBack = true;
    this.#rotten = node;
    return true;
  }

  clone(node: SimulatedNode): SimulatedNode {
    const copy = this.addNode(node.role, node.interests, node.disk.backup());
    copy.isClone = true;
    return copy;
  }

  /** Reads and writes at a node as the handles of crdts/handles.ts do. */
  hostOf(node: SimulatedNode): Host<void> {
    node.host ??= this.#makeHost(node);
    return node.host;
  }

  #makeHost(node: SimulatedNode): Host<void> {
    // Rows are read from the disk whenever they are asked for; only what a new engine knows of clocks would grow old.
    const engine = new Engine(node.disk);
    return {
      entries: (path) => engine.read(path).entries,
      *scan(start, end, reverse) {
        for (const [path, { entries }] of engine.rows(start, end, reverse)) yield [path, entries];
      },
      write: (edits) => {
        this.write(node, edits);
      },
      nowMs: () => this.wallMs(node),
    };
  }

  /** Writes a batch at a node that is up; its events must be new. */
  write(node: SimulatedNode, edits: readonly Edit[]): readonly Dot[] {
    const { core } = node;
    if (core === null || edits.length === 0) return [];
    const count = this.oracle.eventCount;
    const now = this.#now(node);
    this.#isWriting = true;
    const dots = this.#guarded(node, () => core.write(edits, now));
    this.#isWriting = false;
    for (const { actor, n } of dots) this.oracle.answered(node.run, actor, n, count);
    this.#after(node);
    return dots;
  }

  /** A replica never throws, whatever it is told; and what the oracle finds during a call keeps its name. */
  #guarded<T>(node: SimulatedNode, call: () => T): T {
    try {
      const result = call();
      if (this.#found !== undefined) throw this.#found;
      return result;
    } catch (error) {
      if (this.#found !== undefined) throw this.#found;
      if (error instanceof SimulationFailure) throw error;
      throw new SimulationFailure(
        'Threw',
        `${node.name} threw ${error instanceof Error ? error.stack : String(error)}`,
        error,
      );
    }
  }

  // ---------------------------------------------------------------- time

  wallMs(node: SimulatedNode): number {
    return Math.floor(EPOCH_MS + this.nowMs + node.skewMs);
  }

  #now(node: SimulatedNode): Now {
    const wallMs = this.wallMs(node);
    node.run.wallMs = wallMs;
    return { monoMs: this.nowMs + node.monoBaseMs, wallMs };
  }

  /** What a replica wants done after every call, in the order of its contract. */
  #after(node: SimulatedNode): void {
    const core = node.core as ReplicaCore;
    for (let turns = 0; ; turns++) {
      this.#carryOutAll(node, core.takeEffects());
      if (!core.isDirty || node.sealAtMs !== Number.POSITIVE_INFINITY) break;
      if (this.#options.sealMs > 0) {
        node.sealAtMs = this.nowMs + this.#options.sealMs;
        break;
      }
      this.#seal(node);
      if (turns > 100) failure('Restless', `${node.name} writes again whenever its writes are durable`);
    }
    node.tickAtMs = core.nextTickMs() - node.monoBaseMs;
  }

  #seal(node: SimulatedNode): void {
    const core = node.core as ReplicaCore;
    node.sealAtMs = Number.POSITIVE_INFINITY;
    const batch = this.#guarded(node, () => core.seal(this.#now(node)));
    node.disk.commit();
    node.run.sealed++;
    core.takeChanged();
    node.syncs.push({ batch, atMs: this.nowMs + this.#options.syncMs });
    if (this.#options.syncMs === 0 && !node.isDiskHeld) while (node.syncs.length > 0) this.#sync(node);
  }

  /** The oldest batch becomes durable. */
  #sync(node: SimulatedNode): void {
    const { batch } = node.syncs.shift() as { batch: number };
    node.disk.sync();
    node.run.durable++;
    this.#guarded(node, () => (node.core as ReplicaCore).durable(batch, this.#now(node)));
  }

  /** Everything written so far becomes durable now. */
  syncAll(node: SimulatedNode): void {
    if (node.core === null) return;
    if (node.core.isDirty) this.#seal(node);
    while (node.syncs.length > 0) this.#sync(node);
    this.#after(node);
  }

  #carryOutAll(node: SimulatedNode, effects: readonly Effect[]): void {
    for (const effect of effects) this.#carryOut(node, effect);
  }

  #carryOut(node: SimulatedNode, effect: Effect): void {
    switch (effect.type) {
      case 'send': {
        const end = this.network.end(effect.link);
        if (end === undefined || end.node !== node.index)
          return failure('WrongLink', `${node.name} sends on a link that is not its own`);
        if (!end.isOpen) return;
        this.#bytes += effect.bytes.length;
        this.#messages++;
        if (this.#traps.length === 0) end.out.push(effect.bytes, this.nowMs);
        else for (const bytes of this.#afterTraps(end.out, effect.bytes)) end.out.push(bytes, this.nowMs);
        if (effect.bytes.length > MESSAGE_BYTES_MAX)
          failure('MessageTooLong', `${node.name} sends ${effect.bytes.length} bytes in one message`);
        if (end.out.byteCount > FLIGHT_BYTES_MAX)
          failure('WindowNotKept', `${node.name} has ${end.out.byteCount} bytes under way on one link`);
        return;
      }
      case 'close': {
        const end = this.network.end(effect.link);
        this.tell?.(`   ${node.name} closes its link: ${effect.code}, ${effect.reason}`);
        if (end?.isOpen) this.#closed(end);
        return;
      }
      case 'log':
        this.tell?.(`   ${node.name} logs ${effect.level}: ${effect.message} ${JSON.stringify(effect.fields)}`);
    }
  }

  /** Of the messages from one node to another to which this can happen, it does to the one after the next `index`. */
  tamperLater(from: number, to: number, how: Tampering, index: number): void {
    this.#traps.push({ from, to, how, index });
  }

  #afterTraps({ from, to }: Direction, bytes: Uint8Array): Uint8Array[] {
    const at = this.#traps.findIndex((trap) => trap.from === from && trap.to === to);
    const trap = this.#traps[at];
    const arriving = trap === undefined ? null : tampered(bytes, trap.how);
    if (trap === undefined || arriving === null || trap.index-- > 0) return [bytes];
    this.#traps.splice(at, 1);
    return arriving;
  }

  /** One end is closed, by the replica there or for it. */
  #closed(end: End): void {
    this.network.close(end, this.nowMs);
    const { redialMs } = this.#options;
    if (redialMs !== null) this.#redials.push({ a: end.node, b: end.out.to, atMs: this.nowMs + redialMs });
  }

  /** Lets `ms` pass. */
  run(ms: number): void {
    const endMs = this.nowMs + ms;
    while (this.#step(endMs));
    this.nowMs = endMs;
  }

  /** The next thing that happens, if it does so by `endMs`; false when nothing does. */
  #step(endMs: number): boolean {
    let atMs = endMs;
    let direction: Direction | null = null;
    let node: SimulatedNode | null = null;
    for (const { ends } of this.network.connections) {
      for (const end of ends) {
        const { nextMs } = end.in;
        if (nextMs < atMs || (nextMs === atMs && direction === null)) {
          atMs = nextMs;
          direction = end.in;
        }
      }
    }
    for (const each of this.nodes) {
      const sync = each.isDiskHeld ? undefined : each.syncs[0]?.atMs;
      const wakeMs = Math.min(each.tickAtMs, each.sealAtMs, sync ?? Number.POSITIVE_INFINITY);
      if (wakeMs < atMs || (wakeMs === atMs && direction === null && node === null)) {
        atMs = wakeMs;
        node = each;
      }
    }
    const redial = this.#redials[0];
    if (redial !== undefined && redial.atMs <= atMs) return this.#redial(redial.atMs);
    if (direction === null && node === null) return false;
    if (++this.#happenings > HAPPENINGS_MAX)
      failure('Restless', `${HAPPENINGS_MAX} things happened and there is no end of it`);
    this.nowMs = Math.max(this.nowMs, atMs);
    if (node === null) this.deliver(direction as Direction);
    else this.#wake(node);
    return true;
  }

  #redial(atMs: number): boolean {
    this.nowMs = Math.max(this.nowMs, atMs);
    const { a, b } = this.#redials.shift() as { a: number; b: number };
    if (this.network.between(a, b).length === 0)
      this.connect(this.nodes[a] as SimulatedNode, this.nodes[b] as SimulatedNode);
    return true;
  }

  #wake(node: SimulatedNode): void {
    const core = node.core as ReplicaCore;
    if ((node.syncs[0]?.atMs ?? Number.POSITIVE_INFINITY) <= this.nowMs && !node.isDiskHeld) this.#sync(node);
    else if (node.sealAtMs <= this.nowMs) this.#seal(node);
    else this.#guarded(node, () => core.tick(this.#now(node)));
    this.#after(node);
  }

  // ---------------------------------------------------------------- network

  connect(a: SimulatedNode, b: SimulatedNode): void {
    if (a === b || a.core === null || b.core === null || (a.role === 'leaf' && b.role === 'leaf')) return;
    const spreadMs = this.#isHurried ? 0 : (this.#options.spreadMs ?? 0) * this.#spread.next();
    const { ends } = this.network.connect(a.index, b.index, this.#latencyMs + spreadMs, this.#jitterMs);
    for (const { out } of ends) out.isHeld = this.#held.has(64 * out.from + out.to);
    for (const end of ends) this.#opened(end.node, end.link);
  }

  #opened(index: number, link: LinkId): void {
    const node = this.nodes[index] as SimulatedNode;
    const { core } = node;
    if (core === null || this.network.end(link)?.isOpen !== true) return;
    this.#guarded(node, () => core.connect(link, this.#now(node)));
    this.#after(node);
  }

  /** The first message under way is delivered, now. */
  deliver(direction: Direction): void {
    const end = this.network.receiver(direction);
    const bytes = direction.shift();
    const node = this.nodes[end.node] as SimulatedNode;
    const { core } = node;
    if (core === null || !end.isOpen) return;
    if (this.isTellingAll) this.#tellMessage(direction, bytes);
    if (bytes === null) {
      this.#closed(end);
      this.network.sweep();
      this.#guarded(node, () => core.disconnect(end.link, this.#now(node)));
    } else {
      this.#guarded(node, () => core.receive(end.link, bytes, this.#now(node)));
    }
    this.#after(node);
  }

  #tellMessage({ connection, from, to }: Direction, bytes: Uint8Array | null): void {
    const name = (index: number): string => (this.nodes[index] as SimulatedNode).name;
    const what = bytes === null ? 'the end' : describeMessage(bytes, this.oracle);
    this.tell?.(`      ${this.nowMs.toFixed(0)} ms: ${name(from)} → ${name(to)} (${connection}) ${what}`);
  }

  /** The node at `end` notices that its connection is gone; the other end does later, behind what is under way. */
  drop(end: End): void {
    const node = this.nodes[end.node] as SimulatedNode;
    const { core } = node;
    if (!end.isOpen) return;
    this.#closed(end);
    this.network.sweep();
    if (core === null) return;
    this.#guarded(node, () => core.disconnect(end.link, this.#now(node)));
    this.#after(node);
  }

  /** Directions with anything under way from one node to another, the oldest connection first. */
  under(from: number, to: number): Direction[] {
    const found: Direction[] = [];
    for (const { ends } of this.network.connections) {
      for (const { out } of ends) if (out.from === from && out.to === to && out.length > 0) found.push(out);
    }
    return found;
  }

  hold(from: number, to: number, isHeld: boolean): void {
    if (isHeld) this.#held.add(64 * from + to);
    else this.#held.delete(64 * from + to);
    for (const { ends } of this.network.connections) {
      for (const { out } of ends) if (out.from === from && out.to === to) out.isHeld = isHeld;
    }
  }

  isHeld(from: number, to: number): boolean {
    return this.#held.has(64 * from + to);
  }

  /** Nothing is held any more. With `hurry`, what is under way arrives now, and from now on everything at once. */
  healNetwork(hurry = false): void {
    this.#held.clear();
    if (hurry) this.#traps.length = 0;
    for (const { ends } of this.network.connections) {
      for (const { out } of ends) {
        out.isHeld = false;
        if (hurry) out.hurry(this.nowMs);
      }
    }
    if (!hurry) return;
    this.#isHurried = true;
    this.#latencyMs = 0;
    this.#jitterMs = 0;
  }

  /** True when nothing is under way, to be written or to become durable: only time can bring anything new. */
  get isCalm(): boolean {
    return (
      this.#redials.length === 0 &&
      this.nodes.every(({ syncs, sealAtMs }) => syncs.length === 0 && sealAtMs === Number.POSITIVE_INFINITY) &&
      this.network.connections.every(({ ends }) => ends.every((end) => end.in.length === 0))
    );
  }

  /** Lets happen what happens next, however far away; false when nothing ever does. */
  runToNext(): boolean {
    return this.#step(Number.MAX_SAFE_INTEGER);
  }
}

/** The clock of the replica on a disk, as of its last batch. */
export const clockOn = (disk: SimulatedDisk): Clock => new Engine(disk).clock;

/** The same as of the last batch that is durable. */
const durableClockOn = (disk: SimulatedDisk): Clock =>
  disk.pendingCount === 0 ? clockOn(disk) : clockOn(new SimulatedDisk(disk.backup()));
