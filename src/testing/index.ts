/**
 * `hearsay/testing`: simulated clusters. `testConvergence` is for apps built on the store; the rest is how hearsay itself
 * is tested, open to whoever wants to look for a fault in it.
 */
export { type Action, type ConvergenceOptions, type TestStore, testConvergence } from './convergence.ts';
export { SimulationFailure } from './failure.ts';
export { PROFILE_NAMES, type ProfileName, randomSchedule } from './profiles.ts';
export { Random } from './random.ts';
export { type RunOptions, type RunResult, runSchedule } from './run.ts';
export { formatSchedule, parseSchedule, type Schedule, type Step } from './schedule.ts';
export { SCRIPTS } from './scripts.ts';
export { shrink } from './shrink.ts';
export {
  type Failure,
  formatFailure,
  formatReport,
  missingFrom,
  type Report,
  type SimulateOptions,
  simulate,
} from './simulate.ts';
