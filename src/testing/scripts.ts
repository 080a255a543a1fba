/**
 * Scripted schedules: each brings about, on purpose, an interleaving that chance seldom finds and that a rule of DESIGN §4
 * (marked ⚑) is there for. Without the rule it fails; test/mutants.test.ts sees to that.
 *
 * The recurring trick: a direction is held, and `deliver … until` lets a peer's clock through but not its records, so that
 * somebody knows of events that it has not got.
 */
import type { Pace } from '../replica/contract.ts';
import type { Operation } from './operations.ts';
import type { Schedule, Setup, Step } from './schedule.ts';

const A = 0;
const B = 1;
const C = 2;

const PACE: Partial<Pace> = {
  roundDelayMs: 10,
  checkMs: 400,
  heartbeatMs: 5_000,
  silenceMs: 60_000,
  sweepMs: 5,
  expiryGraceMs: 30,
};

const SETUP: Setup = {
  members: 3,
  leaves: [],
  links: 'none',
  latencyMs: 1,
  jitterMs: 0,
  sealMs: 0,
  syncMs: 0,
  redialMs: null,
  pace: PACE,
};

const write = (node: number, ...ops: Operation[]): Step => ({ do: 'write', node, ops });
const wait = (ms: number): Step => ({ do: 'wait', ms });
const connect = (a: number, b: number): Step => ({ do: 'connect', a, b });
const disconnect = (a: number, b: number): Step => ({ do: 'break', a, b, arrives: 'none' });
const hold = (from: number, to: number): Step => ({ do: 'hold', from, to });
const release = (from: number, to: number): Step => ({ do: 'release', from, to });

/** All connected, and everybody knows everybody. */
const MESH: readonly Step[] = [connect(A, B), connect(A, C), connect(B, C), wait(60)];

/** `to` connects to `from` and comes to know its clock; the records that its round then sends do not arrive. */
const clockOnly = (from: number, to: number): Step[] => [
  hold(from, to),
  connect(from, to),
  wait(2),
  { do: 'deliver', from, to, until: 'records' },
  wait(2),
  { do: 'deliver', from, to, until: 'records' },
  wait(30),
];

const add = (amount: number): Operation => ({ op: 'add', at: 'x', amount });
const reset: Operation = { op: 'reset', at: 'x' };

export const SCRIPTS: readonly Schedule[] = [
  {
    format: 1,
    name: 'a mark waits for an addition that its resetter has not got',
    reaches: 'ghost: mark kept',
    seed: 1,
    setup: SETUP,
    steps: [
      ...MESH,
      write(A, add(5)),
      wait(60),
      // A adds once more, unheard; B resets what it has seen; C takes the mark to A.
      disconnect(A, B),
      hold(A, C),
      write(A, add(2)),
      write(B, reset),
      wait(60),
      // B learns that A has the mark, as everybody has, and not yet what A added: the mark must stay.
      ...clockOnly(A, B),
      release(A, B),
      release(A, C),
    ],
  },
  {
    format: 1,
    name: 'the word of a restored node is not enough to forget a mark that names its last run',
    reaches: 'ghost: mark kept',
    seed: 1,
    setup: SETUP,
    steps: [
      ...MESH,
      write(A, add(5)),
      wait(60),
      { do: 'backup', node: A },
      // A adds once more, and only C hears of it.
      disconnect(A, B),
      disconnect(B, C),
      write(A, add(2)),
      wait(60),
      disconnect(A, C),
      write(B, reset),
      // C gets the mark, and B learns that it has it, but not what else C has.
      ...clockOnly(C, B),
      disconnect(C, B),
      ...clockOnly(C, B),
      // A comes back without its last addition, under another actor; it gets the mark from B, which hears all that A has.
      { do: 'restore', node: A },
      connect(A, B),
      wait(100),
      release(C, B),
    ],
  },
];
