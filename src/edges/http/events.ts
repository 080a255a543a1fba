/**
 * Change feeds as server-sent events (the HTML standard's text/event-stream): one event for each changed path, with its
 * newest state.
 *
 *     event: change
 *     data: {"key":"greeting","type":"register","isPresent":true,"value":"hello"}
 *     id: 3q2-7w
 *
 * Where what came before cannot be told as changes (the `since` is too old, or is `start`), everything there is comes
 * between the events `listing-begins` and `listing-ends`; what is not in it is not there any more.
 *
 * *Resuming.* The id is a clock: with it as `since`, or as Last-Event-ID as browsers send it, a later stream tells what
 * this one's reader has not seen, on this node or after its restart. A clock may have kilobytes, so an event that
 * another follows at once goes without; after a break the few since the last id are told again. Events are states, not
 * differences: seeing one twice does no harm.
 *
 * *Slow readers.* The next item is asked for when the last was written, so what waits, waits in the store's feed, which
 * is bounded (it keeps the newest state of each path). A reader that takes nothing for `STALL_MS` is dropped; it resumes.
 */
import type { ServerResponse } from 'node:http';
import type { ApiChange, ApiMark, ApiStore, ApiWatchItem } from './api-store.ts';
import { type Json, toJson } from './json.ts';

/** A comment goes out after so much silence, so that proxies keep the connection and dead ones are found. */
const HEARTBEAT_MS = 15_000;
/** A client that takes nothing for so long is gone. */
const STALL_MS = 60_000;
/** Events in a row without an id, and so the most that a resumed stream repeats. */
const EVENTS_WITHOUT_ID_MAX = 63;

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  // nginx would hold events back until its buffer is full.
  'x-accel-buffering': 'no',
};

/**
 * Streams until the client goes, `gone` is aborted (which this also does itself) or the feed ends. Throws what the feed
 * throws at its beginning.
 */
export async function streamChanges(
  store: ApiStore,
  { prefix, since }: { prefix: string; since: string | undefined },
  response: ServerResponse,
  gone: AbortController,
): Promise<void> {
  response.once('close', () => gone.abort());
  let feed: AsyncIterator<ApiWatchItem> | undefined;
  try {
    const options = { signal: gone.signal, ...(since !== undefined && { since }) };
    feed = store.watch(prefix, options)[Symbol.asyncIterator]();
    let next = ask(feed);
    response.writeHead(200, HEADERS);
    response.write('retry: 1000\n\n');
    const heartbeat = setInterval(() => void (response.writableNeedDrain || response.write(':\n\n')), HEARTBEAT_MS);
    try {
      for (let withoutId = 0; ; ) {
        const { done, value: change } = await next.result;
        if (done === true) break;
        next = ask(feed);
        await nextTurn();
        withoutId = next.isSettled && withoutId < EVENTS_WITHOUT_ID_MAX ? withoutId + 1 : 0;
        if (!response.write(frame(change, withoutId === 0)) && !(await isDrained(response, gone.signal))) break;
      }
    } finally {
      clearInterval(heartbeat);
    }
    await ended(response);
  } finally {
    gone.abort();
    await feed?.return?.();
  }
}

interface Asked {
  readonly result: Promise<IteratorResult<ApiWatchItem>>;
  isSettled: boolean;
}

function ask(feed: AsyncIterator<ApiWatchItem>): Asked {
  const asked: Asked = { result: feed.next(), isSettled: false };
  const settle = (): void => void (asked.isSettled = true);
  asked.result.then(settle, settle);
  return asked;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Waits for a full pipe to the client to empty. False: the client, or its patience, is gone. */
function isDrained(response: ServerResponse, gone: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (drained: boolean): void => {
      clearTimeout(stalled);
      response.off('drain', drain);
      gone.removeEventListener('abort', leave);
      if (!drained) response.destroy();
      resolve(drained);
    };
    const drain = (): void => end(true);
    const leave = (): void => end(false);
    const stalled = setTimeout(leave, STALL_MS);
    response.once('drain', drain);
    if (gone.aborted) leave();
    else gone.addEventListener('abort', leave);
  });
}

/** Ends the answer. Resolves once the client's machine has it all, or the client is gone. */
export function ended(response: ServerResponse, lastBytes?: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve();
    const stalled = setTimeout(() => response.destroy(), STALL_MS);
    response.once('close', () => {
      clearTimeout(stalled);
      resolve();
    });
    response.end(lastBytes);
  });
}

function frame(item: ApiWatchItem, hasId: boolean): string {
  const event = isMark(item) ? item.type : 'change';
  const json = isMark(item) ? {} : changeJson(item);
  const id = hasId ? `id: ${item.clock}\n` : '';
  return `event: ${event}\ndata: ${JSON.stringify(json)}\n${id}\n`;
}

const isMark = (item: ApiWatchItem): item is ApiMark => item.type === 'listing-begins' || item.type === 'listing-ends';

function changeJson({ key, fields, type, element, isPresent, value }: ApiChange): Json {
  return {
    key,
    ...(fields.length > 0 && { fields }),
    type,
    ...(element !== undefined && { element: toJson(element) }),
    isPresent,
    ...(value !== undefined && element === undefined && { value: toJson(value) }),
  };
}
