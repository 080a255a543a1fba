/**
 * Is what a stranger sent a record at all? Asked once, before anything is joined, so that what is stored can be read.
 */
import { malformed } from './bytes.ts';
import { parsePath, SYSTEM } from './path.ts';
import type { SentRecord } from './record.ts';
import { checkCounterEntry } from './types/counter.ts';
import { decodeValue } from './types/register.ts';

/** Throws `Malformed` for a path of no type, or a payload that its type cannot read. */
export function checkRecord({ path, entries }: SentRecord): void {
  const type = path.startsWith(SYSTEM) ? 'register' : parsePath(path).type;
  for (const entry of entries) {
    if (entry.kind === 'omitted') continue;
    if (type === 'counter') {
      checkCounterEntry(entry);
    } else if (type === 'register') {
      if (entry.kind === 'live') decodeValue(entry.body);
    } else if (entry.body.length > 1) {
      throw malformed('a flag or element with a payload');
    }
  }
}
