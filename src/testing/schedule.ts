/**
 * A schedule: everything that happens to a simulated cluster, as plain data.
 *
 * Written as JSON it is a test case. It is interpreted robustly: whoever does not exist, is down or is not connected makes a
 * step do nothing, so that any part of a schedule is a schedule too. That is what lets a failing one be shrunk by leaving
 * steps out.
 *
 * What a schedule does not say is decided from its seed: jitter, the replicas' luck, the names they take.
 */
import { HearsayError } from '../../crdts/error.ts';
import type { Message } from '../protocol/messages.ts';
import type { Pace } from '../replica/contract.ts';
import type { Operation } from './operations.ts';

export interface Schedule {
  readonly format: 1;
  /** What it is about; of kept schedules. */
  readonly name?: string;
  /** Of scripts: the branch that it is there to reach, by its name in `status().counts`. */
  readonly reaches?: string;
  readonly seed: number;
  readonly profile?: string;
  readonly setup: Setup;
  readonly steps: readonly Step[];
}

export interface Setup {
  /** Nodes are numbered: members first, then leaves, then clones. */
  readonly members: number;
  /** For each leaf its key prefixes; null: all keys. */
  readonly leaves: readonly (readonly string[] | null)[];
  /** Which connections are open at the start; each leaf has one, to a member. */
  readonly links: 'mesh' | 'line' | 'none';
  /** How long a message is under way: this, up to `jitterMs` more each time, and up to `spreadMs` more by connection. */
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly spreadMs?: number;
  /** How long a replica's writes are collected before a batch is closed, and then until it is durable. 0: at once. */
  readonly sealMs: number;
  readonly syncMs: number;
  /** A broken connection is dialled again after this; null: not before the end. */
  readonly redialMs: number | null;
  readonly pace: Partial<Pace>;
}

/** Messages under way from one node to another, over whatever connections. */
interface Way {
  readonly from: number;
  readonly to: number;
}

interface OfNode {
  readonly node: number;
}

export type MessageType = Message['type'];

export type Step =
  /** Several operations are one batch. */
  | ({ readonly do: 'write'; readonly ops: readonly Operation[] } & OfNode)
  /** Time passes: messages arrive, timers fire, disks sync. */
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'connect'; readonly a: number; readonly b: number }
  /**
   * The oldest connection of the two breaks. Of what is under way from `a`, `arrives` still does; `b` notices behind it,
   * `a` at once.
   */
  | { readonly do: 'break'; readonly a: number; readonly b: number; readonly arrives: 'all' | 'half' | 'none' }
  /** Nothing arrives this way until it is released; connections made meanwhile are held as well. */
  | ({ readonly do: 'hold' } & Way)
  | ({ readonly do: 'release' } & Way)
  /** These nodes are cut off from all others, in both directions, or hear them and are not heard (`oneWay`). */
  | { readonly do: 'partition'; readonly nodes: readonly number[]; readonly oneWay?: boolean }
  /** All that is held is released. */
  | { readonly do: 'heal' }
  /** Messages arrive now, held or not: `count` of them, or (`until`) all before the next of that type. */
  | ({ readonly do: 'deliver'; readonly count?: number; readonly until?: MessageType } & Way)
  /** One message of those under way is lost, arrives twice, or has its bytes spoilt. */
  | ({ readonly do: 'lose' | 'repeat' | 'garble'; readonly index: number } & Way)
  /** In the first message with records, one record is made unreadable: the receiver has to refuse it alone. */
  | ({ readonly do: 'refuse' } & Way)
  | ({ readonly do: 'latency'; readonly ms: number } & Way)
  /** Nothing becomes durable on this node until `sync-disk`, which also makes everything written so far durable. */
  | ({ readonly do: 'hold-disk' } & OfNode)
  | ({ readonly do: 'sync-disk' } & OfNode)
  /** Power is gone. `kept`: how many batches that nobody was told of had reached the disk all the same. */
  | ({ readonly do: 'crash'; readonly kept: number } & OfNode)
  /** A clean end. */
  | ({ readonly do: 'stop' } & OfNode)
  | ({ readonly do: 'start' } & OfNode)
  | ({ readonly do: 'backup' } & OfNode)
  /** Crashes, and comes back with the disk as it was at the last `backup` (nothing, without one). */
  | ({ readonly do: 'restore' } & OfNode)
  /** A copy of the durable directory is started as a further process. */
  | ({ readonly do: 'clone' } & OfNode)
  /** The disk is lost; the node begins anew. */
  | ({ readonly do: 'wipe' } & OfNode)
  /** A node that is down forgets one record of its disk, as bit rot would have it; `whole`: with its entries in all indexes. */
  | ({ readonly do: 'rot'; readonly index: number; readonly whole: boolean } & OfNode)
  /** The node restarts so many times, with a write each time: as many actors more. */
  | ({ readonly do: 'age'; readonly runs: number } & OfNode)
  /** The node's wall clock is off by `ms` from now on. */
  | ({ readonly do: 'skew'; readonly ms: number } & OfNode)
  /** A leaf leaves all members and connects to this one. */
  | { readonly do: 'move'; readonly leaf: number; readonly to: number }
  /** The invariants are checked now, and not only where the interpreter does it by itself. */
  | { readonly do: 'check' };

export type StepName = Step['do'];

/** Steps that are faults, for counting: what a network, a disk, a clock or an operator does to us. */
export const FAULTS: ReadonlySet<StepName> = new Set<StepName>([
  'break',
  'hold',
  'partition',
  'lose',
  'repeat',
  'garble',
  'refuse',
  'hold-disk',
  'crash',
  'restore',
  'clone',
  'wipe',
  'rot',
  'skew',
  'move',
]);

/** Every kind of step, which the compiler holds complete. */
export const STEP_NAMES = Object.keys({
  write: 0,
  wait: 0,
  connect: 0,
  break: 0,
  hold: 0,
  release: 0,
  partition: 0,
  heal: 0,
  deliver: 0,
  lose: 0,
  repeat: 0,
  garble: 0,
  refuse: 0,
  latency: 0,
  'hold-disk': 0,
  'sync-disk': 0,
  crash: 0,
  stop: 0,
  start: 0,
  backup: 0,
  restore: 0,
  clone: 0,
  wipe: 0,
  rot: 0,
  age: 0,
  skew: 0,
  move: 0,
  check: 0,
} satisfies Record<StepName, 0>) as StepName[];

/** A kept schedule, from its JSON. Throws `InvalidSchedule` for what is none; what steps say is judged when they run. */
export function parseSchedule(text: string): Schedule {
  const schedule = parseJson(text) as Partial<Schedule> | null;
  const isOne =
    typeof schedule === 'object' &&
    schedule !== null &&
    schedule.format === 1 &&
    Number.isInteger(schedule.seed) &&
    typeof schedule.setup === 'object' &&
    Array.isArray(schedule.steps) &&
    schedule.steps.every((step) => STEP_NAMES.includes((step as Partial<Step>).do as StepName));
  if (isOne) return schedule as Schedule;
  throw new HearsayError('InvalidSchedule', 'this is no schedule: save one with formatSchedule');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HearsayError('InvalidSchedule', 'this is no schedule, since it is no JSON', {}, error);
  }
}

/** As JSON, a step a line. */
export function formatSchedule(schedule: Schedule): string {
  const { steps, ...head } = schedule;
  const lines = steps.map((step) => `    ${JSON.stringify(step)}`);
  return `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "steps": [\n${lines.join(',\n')}\n  ]\n}\n`;
}
