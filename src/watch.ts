/**
 * Change feeds for apps: `for await (const item of store.watch('user:'))`. The pure half is replica/feed.ts; here are the
 * promises around it, and items as apps see them.
 *
 * Pages are read only while somebody waits for an item, so a slow reader costs no more than its feed's buffer; and only
 * at moments when everything is sealed, so that a page can wait for the one commit that makes all of it durable.
 */
import type { HearsayError } from '../crdts/error.ts';
import { keyRange, type Path, parsePath, type TypeName } from '../crdts/path.ts';
import type { Clock } from '../crdts/clock.ts';
import type { Entry } from '../crdts/record.ts';
import { counterValue, isCounterPresent } from '../crdts/types/counter.ts';
import { registerValue } from '../crdts/types/register.ts';
import { isOn } from '../crdts/types/toggle.ts';
import type { Value } from '../crdts/value.ts';
import type { Commit } from './commit.ts';
import { check, isCount, WATCH_BUFFER_DEFAULT, WATCH_BUFFER_MAX } from './config.ts';
import { decodePosition, encodePosition, Feed, type FeedPage, type FeedSource } from './replica/feed.ts';

export interface WatchOptions {
  /**
   * The `clock` of an item seen before: go on from there, with what has changed meanwhile, deletes included. `'start'`:
   * list everything first. Default: only what changes from now on.
   */
  readonly since?: string | undefined;
  /** Ends the iteration when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Changed paths to remember for a slow reader, 1–1,000,000, each up to 1 KiB; beyond it, it resumes from the index. Default 1,024. */
  readonly bufferMax?: number | undefined;
}

/** One thing has changed: what is there now. The same state may be told twice. */
export interface WatchChange {
  readonly type: Exclude<TypeName, 'map'>;
  readonly key: string;
  /** The fields on the way through maps, outermost first; empty for what stands under the key itself. */
  readonly fields: readonly string[];
  /** Of a set: the element that was added or removed. */
  readonly element?: Value;
  /** False: it was deleted, removed, reset, disabled or has expired. */
  readonly isPresent: boolean;
  /** A register's value, a counter's sum (a bigint beyond ±(2^53 − 1)), true for a flag or element; absent where nothing is. */
  readonly value?: Value;
  /** Pass it as `since`, here or on another node of the cluster: nothing after this item is missed, some may come again. */
  readonly clock: string;
}

/**
 * A full listing follows, up to `listing-ends`: for `since: 'start'`, and where `since` is so old that deletes since then
 * were forgotten. What is under the prefix and does not come between the two is not there any more.
 */
export interface ListingBegins {
  readonly type: 'listing-begins';
  readonly clock: string;
}

export interface ListingEnds {
  readonly type: 'listing-ends';
  readonly clock: string;
}

export type WatchItem = WatchChange | ListingBegins | ListingEnds;

/** Records or dots that are read at once; larger pages block the event loop longer. */
const PAGE_MAX = 256;

export interface WatchHost {
  readonly source: FeedSource;
  /** As `Node.atSeal`. */
  atSeal(callback: (commit: Commit) => void): void;
  nowMs(): number;
  /** The watch has ended. */
  ended(watch: Watch): void;
}

interface Reader {
  readonly resolve: (result: IteratorResult<WatchItem, undefined>) => void;
  readonly reject: (error: HearsayError) => void;
}

const DONE = { done: true, value: undefined } as const;

/** A running watch. Leaving the loop ends it; so do `signal` and closing the store. Throws `StorageFailed` when the store has failed. */
export class Watch implements AsyncIterableIterator<WatchItem, undefined> {
  readonly #host: WatchHost;
  readonly #feed: Feed;
  readonly #signal: AbortSignal | undefined;
  readonly #items: WatchItem[] = [];
  readonly #readers: Reader[] = [];
  #isReading = false;
  #isListing = false;
  #state: 'open' | 'ended' | HearsayError = 'open';

  /** Throws `InvalidClock`, `InvalidOption`, `PathTooLong`. */
  constructor(host: WatchHost, prefix: string, { since, signal, bufferMax = WATCH_BUFFER_DEFAULT }: WatchOptions) {
    check('prefix', prefix, typeof prefix === 'string', 'text');
    check('since', since, since === undefined || typeof since === 'string', 'the clock of an item');
    check('bufferMax', bufferMax, isCount(bufferMax, 1, WATCH_BUFFER_MAX), 'a number from 1 to 1,000,000');
    check('signal', signal, signal === undefined || signal instanceof AbortSignal, 'an AbortSignal');
    this.#host = host;
    this.#signal = signal;
    this.#feed = new Feed(host.source, { ...keyRange(prefix), since: positionOf(since), bufferMax });
    if (signal?.aborted === true) this.end();
    else signal?.addEventListener('abort', this.#abort);
  }

  readonly #abort = (): void => this.end();

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<WatchItem, undefined>> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve({ done: false, value: item });
    if (this.#state === 'open') {
      return new Promise((resolve, reject) => {
        this.#readers.push({ resolve, reject });
        this.#read();
      });
    }
    const failure = this.#state;
    this.#state = 'ended';
    return failure === 'ended' ? Promise.resolve(DONE) : Promise.reject(failure);
  }

