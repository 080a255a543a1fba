/**
 * The store that `open` gives: handles to read and write, batches, change feeds, and the node that keeps all of it on a
 * disk and in sync with others. docs/ARCHITECTURE.md follows one write through it.
 */
import { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import type { Actor } from '../crdts/dot.ts';
import type { Edit, Engine } from '../crdts/engine.ts';
import { HearsayError } from '../crdts/error.ts';
import { Handles, type Host } from '../crdts/handles.ts';
import type { Path } from '../crdts/path.ts';
import type { Entry } from '../crdts/record.ts';
import { Commit, Write } from './commit.ts';
import {
  BATCH_OPERATIONS_MAX,
  type Config,
  check,
  checkOptions,
  isCount,
  type ListenConfig,
  type OpenOptions,
} from './config.ts';
import { Draft } from './draft.ts';
import { type Api, createApi } from './edges/http/api.ts';
import { refusalOfUpgrade } from './edges/http/browsers.ts';
import { answerWithoutUpgrade, closeHttpServer, createHttpServer, listen } from './edges/http/server.ts';
import type { Storage } from './edges/storage/contract.ts';
import { openLmdb } from './edges/storage/lmdb.ts';
import { memoryStorage } from './edges/storage/memory.ts';
import { Dialer, type DialerStatus } from './edges/transport/dialer.ts';
import { attachSyncServer, dialWebSocket, type Refusal, type SyncServer, syncUrl } from './edges/transport/ws.ts';
import { Node, type NodeState, now, sha256 } from './node.ts';
import type { LinkStatus, ReplicaStatus } from './replica/contract.ts';
import { Replica } from './replica/replica.ts';
import { Watch, type WatchOptions } from './watch.ts';

/**
 * Opens the store in `options.dir`, and makes it when there is none; starts to dial, and to listen, when it was asked to.
 * Resolves when it can be read and written; peers may still be on their way.
 *
 * Throws `InvalidOption`; for the disk `StorageLocked`, `DirectoryNotWritable`, `StorageFull`, `StorageTorn`,
 * `FormatForeign`, `FormatTooNew`, `StorageUnavailable`, `StorageFailed`; for what the store is `ClusterMismatch`,
 * `RoleChanged`, `InterestsChanged`; for listening `PortInUse`, `PortForbidden`, `AddressUnavailable`. After a throw
 * nothing is held.
 */
export async function open(options: OpenOptions): Promise<Store> {
  const config = checkOptions(options);
  const storage = await openStorage(config);
  let store: Store;
  try {
    store = new Store(config, storage);
  } catch (error) {
    await storage.close();
    throw error;
  }
  try {
    await store[START]();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

async function openStorage({ dir, storage, durability }: Config): Promise<Storage> {
  if (dir !== null) return openLmdb({ dir, durability });
  return storage === 'memory' || storage === null ? memoryStorage() : storage;
}

export interface StoreEvents {
  /**
   * The store has failed (`StorageFailed`, `StorageFull`), and with it every write that was not durable yet; `facts.lost`
   * says how many of them nobody awaits. Without a listener it becomes a process warning.
   */
  error: [error: HearsayError];
  /** A link has come, gone, or changed its state; raised at most once in a turn of the event loop. */
  status: [status: StoreStatus];
}

export interface StoreStatus extends ReplicaStatus {
  readonly state: NodeState;
  /** Why it failed, when it has. */
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly storage: { readonly kind: string; readonly dir: string | null; readonly pendingBytes: number };
  readonly listening: { readonly host: string; readonly port: number } | null;
  /** The nodes that are kept connected. */
  readonly joined: readonly DialerStatus[];
  /** What was turned away at the port, how often. */
  readonly refused: Readonly<Partial<Record<Refusal, number>>>;
}

export interface SyncedOptions {
  /** ms to wait at most, 1 or more; default: for ever. Then `Timeout` is thrown. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Not for users: what `open` calls, under a name that nobody else has. */
const START = Symbol('start');

interface Served {
  readonly host: string;
  readonly port: number;
  readonly sync: SyncServer;
  readonly close: () => Promise<void>;
}

/**
 * A replicated key-value store. Reads are synchronous and answer from the copy here; a write is done here at once, and a
 * `Write` is returned that can be awaited until it is on disk.
 */
export class Store extends Handles<Write> {
  readonly #config: Config;
  readonly #storage: Storage;
  readonly #engine: Engine;
  readonly #node: Node;
  readonly #host: StoreHost;
  readonly #emitter = new EventEmitter<StoreEvents>();
  readonly #watches = new Set<Watch>();
  readonly #dialers = new Map<string, Dialer>();
  readonly #syncWaiters = new Set<SyncWaiter>();
  #served: Served | null = null;
  #linksSeen = '';
  #closing: Promise<void> | undefined;

  /** Not for users: see `open`. */
  constructor(config: Config, storage: Storage) {
    const { name, role, interests, cluster, pace, logger } = config;
    const replica = new Replica({
      store: storage,
      hash: sha256,
      random: Math.random,
      randomBytes,
      now: now(),
      name,
      role,
      interests,
      cluster,
      pace,
    });
    const node = new Node({
      storage,
      replica,
      logger,
      events: {
        sealed: (changed) => this.#sealed(changed),
        moved: () => this.#moved(),
        failed: (error, lostCount) => this.#failed(error, lostCount),
      },
    });
    const host = new StoreHost(node, replica.engine);
    super(host);
    this.#config = config;
    this.#storage = storage;
    this.#engine = replica.engine;
    this.#node = node;
    this.#host = host;
  }

  /** Makes what the replica wrote at its beginning durable, listens and dials. */
  async [START](): Promise<void> {
    const { listen: where, join } = this.#config;
    await this.#node.flush();
    if (where !== null) this.#served = await this.#serve(where);
    for (const url of join) this.#dial(url);
  }

  async #serve({ host, port, connectionsMax }: ListenConfig): Promise<Served> {
    const { logger } = this.#config;
    const api: Api = createApi(this, { logger });
    const server = createHttpServer(api);
    const sync = attachSyncServer(server, {
      accept: (connection) => this.#node.connect(connection, false),
      refusalOf: refusalOfUpgrade,
      answerOther: (request, socket) => answerWithoutUpgrade(server, request, socket),
      connectionsMax,
    });
    const listening = await listen(server, { host, port });
    logger.info({ ...listening }, 'listening');
    return { ...listening, sync, close: () => closeHttpServer(server, api) };
  }

  // ---------------------------------------------------------------- writing

  /**
   * Writes several things as one: durable together or not at all, and a peer that gets them by push applies them together
   * (one that was away gets what is missing record by record). `compose` is called at once and must be synchronous; reads
   * inside it see what it has written so far. When it throws, nothing is written, and the error is passed on.
   *
   *     await store.batch(() => {
   *       store.counter('stock').subtract(1);
   *       store.set('sold').add('x1');
   *     });
   *
   * What writes inside return is what the batch returns. A batch inside a batch is part of it. Throws `BatchTooLarge` beyond
   * 10,000 operations or 8 MiB, `BatchNotSynchronous`, and what single writes throw.
   */
  batch(compose: (store: this) => unknown): Write {
    return this.#host.batch(() => compose(this));
  }

  /**
   * Removes what this store has seen under `key`, of every type; concurrent updates survive. A container of more than 10,000
   * records is removed in several batches: after a crash in the middle a part of it may still be there, and all of it is
   * in memory until it is durable. Inside `batch` that many records are `BatchTooLarge`.
   */
  override delete(key: string): Write {
    return super.delete(key);
  }

  /** Resolves once everything written up to now is durable. Rejects like an awaited write. */
  async flush(): Promise<void> {
    await this.#node.flush();
  }

  // ---------------------------------------------------------------- watching

  /**
   * What changes under the keys that begin with `prefix` ('' for all), from here and from peers, once it is durable:
   * the newest state of each thing that changed, deletes included. Throws `InvalidClock`, `InvalidOption`, `StorageClosed`.
   *
   *     for await (const item of store.watch('user:', { since: saved })) { …; saved = item.clock; }
   *
   * Leaving the loop ends it, and so do `signal` and `close()`. A reader that is slower than the changes gets the newest
   * states and misses those in between. A time to live that ends is told when the record is removed, a minute later or so.
   */
  watch(prefix = '', options: WatchOptions = {}): Watch {
    this.#refuseWhenOver();
    const watch = new Watch(
      {
        source: this.#engine,
        atSeal: (callback) => this.#node.atSeal(callback),
        nowMs: Date.now,
        ended: (ended) => this.#watches.delete(ended),
      },
      prefix,
      options,
    );
    if (options.signal?.aborted !== true) this.#watches.add(watch);
    return watch;
  }

  #sealed(changed: readonly Path[] | null): void {
    for (const watch of [...this.#watches]) watch.sealed(changed);
  }

  // ---------------------------------------------------------------- peers

  /** Keeps this store connected to the node at `url` (`http://host:port` or `ws://host:port`), from now on. Throws `InvalidUrl`. */
  join(url: string): void {
    this.#refuseWhenOver();
    this.#dial(syncUrl(url));
  }

  #dial(url: string): void {
    if (this.#dialers.has(url)) return;
    const { logger } = this.#config;
    const dialer = new Dialer({
      url,
      dial: dialWebSocket,
      accept: (connection) => this.#node.connect(connection, true),
      failed: (error, delayMs) => {
        logger.debug({ url, reason: error.message, againInMs: Math.round(delayMs) }, 'a peer cannot be reached');
      },
      random: Math.random,
    });
    this.#dialers.set(url, dialer);
  }

  /**
   * Resolves once there is a peer and every peer that is connected has what this store has, and the other way round. For
   * tests and scripts: in a cluster that is being written to it may take its time. Throws `Timeout`, `StorageClosed`,
   * and the signal's reason.
   */
  async synced({ timeoutMs, signal }: SyncedOptions = {}): Promise<void> {
    check('timeoutMs', timeoutMs, timeoutMs === undefined || isCount(timeoutMs, 1, 2 ** 31 - 1), 'milliseconds');
    signal?.throwIfAborted();
    this.#refuseWhenOver();
    await new Promise<void>((resolve, reject) => {
      const settle = (end: () => void): void => {
        this.#syncWaiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        end();
      };
      const abort = (): void => settle(() => reject(signal?.reason as Error));
      const expire = (): void => settle(() => reject(notSynced(timeoutMs, this.#node.status().links)));
      const timer = timeoutMs === undefined ? undefined : setTimeout(expire, timeoutMs);
      const waiter: SyncWaiter = {
        resolve: () => settle(resolve),
        reject: (error) => settle(() => reject(error)),
      };
      signal?.addEventListener('abort', abort);
      this.#syncWaiters.add(waiter);
      this.#moved();
    });
  }

  /** After each turn in which something happened. Looking costs a little, so only when somebody wants to know. */
  #moved(): void {
    if (this.#syncWaiters.size === 0 && this.#emitter.listenerCount('status') === 0) return;
    const { links } = this.#node.status();
    const isSynced = links.length > 0 && links.every(({ state }) => state === 'equal');
    if (isSynced) for (const { resolve } of [...this.#syncWaiters]) resolve();
    const seen = links.map(({ link, state }) => `${link} ${state}`).join();
    if (seen === this.#linksSeen) return;
    this.#linksSeen = seen;
    this.#emitter.emit('status', this.status());
  }

  // ---------------------------------------------------------------- looking in

  /** How it stands: node, cluster, links, counts. Plain JSON values. */
  status(): StoreStatus {
    const { failure, state } = this.#node;
    const { kind, pendingBytes } = this.#storage;
    const served = this.#served;
    return {
      ...this.#node.status(),
      state,
      failure: failure === undefined ? null : { code: failure.code, message: failure.message },
      storage: { kind, dir: this.#config.dir, pendingBytes },
      listening: served === null ? null : { host: served.host, port: served.port },
      joined: Array.from(this.#dialers.values(), ({ status }) => status),
      refused: served?.sync.refused ?? {},
    };
  }

  /** The port it listens on, null when it does not. */
  get port(): number | null {
    return this.#served?.port ?? null;
  }

  /** Where it listens, as others may join it: `http://host:port`; null when it does not. */
  get address(): string | null {
    if (this.#served === null) return null;
    const { host, port } = this.#served;
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  on<Name extends keyof StoreEvents>(name: Name, listener: (...values: StoreEvents[Name]) => void): this {
    this.#emitter.on(name, listener as never);
    return this;
  }

  once<Name extends keyof StoreEvents>(name: Name, listener: (...values: StoreEvents[Name]) => void): this {
    this.#emitter.once(name, listener as never);
    return this;
  }

  off<Name extends keyof StoreEvents>(name: Name, listener: (...values: StoreEvents[Name]) => void): this {
    this.#emitter.off(name, listener as never);
    return this;
  }

  // ---------------------------------------------------------------- the end

  #refuseWhenOver(): void {
    if (this.#closing !== undefined) throw closed();
    if (this.#node.failure !== undefined) throw this.#node.failure;
  }

  #failed(error: HearsayError, lostCount: number): void {
    this.#stop(error);
    const raised = new HearsayError(error.code, error.message, { ...error.facts, lost: lostCount }, error.cause);
    if (this.#emitter.listenerCount('error') > 0) this.#emitter.emit('error', raised);
    else process.emitWarning(raised.message, { type: 'HearsayWarning', code: raised.code });
  }

  /** No more dialling, and an end to what waits. */
  #stop(error: HearsayError | null): void {
    for (const dialer of this.#dialers.values()) dialer.stop();
    for (const watch of [...this.#watches]) {
      if (error === null) watch.end();
      else watch.fail(error);
    }
    for (const { reject } of [...this.#syncWaiters]) reject(error ?? closed());
  }

  /**
   * Finishes what is under way, commits, says goodbye to peers, and closes the store. Pending writes become durable; new
   * ones are refused with `StorageClosed`. Rejects when the last commit fails; everything is released all the same.
   * Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#node.stopWriting();
    this.#stop(null);
    try {
      await this.#served?.close();
    } finally {
      await this.#node.close().finally(() => this.#served?.sync.close());
    }
  }

  /** For `await using`: as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface SyncWaiter {
  readonly resolve: () => void;
  readonly reject: (error: HearsayError) => void;
}

function closed(): HearsayError {
  return new HearsayError('StorageClosed', 'this store is closed: open it again');
}

function notSynced(timeoutMs: number | undefined, links: readonly LinkStatus[]): HearsayError {
  const states = links.map(({ name, state }) => `${name ?? 'somebody'}: ${state}`).join(', ') || 'no peer is connected';
  const text = `not in sync with all connected peers after ${timeoutMs} ms (${states}): wait longer, or look at status()`;
  return new HearsayError('Timeout', text, { timeoutMs, links: links.length });
}

/** An actor for trying things out, when there is none yet. It never gets anywhere. */
const NOBODY = '\0\0\0\0\0\0\0\0' as Actor;

/** What handles write to: the node, or the batch that is being put together. */
class StoreHost implements Host<Write> {
  readonly #node: Node;
  readonly #engine: Engine;
  #draft: { readonly draft: Draft; readonly write: Write; error: unknown; hasFailed: boolean } | null = null;

  constructor(node: Node, engine: Engine) {
    this.#node = node;
    this.#engine = engine;
  }

  entries(path: Path): readonly Entry[] {
    return this.#draft === null ? this.#engine.read(path).entries : this.#draft.draft.entries(path);
  }

  scan(start: Path, end: Path, reverse = false): Iterable<readonly [Path, readonly Entry[]]> {
    return this.#draft === null ? this.#rows(start, end, reverse) : this.#draft.draft.scan(start, end, reverse);
  }

  *#rows(start: Path, end: Path, reverse: boolean): Generator<readonly [Path, readonly Entry[]]> {
    for (const [path, { entries }] of this.#engine.rows(start, end, reverse)) yield [path, entries];
  }

  nowMs(): number {
    return Date.now();
  }

  write(edits: readonly Edit[]): Write {
    if (this.#draft !== null) {
      this.#attempt(() => this.#draft?.draft.add(edits));
      return this.#draft.write;
    }
    return edits.length > BATCH_OPERATIONS_MAX
      ? this.#node.writeSplit(edits, BATCH_OPERATIONS_MAX)
      : this.#node.write(edits);
  }

  batch(compose: () => unknown): Write {
    if (this.#draft !== null) {
      this.#attempt(() => refuseAsynchronous(compose()));
      return this.#draft.write;
    }
    const write = new Write();
    const { actor, clock } = this.#engine;
    const self = actor ?? NOBODY;
    const draft = new Draft({
      entries: (path) => this.#engine.read(path).entries,
      scan: (start, end, reverse) => this.#rows(start, end, reverse),
      nextDot: () => ({ actor: self, n: clock.max(self) + 1 }),
    });
    const open = { draft, write, error: undefined, hasFailed: false };
    this.#draft = open;
    try {
      this.#attempt(() => refuseAsynchronous(compose()));
      // Also one that was caught inside: half of something is in the draft.
      if (open.hasFailed) throw open.error;
      this.#draft = null;
      return this.#node.write(draft.edits, write);
    } catch (error) {
      const never = new Commit();
      never.fail(error as HearsayError);
      write.settle(never, []);
      throw error;
    } finally {
      this.#draft = null;
    }
  }

  /** What fails inside a batch, fails it as a whole. */
  #attempt(action: () => void): void {
    const open = this.#draft;
    try {
      action();
    } catch (error) {
      if (open !== null && !open.hasFailed) {
        open.hasFailed = true;
        open.error = error;
      }
      throw error;
    }
  }
}

function refuseAsynchronous(result: unknown): void {
  if (!(result instanceof Promise)) return;
  // Whatever becomes of it is nobody's any more: what it wrote after its first `await` was no part of the batch.
  result.catch(() => {});
  const text =
    'a batch must be composed synchronously, and its function returned a promise: read before, and write in it';
  throw new HearsayError('BatchNotSynchronous', text);
}
