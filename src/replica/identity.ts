/**
 * Who is who: this node's id and cluster, and which node stands behind an actor.
 *
 * Every run of a process writes under a new random actor, so that no restored backup, cloned directory or lost tail can
 * name two events alike. Who those actors were is itself replicated data: one record per node, under a system path, that
 * the node writes as the first event of each new actor. It lists the node's actors with when they began and where they
 * ended. From it every replica knows the members (all nodes with role member; a later issue adds leaving), names for people,
 * and which actors can write no more. Earlier actors of which nothing is left are dropped from the list, but for a few.
 */
import { Reader, Writer } from '../../crdts/bytes.ts';
import { type Actor, actorFrom } from '../../crdts/dot.ts';
import type { Engine } from '../../crdts/engine.ts';
import { HearsayError } from '../../crdts/error.ts';
import { endOfPrefix, type Path, SYSTEM } from '../../crdts/path.ts';
import { Clock } from '../../crdts/clock.ts';
import { decodeValue, encodeValue, setRegister } from '../../crdts/types/register.ts';
import type { Value } from '../../crdts/value.ts';
import type { ReplicaOptions, Role } from './contract.ts';

/** One run of one node. */
export interface Run {
  readonly actor: Actor;
  readonly sinceMs: number;
  /** The last event, as its node knew when it began the next run; 0: this run goes on, for all that is known. */
  readonly ended: number;
}

export interface NodeRecord {
  readonly node: string;
  readonly name: string;
  readonly role: Role;
  /** Oldest first. */
  readonly runs: readonly Run[];
}

/** Earlier runs that stay listed although nothing of theirs is left: enough to answer "who was that" for a while. */
const EMPTY_RUNS_MAX = 16;

/** Of a leaf: 15 bytes each. One that was started this often without ever meeting a member leaves residue there for good. */
const LEAF_RUNS_MAX = 4_096;

const IDENTITY_KEY = 'midentity';
const NODES: Path = `${SYSTEM}n`;

export class Identity {
  readonly #engine: Engine;
  readonly #options: ReplicaOptions;
  #node: string;
  #cluster: string | null;
  readonly interests: readonly string[] | null;
  #nodes: Map<string, NodeRecord> | null = null;
  #nodeOfActor = new Map<Actor, string>();

  constructor(engine: Engine, options: ReplicaOptions) {
    this.#engine = engine;
    this.#options = options;
    const saved = engine.store.get(IDENTITY_KEY);
    const [node, cluster, interests, role] =
      saved === undefined ? [] : (decodeValue(saved) as [string, string | null, string[] | null, Role]);
    this.#node = node ?? hex(options.randomBytes(16));
    this.#cluster = cluster ?? options.cluster ?? null;
    if (options.cluster !== undefined && this.#cluster !== options.cluster) {
      throw new HearsayError(
        'ClusterMismatch',
        `this store belongs to cluster ${this.#cluster}, not ${options.cluster}: use another directory`,
        {
          stored: this.#cluster,
          wanted: options.cluster,
        },
      );
    }
    if (role !== undefined && role !== options.role) {
      throw new HearsayError(
        'RoleChanged',
        `this store was made as a ${role}: use another directory for a ${options.role}`,
        {
          stored: role,
          wanted: options.role,
        },
      );
    }
    this.interests = node === undefined ? (options.interests ?? null) : (interests ?? null);
    if (node !== undefined && JSON.stringify(options.interests ?? null) !== JSON.stringify(this.interests)) {
      throw new HearsayError(
        'InterestsChanged',
        'a leaf keeps the prefixes it was made with: use another directory for others',
        {
          stored: this.interests,
          wanted: options.interests ?? null,
        },
      );
    }
    if (saved === undefined) this.#save();
  }

  /** 32 hexadecimal digits. */
  get node(): string {
    return this.#node;
  }

  get cluster(): string | null {
    return this.#cluster;
  }

  #save(): void {
    const { role } = this.#options;
    const value: Value = [this.#node, this.#cluster, this.interests === null ? null : [...this.interests], role];
    this.#engine.store.put(IDENTITY_KEY, encodeValue(value));
  }

  /**
   * The cluster that this store and a peer have in common, which it keeps from now on; null when they differ. Two stores
   * that belong to none yet found one, named after the lesser of their ids, so that both find the same name.
   */
  agreeOnCluster(peerCluster: string | null, peerNode: string): string | null {
    const agreed = this.#cluster ?? peerCluster ?? (peerNode < this.#node ? peerNode : this.#node);
    if (peerCluster !== null && peerCluster !== agreed) return null;
    if (this.#cluster === null) {
      this.#cluster = agreed;
      this.#save();
    }
    return agreed;
  }

