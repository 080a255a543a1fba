/**
 * Runs one schedule: builds the cluster, takes the steps, ends all faults, and checks what must hold (DESIGN §8).
 *
 * Every step is interpreted robustly, whatever is left of the schedule around it: numbers of nodes are taken modulo how
 * many there are, and a step that cannot be done does nothing.
 */
import { unreachable } from '../protocol/unreachable.ts';
import { Cluster, type ReplicaMaker, type SimulatedNode } from './cluster.ts';
import { SimulationFailure } from './failure.ts';
import { checkFinal, checkMidway, settle } from './invariants.ts';
import type { Direction } from './network.ts';
import { describeOperation, editsOf, isHeld, keyOfPlace } from './operations.ts';
import { createReplica } from './replica-maker.ts';
import type { MessageType, Schedule, Step } from './schedule.ts';
import { type Tampering, tampered } from './tampering.ts';
import { readFrame } from './wire.ts';

/** Processes at once, clones included: more find nothing new and cost a mesh of connections. */
const NODES_MAX = 8;
/** Where the writes of `age` go; the first letter of a key is what leaves' prefixes are about. */
const AGE_KEY = 'aged';
/** The invariants are checked after each so many steps: more often finds a fault nearer to its cause, and costs time. */
const CHECK_STEPS = 8;

export interface RunOptions {
  /** Another implementation of the replica; default: the real one. */
  readonly create?: ReplicaMaker | undefined;
  /** Told the story of the run, line by line. Costs time. */
  readonly tell?: ((line: string) => void) | undefined;
  /** Told every message as well. */
  readonly isTellingAll?: boolean | undefined;
  /** Instead of the steps: what happens between the building of the cluster and the end of all faults. */
  readonly play?: ((cluster: Cluster) => void) | undefined;
  /** A further check, after those that are always made. */
  readonly check?: ((cluster: Cluster) => void) | undefined;
}

export interface RunResult {
  readonly failure: SimulationFailure | null;
  /** How often which step did something, and which branch of the replicas was reached. */
  readonly counts: ReadonlyMap<string, number>;
  readonly events: number;
  readonly messages: number;
  readonly bytes: number;
}

/** Never throws for what the replicas do: that is the result's `failure`. The same schedule gives the same result. */
export function runSchedule(schedule: Schedule, options: RunOptions = {}): RunResult {
  const counts = new Map<string, number>();
  const cluster = new Cluster({ ...schedule.setup, seed: schedule.seed, create: options.create ?? createReplica });
  cluster.tell = options.tell;
  cluster.isTellingAll = options.tell !== undefined && options.isTellingAll === true;
  let failure: SimulationFailure | null = null;
  try {
    build(cluster, schedule);
    if (options.play !== undefined) options.play(cluster);
    else play(cluster, schedule.steps, counts);
    settle(cluster);
    checkFinal(cluster);
    options.check?.(cluster);
  } catch (error) {
    // Anything else is a mistake of the simulator itself.
    if (!(error instanceof SimulationFailure)) throw error;
    failure = error;
  }
  if (failure === null) cluster.collectAllCounts();
  for (const [name, count] of cluster.counts) counts.set(name, (counts.get(name) ?? 0) + count);
  return {
    failure,
    counts,
    events: cluster.oracle.eventCount,
    messages: cluster.messageCount,
    bytes: cluster.byteCount,
  };
}

/** The nodes, and the connections that are open at the start. */
function build(cluster: Cluster, { setup }: Schedule): void {
  for (let i = 0; i < setup.members; i++) cluster.addNode('member');
  for (const interests of setup.leaves) cluster.addNode('leaf', interests);
  if (setup.links === 'none') return;
  const { nodes } = cluster;
  for (let b = 1; b < setup.members; b++) {
    for (let a = setup.links === 'line' ? b - 1 : 0; a < b; a++)
      cluster.connect(nodes[a] as SimulatedNode, nodes[b] as SimulatedNode);
  }
  for (let i = setup.members; i < nodes.length; i++) {
    cluster.connect(nodes[i] as SimulatedNode, nodes[i % setup.members] as SimulatedNode);
  }
}

