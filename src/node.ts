/**
 * The node: a replica with a real disk, real connections and real time around it. (The simulator is the other one.)
 *
 *     write ─▶ replica.write ─┐
 *     message ─▶ .receive ────┼─▶ dirty ─▶ end of turn: seal ─▶ storage.commit ─▶ .durable ─▶ messages go, writes resolve
 *     time ─▶ .tick ──────────┘
 *
 * Group commit: all that is written in one turn of the event loop becomes one batch, and while `COMMITS_MAX` of them are
 * under way the next one grows. So the disk sets the pace, and 256 writers who wait share its every sync.
 *
 * When a commit fails, this node is over: what it holds in memory is ahead of the disk. Every pending write fails, all
 * links are closed (no peer has heard of what was lost, since nothing is told before it is durable), writes are refused,
 * and reads show what the disk has. Opening the store again begins from there.
 *
 * Always true: batches are sealed, committed and told as durable in one order; `#commits` are those under way, in it.
 */
import { hash as digest } from 'node:crypto';
import type { Dot } from '../crdts/dot.ts';
import type { Edit, Engine } from '../crdts/engine.ts';
import { HearsayError } from '../crdts/error.ts';
import type { Path } from '../crdts/path.ts';
import { Commit, Write } from './commit.ts';
import { COMMITS_MAX, GOODBYE_MS, PENDING_BYTES_MAX } from './config.ts';
import type { Storage } from './edges/storage/contract.ts';
import type { Connection } from './edges/transport/contract.ts';
import type { Logger } from './logger.ts';
import { unreachable } from './protocol/unreachable.ts';
import type { Effect, LinkId, Now, ReplicaCore, ReplicaStatus } from './replica/contract.ts';

export interface NodeEvents {
  /** A batch was sealed, and these paths have changed in it; null: too many to note. The clock contains it, and nothing later. */
  readonly sealed: (changed: readonly Path[] | null) => void;
  /** Something was sent, received or made durable; at most once in a turn of the event loop. */
  readonly moved: () => void;
  /** The storage has failed, or the replica has; once. `lostCount` writes were pending and nobody awaits them. */
  readonly failed: (error: HearsayError, lostCount: number) => void;
}

export interface NodeOptions {
  readonly storage: Storage;
  readonly replica: ReplicaCore & { readonly engine: Engine };
  readonly logger: Logger;
  readonly events: NodeEvents;
}

export type NodeState = 'open' | 'failed' | 'closing' | 'closed';

export const now = (): Now => ({ monoMs: performance.now(), wallMs: Date.now() });

/** For `ReplicaOptions.hash`. By way of a string: a buffer made there costs more than the hash, one from here comes from a pool. */
export const sha256 = (bytes: Uint8Array): Uint8Array => Buffer.from(digest('sha256', bytes, 'binary'), 'latin1');

