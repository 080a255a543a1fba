/**
 * Register: one value; the last writer wins, and what concurrent writers wrote is kept until somebody writes again.
 *
 *     A: set("tea")  ─┐ concurrent      value(): the greater timestamp's, say "coffee"
 *     B: set("coffee")┘                 conflicts(): ["coffee", "tea"]
 *     C, having seen both: set("mate")  value(): "mate", conflicts(): ["mate"], whatever C's wall clock says
 *
 * A write replaces every dot it saw, so timestamps decide between concurrent writes alone; ties go to the greater dot.
 * Payload: the value's canonical encoding. Removing is a ghost; a concurrent write survives it.
 *
 * Source: Shapiro et al., *A comprehensive study of convergent and commutative replicated data types* (2011), §3.2 (MV- and LWW-register).
 */
import { malformed, Reader, Writer } from '../bytes.ts';
import type { Edit } from '../records.ts';
import { HearsayError } from '../error.ts';
import type { Path } from '../path.ts';
import { type Entry, liveEntries, NO_BYTES } from '../record.ts';
import { readValue, type Value, writeValue } from '../value.ts';

/** Larger values are refused: they belong into a file with its name in the store, or into parts. */
export const VALUE_BYTES_MAX = 1024 * 1024;

const writer = new Writer();

/** The payload of a value. Throws `InvalidValue`, `ValueTooDeep`, `ValueTooLarge`. */
export function encodeValue(value: Value): Uint8Array {
  writeValue(writer.reset(), value);
  if (writer.length <= VALUE_BYTES_MAX) return writer.finish();
  throw new HearsayError(
    'ValueTooLarge',
    `a value of ${writer.length} bytes is over the limit of ${VALUE_BYTES_MAX}: split it`,
    {
      bytes: writer.length,
      limit: VALUE_BYTES_MAX,
    },
  );
}

/** The value of a payload. Throws `Malformed`. */
export function decodeValue(payload: Uint8Array): Value {
  const reader = new Reader(payload);
  const value = readValue(reader);
  if (!reader.done) throw malformed('a value goes on after its end');
  return value;
}

/** Live dots, the winner first. */
export const byPrecedence = (live: readonly Entry[]): Entry[] =>
  live.toSorted((a, b) => b.time - a.time || b.n - a.n || (b.actor > a.actor ? 1 : -1));

export function registerValue(entries: readonly Entry[], nowMs: number): Value | undefined {
  const live = liveEntries(entries, nowMs);
  const winner = live.length > 1 ? byPrecedence(live)[0] : live[0];
  return winner === undefined ? undefined : decodeValue(winner.body);
}

/** Every concurrent value, the winner first; one value when there is no conflict, none when there is no value. */
export const registerConflicts = (entries: readonly Entry[], nowMs: number): Value[] =>
  byPrecedence(liveEntries(entries, nowMs)).map(({ body }) => decodeValue(body));

/** `expires`: wall time in ms at which the value ends, 0 = never. */
export function setRegister(path: Path, value: Value, expires: number): Edit {
  const body = encodeValue(value);
  return { path, decide: () => ({ keep: [], kind: 'live', body, expires }) };
}

/** The delete of every type that has no rule of its own: a ghost in the place of all dots seen; nothing where nothing lives. */
export const removeRecord = (path: Path): Edit => ({
  path,
  decide: (seen) =>
    seen.some((entry) => entry.kind === 'live') ? { keep: [], kind: 'ghost', body: NO_BYTES, expires: 0 } : null,
});
