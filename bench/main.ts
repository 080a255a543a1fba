/**
 * `npm run bench`: what the project has set out to reach, measured beside its references in one run.
 *
 *     npm run bench                       everything, as a table
 *     npm run bench -- --json             one JSON object a line: name, value, unit, limit, ok
 *     npm run bench -- --only writes      one part (several: repeat it); an unknown name lists them
 *     npm run bench -- --quick            small numbers, one round: to see that it runs, not to quote
 *
 * Nothing else should run on the machine meanwhile. The exit status tells whether everything ran, not how fast it was.
 */
import { cpus, release, type } from 'node:os';
import { parseArgs } from 'node:util';
import { actors } from './actors.ts';
import { bundle } from './bundle.ts';
import { catchup } from './catchup.ts';
import { counters } from './counters.ts';
import { fetch } from './fetch.ts';
import type { Effort, Group } from './harness.ts';
import { latency } from './latency.ts';
import { opening } from './opening.ts';
import { sets } from './sets.ts';
import { simulator } from './simulator.ts';
import { jsonLines, TABLE_HEAD, tableLine } from './table.ts';
import { writes } from './writes.ts';

const GROUPS: readonly Group[] = [writes, sets, fetch, catchup, latency, counters, opening, actors, simulator, bundle];

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
  },
});

const groups = chosen(options.only);
if (groups.length > 0) await measure(groups, { isQuick: options.quick, rounds: options.quick ? 1 : 5 });

function chosen(only: readonly string[] | undefined): readonly Group[] {
  const unknown = only?.find((name) => GROUPS.every((group) => group.name !== name));
  if (unknown === undefined) return GROUPS.filter(({ name }) => only?.includes(name) ?? true);
  process.stderr.write(`There is no part ${unknown}; there are ${GROUPS.map(({ name }) => name).join(', ')}.\n`);
  process.exitCode = 2;
  return [];
}

async function measure(groups: readonly Group[], effort: Effort): Promise<void> {
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  if (!options.json) {
    const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${type()} ${release()}, Node ${process.version}`;
    say(`${machine}${effort.isQuick ? ', --quick: not to be quoted' : `, medians of ${effort.rounds} rounds`}\n`);
    say(TABLE_HEAD);
  }
  for (const { name, run } of groups) {
    try {
      for await (const row of run(effort)) say(options.json ? jsonLines(row) : tableLine(row));
    } catch (error) {
      // The others can still be measured.
      process.stderr.write(`${name} could not be measured: ${error instanceof Error ? error.stack : String(error)}\n`);
      process.exitCode = 1;
    }
  }
}
