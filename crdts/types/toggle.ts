/**
 * Toggle: on or off, for flags and for each element of a set. Two kinds, by what a concurrent on and off come to.
 *
 *     on-wins  (enable-wins flag, add-wins set)        on: a live dot; off: a ghost that replaces the ons it saw
 *     off-wins (disable-wins flag, remove-wins set)    on and off are both live dots; it is on if no off is among them
 *
 *     A: off, B: on, concurrently      on-wins: on      off-wins: off, until somebody who saw both says on again
 *
 * Either operation replaces every dot it saw. The cost of off-wins: an off has to stay as a payload, for good, since a
 * concurrent on may turn up after any time.
 *
 * Source: Bieniusa et al., *An optimized conflict-free replicated set* (2012); Shapiro et al. (2011), §3.3.
 */
import type { Edit } from '../records.ts';
import type { Path } from '../path.ts';
import { type Entry, liveEntries, NO_BYTES } from '../record.ts';
import { overwrite, removeRecord } from './register.ts';

const OFF = Uint8Array.of(0);

const isOff = (entry: Entry): boolean => entry.body.length > 0;

/** For both kinds: there are live dots, and none of them says off. */
export function isOn(entries: readonly Entry[], nowMs: number): boolean {
  const live = liveEntries(entries, nowMs);
  return live.length > 0 && !live.some(isOff);
}

/** `expires`: wall time in ms, 0 = never. With off-wins an expiring on leaves neither on nor off, which reads as off. */
export const turnOn = (path: Path, expires: number): Edit => overwrite(path, NO_BYTES, expires);

/** on-wins: a ghost, or nothing where it is off already. */
export const turnOff = removeRecord;

/** off-wins: a live dot that says so, also where nothing is known: a concurrent on must lose. */
export const turnOffForGood = (path: Path): Edit => overwrite(path, OFF, 0);
