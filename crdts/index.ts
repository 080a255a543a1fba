/**
 * `hearsay/crdts`: the data model alone. No dependency, no network, no disk, no timers; runs wherever JavaScript runs.
 * Start with `Replica` (replica.ts); read record.ts for the one join behind every type.
 */
export { HearsayError } from './error.ts';
export { type Actor, actorFrom } from './dot.ts';
export type { Value } from './value.ts';
export type {
  BiasOption,
  CounterHandle,
  FlagHandle,
  Handles,
  MapHandle,
  Place,
  RegisterHandle,
  ScanItem,
  ScanOptions,
  SetHandle,
  Thing,
  TtlOption,
} from './handles.ts';
export { Replica, type ReplicaOptions } from './replica.ts';
