/**
 * For app authors: does what I do with the store converge, whatever the network, the disks and the clocks do?
 *
 *     testConvergence({
 *       actions: {
 *         join: (store, random) => store.set('players').add(random.pick(['ann', 'bob'])),
 *         leave: (store, random) => store.set('players').remove(random.pick(['ann', 'bob'])),
 *         score: (store) => store.counter('score').add(1),
 *       },
 *       read: (store) => ({ players: [...store.set('players')], score: store.counter('score').get() }),
 *       invariant: ({ score }) => score >= 0 || 'a score is never negative',
 *     });
 *
 * Each run makes a few simulated replicas, has them take the actions in random order while connections break, messages
 * are late, nodes crash and clocks jump, then lets everything heal, and checks that all replicas read the same and that
 * the invariant holds. Nothing here is mocked but time, network and disk: it is the real store.
 *
 * It cannot find that two things which are each right do not go together in the eyes of a user: that is what the
 * invariant is for.
 */
import { HearsayError } from '../../crdts/error.ts';
import { Handles } from '../../crdts/handles.ts';
import type { Value } from '../../crdts/value.ts';
import { encodeValue } from '../../crdts/types/register.ts';
import type { Cluster, SimulatedNode } from './cluster.ts';
import { failure } from './failure.ts';
import { type ProfileName, randomSchedule } from './profiles.ts';
import { Random } from './random.ts';
import { runSchedule, takeStep } from './run.ts';
import type { Schedule, Step } from './schedule.ts';

/** The store as an action sees it: handles over one simulated replica. Writes are done when they return. */
export type TestStore = Handles<void>;

/** One thing that your app does. All luck must come from `random`, or a failure cannot be repeated. */
export type Action = (store: TestStore, random: Random) => void;

export interface ConvergenceOptions<T> {
  /** By name, for the story of a failure. */
  readonly actions: Readonly<Record<string, Action>>;
  /** What your app reads. Compared by its canonical encoding, so it has to be a value that the store could hold. */
  readonly read: (store: TestStore) => T & Value;
  /** Checked on what the replicas agree on; return false, or better a text, when it does not hold. */
  readonly invariant?: ((value: T) => boolean | string | undefined) | undefined;
  /** 1–8; default 3. */
  readonly replicas?: number | undefined;
  /** Random histories to try; default 200: about a second. */
  readonly runs?: number | undefined;
  /** Default: a new one each time; give the one of a failure to see it again. */
  readonly seed?: number | undefined;
  /** Which faults there are; default `mixed`. */
  readonly profile?: ProfileName | undefined;
}

const RUNS = 200;

/** Throws `NotConverged` with the seed and the story of the first run that fails; returns how many were tried. */
export function testConvergence<T>(options: ConvergenceOptions<T>): { runs: number; seed: number } {
  const { runs = RUNS, seed = Math.floor(Math.random() * 2 ** 31), replicas = 3 } = options;
  const names = Object.keys(options.actions);
  if (names.length === 0) throw new HearsayError('InvalidOption', 'testConvergence needs at least one action');
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > 8) {
    throw new HearsayError('InvalidOption', `testConvergence takes 1 to 8 replicas, not ${replicas}`);
  }
  for (let i = 0; i < runs; i++) {
    const schedule = scheduleFor(seed + i, replicas, options.profile ?? 'mixed');
    const found = runOnce(schedule, options, names);
    if (found === null) continue;
    const story: string[] = [];
    runOnce(schedule, options, names, (line) => story.push(line));
    const text = [
      `${found} (seed ${schedule.seed})`,
      ...story.map((line) => `  ${line}`),
      `again: testConvergence({ seed: ${schedule.seed}, runs: 1, … })`,
    ];
    throw new HearsayError('NotConverged', text.join('\n'), { seed: schedule.seed });
  }
  return { runs, seed };
}

/** A random schedule of which every write is to be an action of the app. Leaves hold parts, which the app knows nothing of. */
function scheduleFor(seed: number, replicas: number, profile: ProfileName): Schedule {
  const { setup, ...rest } = randomSchedule(seed, profile);
  return { ...rest, setup: { ...setup, members: replicas, leaves: [] } };
}

function runOnce<T>(
  schedule: Schedule,
  options: ConvergenceOptions<T>,
  names: readonly string[],
  tell?: (line: string) => void,
): string | null {
  const random = Random.of(schedule.seed, 7);
  const play = (cluster: Cluster): void => {
    schedule.steps.forEach((step, i) => playStep(cluster, step, i, names, options, random));
  };
  const check = (cluster: Cluster): void => checkAgreement(cluster, options);
  return runSchedule(schedule, { play, check, tell }).failure?.message ?? null;
}

function playStep<T>(
  cluster: Cluster,
  step: Step,
  index: number,
  names: readonly string[],
  { actions }: ConvergenceOptions<T>,
  random: Random,
): void {
  if (step.do !== 'write') {
    takeStep(cluster, step, index);
    return;
  }
  const node = cluster.nodes[step.node % cluster.nodes.length] as SimulatedNode;
  const name = random.pick(names);
  if (node.core === null) return;
  cluster.tell?.(`${index + 1}. ${node.name} does "${name}"`);
  (actions[name] as Action)(new Handles(cluster.hostOf(node)), random);
}

function checkAgreement<T>(cluster: Cluster, { read, invariant }: ConvergenceOptions<T>): void {
  const [first, ...others] = cluster.nodes;
  const readAt = (node: SimulatedNode): T & Value => read(new Handles(cluster.hostOf(node)));
  const value = readAt(first as SimulatedNode);
  const encoded = encodeValue(value).join();
  for (const node of others) {
    const other = readAt(node);
    if (encodeValue(other).join() !== encoded) {
      failure(
        'NotConverged',
        `${(first as SimulatedNode).name} reads ${JSON.stringify(value)}, ${node.name} reads ${JSON.stringify(other)}`,
      );
    }
  }
  const verdict = invariant?.(value);
  if (verdict === false || typeof verdict === 'string') {
    failure(
      'InvariantBroken',
      `${verdict === false ? 'the invariant does not hold' : verdict}: all replicas read ${JSON.stringify(value)}`,
    );
  }
}
