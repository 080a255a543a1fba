/**
 * How the tests run. Helper processes started by tests are plain Node: `node --import tsx child.ts` runs TypeScript there.
 */

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: a native addon or a test that kills its process must not take its neighbours along.
    pool: 'forks',
    // The tests start nodes of their own; more workers than this starve heartbeats on a small CI machine.
    maxWorkers: 2,
    // Most tests need milliseconds. One that needs longer says so itself, beside the reason.
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    // Named, because vitest chooses others by itself in some environments: time per file, the slow tests, the summary last.
    reporters: ['default'],
    slowTestThreshold: 1_000,
  },
});
