/**
 * kill -9 at any moment: a store that was killed while it wrote opens again, has all that it acknowledged, has batches
 * whole or not at all, and uses no dot twice. Real processes, a real disk, and a loop of kills on one directory.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { afterEachTidy, later, openStore, temporaryDir } from './support/stores.ts';

afterEachTidy();

const KILLS = 32;
/** Fewer acknowledged writes than this, and the next kill waits: killing a process that has done nothing proves nothing. */
const LINES_MIN = 10;

interface Acknowledged {
  readonly key: string;
  readonly value: number;
  readonly isBatch: boolean;
  readonly dots: readonly string[];
}

/** The writer, compiled into one file: a process that compiles TypeScript first takes half a second to start. */
async function compileChild(): Promise<string> {
  const dir = temporaryDir();
  const outfile = join(dir, 'kill-child.mjs');
  const entryPoint = fileURLToPath(new URL('support/kill-child.ts', import.meta.url));
  await build({
    entryPoints: [entryPoint],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
  });
  symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(dir, 'node_modules'), 'junction');
  return outfile;
}

/** Runs a writer until it has told `count` lines, then kills it in the middle of what it is doing. */
async function runAndKill(script: string, dir: string, run: number, count: number): Promise<Acknowledged[]> {
  const child = spawn(process.execPath, [script, dir, String(run)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  }) as ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream };
  later(() => child.kill('SIGKILL'));
  let errors = '';
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('close', (_, signal) => resolve(signal)));
  const acknowledged: Acknowledged[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'ready') continue;
    const [key, value, kind, ...dots] = line.split(' ');
    // The last line may be cut in the middle: then its write was durable, but nobody was told which.
    if (kind !== 'batch' && kind !== 'single') continue;
    acknowledged.push({ key: key as string, value: Number(value), isBatch: kind === 'batch', dots });
    if (acknowledged.length === count) child.kill('SIGKILL');
  }
  expect(await ended, errors).toBe('SIGKILL');
  return acknowledged;
}

describe('a store whose process is killed while it writes', () => {
  test(`after each of ${KILLS} kills has everything it acknowledged, and no dot twice`, async () => {
    const script = await compileChild();
    const dir = temporaryDir();
    const all: Acknowledged[] = [];
    const nodes = new Set<string>();
    for (let run = 0; run < KILLS; run++) {
      // From a handful of commits to hundreds, so that kills fall into every stage of a commit and of a larger store.
      const acknowledged = await runAndKill(script, dir, run, LINES_MIN + ((run * 37) % 300));
      expect(acknowledged.length).toBeGreaterThanOrEqual(LINES_MIN);
      all.push(...acknowledged);
      // Most times the next process opens what this one left; now and then this one looks into it.
      if (run % 8 !== 7) continue;
      const store = await openStore({ dir });
      nodes.add(store.status().node);
      expect(all.filter(({ key, value }) => store.register(key).get() !== value)).toEqual([]);
      await store.close();
    }
    const dots = all.flatMap((write) => write.dots);
    expect(new Set(dots).size).toBe(dots.length);
    // One actor for each run, besides those that only looked.
    expect(new Set(dots.map((dot) => dot.split(':')[0])).size).toBe(KILLS);
    expect(nodes.size).toBe(1);

    const store = await openStore({ dir });
    const elements = new Set(store.set<string>('all').values());
    const torn = all.filter(({ key, value, isBatch }) => {
      if (!isBatch) return false;
      return store.register(`${key}-second`).get() !== value || elements.has(key) === (value % 2 === 0);
    });
    expect(torn).toEqual([]);
    // Batches that nobody was told of are there as a whole or not at all.
    for (const key of store.keys('run-')) {
      if (!key.endsWith('-second')) continue;
      const [first, second] = [store.register(key.slice(0, -'-second'.length)).get(), store.register(key).get()];
      expect([key, first]).toEqual([key, second]);
    }
    expect(store.status()).toMatchObject({ state: 'open', wentBack: false });
  }, 180_000);
});
