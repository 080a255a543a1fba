/**
 * What the HTTP API needs of a store, and no more. The edge stands below the store and may not import it; the store that
 * `open()` gives satisfies this by its shape.
 */
import type { Place, ScanItem, ScanOptions } from '../../../crdts/handles.ts';
import type { TypeName } from '../../../crdts/path.ts';
import type { Value } from '../../../crdts/value.ts';

/** What a write returns: resolves once it is durable, to the names of its events. */
export type Writes = PromiseLike<{ readonly dots: readonly string[] }>;

export interface ApiStore {
  /** Everything under one key. Throws `PathTooLong`, `InvalidValue`. */
  key(key: string): Place<Writes>;
  scan(prefix: string, options: ScanOptions): Iterable<ScanItem>;
  /** Ends when the signal is aborted and when the store is closed. Throws `InvalidClock` for a `since` that is none. */
  watch(prefix: string, options: WatchOptions): AsyncIterable<ApiWatchItem>;
  /** For people and programs; plain JSON values. */
  status(): object;
}

export interface WatchOptions {
  /** The `clock` of an item that was seen, or `start` for all there is first; absent: from now on. */
  readonly since?: string;
  readonly signal: AbortSignal;
}

export type ApiWatchItem = ApiChange | ApiMark;

/** The newest state of one path. */
export interface ApiChange {
  readonly key: string;
  /** The fields on the way through maps, outermost first. */
  readonly fields: readonly string[];
  readonly type: Exclude<TypeName, 'map'>;
  /** Only for sets: which element. */
  readonly element?: Value | undefined;
  /** False where it was deleted, removed or expired. */
  readonly isPresent: boolean;
  /** A register's value, a counter's sum, true for what is on; absent where nothing is present. */
  readonly value?: Value | undefined;
  /** Pass it as `since`, and what comes is what this item's reader has not seen. */
  readonly clock: string;
}

/** Between the two, everything that is there; what is not among it is not there any more. */
export interface ApiMark {
  readonly type: 'listing-begins' | 'listing-ends';
  readonly clock: string;
}

/** The core's logger, as far as it is used here: what varies, and constant text. */
export interface Logger {
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}
