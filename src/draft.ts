/**
 * A batch while it is being put together: edits, and what reads inside the batch see of them.
 *
 * Nothing is written before the batch is whole, so that one that throws half-way leaves nothing behind. Reads must see it
 * all the same (`if (!set.has(x)) set.add(x)` inside a batch), so before a read the edits are tried out, on the records
 * as the batch has left them so far, with dots that will never be used. What is written in the end are the edits
 * themselves, decided again with real dots; nothing can come in between, since a batch is one synchronous call. A batch
 * that reads nothing, as bulk loads do, tries out nothing.
 */
import type { Dot } from '../crdts/dot.ts';
import type { Edit } from '../crdts/engine.ts';
import { HearsayError } from '../crdts/error.ts';
import { MemoryStore } from '../crdts/memory.ts';
import type { Path } from '../crdts/path.ts';
import { type Entry, NO_BYTES } from '../crdts/record.ts';
import { BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX } from './config.ts';

/** What the batch is laid over. */
export interface DraftBase {
  entries(path: Path): readonly Entry[];
  scan(start: Path, end: Path, reverse: boolean): Iterable<readonly [Path, readonly Entry[]]>;
  /** The next event number of the actor that will write the batch; any actor while there is none. */
  nextDot(): Dot;
}

export class Draft {
  readonly #base: DraftBase;
  readonly edits: Edit[] = [];
  /** So many of them were tried out. */
  #triedCount = 0;
  readonly #records = new Map<Path, readonly Entry[]>();
  /** The paths of `#records`, in order. */
  readonly #paths = new MemoryStore();
  #byteCount = 0;

  constructor(base: DraftBase) {
    this.#base = base;
  }

  entries(path: Path): readonly Entry[] {
    this.#tryAll();
    return this.#entries(path);
  }

  #entries(path: Path): readonly Entry[] {
    return this.#records.get(path) ?? this.#base.entries(path);
  }

  /** As of `Host`: what is written while this is read may be seen or not. */
  *scan(start: Path, end: Path, reverse = false): Generator<readonly [Path, readonly Entry[]]> {
    this.#tryAll();
    const own = this.#paths.range(start, end, { reverse });
    let next = own.next();
    for (const [path, entries] of this.#base.scan(start, end, reverse)) {
      for (; next.done !== true && isBefore(next.value[0], path, reverse); next = own.next()) {
        yield [next.value[0], this.#entries(next.value[0])];
      }
      if (next.done !== true && next.value[0] === path) next = own.next();
      yield [path, this.#records.get(path) ?? entries];
    }
    for (; next.done !== true; next = own.next()) yield [next.value[0], this.#entries(next.value[0])];
  }

  /** Throws `BatchTooLarge`; then the batch is beyond saving. */
  add(edits: readonly Edit[]): void {
    for (const edit of edits) {
      this.edits.push(edit);
      // As for a record that is not there: what a value adds is known without reading the record it replaces.
      this.#byteCount += edit.path.length + (edit.decide([], this.#dotOf(this.edits.length))?.body.length ?? 0);
      if (this.edits.length > BATCH_OPERATIONS_MAX || this.#byteCount > BATCH_BYTES_MAX) throw tooLarge();
    }
  }

  #dotOf(index: number): Dot {
    const { actor, n } = this.#base.nextDot();
    return { actor, n: n + index };
  }

  #tryAll(): void {
    while (this.#triedCount < this.edits.length) {
      const index = this.#triedCount++;
      this.#try(this.edits[index] as Edit, this.#dotOf(index));
    }
  }

  #try({ path, decide }: Edit, dot: Dot): void {
    const decision = decide(this.#entries(path), dot);
    if (decision === null) return;
    const { keep, kind, body, expires } = decision;
    // The greatest time: it is later than everything it saw, and what it did not see is not in this draft.
    this.#records.set(path, [...keep, { ...dot, time: Number.MAX_SAFE_INTEGER, kind, body, expires }]);
    this.#paths.put(path, NO_BYTES);
  }
}

function isBefore(left: Path, right: Path, reverse: boolean): boolean {
  return reverse ? left > right : left < right;
}

function tooLarge(): HearsayError {
  const text =
    `a batch is limited to ${BATCH_OPERATIONS_MAX} operations and ${BATCH_BYTES_MAX} bytes, and this one is larger. ` +
    'Nothing of it was written: split it.';
  return new HearsayError('BatchTooLarge', text, { operationsMax: BATCH_OPERATIONS_MAX, bytesMax: BATCH_BYTES_MAX });
}