  /** This directory was cloned, and the other copy keeps the id: take a new one. */
  renew(): void {
    this.#node = hex(this.#options.randomBytes(16));
    this.#save();
  }

  /** Begins a run: a new actor, and its first event, which says whose it is. */
  begin(write: (edit: ReturnType<typeof setRegister>) => void, wallMs: number): void {
    const engine = this.#engine;
    const earlier = (this.nodes().get(this.#node)?.runs ?? []).map((run) =>
      run.ended === 0 ? { ...run, ended: engine.clock.max(run.actor) } : run,
    );
    const actor = actorFrom(this.#options.randomBytes(8));
    engine.begin(actor);
    const runs = [...this.#withoutTheForgotten(earlier), { actor, sinceMs: Math.floor(wallMs), ended: 0 }];
    const { name, role } = this.#options;
    write(setRegister(pathOfNode(this.#node), [name, role, encodeRuns(runs)], 0));
  }

  #withoutTheForgotten(runs: readonly Run[]): Run[] {
    // A leaf completes rounds for its own actors alone, so it must know them all: also one of which nothing is left.
    const keptMax = this.#options.role === 'leaf' ? LEAF_RUNS_MAX : EMPTY_RUNS_MAX;
    return runs.filter(({ actor, ended }, i) => {
      if (i >= runs.length - keptMax) return true;
      const events = new Clock();
      events.add(actor, 1, Math.max(1, ended));
      return this.#engine.walk(events, 1).length > 0;
    });
  }

  /** True when this node has a record of its own in the store. */
  get isKnown(): boolean {
    return this.nodes().has(this.#node);
  }

  /** A record at this path changed: what was read from it is read again. */
  changed(path: Path): void {
    if (path.startsWith(NODES)) this.#nodes = null;
  }

  nodes(): ReadonlyMap<string, NodeRecord> {
    if (this.#nodes !== null) return this.#nodes;
    this.#nodes = new Map();
    this.#nodeOfActor = new Map();
    for (const [path, { entries }] of this.#engine.rows(NODES, endOfPrefix(NODES))) {
      const node = path.slice(NODES.length);
      // Copies of one directory may have written concurrently: then all that they say is true together.
      for (const entry of entries) {
        if (entry.kind !== 'live') continue;
        const record = decodeRecord(node, entry.body, this.#nodes.get(node)?.runs ?? []);
        if (record === null) continue;
        this.#nodes.set(node, record);
        for (const { actor } of record.runs) this.#nodeOfActor.set(actor, node);
      }
    }
    return this.#nodes;
  }

  nodeOf(actor: Actor): string | null {
    this.nodes();
    return this.#nodeOfActor.get(actor) ?? null;
  }

  isOwn(actor: Actor): boolean {
    return actor === this.#engine.actor || this.nodeOf(actor) === this.#node;
  }

  /** Ids of the members, this node included if it is one. */
  members(): Set<string> {
    const members = new Set<string>();
    for (const { node, role } of this.nodes().values()) if (role === 'member') members.add(node);
    if (this.#options.role === 'member') members.add(this.#node);
    return members;
  }
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

export function unhex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export const pathOfNode = (node: string): Path => NODES + node;

function encodeRuns(runs: readonly Run[]): Uint8Array {
  const writer = new Writer();
  for (const { actor, sinceMs, ended } of runs) {
    writer.byteString(actor);
    writer.varint(Math.floor(sinceMs / 1000));
    writer.varint(ended);
  }
  return writer.finish();
}

/** null for what is no such record: it came from a peer. */
function decodeRecord(node: string, body: Uint8Array, others: readonly Run[]): NodeRecord | null {
  try {
    const [name, role, packed] = decodeValue(body) as [unknown, unknown, unknown];
    if (typeof name !== 'string' || (role !== 'member' && role !== 'leaf') || !(packed instanceof Uint8Array))
      return null;
    const reader = new Reader(packed);
    const runs = new Map(others.map((run) => [run.actor, run]));
    while (!reader.done) {
      const actor = reader.byteString(8) as Actor;
      const sinceMs = reader.varint() * 1000;
      const ended = Math.max(reader.varint(), runs.get(actor)?.ended ?? 0);
      runs.set(actor, { actor, sinceMs, ended });
    }
    return { node, name, role, runs: [...runs.values()] };
  } catch {
    return null;
  }
}
