/**
 * Whether the simulator would notice: each rule that DESIGN marks ⚑ is left out of the source, one at a time, and the
 * simulator has to find a schedule that breaks, by the kept schedules or by chance within a small budget.
 *
 * A rule whose mutant survives is either not tested or not needed; both are worth knowing.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type * as testing from '../src/testing/index.ts';
import { MUTANTS, type Mutant } from './support/mutants.ts';
import { KEPT } from './support/schedules.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Random schedules in which a mutant has to be noticed, at most. The slowest needs about a third of them. */
const RUNS_MAX = 3_000;
const FIRST_SEED = 1_000_000;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearsay-mutants-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The source of a file as the mutant has it. Throws when a patch does not apply exactly once. */
function mutated({ rule, patches }: Mutant, file: string): string {
  let source = readFileSync(join(root, file), 'utf8');
  for (const patch of patches) {
    if (patch.file !== file) continue;
    const parts = source.split(patch.find);
    if (parts.length !== 2)
      throw new Error(`the patch for "${rule}" applies ${parts.length - 1} times to ${file}: ${patch.find}`);
    source = parts.join(patch.replace);
  }
  return source;
}

/** `hearsay/testing` and all below it, with the rule left out. */
async function load(mutant: Mutant, name: string): Promise<typeof testing> {
  const files = new Set(mutant.patches.map(({ file }) => file));
  const plugin: Plugin = {
    name: 'mutant',
    setup(bundler) {
      bundler.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = path.slice(root.length).replaceAll('\\', '/');
        return files.has(file) ? { contents: mutated(mutant, file), loader: 'ts' } : undefined;
      });
    },
  };
  for (const file of files) mutated(mutant, file);
  const outfile = join(folder, `${name}.mjs`);
  await build({
    absWorkingDir: root,
    entryPoints: ['src/testing/index.ts'],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    outfile,
    plugins: [plugin],
    logLevel: 'silent',
  });
  return (await import(/* @vite-ignore */ pathToFileURL(outfile).href)) as typeof testing;
}

describe('a rule that is left out is noticed', () => {
  test.each(MUTANTS.map((mutant, i) => ({ ...mutant, i })))('$rule', { timeout: 120_000 }, async ({ i, ...mutant }) => {
    const { simulate, SCRIPTS } = await load(mutant, `mutant-${i}`);
    const kept = [...SCRIPTS, ...KEPT.map(([, schedule]) => schedule)];
    const report = simulate({ seed: FIRST_SEED, runs: RUNS_MAX, kept, profile: mutant.profile, isShrinking: false });
    expect(report.failures.map(({ code }) => code)).not.toEqual([]);
  });

  test('and with all rules in place nothing fails in the same schedules', { timeout: 120_000 }, async () => {
    const { simulate, SCRIPTS } = await load({ rule: 'none', patches: [] }, 'whole');
    const kept = [...SCRIPTS, ...KEPT.map(([, schedule]) => schedule)];
    const report = simulate({ seed: FIRST_SEED, runs: 200, kept });
    expect(report.failures.map(({ message }) => message)).toEqual([]);
  });
});
