/**
 * When to dial a peer again: for ever, ever more rarely, and never all at once.
 *
 * The pause is drawn evenly from 0 to a ceiling that doubles with each failure, from 250 ms to 30 s ("full jitter"). The
 * draw is the point: when a member comes back, everybody who lost it at the same moment dials at another one.
 *
 *     failures in a row    0       1       2      3     4     5     6      7 …
 *     ceiling              250 ms  500 ms  1 s    2 s   4 s   8 s   16 s   30 s
 *
 * A connection counts as a success only once it has lasted: a peer that takes connections and closes them at once (another
 * cluster, a proxy without its server) is dialled ever more rarely too.
 *
 * Source: Brooker, *Exponential backoff and jitter* (AWS Architecture Blog, 2015).
 */

/** The first ceiling. Lower: a peer that restarts is met sooner, at the price of more attempts at one that is gone. */
export const REDIAL_MIN_MS = 250;

/** The last ceiling: how long a peer that comes back is missed at worst. Lower: more packets to peers that are gone for good. */
export const REDIAL_MAX_MS = 30_000;

/** A connection that lasts this long has worked, and failures are counted from 0 again. */
export const LASTING_MS = 10_000;

/** A peer that says one of these will say it again: it is another cluster's, too old, we ourselves, or has another link with us. */
const POINTLESS_CODES = new Set(['ClusterMismatch', 'VersionMismatch', 'LeafToLeaf', 'SelfConnection', 'Duplicate']);
/** As if so many attempts had failed: the last ceiling. */
const POINTLESS_FAILURES = 7;

export interface Redial {
  /** In a row, up to now. */
  readonly failures: number;
  /** Monotonic time at which the present connection was opened; null while there is none. */
  readonly openedMs: number | null;
}

export const NEVER_DIALLED: Redial = { failures: 0, openedMs: null };

export const opened = ({ failures }: Redial, nowMs: number): Redial => ({ failures, openedMs: nowMs });

/**
 * After an attempt has failed, or a connection has ended: how many ms to wait. `code`: what it ended with. `luck`: 0 <=
 * luck < 1.
 */
export function ended(before: Redial, nowMs: number, luck: number, code = ''): { redial: Redial; delayMs: number } {
  const hasLasted = before.openedMs !== null && nowMs - before.openedMs >= LASTING_MS;
  const failures = POINTLESS_CODES.has(code) ? POINTLESS_FAILURES : hasLasted ? 0 : before.failures;
  const ceilingMs = Math.min(REDIAL_MAX_MS, REDIAL_MIN_MS * 2 ** Math.min(failures, 30));
  return { redial: { failures: failures + 1, openedMs: null }, delayMs: luck * ceilingMs };
}
