/**
 * What a write returns, and what it waits for.
 *
 * Writes of one turn of the event loop share a commit, and a commit is one promise at most: a store takes tens of
 * thousands of writes a second, and a promise for each, asked for or not, would cost more than the write. So a `Write`
 * is a thenable that makes nothing before it is awaited, and a write that nobody awaits cannot become an unhandled
 * rejection: the commit knows how many nobody was told of, and the store raises its `error` event for them.
 */
import { type Actor, type Dot, formatActor } from '../crdts/dot.ts';
import type { HearsayError } from '../crdts/error.ts';

/** What an awaited write resolves to. */
export interface Receipt {
  /** The names of its events, `actor:n` each; none when there was nothing to do (removing what is not there). */
  readonly dots: readonly string[];
  /** It is on disk, as the store's `durability` says. */
  readonly durable: true;
}

/** Writes that become durable together: open while they are collected, then under way, then durable or failed. */
export class Commit {
  #state: 'pending' | 'durable' | HearsayError = 'pending';
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: HearsayError) => void) | undefined;
  #writeCount = 0;
  #awaitedCount = 0;

  /** Resolves once it is durable; made only when asked for. */
  get promise(): Promise<void> {
    return (this.#promise ??= this.#newPromise());
  }

  #newPromise(): Promise<void> {
    if (this.#state === 'durable') return Promise.resolve();
    if (this.#state !== 'pending') return Promise.reject(this.#state);
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get isDurable(): boolean {
    return this.#state === 'durable';
  }

  /** Writes that nobody awaits. */
  get unawaitedCount(): number {
    return this.#writeCount - this.#awaitedCount;
  }

  /** For `Write`: there is one more, or one more is awaited. */
  count(what: 'write' | 'awaited'): void {
    if (what === 'write') this.#writeCount++;
    else this.#awaitedCount++;
  }

  succeed(): void {
    this.#state = 'durable';
    this.#resolve?.();
  }

  fail(error: HearsayError): void {
    this.#state = error;
    this.#reject?.(error);
  }
}

/**
 * A write, done here and on its way to the disk. Await it to know that it is durable; or do not, and listen to the store's
 * `error` event. Awaiting it twice is fine.
 */
export class Write implements PromiseLike<Receipt> {
  /** Absent for what is written inside a batch, until the batch has ended. */
  #commit: Commit | undefined;
  #dots: readonly Dot[] = [];
  #isAwaited = false;

  /** For those who make writes: from now on it is part of `commit`, as the events `dots`. Once. */
  settle(commit: Commit, dots: readonly Dot[]): this {
    commit.count('write');
    this.#commit = commit;
    this.#dots = dots;
    return this;
  }

  /** Rejects with `StorageFailed` or `StorageFull` when the disk did not take it: it is lost then, here and everywhere. */
  // oxlint-disable-next-line unicorn/no-thenable -- being awaited is what it is for
  then<Kept = Receipt, Lost = never>(
    onDurable?: ((receipt: Receipt) => Kept | PromiseLike<Kept>) | null,
    onFailed?: ((error: HearsayError) => Lost | PromiseLike<Lost>) | null,
  ): Promise<Kept | Lost> {
    // A batch ends in the turn it began in.
    if (this.#commit === undefined) return Promise.resolve().then(() => this.then(onDurable, onFailed));
    if (!this.#isAwaited) {
      this.#isAwaited = true;
      this.#commit.count('awaited');
    }
    const receive = (): Kept | PromiseLike<Kept> => {
      const receipt: Receipt = { dots: this.#dots.map(dotText), durable: true };
      return onDurable ? onDurable(receipt) : (receipt as unknown as Kept);
    };
    return this.#commit.promise.then(receive, onFailed);
  }

  catch<Lost = never>(onFailed?: ((error: HearsayError) => Lost | PromiseLike<Lost>) | null): Promise<Receipt | Lost> {
    return this.then(null, onFailed);
  }

  finally(onSettled?: (() => void) | null): Promise<Receipt> {
    return this.then().finally(onSettled);
  }
}

/** The texts of one run's dots differ in their numbers alone. */
let lastActor: Actor | undefined;
let lastActorText = '';

function dotText({ actor, n }: Dot): string {
  if (actor !== lastActor) {
    lastActor = actor;
    lastActorText = formatActor(actor);
  }
  return `${lastActorText}:${n}`;
}
