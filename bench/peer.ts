/** A node in a child process: one open store, driven by calls. The functions run in the child. */
import { readFileSync } from 'node:fs';
import { type Durability, open, type Pace, type Store } from '../src/index.ts';
import { outstanding, randomKeys, randomValues, type Shape } from './data.ts';

export const PEER = import.meta.url;

const PORTION = 50_000;

let opened: Store | undefined;

/** The store of this process. */
export function theStore(): Store {
  if (opened === undefined) throw new Error('no store is open in this process');
  return opened;
}

export interface PeerOptions {
  readonly dir: string;
  readonly durability?: Durability;
  readonly join?: readonly string[];
  readonly pace?: Partial<Pace>;
}

/** Opens it, listening; returns its address. */
export async function start(options: PeerOptions): Promise<string> {
  opened = await open({ ...options, listen: { port: 0 } });
  return opened.address as string;
}

export function join(address: string): void {
  theStore().join(address);
}

export async function stop(): Promise<void> {
  await theStore().close();
  opened = undefined;
}

/** ms until it and every peer have the same. */
export async function synced(): Promise<number> {
  const beginMs = performance.now();
  await theStore().synced();
  return performance.now() - beginMs;
}

/** Writes `count` records under random keys, in batches; returns the keys. */
export async function fill(count: number, shape: Shape): Promise<string[]> {
  const store = theStore();
  const keys = randomKeys(count, shape);
  const values = randomValues(count, shape);
  const perBatch = Math.min(1_000, Math.ceil(4_000_000 / (shape.keyBytes + shape.valueBytes)));
  for (let from = 0; from < count; from += perBatch) {
    await store.batch(() => {
      for (let i = from; i < Math.min(from + perBatch, count); i++) {
        void store.register(keys[i] as string).set(values[i] as Uint8Array);
      }
    });
  }
  return keys;
}

/** Makes a store of `count` records, and closes it; returns one of the keys. */
export async function fillNew(dir: string, count: number, shape: Shape): Promise<string> {
  await start({ dir });
  let key: string | undefined;
  // In portions: so many keys and values are in memory at a time.
  for (let left = count; left > 0; left -= PORTION) [key] = await fill(Math.min(left, PORTION), shape);
  await stop();
  return key ?? '';
}

/** Writes a new value to each of `keys`. */
export async function overwrite(keys: readonly string[], shape: Shape): Promise<void> {
  const values = randomValues(keys.length, shape);
  await Promise.all(
    keys.map((key, i) =>
      theStore()
        .register(key)
        .set(values[i] as Uint8Array),
    ),
  );
}

/** Adds 1 to a counter `count` times; returns how long it took, ms. */
export async function addUp(key: string, count: number, width: number): Promise<number> {
  const counter = theStore().counter(key);
  const beginMs = performance.now();
  await outstanding(count, width, () => counter.add(1));
  return performance.now() - beginMs;
}

export const counted = (key: string): number => theStore().counter(key).get();

/** Of all links that are open, as the transport counts them: payload of WebSocket messages. */
export function linkBytes(): { sent: number; received: number } {
  const { links } = theStore().status();
  return {
    sent: links.reduce((sum, link) => sum + link.bytesSent, 0),
    received: links.reduce((sum, link) => sum + link.bytesReceived, 0),
  };
}

export interface Memory {
  /** What JavaScript holds after garbage collection, buffers included. */
  readonly heapBytes: number;
  /** Of the whole process, without what is mapped from files; 0 where the system does not tell. */
  readonly residentBytes: number;
}

let watched: Memory = { heapBytes: 0, residentBytes: 0 };
let watching: NodeJS.Timeout | undefined;

/** Collects garbage and notes the greatest memory, again and again, from now until `memoryPeak`. Slows everything down. */
export function watchMemory(): Memory {
  const first = memory();
  watched = first;
  watching = setInterval(() => {
    const { heapBytes, residentBytes } = memory();
    watched = {
      heapBytes: Math.max(watched.heapBytes, heapBytes),
      residentBytes: Math.max(watched.residentBytes, residentBytes),
    };
  }, 100);
  return first;
}

export function memoryPeak(): Memory {
  clearInterval(watching);
  return watched;
}

function memory(): Memory {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: anonymousBytes() };
}

/** Linux tells apart what is mapped from files; a store's pages are, and they may all be in memory. */
function anonymousBytes(): number {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
    return 1024 * Number(kilobytes ?? 0);
  } catch {
    return 0;
  }
}
