/**
 * Many schedules: random ones from consecutive seeds, and the kept ones; what failed, shrunk, and what was reached.
 *
 * The histogram is there to distrust ourselves: a rule of DESIGN §4 whose branch no schedule reaches is a rule that is not
 * tested. A full run (`isComplete`) fails when any row of it is at zero.
 */
import type { SimulationFailure } from './failure.ts';
import { type ProfileName, randomSchedule } from './profiles.ts';
import { type RunOptions, type RunResult, runSchedule } from './run.ts';
import { FAULTS, formatSchedule, type Schedule, type StepName } from './schedule.ts';
import { SCRIPTS } from './scripts.ts';
import { shrink } from './shrink.ts';

export interface SimulateOptions {
  /** The first seed; each further run takes the next. */
  readonly seed: number;
  /** Random schedules; default 1,000, or no limit with `budgetMs`. */
  readonly runs?: number | undefined;
  /** Stops after this much real time. */
  readonly budgetMs?: number | undefined;
  /** Default: the seed chooses. */
  readonly profile?: ProfileName | undefined;
  /** Schedules to run before the random ones. Default: the scripts, with more than one run. */
  readonly kept?: readonly Schedule[] | undefined;
  /** Stops at this many failures; default 1. */
  readonly failuresMax?: number | undefined;
  /** False: failures are reported as they are found, which saves the seconds that shrinking takes. */
  readonly isShrinking?: boolean | undefined;
  /** Told after about every hundredth run. */
  readonly onProgress?: ((done: number, elapsedMs: number) => void) | undefined;
  readonly create?: RunOptions['create'];
  /** Real time in ms; default `performance.now`. */
  readonly nowMs?: (() => number) | undefined;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  /** As it was drawn, or kept. */
  readonly schedule: Schedule;
  readonly shrunk: Schedule;
  /** The shrunk schedule, told line by line. */
  readonly story: readonly string[];
  /** What to type to see it again. */
  readonly command: string;
}

export interface Report {
  readonly seed: number;
  readonly runs: number;
  readonly elapsedMs: number;
  readonly failures: readonly Failure[];
  /** How often each fault was injected and each branch of the replicas was reached. */
  readonly counts: ReadonlyMap<string, number>;
  readonly events: number;
  readonly messages: number;
  readonly bytes: number;
}

const RUNS = 1_000;
const PROGRESS_RUNS = 100;

export function simulate(options: SimulateOptions): Report {
  const nowMs = options.nowMs ?? (() => performance.now());
  const startMs = nowMs();
  const { seed, budgetMs = Number.POSITIVE_INFINITY, failuresMax = 1 } = options;
  const runsMax = options.runs ?? (options.budgetMs === undefined ? RUNS : Number.POSITIVE_INFINITY);
  const kept = options.kept ?? (runsMax > 1 ? SCRIPTS : []);
  const counts = new Map<string, number>();
  const failures: Failure[] = [];
  const total = { events: 0, messages: 0, bytes: 0 };
  const run = (schedule: Schedule): void => {
    const result = runSchedule(schedule, { create: options.create });
    add(total, counts, result);
    if (result.failure !== null) failures.push(describe(schedule, result.failure, options));
  };
  for (const schedule of kept) if (failures.length < failuresMax) run(schedule);
  let runs = 0;
  for (; runs < runsMax && failures.length < failuresMax && nowMs() - startMs < budgetMs; runs++) {
    run(randomSchedule(seed + runs, options.profile));
    if ((runs + 1) % PROGRESS_RUNS === 0) options.onProgress?.(runs + 1, nowMs() - startMs);
  }
  return { seed, runs, elapsedMs: nowMs() - startMs, failures, counts, ...total };
}

function add(
  total: { events: number; messages: number; bytes: number },
  counts: Map<string, number>,
  result: RunResult,
): void {
  total.events += result.events;
  total.messages += result.messages;
  total.bytes += result.bytes;
  for (const [name, count] of result.counts) counts.set(name, (counts.get(name) ?? 0) + count);
}

function describe(schedule: Schedule, failure: SimulationFailure, options: SimulateOptions): Failure {
  const { create, profile, isShrinking = true } = options;
  const stillFails = (candidate: Schedule): boolean =>
    runSchedule(candidate, { create }).failure?.code === failure.code;
  const shrunk = isShrinking ? shrink(schedule, stillFails) : schedule;
  const story: string[] = [];
  const again = runSchedule(shrunk, { create, tell: (line) => story.push(line) });
  const command =
    schedule.name === undefined
      ? `hearsay simulate --seed ${schedule.seed} --runs 1${profile === undefined ? '' : ` --profile ${profile}`}`
      : `hearsay simulate --schedule <the file of "${schedule.name}">`;
  return { code: failure.code, message: again.failure?.message ?? failure.message, schedule, shrunk, story, command };
}

/** Branches of the replicas that a full run must reach; names as in `status().counts`. */
export const BRANCHES: readonly string[] = [
  'round: slow',
  'round: skipped, the peer has it',
  'round: changed ahead of the walk',
  'round: empty record sent',
  'round: refused by the peer',
  'round: complete ignored',
  'round: alive applied',
  'round: dots named',
  'round: named dots answered',
  'ghost: dropped',
  'ghost: kept for residue',
  'ghost: mark kept',
  'ghost: clock heard',
  'ghost: passed on as heard',
  'ghost: ended actor heard of all members',
  'expiry: records removed',
  'timestamps too far ahead',
  'identity: a copy of this store is running',
  'link: closed, MessageLost',
];

/** Rows of the histogram that are at zero. */
export function missingFrom({ counts }: Report): string[] {
  // Rot is injected only when its profile is asked for.
  return [...FAULTS, ...BRANCHES].filter((name) => name !== 'rot' && (counts.get(name) ?? 0) === 0);
}

/** The report for people: failures with their stories, figures, the histogram. */
export function formatReport(report: Report): string {
  const lines: string[] = [];
  for (const failure of report.failures) lines.push(formatFailure(failure), '');
  const { seed, runs, elapsedMs, events, messages, bytes, failures } = report;
  const perSecond = elapsedMs > 0 ? Math.round((1000 * runs) / elapsedMs) : 0;
  lines.push(
    `${runs} schedules from seed ${seed} in ${(elapsedMs / 1000).toFixed(1)} s (${perSecond} a second): ${failures.length} failed`,
  );
  lines.push(`${events} events, ${messages} messages, ${bytes} bytes`, '');
  const names = new Set([...FAULTS, ...BRANCHES, ...[...report.counts.keys()].sort()]);
  for (const name of names) {
    const count = report.counts.get(name) ?? 0;
    lines.push(`${String(count).padStart(10)}  ${name}${FAULTS.has(name as StepName) ? ' (fault)' : ''}`);
  }
  return lines.join('\n');
}

export function formatFailure({ code, message, schedule, shrunk, story, command }: Failure): string {
  const { members, leaves } = shrunk.setup;
  return [
    `FAILED: ${code}: ${message}`,
    '',
    `seed ${schedule.seed}${schedule.profile === undefined ? '' : `, profile ${schedule.profile}`}; ${schedule.steps.length} steps, shrunk to ${shrunk.steps.length}, with ${members} members and ${leaves.length} leaves:`,
    ...story.map((line) => `  ${line}`),
    '',
    `again: ${command}`,
    'to keep it, save this as test/schedules/<name>.json:',
    formatSchedule(shrunk),
  ].join('\n');
}
