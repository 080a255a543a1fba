/**
 * How long until a write is visible on the other node, at 200 writes a second; against an echo over ws and msgpackr at the
 * same pace, there and back.
 *
 * Visible: a `get` on the other node returns it. The observer looks after each message that its process receives, rather
 * than all the time, so that neither its polling warms up the processor nor a watcher's own delay is counted. Both
 * processes read the same monotonic clock, and the write carries its time.
 */
import { fdatasyncSync, openSync, writeSync } from 'node:fs';
import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { open as openRaw } from 'lmdb';
import { Packr } from 'msgpackr';
import { WebSocket, WebSocketServer } from 'ws';
import type { Durability } from '../src/index.ts';
import { randomKeys, randomValues, USUAL } from './data.ts';
import {
  Child,
  type Effort,
  type Figures,
  type Group,
  inChild,
  inTurns,
  median,
  type Row,
  withDirectory,
} from './harness.ts';
import { start, synced, theStore } from './peer.ts';

const PACE_MS = 5;
/** The first ones are slower: code is not compiled yet. */
const WARM_UP = 200;
const LATENCY = import.meta.url;

/** Called in the same children. */
export { start, synced };

export const latency: Group = { name: 'latency', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const count = isQuick ? 200 : 1_000;
  const { relaxed, strict, echo, disk, commit } = await inTurns(rounds, {
    echo: () => echoes(count),
    relaxed: () => visible('relaxed', count),
    strict: () => visible('strict', count),
    disk: () => withDirectory((dir) => inChild(LATENCY, syncs, dir, count)),
    commit: () => withDirectory((dir) => inChild(LATENCY, commits, dir, count)),
  });
  const echoUs = echo['p50'] ?? Number.NaN;
  const diskUs = disk['p50'] ?? Number.NaN;
  const row = (name: string, ours: number | undefined): Row => ({ name, unit: 'µs', ours: ours ?? Number.NaN });
  yield {
    ...row('visible on the other node, relaxed, p50', relaxed['p50']),
    reference: { name: 'ws + msgpackr echo', value: echoUs },
    limit: { atMost: 3 },
  };
  yield {
    ...row('visible on the other node, strict, p50', strict['p50']),
    reference: { name: '3 echoes, 1 fdatasync', value: 3 * echoUs + diskUs },
    limit: { atMost: 1 },
  };
  yield row('visible on the other node, relaxed, p99', relaxed['p99']);
  yield row('visible on the other node, strict, p99', strict['p99']);
  yield row('told by watch on the other node, relaxed, p50', relaxed['told']);
  yield row('told by watch on the other node, strict, p50', strict['told']);
  yield row('ws + msgpackr echo, p99', echo['p99']);
  yield row('fdatasync of 4 KiB, p50', diskUs);
  yield row('one awaited put of raw lmdb, p50', commit['p50']);
}

const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n);

function summary(timesUs: readonly number[]): { p50: number; p99: number } {
  const counted = timesUs.slice(WARM_UP).toSorted((a, b) => a - b);
  return { p50: median(counted), p99: counted[Math.floor(0.99 * counted.length)] ?? Number.NaN };
}

// ---------------------------------------------------------------- ours

function visible(durability: Durability, count: number): Promise<Figures> {
  return withDirectory(async (dir) => {
    const writer = new Child(LATENCY);
    const observer = new Child(LATENCY);
    try {
      const address = await writer.call(start, { dir: `${dir}/writer`, durability });
      await observer.call(start, { dir: `${dir}/observer`, durability, join: [address] });
      await observer.call(synced);
      const keys = randomKeys(WARM_UP + count, USUAL);
      await observer.call(observe, keys);
      await writer.call(writePaced, keys);
      return await observer.call(observed);
    } finally {
      await Promise.all([writer.end(), observer.end()]);
    }
  });
}

/** In a child: writes one record after the other, each with the time in it. */
export async function writePaced(keys: readonly string[]): Promise<void> {
  const values = randomValues(keys.length, USUAL);
  for (const [i, key] of keys.entries()) {
    const value = values[i] as Uint8Array;
    new DataView(value.buffer, value.byteOffset).setFloat64(0, nowUs());
    void theStore().register(key).set(value);
    await sleep(PACE_MS);
  }
}

let observation: Promise<[number[], number[]]> | undefined;

