/** Scripted schedules: each reaches, on purpose, a branch that chance seldom finds (DESIGN §4, the rules marked ⚑). */
import type { Schedule } from './schedule.ts';

export const SCRIPTS: readonly Schedule[] = [];
