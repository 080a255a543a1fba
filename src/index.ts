/**
 * `hearsay`: a replicated key-value store whose values are CRDTs. Start with `open`.
 */
export { HearsayError } from '../crdts/error.ts';
export type {
  BiasOption,
  CounterHandle,
  FlagHandle,
  MapHandle,
  Place,
  RegisterHandle,
  ScanItem,
  ScanOptions,
  SetHandle,
  Thing,
  TtlOption,
} from '../crdts/handles.ts';
export type { OrderedStore, RangeOptions } from '../crdts/store.ts';
export type { Value } from '../crdts/value.ts';
export type { Receipt, Write } from './commit.ts';
export type { ListenOptions, OpenOptions } from './config.ts';
export type { Durability, Storage } from './edges/storage/contract.ts';
export type { DialerStatus } from './edges/transport/dialer.ts';
export type { Log, Logger } from './logger.ts';
export type { LinkStatus, Pace, ReplicaStatus, Role } from './replica/contract.ts';
export { open, type Store, type StoreEvents, type StoreStatus, type SyncedOptions } from './store.ts';
export type { ListingBegins, ListingEnds, Watch, WatchChange, WatchItem, WatchOptions } from './watch.ts';
