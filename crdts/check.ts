/**
 * Is what a stranger sent a record at all? Asked once, before anything is joined, so that what is stored can be read.
 */
import { refuseUnless } from './bytes.ts';
import { parsePath, SYSTEM } from './path.ts';
import type { SentRecord } from './record.ts';
import { checkCounterEntry } from './types/counter.ts';
import { decodeValue } from './types/register.ts';

/** Throws `Malformed` for a path of no type, a dot that is there twice, or a payload that its type does not write. */
export function checkRecord({ path, entries }: SentRecord): void {
  const type = path.startsWith(SYSTEM) ? 'register' : parsePath(path).type;
  refuseUnless(new Set(entries.map(({ actor, n }) => actor + n)).size === entries.length, 'a record');
  for (const entry of entries) {
    if (entry.kind === 'omitted') continue;
    if (type === 'counter') {
      checkCounterEntry(entry);
    } else if (type === 'register' && entry.kind === 'live') {
      decodeValue(entry.body);
    } else {
      refuseUnless(entry.body.length <= (entry.kind === 'live' ? 1 : 0), 'a record');
    }
  }
}