function play(cluster: Cluster, steps: readonly Step[], counts: Map<string, number>): void {
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i] as Step;
    if (takeStep(cluster, step, i)) counts.set(step.do, (counts.get(step.do) ?? 0) + 1);
  }
}

/** Tells and takes one step, the `index`-th of its schedule; every so often the invariants are checked as well. */
export function takeStep(cluster: Cluster, step: Step, index: number): boolean {
  if (cluster.tell !== undefined) cluster.tell(`${index + 1}. ${describeStep(cluster, step)}`);
  const isDone = take(cluster, step);
  if (index % CHECK_STEPS === CHECK_STEPS - 1) checkMidway(cluster);
  return isDone;
}

const nodeAt = ({ nodes }: Cluster, index: number): SimulatedNode =>
  nodes[Math.abs(index) % nodes.length] as SimulatedNode;

/** Takes one step; false when it could not be done and nothing happened. */
function take(cluster: Cluster, step: Step): boolean {
  switch (step.do) {
    case 'write':
      return write(cluster, step);
    case 'wait':
      cluster.run(step.ms);
      return true;
    case 'connect': {
      const a = nodeAt(cluster, step.a);
      const b = nodeAt(cluster, step.b);
      if (cluster.network.between(a.index, b.index).length > 1) return false;
      cluster.connect(a, b);
      return true;
    }
    case 'break':
      return breakOff(cluster, step);
    case 'hold':
    case 'release':
      return onWay(cluster, step, (from, to) => {
        if (cluster.isHeld(from, to) === (step.do === 'hold')) return false;
        cluster.hold(from, to, step.do === 'hold');
        return true;
      });
    case 'partition':
      return partition(cluster, step);
    case 'heal':
      cluster.healNetwork();
      return true;
    case 'deliver':
      return deliver(cluster, step);
    case 'lose':
    case 'repeat':
    case 'garble':
    case 'refuse':
      return tamper(cluster, step);
    case 'latency':
      return onWay(cluster, step, (from, to) => {
        for (const { ends } of cluster.network.connections)
          for (const { out } of ends) if (out.from === from && out.to === to) out.latencyMs = step.ms;
        return true;
      });
    case 'check':
      checkMidway(cluster);
      return true;
    case 'move': {
      const leaf = nodeAt(cluster, step.leaf);
      const member = nodeAt(cluster, step.to);
      if (leaf.role !== 'leaf' || member.role !== 'member' || leaf.core === null) return false;
      for (const { ends } of [...cluster.network.connections]) {
        for (const end of ends) if (end.node === leaf.index) cluster.drop(end);
      }
      cluster.connect(leaf, member);
      return true;
    }
    default:
      return takeAt(cluster, step, nodeAt(cluster, step.node));
  }
}

type NodeStep = Extract<Step, { readonly node: number }>;

/** Steps that concern one machine. */
function takeAt(cluster: Cluster, step: Exclude<NodeStep, { do: 'write' }>, node: SimulatedNode): boolean {
  switch (step.do) {
    case 'hold-disk':
      if (node.isDiskHeld) return false;
      node.isDiskHeld = true;
      return true;
    case 'sync-disk':
      node.isDiskHeld = false;
      cluster.syncAll(node);
      return true;
    case 'crash':
      if (node.core === null) return false;
      cluster.crash(node, step.kept);
      return true;
    case 'stop':
      if (node.core === null) return false;
      cluster.stop(node);
      return true;
    case 'start':
      if (node.core !== null) return false;
      cluster.start(node);
      return true;
    case 'backup':
      // A leaf that was closed cleanly goes on under its actor: two copies of that must never run (DESIGN §6).
      if (node.role === 'leaf' && node.core === null) return false;
      cluster.backup(node);
      return true;
    case 'restore':
      if (node.saved === null) return false;
      cluster.restore(node, node.saved);
      return true;
    case 'clone':
      if (cluster.nodes.length >= NODES_MAX || (node.role === 'leaf' && node.core === null)) return false;
      cluster.clone(node);
      return true;
    case 'wipe':
      cluster.restore(node, new Map());
      return true;
    case 'rot':
      return cluster.rot(node, step.index, step.whole);
    case 'age':
      if (!isHeld(node.interests, AGE_KEY)) return false;
      for (let i = 0; i < step.runs; i++) {
        cluster.stop(node);
        cluster.start(node);
        const host = cluster.hostOf(node);
        cluster.write(node, editsOf({ op: 'insert', at: `${AGE_KEY}${i % 8}`, element: i }, host));
      }
      return true;
    case 'skew':
      node.skewMs = step.ms;
      return true;
    default:
      return unreachable(step);
  }
}

