/**
 * `hearsay/crdts`: the data model alone. No dependency, no network, no disk, no timers; runs wherever JavaScript runs.
 * Start with `Replica` (replica.ts); read record.ts for the one join behind every type.
 */
export { HearsayError } from './error.ts';
export { type Actor, actorFrom, type Dot, formatActor, formatDot, parseActor } from './dot.ts';
export { Clock, type DotSet } from './clock.ts';
export { HybridTime, type Timestamp } from './timestamp.ts';
export type { Value } from './value.ts';
export {
  type BiasOption,
  CounterHandle,
  FlagHandle,
  Handles,
  MapHandle,
  Place,
  RegisterHandle,
  type ScanItem,
  type ScanOptions,
  SetHandle,
  type Thing,
  type TtlOption,
} from './handles.ts';
export { Replica, type ReplicaOptions } from './replica.ts';
