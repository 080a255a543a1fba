/** `hearsay simulate`: the simulator of hearsay/testing, from the command line. A failure prints what repeats it. */
import { readFileSync } from 'node:fs';
import {
  formatReport,
  parseSchedule,
  PROFILE_NAMES,
  type ProfileName,
  type Report,
  simulate as run,
} from '../../src/testing/index.ts';
import { EXIT, Failure, usageFailure } from '../failure.ts';
import { print, printJson } from '../output.ts';

export interface SimulateOptions {
  readonly seed?: number;
  readonly runs?: number;
  readonly seconds?: number;
  readonly profile?: ProfileName;
  readonly schedule?: string;
  readonly json?: boolean;
}

/** Seeds are whole numbers below this. */
const SEEDS = 2 ** 31;

export async function simulate({ seed, runs, seconds, profile, schedule, json }: SimulateOptions): Promise<void> {
  if (profile !== undefined && !PROFILE_NAMES.includes(profile)) {
    throw usageFailure(`there is no profile '${profile}'`, `Choose one of ${PROFILE_NAMES.join(', ')}.`);
  }
  const report = run({
    seed: seed ?? Math.floor(Math.random() * SEEDS),
    runs: schedule === undefined ? runs : 0,
    budgetMs: seconds === undefined ? undefined : 1_000 * seconds,
    profile,
    kept: schedule === undefined ? undefined : [readSchedule(schedule)],
    onProgress: showProgress,
  });
  clearProgress();
  await (json ? printJson(jsonOf(report)) : print(formatReport(report)));
  if (report.failures.length > 0) process.exitCode = EXIT.failed;
}

function readSchedule(file: string): ReturnType<typeof parseSchedule> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure(EXIT.failed, 'FileUnreadable', `${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
  try {
    return parseSchedule(text);
  } catch (error) {
    throw usageFailure(`${file} is not a schedule: ${(error as Error).message}`);
  }
}

function showProgress(done: number, elapsedMs: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} schedules, ${(elapsedMs / 1_000).toFixed(0)} s `);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
}

function jsonOf({ counts, ...report }: Report): object {
  return { ...report, elapsedMs: Math.round(report.elapsedMs), counts: Object.fromEntries(counts) };
}
