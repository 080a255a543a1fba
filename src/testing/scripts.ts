/**
 * Scripted schedules: each brings about, on purpose, an interleaving that chance seldom finds and that a rule of DESIGN §4
 * (marked ⚑) is there for. Without the rule it fails; test/mutants.test.ts sees to that.
 *
 * The recurring trick: a direction is held, and `deliver … until` lets a peer's clock through but not its records, so that
 * somebody knows of events that it has not got.
 */
import type { Pace } from '../replica/contract.ts';
import type { Operation } from './operations.ts';
import type { MessageType, Schedule, Setup, Step } from './schedule.ts';

const A = 0;
const B = 1;
const C = 2;
const D = 3;
const E = 4;
const F = 5;

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

/** All messages before the next of that type arrive, although the way is held. */
const deliver = (from: number, to: number, until: MessageType): Step => ({ do: 'deliver', from, to, until });

/** `to` connects to `from` and comes to know its clock; no record arrives, so it does not even know that `from` is a member. */
const unmet = (from: number, to: number): Step[] => [
  hold(from, to),
  connect(from, to),
  wait(2),
  deliver(from, to, 'records'),
  wait(2),
  deliver(from, to, 'records'),
];

/** The same with time for `to` to think about it. */
const clockOnly = (from: number, to: number): Step[] => [...unmet(from, to), wait(30)];

const set = (value: number): Operation => ({ op: 'set', at: 'x', value });
const unset: Operation = { op: 'unset', at: 'x' };
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
  {
    format: 1,
    name: 'a record that changes ahead of the walk is sent, although the dot that was missing is gone',
    reaches: 'round: changed ahead of the walk',
    seed: 1,
    setup: { ...SETUP, members: 4 },
    steps: [
      ...MESH,
      connect(A, D),
      connect(C, D),
      wait(60),
      write(A, set(1)),
      wait(60),
      // C overwrites it while B is away, and then deletes it, which nobody hears yet.
      disconnect(B, A),
      disconnect(B, C),
      write(C, set(2)),
      wait(60),
      hold(C, A),
      hold(C, D),
      hold(A, D),
      write(C, unset),
      // A's round to B waits a while with what others wrote; the delete comes to A before it is sent.
      connect(A, B),
      wait(4),
      { do: 'deliver', from: C, to: A, count: 9 },
      // B must not come out of it with D's clock and the value that C has overwritten.
      wait(16),
      { do: 'check' },
    ],
  },
  {
    format: 1,
    name: 'a ghost is taken in although residue covers it: others must find it',
    seed: 1,
    setup: { ...SETUP, members: 6, pace: { ...PACE, roundDelayMs: 50 } },
    steps: [
      connect(A, F),
      wait(200),
      write(F, set(1)),
      wait(100),
      // B has it from F, C and D from B. F and A do not get to know that these three are members.
      ...unmet(B, F),
      wait(150),
      connect(B, C),
      connect(B, D),
      wait(300),
      ...unmet(C, A),
      hold(A, C),
      // E, who has never seen any of this, writes concurrently; D has both values then.
      disconnect(B, D),
      write(E, set(2)),
      connect(E, D),
      wait(250),
      disconnect(E, D),
      // F deletes the first one. F and A forget the ghost as soon as both have it, B keeps it for C and D.
      hold(B, C),
      write(F, unset),
      wait(15),
      // C gets E's value from A, by which it knows that the first one is gone; the round breaks off.
      connect(E, A),
      wait(250),
      deliver(A, C, 'alive'),
      disconnect(A, C),
      // Then B's ghost comes to C, and C has to hand it on to D.
      release(B, C),
      wait(250),
      connect(C, D),
      wait(300),
    ],
  },
  {
    format: 1,
    name: 'floors are told as they are when complete is sent',
    seed: 1,
    setup: { ...SETUP, members: 4, pace: { ...PACE, roundDelayMs: 100, sweepMs: 40 } },
    steps: [
      connect(A, B),
      wait(300),
      write(B, set(1)),
      wait(200),
      // C learns of it from A, which does not get to know C; and D from C.
      ...unmet(C, A),
      wait(300),
      connect(C, D),
      wait(500),
      disconnect(C, D),
      disconnect(A, C),
      // B deletes it. A begins a round to C, and forgets the ghost before the round gets there.
      hold(B, A),
      write(B, unset),
      wait(20),
      connect(A, C),
      wait(2),
      deliver(C, A, 'records'),
      wait(2),
      { do: 'deliver', from: B, to: A, count: 9 },
      deliver(C, A, 'records'),
      wait(300),
      // C has the delete and no ghost; D still has the value.
      disconnect(A, C),
      connect(C, D),
      wait(400),
    ],
  },
];