/** In a child: waits for these keys, in this order, from now on. */
export function observe(keys: readonly string[]): void {
  observation = Promise.all([seenByGet(keys), toldByWatch(keys)]);
}

export async function observed(): Promise<Figures> {
  const [seen, told] = (await observation) ?? [[], []];
  return { ...summary(seen), told: summary(told).p50 };
}

function ageUs(value: unknown): number {
  const { buffer, byteOffset } = value as Uint8Array;
  return nowUs() - new DataView(buffer, byteOffset).getFloat64(0);
}

function seenByGet(keys: readonly string[]): Promise<number[]> {
  const agesUs: number[] = [];
  return new Promise((resolve) => {
    const look = (): void => {
      for (;;) {
        const key = keys[agesUs.length];
        const value = key === undefined ? undefined : theStore().register(key).get();
        if (value === undefined) return;
        agesUs.push(ageUs(value));
        if (agesUs.length === keys.length) resolve(agesUs);
      }
    };
    afterEachMessage(look);
  });
}

/** After whoever listens to a WebSocket of this process has done with a message. */
function afterEachMessage(look: () => void): void {
  WebSocket.prototype.emit = function (this: WebSocket, name: string, ...args: unknown[]) {
    const isHeard = EventEmitter.prototype.emit.call(this, name, ...args);
    if (name === 'message') look();
    return isHeard;
  };
}

async function toldByWatch(keys: readonly string[]): Promise<number[]> {
  const agesUs: number[] = [];
  for await (const item of theStore().watch('')) {
    if ('value' in item && item.value instanceof Uint8Array) agesUs.push(ageUs(item.value));
    if (agesUs.length === keys.length) break;
  }
  return agesUs;
}

// ---------------------------------------------------------------- the references

async function echoes(count: number): Promise<Figures> {
  const server = new Child(LATENCY);
  try {
    const port = await server.call(serveEchoes);
    return await inChild(LATENCY, echoPaced, port, WARM_UP + count);
  } finally {
    await server.end();
  }
}

/** In a child: unpacks what comes, and sends it back packed anew. Returns its port. */
export async function serveEchoes(): Promise<number> {
  const packr = new Packr({ useRecords: false });
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  server.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => socket.send(packr.pack(packr.unpack(data))));
  });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** In a child. */
export async function echoPaced(port: number, count: number): Promise<Figures> {
  const packr = new Packr({ useRecords: false });
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  await once(socket, 'open');
  const timesUs: number[] = [];
  socket.on('message', (data: Buffer) => {
    const [, value] = packr.unpack(data) as [string, Uint8Array];
    timesUs.push(ageUs(value));
  });
  const keys = randomKeys(count, USUAL);
  const values = randomValues(count, USUAL);
  for (const [i, key] of keys.entries()) {
    const value = values[i] as Uint8Array;
    new DataView(value.buffer, value.byteOffset).setFloat64(0, nowUs());
    socket.send(packr.pack([key, value]));
    await sleep(PACE_MS);
  }
  socket.close();
  return summary(timesUs);
}

/** In a child: writes a page of a file, and waits until it is on the disk, at the same pace. */
export async function syncs(dir: string, count: number): Promise<Figures> {
  const file = openSync(`${dir}/page`, 'w');
  const page = new Uint8Array(4_096);
  const timesUs: number[] = [];
  for (let i = 0; i < WARM_UP + count; i++) {
    page[0] = i;
    const beginUs = nowUs();
    writeSync(file, page, 0, page.length, 0);
    fdatasyncSync(file);
    timesUs.push(nowUs() - beginUs);
    await sleep(PACE_MS);
  }
  return summary(timesUs);
}

/** In a child: what LMDB makes of a write, which is more than one sync; in the way that hearsay has it commit. */
export async function commits(dir: string, count: number): Promise<Figures> {
  const database = openRaw<Uint8Array, string>({ path: dir, encoding: 'binary', overlappingSync: false });
  const keys = randomKeys(WARM_UP + count, USUAL);
  const values = randomValues(keys.length, USUAL);
  const timesUs: number[] = [];
  for (const [i, key] of keys.entries()) {
    const beginUs = nowUs();
    await database.put(key, values[i] as Uint8Array);
    timesUs.push(nowUs() - beginUs);
    await sleep(PACE_MS);
  }
  await database.close();
  return summary(timesUs);
}
