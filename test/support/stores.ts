/** Stores and directories of a test: whatever it opens is closed and removed after it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { type OpenOptions, open, type Store } from '../../src/index.ts';

const undo: (() => unknown)[] = [];

/** Registers what the end of the test undoes, the latest first. Call `afterEachTidy` once in the file. */
export const later = (step: () => unknown): void => void undo.push(step);

export function afterEachTidy(): void {
  afterEach(async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  });
}

export function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'hearsay-test-'));
  later(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Paces that make a test quick: checks and sweeps come at once, and dead peers are noticed soon. */
export const QUICK = { roundDelayMs: 20, checkMs: 100, heartbeatMs: 50, silenceMs: 1_000, sweepMs: 20 } as const;

export async function openStore(options: OpenOptions = { storage: 'memory' }): Promise<Store> {
  const store = await open({ pace: QUICK, ...options });
  later(() => store.close().catch(() => {}));
  return store;
}

/** Resolves once `holds`; asked in every turn of the event loop. The test's own timeout is its limit. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

export const codeOf = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

export function codeThrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return undefined;
}
