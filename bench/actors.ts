/**
 * 10,000 actors of earlier runs, of which nothing is left but their place in the clock: what do they cost for ever after?
 *
 * They are made with the core alone: a replica that takes a new actor 10,000 times, and overwrites the same record.
 */
import { randomBytes } from 'node:crypto';
import { actorFrom } from '../crdts/dot.ts';
import { keyPrefix, typed } from '../crdts/path.ts';
import type { Key, OrderedStore, RangeOptions } from '../crdts/store.ts';
import { setRegister } from '../crdts/types/register.ts';
import type { Storage } from '../src/edges/storage/contract.ts';
import { openLmdb } from '../src/edges/storage/lmdb.ts';
import { now, sha256 } from '../src/node.ts';
import { Replica } from '../src/replica/replica.ts';
import { meet } from './catchup.ts';
import { Child, type Effort, type Figures, type Group, inChild, type Row, withDirectory } from './harness.ts';
import { PEER, start, synced } from './peer.ts';
import { Relay } from './relay.ts';

const COMMITS = 1_000;
const ACTORS = import.meta.url;

export const actors: Group = { name: 'actors', run };

async function* run({ isQuick }: Effort): AsyncGenerator<Row> {
  const count = isQuick ? 1_000 : 10_000;
  yield* await withDirectory(async (dir) => {
    const many = await inChild(ACTORS, growOld, `${dir}/many`, count);
    const none = await inChild(ACTORS, growOld, `${dir}/none`, 0);
    const { bytes } = await reconnect(`${dir}/many`, `${dir}/peer`);
    const rows: Row[] = [
      {
        name: `each of ${count} dead actors, stored`,
        unit: 'bytes',
        ours: ((many['clockBytes'] ?? Number.NaN) - (none['clockBytes'] ?? Number.NaN)) / count,
        limit: { atMost: 14 },
      },
      {
        name: `a commit of one write, ${count} dead actors`,
        unit: 'bytes',
        ours: many['commitBytes'] ?? Number.NaN,
        reference: { name: 'no dead actors', value: none['commitBytes'] ?? Number.NaN },
        limit: { atMost: 1.01 },
      },
      { name: `reconnecting in sync, ${count} dead actors`, unit: 'bytes', ours: bytes, limit: { atMost: 300 } },
    ];
    return rows;
  });
}

/** Counts the bytes of keys and values that are put and deleted. */
class CountingStore implements OrderedStore {
  readonly #storage: Storage;
  bytes = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get(key: Key): Uint8Array | undefined {
    return this.#storage.get(key);
  }

  put(key: Key, value: Uint8Array): void {
    this.bytes += key.length + value.length;
    this.#storage.put(key, value);
  }

  delete(key: Key): void {
    this.bytes += key.length;
    this.#storage.delete(key);
  }

  range(start: Key, end: Key, options?: RangeOptions): Iterable<readonly [Key, Uint8Array]> {
    return this.#storage.range(start, end, options);
  }
}

/** In a child: a store that has seen `actorCount` actors come and go; then commits by one more. */
export async function growOld(dir: string, actorCount: number): Promise<Figures> {
  const storage = await openLmdb({ dir, durability: 'relaxed' });
  const store = new CountingStore(storage);
  const replica = new Replica({
    store,
    hash: sha256,
    random: Math.random,
    randomBytes,
    now: now(),
    name: 'bench',
    role: 'member',
  });
  const path = typed(keyPrefix('the only key'), 'register');
  const write = (i: number): void => void replica.write([setRegister(path, i % 100, 0)], now());
  const commit = (): Promise<void> => {
    replica.seal(now());
    return storage.commit();
  };
  write(0);
  for (let i = 0; i < actorCount; i++) {
    replica.engine.begin(actorFrom(new Uint8Array(randomBytes(8))));
    write(i);
    if (i % 100 === 0) await commit();
  }
  replica.engine.begin(actorFrom(new Uint8Array(randomBytes(8))));
  await commit();
  const bytesBefore = store.bytes;
  for (let i = 0; i < COMMITS; i++) {
    write(i);
    await commit();
  }
  let clockBytes = 0;
  for (const [key, value] of storage.range('c', 'd')) clockBytes += key.length + value.length;
  const commitBytes = (store.bytes - bytesBefore) / COMMITS;
  await storage.close();
  return { clockBytes, commitBytes };
}

/** That store and a new one, in sync, cut apart, and connected again. */
async function reconnect(dir: string, peerDir: string): Promise<{ bytes: number }> {
  const left = new Child(PEER);
  const right = new Child(PEER);
  let relay: Relay | undefined;
  try {
    relay = await Relay.start(await left.call(start, { dir }));
    await right.call(start, { dir: peerDir, join: [relay.address] });
    await right.call(synced);
    return await meet({ left, right, relay }, () => Promise.resolve());
  } finally {
    relay?.close();
    await Promise.all([left.end(), right.end()]);
  }
}
