/**
 * What all measurements share: child processes, medians, and rows that know whether they are within their limit.
 *
 * Each measurement has a process of its own, so that none inherits a heap, compiled code or open files from another. Ours
 * and the reference take turns, round by round, so that what else the machine does falls on both; what is compared are
 * medians. Wall time never fails anything: a row says `ok` or not, and that is all.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** How many, how often: `--quick` is for trying out the bench, not for quoting. */
export interface Effort {
  readonly isQuick: boolean;
  readonly rounds: number;
}

export type Limit = { readonly atLeast: number } | { readonly atMost: number };

/** One line of the table. What is held against the limit is ours ÷ reference, or without a reference ours itself. */
export interface Row {
  /** Unique, and stable from version to version. */
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  readonly reference?: { readonly name: string; readonly value: number } | undefined;
  /** Absent: for information. */
  readonly limit?: Limit | undefined;
}

/** A part of the bench, such as `writes`. Rows come as they are measured. */
export interface Group {
  readonly name: string;
  readonly run: (effort: Effort) => AsyncIterable<Row>;
}

export const valueOf = ({ ours, reference }: Row): number => (reference === undefined ? ours : ours / reference.value);

/** null: there is no limit. */
export function isWithin(row: Row): boolean | null {
  if (row.limit === undefined) return null;
  return 'atLeast' in row.limit ? valueOf(row) >= row.limit.atLeast : valueOf(row) <= row.limit.atMost;
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export type Figures = Readonly<Record<string, number>>;

/** Takes each measurement `rounds` times, in turns; of every figure the median. */
export async function inTurns<Name extends string>(
  rounds: number,
  measurements: Readonly<Record<Name, () => Promise<Figures>>>,
): Promise<Record<Name, Figures>> {
  const names = Object.keys(measurements) as Name[];
  const taken = new Map<Name, Figures[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) taken.get(name)?.push(await measurements[name]());
  }
  return Object.fromEntries(names.map((name) => [name, medians(taken.get(name) ?? [])])) as Record<Name, Figures>;
}

function medians(all: readonly Figures[]): Figures {
  const keys = Object.keys(all[0] ?? {});
  return Object.fromEntries(keys.map((key) => [key, median(all.map((figures) => figures[key] ?? Number.NaN))]));
}

/** Asks for an exported function of `module` in another process; what goes there and back is copied. */
export class Child {
  readonly #process: ChildProcess;

  /** `module`: the `import.meta.url` of the file with the functions. */
  constructor(module: string) {
    this.#process = fork(fileURLToPath(new URL('./child.js', import.meta.url)), [module], {
      execArgv: ['--expose-gc', ...process.execArgv],
      serialization: 'advanced',
    });
  }

  /** Calls `task` there: an exported function under its own name. One call at a time. */
  call<Args extends readonly unknown[], Result>(
    task: (...args: Args) => Result | Promise<Result>,
    ...args: Args
  ): Promise<Result> {
    const child = this.#process;
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`${task.name} ended its process, status ${code}`));
      child.once('exit', ended);
      child.once('message', (answer: { readonly result: Result; readonly error?: string }) => {
        child.off('exit', ended);
        if (answer.error === undefined) resolve(answer.result);
        else reject(new Error(`in a child process: ${answer.error}`));
      });
      child.send({ name: task.name, args });
    });
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }
}

/** One call in a process of its own. */
export async function inChild<Args extends readonly unknown[], Result>(
  module: string,
  task: (...args: Args) => Result | Promise<Result>,
  ...args: Args
): Promise<Result> {
  const child = new Child(module);
  try {
    return await child.call(task, ...args);
  } finally {
    await child.end();
  }
}

/** Runs `work` with a new directory, which is removed afterwards. */
export async function withDirectory<Result>(work: (dir: string) => Promise<Result>): Promise<Result> {
  const dir = mkdtempSync(join(tmpdir(), 'hearsay-bench-'));
  const remove = (): void => rmSync(dir, { recursive: true, force: true });
  // Also when the bench is interrupted.
  process.once('exit', remove);
  try {
    return await work(dir);
  } finally {
    process.off('exit', remove);
    remove();
  }
}
