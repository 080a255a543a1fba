/**
 * A record, what one replica holds at one path, and the join: the one merge of this whole project.
 *
 * An event at a path is { its dot, the dots it replaces, a payload or nothing }. A record is what events leave: the dots
 * not replaced by any event known here. A dot with a payload is *live*; one without is a *ghost*, the mark that a delete
 * leaves so that a round finds it. A ghost may carry a counter's mark (see types/counter.ts).
 *
 * The join needs no history, only each side's *coverage* of the path (its clock and the record's residue):
 *
 *     live, held by both                       keep
 *     live, held by one, the other covers it   it was removed there: drop
 *     live, held by one, not covered there     news: keep
 *     ghost, mine                              keep: its holder alone decides when to drop it, no join does
 *     ghost, yours                             add it if my *clock* lacks it (not my coverage: a residue that covers a
 *                                              ghost's dot does not mean that I hold the ghost, and others must find it)
 *
 * On live dots it is commutative, associative and idempotent; test/record.test.ts holds it to that.
 *
 * Sources: Almeida, Shoker, Baquero, *Delta state replicated data types* (2018), §5 (the causal CRDTs);
 * Gonçalves et al., *DottedDB* (2017), for the server-wide clock in the place of a context per record.
 */
import { type Reader, refuseUnless, type Writer } from './bytes.ts';
import { Clock, type DotSet } from './clock.ts';
import { type Actor, NUMBERS_END } from './dot.ts';
import type { Timestamp } from './timestamp.ts';

/**
 * `omitted` exists on the wire only: the sender holds this dot live and knows that the receiver has had it. It keeps the
 * receiver's own copy and is never added.
 */
export type EntryKind = 'live' | 'ghost' | 'omitted';

export interface Entry {
  readonly actor: Actor;
  readonly n: number;
  readonly time: Timestamp;
  readonly kind: EntryKind;
  /** live: the payload, by type; ghost: empty, or a counter's mark. */
  readonly body: Uint8Array;
  /** Wall time in ms at which this dot's time to live ends; 0 = never. */
  readonly expires: number;
}

/**
 * Dots covered for one path and not (yet) in the clock: none, a small clock of its own, or the number of a shared
 * snapshot that came with the frame which brought the record (see `Engine.addResidue`).
 */
export type Residue = null | Clock | number;

export interface Row {
  readonly entries: readonly Entry[];
  readonly residue: Residue;
}

export const EMPTY_ROW: Row = { entries: [], residue: null };
export const NO_BYTES: Uint8Array = new Uint8Array(0);
/** What is unreadable, in errors. */
const RECORD = 'a record';

const holds = (entries: readonly Entry[], dot: Entry): boolean =>
  entries.some((entry) => entry.n === dot.n && entry.actor === dot.actor);

/**
 * The join, seen from the replica that holds `mine`. `myCoverage` and `theirCoverage` are the coverage of this path on
 * either side; `myClock` is my clock alone. Returns `mine` itself when nothing changes.
 */
export function join(
  mine: readonly Entry[],
  theirs: readonly Entry[],
  myClock: DotSet,
  myCoverage: DotSet,
  theirCoverage: DotSet,
): readonly Entry[] {
  const kept = mine.filter((dot) => dot.kind === 'ghost' || holds(theirs, dot) || !theirCoverage.has(dot.actor, dot.n));
  const added = theirs.filter(
    (dot) =>
      dot.kind !== 'omitted' &&
      !(dot.kind === 'ghost' ? myClock : myCoverage).has(dot.actor, dot.n) &&
      !holds(mine, dot),
  );
  return kept.length === mine.length && added.length === 0 ? mine : [...kept, ...added];
}

/**
 * When the record as a whole expires, wall time in ms: the latest of its live dots, or 0 (never) when one of them has no
 * time to live. Infinity never occurs; a record without live dots has none.
 */
export function expiryOf(entries: readonly Entry[]): number {
  let latest = 0;
  for (const { kind, expires } of entries) {
    if (kind !== 'live') continue;
    if (expires === 0) return 0;
    latest = Math.max(latest, expires);
  }
  return latest;
}

export const isExpired = (entries: readonly Entry[], nowMs: number): boolean => {
  const expires = expiryOf(entries);
  return expires !== 0 && expires <= nowMs;
};

export const ofKind = (entries: readonly Entry[], kind: EntryKind): Entry[] =>
  entries.filter((entry) => entry.kind === kind);

/** The live dots that count at `nowMs`: all of them, or none when the record has expired. */
export const liveEntries = (entries: readonly Entry[], nowMs: number): Entry[] =>
  isExpired(entries, nowMs) ? [] : ofKind(entries, 'live');

const KINDS: readonly EntryKind[] = ['live', 'ghost', 'omitted'];
const HAS_EXPIRY = 4;

