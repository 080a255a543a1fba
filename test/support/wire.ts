/**
 * A few replicas over wires that deliver at once and in order, with a clock that the test turns: for tests of the replica
 * that need no faults. Faults are the simulator's (src/testing).
 */
import { createHash, randomBytes } from 'node:crypto';
import { Handles } from '../../crdts/handles.ts';
import { MemoryStore } from '../../crdts/memory.ts';
import type { OrderedStore } from '../../crdts/store.ts';
import { decodeMessage } from '../../src/protocol/codec.ts';
import type { Message } from '../../src/protocol/messages.ts';
import type { Effect, LinkId, Now, ReplicaOptions } from '../../src/replica/contract.ts';
import { Replica } from '../../src/replica/replica.ts';

export interface Sent {
  readonly from: string;
  readonly to: string;
  readonly bytes: Uint8Array;
  readonly message: Message | null;
}

export class WireNode {
  readonly name: string;
  readonly store: OrderedStore;
  readonly replica: Replica;
  readonly data: Handles<unknown>;
  readonly links = new Map<LinkId, WireNode>();
  readonly closed: string[] = [];

  constructor(world: World, name: string, options: Partial<ReplicaOptions> = {}) {
    this.name = name;
    this.store = options.store ?? new MemoryStore();
    const replica = new Replica({
      hash: (bytes) => createHash('sha256').update(bytes).digest(),
      random: () => 0.5,
      randomBytes: (count) => new Uint8Array(randomBytes(count)),
      now: world.now(),
      name,
      role: 'member',
      ...options,
      store: this.store,
    });
    this.replica = replica;
    this.data = new Handles({
      entries: (path) => replica.engine.read(path).entries,
      *scan(start, end, reverse) {
        for (const [path, { entries }] of replica.engine.rows(start, end, reverse)) yield [path, entries] as const;
      },
      write: (edits) => replica.write(edits, world.now()),
      nowMs: () => world.now().wallMs,
    });
  }

  count(name: string): number {
    return this.replica.status({ monoMs: 0, wallMs: 0 }).counts[name] ?? 0;
  }
}

export class World {
  readonly nodes: WireNode[] = [];
  readonly sent: Sent[] = [];
  /** Called for every message; what it returns is delivered in its place, nothing if null. */
  tap: (sent: Sent) => Uint8Array | null = ({ bytes }) => bytes;
  /** While true, what is sealed does not become durable. */
  isDiskStalled = false;
  monoMs = 0;
  #links = 0;
  readonly #sealed: { node: WireNode; batch: number }[] = [];

  now(): Now {
    return { monoMs: this.monoMs, wallMs: 1_800_000_000_000 + this.monoMs };
  }

  node(name: string, options: Partial<ReplicaOptions> = {}): WireNode {
    const node = new WireNode(this, name, options);
    this.nodes.push(node);
    return node;
  }

  connect(a: WireNode, b: WireNode): LinkId {
    const link = ++this.#links;
    a.links.set(link, b);
    b.links.set(link, a);
    a.replica.connect(link, this.now(), true);
    b.replica.connect(link, this.now(), false);
    return link;
  }

  cut(link: LinkId): void {
    for (const node of this.nodes) {
      if (node.links.delete(link)) node.replica.disconnect(link, this.now());
    }
  }

  /** Bytes sent so far by everyone. */
  get bytes(): number {
    return this.sent.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** Lets everything happen that happens at this moment. Fails when that does not end. */
  settle(): void {
    for (let i = 0; i < 100_000; i++) if (!this.#settleOnce()) return;
    throw new Error('the replicas do not come to rest');
  }

  #settleOnce(): boolean {
    let isBusy = false;
    for (const node of this.nodes) {
      if (node.replica.isDirty) {
        isBusy = true;
        this.#sealed.push({ node, batch: node.replica.seal(this.now()) });
      }
      for (const effect of node.replica.takeEffects()) {
        isBusy = true;
        this.#carryOut(node, effect);
      }
    }
    if (!this.isDiskStalled) {
      for (const { node, batch } of this.#sealed.splice(0)) {
        isBusy = true;
        node.replica.durable(batch, this.now());
      }
    }
    return isBusy;
  }

  #carryOut(node: WireNode, effect: Effect): void {
    if (effect.type === 'log') return;
    const to = node.links.get(effect.link);
    if (effect.type === 'close') {
      node.closed.push(effect.code);
      return this.cut(effect.link);
    }
    if (to === undefined) return;
    const sent = { from: node.name, to: to.name, bytes: effect.bytes, message: decodeMessage(effect.bytes) };
    this.sent.push(sent);
    const bytes = this.tap(sent);
    if (bytes !== null) to.replica.receive(effect.link, bytes, this.now());
  }

  /** Lets `ms` pass, with everything that is due in them. */
  run(ms: number): void {
    const end = this.monoMs + ms;
    this.settle();
    while (this.monoMs < end) {
      const next = Math.min(...this.nodes.map(({ replica }) => replica.nextTickMs()));
      this.monoMs = Math.min(end, Math.max(this.monoMs + 1, next));
      for (const { replica } of this.nodes) replica.tick(this.now());
      this.settle();
    }
  }
}