function write(cluster: Cluster, step: Extract<Step, { do: 'write' }>): boolean {
  const node = nodeAt(cluster, step.node);
  if (node.core === null) return false;
  const host = cluster.hostOf(node);
  const edits = step.ops.filter(({ at }) => isHeld(node.interests, keyOfPlace(at))).flatMap((op) => editsOf(op, host));
  if (edits.length === 0) return false;
  cluster.write(node, edits);
  return true;
}

function onWay(
  cluster: Cluster,
  way: { from: number; to: number },
  act: (from: number, to: number) => boolean,
): boolean {
  const from = nodeAt(cluster, way.from).index;
  const to = nodeAt(cluster, way.to).index;
  return from !== to && act(from, to);
}

function breakOff(cluster: Cluster, step: Extract<Step, { do: 'break' }>): boolean {
  const a = nodeAt(cluster, step.a);
  const b = nodeAt(cluster, step.b);
  const connection = cluster.network.between(a.index, b.index)[0];
  if (connection === undefined) return false;
  const [x, y] = connection.ends;
  const near = x.node === a.index ? x : y;
  const { length } = near.out;
  near.out.truncate(step.arrives === 'all' ? length : step.arrives === 'half' ? Math.ceil(length / 2) : 0);
  cluster.drop(near);
  return true;
}

function partition(cluster: Cluster, step: Extract<Step, { do: 'partition' }>): boolean {
  const inside = new Set(step.nodes.map((index) => nodeAt(cluster, index).index));
  if (inside.size === 0 || inside.size >= cluster.nodes.length) return false;
  for (const { index: a } of cluster.nodes) {
    for (const { index: b } of cluster.nodes) {
      if (!inside.has(a) || inside.has(b)) continue;
      cluster.hold(a, b, true);
      if (step.oneWay !== true) cluster.hold(b, a, true);
    }
  }
  return true;
}

/** Delivers across all connections of the way, the oldest first. */
function deliver(cluster: Cluster, step: Extract<Step, { do: 'deliver' }>): boolean {
  return onWay(cluster, step, (from, to) => {
    let delivered = 0;
    for (let direction = cluster.under(from, to)[0]; direction !== undefined; direction = cluster.under(from, to)[0]) {
      if (step.until === undefined ? delivered >= (step.count ?? 1) : isNext(direction, step.until)) break;
      cluster.deliver(direction);
      delivered++;
    }
    return delivered > 0;
  });
}

function isNext(direction: Direction, type: MessageType): boolean {
  const bytes = direction.at(0);
  return bytes !== null && bytes !== undefined && readFrame(bytes)?.message?.type === type;
}

/** The message of that number, of those under way or yet to be sent. */
function tamper(cluster: Cluster, step: Extract<Step, { do: Tampering }>): boolean {
  return onWay(cluster, step, (from, to) => {
    let index = 'index' in step ? step.index : 0;
    for (const direction of cluster.under(from, to)) {
      for (let at = 0; at < direction.length; at++) {
        const bytes = direction.at(at);
        const arriving = bytes === null || bytes === undefined ? null : tampered(bytes, step.do);
        if (arriving === null || index-- > 0) continue;
        direction.replace(at, ...arriving);
        return true;
      }
    }
    cluster.tamperLater(from, to, step.do, index);
    return true;
  });
}

