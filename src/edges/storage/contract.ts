/**
 * What a replica needs of a disk: an ordered store whose writes are collected and committed as atomic, durable batches.
 *
 * Life of a write: `put` and `delete` are visible to `get` and `range` at once (pending); `commit()` closes the batch
 * collected so far; its promise resolves when that batch, and every one before it, is durable. Batches become durable in
 * the order of their commits, each whole or not at all.
 *
 * When a commit fails its promise rejects with `StorageFailed`, or with `StorageFull` when there was no room, and so does
 * every later one; all that was pending is dropped, so that reads show the durable state again, and writes throw that
 * error until the storage is reopened.
 * A store that went on after a lost write would tell peers of events that it does not have.
 */
import type { HearsayError } from '../../../crdts/error.ts';
import type { OrderedStore } from '../../../crdts/store.ts';

export type Durability =
  /** A commit resolves once its batch was fsynced. Concurrent commits share one fsync. */
  | 'strict'
  /** A commit resolves once the operating system has its batch: it outlives the process, not a power cut. */
  | 'relaxed';

export interface Storage extends OrderedStore {
  readonly kind: string;
  /** Bytes of keys and values that are written and not yet durable; a key written twice may count twice. */
  readonly pendingBytes: number;
  /**
   * Closes the current batch. With nothing written since the last commit: resolves when that one is durable.
   * Concurrent commits may return the same promise.
   */
  commit(): Promise<void>;
  /**
   * Gives up: everything from here on is as if a commit had failed with `error`. For when what is pending must not become
   * durable, such as half of a batch. (A storage in memory cannot take it back, and only takes nothing more.)
   */
  abandon(error: HearsayError): void;
  /**
   * Commits what is pending, then releases everything, also when that commit fails: then it rejects with its error.
   * Idempotent. From the call on every other method throws `StorageClosed`, and `commit` rejects with it.
   */
  close(): Promise<void>;
}
