/**
 * The kept schedules: in test/schedules those that once failed, and in its folder `mutants` those that fail as soon as the
 * rule in their name is left out of the source.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseSchedule, type Schedule } from '../../src/testing/index.ts';

const folder = new URL('../schedules/', import.meta.url);

/** All of them, by their paths below test/schedules. */
export const KEPT: readonly (readonly [file: string, schedule: Schedule])[] = readdirSync(fileURLToPath(folder), {
  recursive: true,
  encoding: 'utf8',
})
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.json'))
  .sort()
  .map((file) => [file, parseSchedule(readFileSync(new URL(file, folder), 'utf8'))]);