/** The step in words, with names and circumstances. */
export function describeStep(cluster: Cluster, step: Step): string {
  const name = (index: number): string => nodeAt(cluster, index).name;
  switch (step.do) {
    case 'write':
      return `${name(step.node)} ${step.ops.map(describeOperation).join(' and ')}${circumstances(cluster, nodeAt(cluster, step.node))}`;
    case 'wait':
      return `${step.ms} ms pass`;
    case 'connect':
      return `${name(step.a)} connects to ${name(step.b)}`;
    case 'break':
      return `the connection of ${name(step.a)} and ${name(step.b)} breaks; of what ${name(step.a)} had sent, ${step.arrives === 'none' ? 'nothing' : step.arrives} arrives`;
    case 'hold':
      return `nothing gets from ${name(step.from)} to ${name(step.to)} any more`;
    case 'release':
      return `messages get from ${name(step.from)} to ${name(step.to)} again`;
    case 'partition':
      return `${step.nodes.map(name).join(', ')} ${step.oneWay ? 'cannot be heard by' : 'cut off from'} the others`;
    case 'heal':
      return 'all partitions heal';
    case 'deliver':
      return `messages from ${name(step.from)} reach ${name(step.to)}: ${step.until === undefined ? (step.count ?? 1) : `all before the next "${step.until}"`}`;
    case 'lose':
    case 'repeat':
    case 'garble': {
      const what = { lose: 'is lost', repeat: 'arrives twice', garble: 'has its bytes spoilt' }[step.do];
      return `a message from ${name(step.from)} to ${name(step.to)} ${what}`;
    }
    case 'refuse':
      return `one record on its way from ${name(step.from)} to ${name(step.to)} becomes unreadable`;
    case 'latency':
      return `messages from ${name(step.from)} to ${name(step.to)} take ${step.ms} ms from now on`;
    case 'check':
      return 'the invariants are checked';
    case 'move':
      return `leaf ${name(step.leaf)} moves to ${name(step.to)}`;
    default:
      return describeNodeStep(step, name(step.node));
  }
}

function describeNodeStep(step: Exclude<NodeStep, { do: 'write' }>, name: string): string {
  switch (step.do) {
    case 'hold-disk':
      return `the disk of ${name} stalls: nothing becomes durable`;
    case 'sync-disk':
      return `the disk of ${name} syncs`;
    case 'crash':
      return `${name} crashes; ${step.kept === 0 ? 'what was not durable is lost' : `${step.kept} batches had reached the disk untold`}`;
    case 'stop':
      return `${name} stops`;
    case 'start':
      return `${name} starts`;
    case 'backup':
      return `${name} is backed up`;
    case 'restore':
      return `${name} is restored from its backup`;
    case 'clone':
      return `the directory of ${name} is cloned, and the copy started`;
    case 'wipe':
      return `${name} loses its disk and begins anew`;
    case 'rot':
      return `the disk of ${name} loses a record without a trace`;
    case 'age':
      return `${name} restarts ${step.runs} times and writes each time`;
    case 'skew':
      return `the wall clock of ${name} is off by ${step.ms} ms`;
    default:
      return unreachable(step);
  }
}

/** Why what happens at this node may stay there: it is down, alone, or unheard. */
function circumstances(cluster: Cluster, node: SimulatedNode): string {
  if (node.core === null) return ' (it is down)';
  const peers = cluster.network.connections.flatMap(({ ends }) =>
    ends.filter((end) => end.isOpen && end.node === node.index).map((end) => end.out.to),
  );
  if (peers.length === 0) return ', connected to nobody';
  if (peers.every((peer) => cluster.isHeld(node.index, peer))) return ' while cut off';
  return node.isDiskHeld ? ' while its disk stalls' : '';
}