  return(): Promise<IteratorResult<WatchItem, undefined>> {
    this.end();
    return Promise.resolve(DONE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }

  /** For the store: a batch was sealed. `changed`: its paths, null when there were too many to note. */
  sealed(changed: readonly Path[] | null): void {
    if (changed === null) this.#feed.missed();
    else this.#feed.changed(changed);
    this.#read();
  }

  /** Ends it; what was not taken is dropped. Idempotent. */
  end(): void {
    this.#close('ended');
    this.#items.length = 0;
    for (const { resolve } of this.#readers.splice(0)) resolve(DONE);
  }

  /** Ends it with an error, told once. */
  fail(error: HearsayError): void {
    if (this.#state !== 'open') return;
    this.#close(error);
    const [first, ...others] = this.#readers.splice(0);
    if (first === undefined) return;
    this.#state = 'ended';
    first.reject(error);
    for (const { resolve } of others) resolve(DONE);
  }

  #close(state: 'ended' | HearsayError): void {
    if (this.#state === 'open') this.#host.ended(this);
    this.#state = state;
    this.#signal?.removeEventListener('abort', this.#abort);
  }

  /** Reads a page when one is wanted and there may be one. */
  #read(): void {
    if (this.#state !== 'open' || this.#isReading || this.#readers.length === 0 || !this.#feed.hasMore) return;
    this.#isReading = true;
    this.#host.atSeal((commit) => {
      if (this.#state !== 'open') return;
      const items = this.#itemsOf(this.#feed.read(PAGE_MAX));
      if (commit.isDurable) this.#deliver(items);
      // When it fails, so does the store, and it says so to all its watches.
      else commit.promise.then(() => this.#deliver(items)).catch(() => {});
    });
  }

  #deliver(items: readonly WatchItem[]): void {
    this.#isReading = false;
    if (this.#state !== 'open') return;
    for (const item of items) {
      const reader = this.#readers.shift();
      if (reader === undefined) this.#items.push(item);
      else reader.resolve({ done: false, value: item });
    }
    // A walk may cross a million dots of other keys: everyone else gets a turn in between.
    if (this.#readers.length > 0) setImmediate(() => this.#read());
  }

  #itemsOf(page: FeedPage | null): WatchItem[] {
    if (page === null) return [];
    const before = new Position(page.before);
    const after = page.after === page.before ? before : new Position(page.after);
    const last = page.items.at(-1);
    const items: WatchItem[] = [];
    for (const item of page.items) {
      const position = item === last ? after : before;
      if (item.type === 'state') {
        const change = changeOf(item.path, item.entries, this.#host.nowMs(), position);
        // What is not there is not listed: it may have expired.
        if (change.isPresent || !this.#isListing) items.push(change);
      } else {
        this.#isListing = item.type === 'listing-begins';
        items.push({
          type: item.type,
          get clock() {
            return position.text;
          },
        });
      }
    }
    return items;
  }
}

/** A clock as the text that is given out; made when somebody asks, once for all items that share it. */
class Position {
  readonly #clock: Clock;
  #text: string | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get text(): string {
    return (this.#text ??= Buffer.from(encodePosition(this.#clock)).toString('base64url'));
  }
}

function positionOf(since: string | undefined): Clock | 'start' | 'now' {
  if (since === undefined) return 'now';
  return since === 'start' ? 'start' : decodePosition(Buffer.from(since, 'base64url'));
}

function changeOf(path: Path, entries: readonly Entry[], nowMs: number, position: Position): WatchChange {
  const { key, fields, type, element } = parsePath(path);
  const value = valueOf(type, entries, nowMs);
  return {
    type,
    key,
    fields,
    ...(element !== undefined && { element }),
    isPresent: value !== undefined,
    ...(value !== undefined && { value }),
    get clock() {
      return position.text;
    },
  };
}

function valueOf(type: WatchChange['type'], entries: readonly Entry[], nowMs: number): Value | undefined {
  switch (type) {
    case 'register':
      return registerValue(entries, nowMs);
    case 'counter': {
      if (!isCounterPresent(entries)) return undefined;
      const sum = counterValue(entries);
      return Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
    }
    case 'flag':
    case 'flag-disable-wins':
    case 'set':
    case 'set-remove-wins':
      return isOn(entries, nowMs) ? true : undefined;
  }
}
