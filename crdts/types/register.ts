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
import { Reader, refuseUnless, Writer } from '../bytes.ts';
import type { Edit } from '../records.ts';
import type { Path } from '../path.ts';
import { type Entry, liveEntries, NO_BYTES, ofKind } from '../record.ts';
import { checkSize, readValue, type Value, writeValue } from '../value.ts';

const writer = new Writer();

/** The payload of a value. Throws `InvalidValue`, `ValueTooDeep`, `ValueTooLarge`. */
export function encodeValue(value: Value): Uint8Array {
  writeValue(writer.reset(), value);
  checkSize(writer);
  return writer.finish();
}

/** The value of a payload. Throws `Malformed`. */
export function decodeValue(payload: Uint8Array): Value {
  const reader = new Reader(payload);
  const value = readValue(reader);
  refuseUnless(reader.done, 'a value');
  return value;
}

/** The greater timestamp first, then the greater dot. */
const byPrecedence = (a: Entry, b: Entry): number => b.time - a.time || b.n - a.n || (b.actor > a.actor ? 1 : -1);

/** Every concurrent value, the winner first; one value when there is no conflict, none when there is no value. */
export const registerConflicts = (entries: readonly Entry[], nowMs: number): Value[] =>
  liveEntries(entries, nowMs)
    .toSorted(byPrecedence)
    .map(({ body }) => decodeValue(body));

export const registerValue = (entries: readonly Entry[], nowMs: number): Value | undefined =>
  registerConflicts(entries, nowMs)[0];

/** `expires`: wall time in ms at which the value ends, 0 = never. */
export const setRegister = (path: Path, value: Value, expires: number): Edit =>
  overwrite(path, encodeValue(value), expires);

/** The write of every type that has no rule of its own: a live dot in the place of all dots seen. */
export const overwrite = (path: Path, body: Uint8Array, expires: number): Edit => ({
  path,
  decide: () => ({ keep: [], kind: 'live', body, expires }),
});

/** The delete of every such type: a ghost in the place of all dots seen; nothing where nothing lives. */
export const removeRecord = (path: Path): Edit => ({
  path,
  decide: (seen) => (ofKind(seen, 'live').length > 0 ? { keep: [], kind: 'ghost', body: NO_BYTES, expires: 0 } : null),
});
