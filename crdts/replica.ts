/**
 * A replica in memory, without network, disk or timers: hearsay's data model for use on its own. Two of them meet by
 * exchanging bytes, over whatever the app has:
 *
 *     const changes = a.changesSince(b.clock);   // what b lacks, and no more
 *     b.merge(changes);                          // b now has all that a had
 *
 * Merging is commutative, associative and idempotent; changes may be sent twice, late, or through a third replica.
 *
 * What a durable node adds is in src/replica: streams instead of one message, pushes, members whose clocks let ghosts be
 * dropped. Here ghosts (about 20 bytes for each delete) stay until `forget` is told which clocks there are.
 */
import { Reader, refuseUnless, Writer } from './bytes.ts';
import { checkRecord } from './check.ts';
import { Clock } from './clock.ts';
import type { Actor } from './dot.ts';
import { HearsayError } from './error.ts';
import { Handles } from './handles.ts';
import { PATH_BYTES_MAX } from './path.ts';
import { readRecords, type SentRecord, writeRecords } from './record.ts';
import { type Edit, Records } from './records.ts';
import { SortedMap } from './sorted-map.ts';
import { HybridTime } from './timestamp.ts';

export interface ReplicaOptions {
  /** New for every replica and every run: `actorFrom(crypto.getRandomValues(new Uint8Array(8)))`. */
  readonly actor: Actor;
  /** Wall time in ms, such as `Date.now`. */
  readonly nowMs: () => number;
}

/** The first byte of changes; another format would have another. */
const FORMAT = 1;

export class Replica extends Handles<void> {
  readonly #records: Records;
  readonly #time: HybridTime;

  constructor({ actor, nowMs }: ReplicaOptions) {
    const mine = new Records(new SortedMap(), new SortedMap(), new SortedMap());
    const time = new HybridTime();
    mine.begin(actor);
    super({
      entries: (path) => mine.read(path).entries,
      *scan(start, end, reverse) {
        for (const [path, { entries }] of mine.rows(start, end, reverse)) yield [path, entries];
      },
      write(edits: readonly Edit[]) {
        for (const edit of edits) mine.apply(edit, time.next(nowMs()));
      },
      nowMs,
    });
    this.#records = mine;
    this.#time = time;
  }

  /** The set of events seen: what another replica passes to `changesSince`. Encoded, to be sent. */
  get clock(): Uint8Array {
    const writer = new Writer();
    this.#records.clock.write(writer);
    return writer.finish();
  }

  /** What a replica with that clock lacks, as bytes for its `merge`. No clock: everything. Throws `Malformed`. */
  changesSince(clock?: Uint8Array): Uint8Array {
    const mine = this.#records;
    const theirs = clock === undefined ? new Clock() : Clock.read(new Reader(clock));
    const known = mine.clock.intersect(theirs);
    const missing = mine.clock.minus(theirs);
    const paths = new Set(mine.walk(missing.clone(), Infinity).map(({ path }) => path));
    const writer = new Writer();
    writer.byte(FORMAT);
    mine.clock.write(writer);
    known.write(writer);
    mine.floors.write(writer);
    // Ghosts that were dropped here cannot tell of their deletes: then what is still alive tells it instead.
    const isBelowFloor = !mine.floors.intersect(missing).isEmpty;
    writer.byte(isBelowFloor ? 1 : 0);
    if (isBelowFloor) this.#heldIn(known).write(writer);
    writeRecords(
      writer,
      Array.from(paths, (path) => ({ path, entries: mine.read(path).entries, residue: null })),
    );
    return writer.finish();
  }

  #heldIn(scope: Clock): Clock {
    const held = new Clock();
    for (const { actor, n } of this.#records.walk(scope.clone(), Infinity)) held.add(actor, n);
    return held;
  }

  /**
   * Takes in changes from another replica's `changesSince`. Throws, and changes nothing, with `Malformed` for bytes that
   * are none, and with `ChangesOutOfOrder` when they were made for a clock that this replica has not reached, or no
   * longer fit what it has heard since from others: ask again, with the clock of now.
   */
  merge(changes: Uint8Array): void {
    const mine = this.#records;
    const reader = new Reader(changes);
    refuseUnless(reader.byte() === FORMAT, 'changes');
    const told = Clock.read(reader);
    const known = Clock.read(reader);
    const floors = Clock.read(reader);
    const held = reader.byte() === 1 ? Clock.read(reader) : null;
    const records = readRecords(reader, PATH_BYTES_MAX);
    for (const record of records) checkRecord(record);
    if (!mine.clock.contains(known) || (held !== null && this.#isHeldOutside(told, known, records))) {
      throw new HearsayError('ChangesOutOfOrder', 'ask again, with the clock of now');
    }
    for (const { entries } of records) for (const { time } of entries) this.#time.observe(time, this.host.nowMs());
    mine.merge(records, told);
    if (held !== null) mine.removeDead(known, held);
    mine.raiseFloors(floors);
  }

  /** True when a dot held here, that the sender has seen, lies neither in the scope of what it lists nor in its records. */
  #isHeldOutside(told: Clock, scope: Clock, records: readonly SentRecord[]): boolean {
    const outside = told.intersect(this.#records.clock).minus(scope);
    for (const { entries } of records) for (const { actor, n } of entries) outside.remove(actor, n);
    return this.#records.walk(outside, 1).length > 0;
  }

  /**
   * Drops the ghosts of deletes that every replica knows of. `clocks`: the latest known clock of *every* replica there is.
   * One that was left out, or comes back from a backup, still converges; it only costs more bytes then. Counters keep theirs.
   */
  forget(clocks: readonly Uint8Array[]): void {
    const mine = this.#records;
    const all = clocks.map((clock) => Clock.read(new Reader(clock)));
    for (const { actor, n } of mine.ghosts(Infinity)) {
      const row = mine.read(mine.pathOf(actor, n) as string);
      const isMark = row.entries.some((entry) => entry.actor === actor && entry.n === n && entry.body.length > 0);
      if (!isMark && all.every((clock) => clock.has(actor, n))) mine.dropGhost(actor, n);
    }
  }
}