const flagsOf = ({ kind, expires }: Entry): number => KINDS.indexOf(kind) + (expires === 0 ? 0 : HAS_EXPIRY);

function kindOf(flags: number): EntryKind {
  const kind = KINDS[flags % HAS_EXPIRY];
  refuseUnless(kind !== undefined && flags < 2 * HAS_EXPIRY, RECORD);
  return kind;
}

/** The row as it is stored: its residue, then its dots. */
export function writeRow(writer: Writer, row: Row): void {
  if (row.residue === null) {
    writer.byte(0);
  } else if (typeof row.residue === 'number') {
    writer.byte(1);
    writer.varint(row.residue);
  } else {
    writer.byte(2);
    row.residue.write(writer);
  }
  for (const entry of row.entries) {
    writer.byte(flagsOf(entry));
    writer.byteString(entry.actor);
    writer.varint(entry.n);
    writer.varint(entry.time);
    if (entry.expires !== 0) writer.varint(entry.expires);
    writer.blob(entry.body);
  }
}

/** Reads a stored row; payloads are views of the reader's bytes. Throws `Malformed`. */
export function readRow(reader: Reader): Row {
  const tag = reader.byte();
  refuseUnless(tag <= 2, RECORD);
  const residue = tag === 0 ? null : tag === 1 ? reader.varint() : Clock.read(reader);
  const entries: Entry[] = [];
  while (!reader.done) {
    const flags = reader.byte();
    const kind = kindOf(flags);
    const actor = reader.byteString(8) as Actor;
    const n = reader.varint();
    const time = reader.varint();
    const expires = flags & HAS_EXPIRY ? reader.varint() : 0;
    entries.push({ actor, n, time, kind, expires, body: reader.blob() });
  }
  return { entries, residue };
}

/** A record on its way to another replica, with the residue it has at the sender. */
export interface SentRecord {
  readonly path: string;
  readonly entries: readonly Entry[];
  readonly residue: Clock | null;
}

/**
 * Records for the wire, compact: actors are named once per message, event numbers and timestamps are differences to the
 * dot before. A record of one dot costs about 10 bytes beside its path and payload.
 */
export function writeRecords(writer: Writer, records: readonly SentRecord[]): void {
  const actors = new Map<Actor, number>();
  for (const { entries } of records) {
    for (const { actor } of entries) if (!actors.has(actor)) actors.set(actor, actors.size);
  }
  writer.varint(actors.size);
  for (const actor of actors.keys()) writer.byteString(actor);
  const lastN = new Array<number>(actors.size).fill(0);
  let lastTime = 0;
  for (const { path, entries, residue } of records) {
    writer.byteStringBlob(path);
    writer.varint(2 * entries.length + (residue === null ? 0 : 1));
    if (residue !== null) residue.write(writer);
    for (const entry of entries) {
      const actor = actors.get(entry.actor) as number;
      // One byte for the flags and the first few actors; most messages name no more.
      writer.varint(8 * actor + flagsOf(entry));
      writer.zigzag(entry.n - (lastN[actor] as number));
      lastN[actor] = entry.n;
      if (entry.kind === 'omitted') continue;
      writer.zigzag(entry.time - lastTime);
      lastTime = entry.time;
      if (entry.expires !== 0) writer.varint(entry.expires);
      writer.blob(entry.body);
    }
  }
}

/** Reads all records to the reader's end; payloads are copies, so that they do not keep the message alive. */
export function readRecords(reader: Reader, pathBytesMax: number): SentRecord[] {
  const actors: { readonly actor: Actor; lastN: number }[] = [];
  for (let left = reader.varint(); left > 0; left--) actors.push({ actor: reader.byteString(8) as Actor, lastN: 0 });
  let lastTime = 0;
  const records: SentRecord[] = [];
  while (!reader.done) {
    const path = reader.byteStringBlob();
    refuseUnless(path.length <= pathBytesMax, RECORD);
    const head = reader.varint();
    const residue = head % 2 === 1 ? Clock.read(reader) : null;
    const entries: Entry[] = [];
    for (let left = Math.floor(head / 2); left > 0; left--) {
      const first = reader.varint();
      const flags = first % 8;
      const named = actors[(first - flags) / 8];
      refuseUnless(named !== undefined, RECORD);
      const { actor } = named;
      const kind = kindOf(flags);
      const n = named.lastN + reader.zigzag();
      named.lastN = n;
      let time = 0;
      let expires = 0;
      let body = NO_BYTES;
      if (kind !== 'omitted') {
        time = lastTime = lastTime + reader.zigzag();
        if (flags >= HAS_EXPIRY) expires = reader.varint();
        body = new Uint8Array(reader.blob());
      }
      refuseUnless(n > 0 && n < NUMBERS_END && time >= 0 && time < NUMBERS_END, RECORD);
      entries.push({ actor, n, time, kind, expires, body });
    }
    records.push({ path, entries, residue });
  }
  return records;
}
