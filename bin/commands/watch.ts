/** `hearsay watch`: the changes under a prefix as they come; after a broken connection it goes on where it was. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type ServerEvent } from '../client.ts';
import { EXIT, Failure } from '../failure.ts';
import { note, oneLine, paint, print, valueCell } from '../output.ts';
import type { NodeOptions } from './data.ts';

export interface WatchOptions extends NodeOptions {
  readonly since?: string;
  /** Default: no end. */
  readonly count?: number;
}

/** Between tries to reach the node again. */
const RETRY_MS = 1_000;

export async function watch(
  prefix: string,
  { url, json, since, count = Number.POSITIVE_INFINITY }: WatchOptions,
): Promise<void> {
  const client = new Client(url);
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort());
  process.once('SIGTERM', () => stopping.abort());
  let left = count;
  let lastId = since;
  for (let isFirst = true; !stopping.signal.aborted; isFirst = false) {
    try {
      for await (const event of client.events('/v1/watch', { prefix }, lastId, stopping.signal)) {
        lastId = event.id ?? lastId;
        const line = json ? jsonOf(event) : lineOf(event);
        if (line !== undefined) await print(line);
        if (event.event === 'change' && --left === 0) return stopping.abort();
      }
    } catch (error) {
      if (stopping.signal.aborted) return;
      // A node that was there a moment ago may come back; one that refuses will refuse again.
      if (isFirst || !(error instanceof Failure) || error.exitCode !== EXIT.unreachable) throw error;
    }
    if (stopping.signal.aborted) return;
    note(
      lastId === undefined
        ? 'the connection ended; watching again from now on'
        : 'the connection ended; going on where it was',
    );
    await sleep(RETRY_MS, undefined, { signal: stopping.signal }).catch(() => {});
  }
}

function jsonOf({ event, data, id }: ServerEvent): string {
  return JSON.stringify({ event, ...data, ...(id !== undefined && { clock: id }) });
}

/** Undefined where there is nothing to print. */
function lineOf({ event, data }: ServerEvent): string | undefined {
  if (event === 'listing-begins') note('everything there is; what is not listed is not there any more:');
  if (event === 'listing-ends') note('and from here on, changes:');
  if (event !== 'change') return undefined;
  const fields = (data['fields'] ?? []) as readonly string[];
  const place = [data['key'] as string, ...fields].map(oneLine).join(' → ');
  return [place, data['type'] as string, stateOf(data)].join('\t');
}

function stateOf({ element, value, isPresent }: ServerEvent['data']): string {
  if (element !== undefined) return `${isPresent === true ? '+' : '-'} ${valueCell(element)}`;
  return isPresent === true ? valueCell(value) : paint('(deleted)', 'dim');
}