/** The longest delay that Node's timers take; longer ones fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export class Node {
  readonly #storage: Storage;
  readonly #replica: ReplicaCore & { readonly engine: Engine };
  readonly #logger: Logger;
  readonly #events: NodeEvents;
  #state: NodeState = 'open';
  #failure: HearsayError | undefined;
  #closing: Promise<void> | undefined;
  /** From the end on: there is no storage to look into any more. */
  #lastStatus: ReplicaStatus | undefined;

  /** What the writes of now wait for. */
  #commit = new Commit();
  #hasWrites = false;
  readonly #commits: Commit[] = [];
  #sealWaiters: ((commit: Commit) => void)[] = [];
  #isScheduled = false;

  readonly #links = new Map<LinkId, Connection>();
  /** Connections that have not ended, also those that are closing and no link any more. */
  readonly #connections = new Set<Connection>();
  #linkCount = 0;

  #timer: NodeJS.Timeout | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #isMoved = false;

  constructor({ storage, replica, logger, events }: NodeOptions) {
    this.#storage = storage;
    this.#replica = replica;
    this.#logger = logger;
    this.#events = events;
    this.#carryOn();
  }

  get state(): NodeState {
    return this.#state;
  }

  get failure(): HearsayError | undefined {
    return this.#failure;
  }

  get linkCount(): number {
    return this.#links.size;
  }

  // ---------------------------------------------------------------- writing

  /**
   * Carries the edits out, all in one batch. Throws `Overloaded`, `StorageClosed`, and after a failure that failure; then
   * nothing was written. `write`: one that was made before.
   */
  write(edits: readonly Edit[], write = new Write()): Write {
    this.#admit();
    const dots = this.#apply(edits);
    this.#schedule();
    return write.settle(this.#commit, dots);
  }

  /** As `write`, for more than one batch can take: several batches, one behind the other. What it returns waits for the last. */
  writeSplit(edits: readonly Edit[], batchOperationsMax: number): Write {
    this.#admit();
    const dots: Dot[] = [];
    for (let at = 0; at < edits.length; at += batchOperationsMax) {
      if (at > 0) this.#run(() => this.#seal());
      if (this.#failure !== undefined) throw this.#failure;
      for (const dot of this.#apply(edits.slice(at, at + batchOperationsMax))) dots.push(dot);
    }
    this.#schedule();
    return new Write().settle(this.#commit, dots);
  }

  #admit(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#state !== 'open') throw new HearsayError('StorageClosed', 'this store is closed: open it again');
    const { pendingBytes } = this.#storage;
    if (pendingBytes <= PENDING_BYTES_MAX) return;
    throw new HearsayError(
      'Overloaded',
      `${pendingBytes} bytes of writes are not durable yet: await some of them before writing more`,
      { pendingBytes, limit: PENDING_BYTES_MAX },
    );
  }

  #apply(edits: readonly Edit[]): Dot[] {
    this.#hasWrites = true;
    try {
      return this.#replica.write(edits, now());
    } catch (error) {
      const isStorages = error instanceof HearsayError && error.code.startsWith('Storage');
      // A leaf's edits are all looked at before the first; of a single one, nothing is written before it is decided.
      const isWhole = error instanceof HearsayError && (edits.length === 1 || error.code === 'OutsideInterests');
      // Otherwise half of a batch is written, which must never be committed.
      if (isStorages || !isWhole) this.#fail(error);
      throw error;
    }
  }

  /** Resolves once all that was written up to now is durable. Rejects as an awaited write does. */
  async flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#hasOpenBatch) return this.#commits.at(-1)?.promise;
    this.#schedule();
    return this.#commit.promise;
  }

  /**
   * Calls back at a moment when everything that can be read is sealed, at once if it is, with the commit that makes it
   * durable. Never, once the node has failed or closed.
   */
  atSeal(callback: (commit: Commit) => void): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    if (!this.#replica.isDirty && !this.#hasWrites) return callback(this.#commits.at(-1) ?? DURABLE);
    this.#sealWaiters.push(callback);
    this.#schedule();
  }

  // ---------------------------------------------------------------- group commit

  /** At the end of this turn, so that everything else that is ready by now goes along. */
  #schedule(): void {
    if (this.#isScheduled || this.#commits.length >= COMMITS_MAX) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#state === 'failed' || this.#state === 'closed') return;
      if (this.#commits.length < COMMITS_MAX && this.#hasOpenBatch) this.#run(() => this.#seal());
    });
  }

  get #hasOpenBatch(): boolean {
    return this.#replica.isDirty || this.#hasWrites || this.#sealWaiters.length > 0;
  }

  /** Closes the open batch and has it committed. */
  #seal(): void {
    const commit = this.#commit;
    const batch = this.#replica.isDirty ? this.#replica.seal(now()) : undefined;
    this.#storage.commit().then(
      () => this.#durable(commit, batch),
      (error: unknown) => this.#fail(error),
    );
    this.#commits.push(commit);
    this.#commit = new Commit();
    this.#hasWrites = false;
    if (batch !== undefined) this.#events.sealed(this.#replica.takeChanged());
    for (const callback of this.#sealWaiters.splice(0)) callback(commit);
  }

  #durable(commit: Commit, batch: number | undefined): void {
    if (this.#state === 'failed') return;
    this.#commits.shift();
    // Peers first: what they are told need not wait until those who wrote have gone on.
    this.#run(() => {
      if (batch !== undefined) this.#replica.durable(batch, now());
    });
    commit.succeed();
  }

  // ---------------------------------------------------------------- connections

  /** Takes over a connection that is open. */
  connect(connection: Connection, isDialer: boolean): void {
    if (this.#state !== 'open') return connection.close('Closing', 'this node is shutting down');
    const link = ++this.#linkCount;
    this.#links.set(link, connection);
    this.#connections.add(connection);
    this.#logger.info({ remote: connection.remote, link }, 'connected');
    connection.onMessage = (bytes) => {
      if (this.#links.has(link)) this.#run(() => this.#replica.receive(link, bytes, now()));
    };
    connection.onClose = (code, reason) => {
      this.#connections.delete(connection);
      this.#logger.info({ remote: connection.remote, link, code, reason }, 'disconnected');
      if (this.#links.delete(link)) this.#run(() => this.#replica.disconnect(link, now()));
    };
    this.#run(() => this.#replica.connect(link, now(), isDialer));
  }

  // ---------------------------------------------------------------- the loop

  /** Hands something to the replica, then does what follows from it. */
  #run(action: () => void): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    try {
      action();
      this.#carryOn();
    } catch (error) {
      this.#fail(error);
    }
  }

  #carryOn(): void {
    for (const effect of this.#replica.takeEffects()) this.#carryOut(effect);
    if (this.#hasOpenBatch) this.#schedule();
    this.#setTimer();
    this.#announce();
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case 'send':
        return this.#links.get(effect.link)?.send(effect.bytes);
      case 'close':
        return this.#disconnect(effect.link, effect.code, effect.reason);
      case 'log':
        return this.#logger[effect.level](effect.fields, effect.message);
      default:
        return unreachable(effect);
    }
  }

  #disconnect(link: LinkId, code: string, reason: string): void {
    const connection = this.#links.get(link);
    this.#links.delete(link);
    connection?.close(code, reason);
  }

  #setTimer(): void {
    const nextMs = this.#replica.nextTickMs();
    // Waking up too early costs nothing: the replica looks at its clock, and says again when it wants to be called.
    if (nextMs >= this.#timerMs) return;
    this.#timerMs = nextMs;
    clearTimeout(this.#timer);
    const delayMs = Math.min(Math.max(0, nextMs - performance.now()), TIMER_MS_MAX);
    // After the messages that have arrived by now: after a pause of this process they are what shows that peers are alive.
    this.#timer = setTimeout(() => setImmediate(() => this.#tick()), delayMs);
    // A store that is open, and does nothing, does not keep its process alive.
    this.#timer.unref();
  }

  #tick(): void {
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.#run(() => this.#replica.tick(now()));
  }

  #announce(): void {
    if (this.#isMoved) return;
    this.#isMoved = true;
    setImmediate(() => {
      this.#isMoved = false;
      this.#events.moved();
    });
  }

  // ---------------------------------------------------------------- the end

  #fail(cause: unknown): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    const failure = failureOf(cause);
    const isClosing = this.#state === 'closing';
    this.#state = 'failed';
    this.#failure = failure;
    clearTimeout(this.#timer);
    this.#logger.error(
      { code: failure.code, reason: failure.message, cause: failure.cause },
      'the store has failed: it takes no more writes until it is opened again',
    );
    // Half a batch may be among what is pending.
    this.#storage.abandon(failure);
    let lostCount = 0;
    for (const commit of [...this.#commits.splice(0), this.#commit]) {
      lostCount += commit.unawaitedCount;
      commit.fail(failure);
    }
    this.#sealWaiters = [];
    for (const link of [...this.#links.keys()]) {
      this.#disconnect(link, 'StorageFailed', 'the store of this node has failed');
    }
    if (!isClosing || lostCount > 0) this.#events.failed(failure, lostCount);
  }

  /** Refuses writes from now on: the first step of closing, for those who have more to do before the rest. */
  stopWriting(): void {
    if (this.#state === 'open') this.#state = 'closing';
  }

  /**
   * Finishes what is under way, commits, says goodbye to peers and closes the storage. Rejects when the last commit fails;
   * everything is released all the same. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      this.stopWriting();
      if (this.#state === 'closing') {
        await this.flush();
        this.#run(() => this.#replica.close(now()));
        await this.flush();
      }
    } finally {
      if (this.#state !== 'failed') this.#state = 'closed';
      clearTimeout(this.#timer);
      await this.#allDisconnected();
      this.#lastStatus = this.#replica.status(now());
      await this.#storage.close();
      this.#state = 'closed';
    }
  }

  /** Waits for the connections to end; each was told to, and those that take too long are left to their transport. */
  async #allDisconnected(): Promise<void> {
    for (const connection of this.#connections) connection.close('Closing', 'this node is shutting down');
    if (this.#connections.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, GOODBYE_MS);
    });
    const ended = [...this.#connections].map(
      (connection) =>
        new Promise<void>((resolve) => {
          const { onClose } = connection;
          connection.onClose = (code, reason) => {
            onClose(code, reason);
            resolve();
          };
        }),
    );
    await Promise.race([Promise.all(ended), tooLate]);
    clearTimeout(timer);
  }

  // ---------------------------------------------------------------- looking in

  status(): ReplicaStatus {
    return this.#lastStatus ?? this.#replica.status(now());
  }
}

/** What waits for nothing. */
const DURABLE = new Commit();
DURABLE.succeed();

function failureOf(cause: unknown): HearsayError {
  if (cause instanceof HearsayError && cause.code.startsWith('Storage')) return cause;
  const text = 'the store has failed and takes no more writes; what was committed before is kept. Open it again.';
  return new HearsayError('StorageFailed', text, {}, cause);
}
