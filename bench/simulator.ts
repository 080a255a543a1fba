/** Small schedules of the simulator a second, on one core: 3 replicas, at least 30 operations and 8 faults each. */
import { simulate } from '../src/testing/index.ts';
import { type Effort, type Figures, type Group, inChild, inTurns, type Row } from './harness.ts';

const SIMULATOR = import.meta.url;

export const simulator: Group = { name: 'simulator', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const budgetMs = isQuick ? 2_000 : 5_000;
  const { figures } = await inTurns(rounds, { figures: () => inChild(SIMULATOR, simulateFor, budgetMs) });
  yield {
    name: 'small schedules of the simulator',
    unit: 'schedules/s',
    ours: figures['perS'] ?? Number.NaN,
    limit: { atLeast: 500 },
  };
  yield { name: 'small schedules of the simulator, CPU', unit: 'ms', ours: figures['cpuMs'] ?? Number.NaN };
}

/** In a child. A failure is the business of the tests; what ran before it counts. */
export function simulateFor(budgetMs: number): Figures {
  const seed = Math.floor(Math.random() * 2 ** 31);
  simulate({ seed, profile: 'small', kept: [], budgetMs: budgetMs / 5, failuresMax: 1_000 });
  const cpuBefore = process.cpuUsage();
  const { runs, elapsedMs } = simulate({ seed, profile: 'small', kept: [], budgetMs, failuresMax: 1_000 });
  const cpu = process.cpuUsage(cpuBefore);
  return { perS: (1_000 * runs) / elapsedMs, cpuMs: (cpu.user + cpu.system) / 1_000 / runs };
}
