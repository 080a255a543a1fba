/**
 * Listing keys, a page at a time: `after` is the last key of the page before, so a cursor never goes stale, and keys
 * that come and go between two pages neither repeat nor hide others.
 */
import { HearsayError } from '../../../crdts/error.ts';
import type { ApiStore } from './api-store.ts';
import type { Json } from './json.ts';
import type { Query } from './request.ts';
import { readAs } from './values.ts';

const KEYS_DEFAULT = 100;
const KEYS_MAX = 1_000;
/** A page ends with the key that takes its values beyond this many bytes. */
const PAGE_BYTES = 2 ** 20;

/** `{ items: [{ key, type, value? }], next }`, an item for each type under a key; `next` is null on the last page. */
export function listKeys(store: ApiStore, query: Query): Json {
  const limit = query.integer('limit', 1, KEYS_MAX) ?? KEYS_DEFAULT;
  const hasValues = query.flag('values');
  const range = { after: query.one('after'), reverse: query.flag('reverse'), limit: limit + 1 };
  const items: Json[] = [];
  let last: string | undefined;
  let keyCount = 0;
  let bytes = 0;
  for (const { key, type } of store.scan(query.one('prefix') ?? '', range)) {
    if (key !== last) {
      if (last !== undefined && (keyCount === limit || bytes > PAGE_BYTES)) return { items, next: last };
      last = key;
      keyCount++;
    }
    const value = hasValues ? smallEnough(() => readAs(store.key(key), type)) : undefined;
    if (value !== undefined) bytes += JSON.stringify(value).length;
    items.push({ key, type, ...(value !== undefined && { value }) });
  }
  return { items, next: null };
}

/** A set too large for one answer is listed without its value. */
function smallEnough(read: () => Json | undefined): Json | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof HearsayError && error.code === 'AnswerTooLarge') return undefined;
    throw error;
  }
}
