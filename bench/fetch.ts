/**
 * A fresh replica that fetches everything from another over loopback: bytes, time, memory.
 *
 * Time is from before the store is opened until both know that they have the same, against raw lmdb that puts as many
 * records of that size in batches of 1,000. Memory is measured in runs of their own, since garbage is collected all along.
 */
import { countOf, nameOf, OTHERS, type Shape, USUAL } from './data.ts';
import { Child, type Effort, type Figures, type Group, inChild, inTurns, type Row, withDirectory } from './harness.ts';
import { fillNew, join, linkBytes, memoryPeak, PEER, start, synced, watchMemory } from './peer.ts';
import { WRITES, writeLmdb } from './writes.ts';

export const fetch: Group = { name: 'fetch', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const count = isQuick ? 20_000 : 100_000;
  yield* fetchAll(`${count} records`, count, USUAL, rounds, true);
  yield* memoryRows(isQuick ? [5_000, 20_000] : [20_000, 100_000, 300_000]);
  for (const shape of OTHERS) {
    const some = countOf(shape, count);
    yield* fetchAll(`${some} records, ${nameOf(shape)}`, some, shape, 1, false);
  }
}

async function* fetchAll(
  label: string,
  count: number,
  shape: Shape,
  rounds: number,
  isLimited: boolean,
): AsyncGenerator<Row> {
  const { ours, lmdb } = await inTurns(rounds, {
    ours: () => withPair(count, shape, fetchTimed),
    lmdb: () => withDirectory((dir) => inChild(WRITES, writeLmdb, dir, 'batches', count, shape, 'records')),
  });
  yield {
    name: `fetch of ${label}, payload`,
    unit: 'bytes',
    ours: ours['bytes'] ?? Number.NaN,
    reference: { name: 'keys and values', value: count * (shape.keyBytes + shape.valueBytes) },
    limit: isLimited ? { atMost: 1.2 } : undefined,
  };
  yield {
    name: `fetch of ${label}, speed`,
    unit: 'records/s',
    ours: ours['perS'] ?? Number.NaN,
    reference: { name: 'raw lmdb batches', value: lmdb['insertPerS'] ?? Number.NaN },
    limit: isLimited ? { atLeast: 0.4 } : undefined,
  };
}

/** How much more memory each side takes while a fetch is under way, by how many records it has. */
async function* memoryRows(counts: readonly number[]): AsyncGenerator<Row> {
  const figures: Figures[] = [];
  for (const count of counts) figures.push(await withPair(count, USUAL, fetchWatched));
  const furtherRecords = (counts.at(-1) ?? 0) - (counts[0] ?? 0);
  for (const side of ['sender', 'receiver'] as const) {
    for (const kind of ['heap', 'resident'] as const) {
      const taken = figures.map((figure) => figure[`${side} ${kind}`] ?? Number.NaN);
      for (const [i, count] of counts.entries()) {
        yield { name: `${kind} memory of the ${side}, ${count} records`, unit: 'kB', ours: (taken[i] ?? 0) / 1_000 };
      }
      yield {
        name: `${kind} memory of the ${side}, for each further record`,
        unit: 'bytes',
        ours: ((taken.at(-1) ?? 0) - (taken[0] ?? 0)) / furtherRecords,
        // A tenth of a record: what is held on to would be ten times that, what is noise remains below.
        limit: kind === 'heap' ? { atMost: 11.6 } : undefined,
      };
    }
  }
}

interface Pair {
  readonly count: number;
  readonly full: Child;
  readonly address: string;
  readonly fresh: Child;
  readonly freshDir: string;
}

/** A node that holds `count` records, and a process for one that holds none. */
function withPair(count: number, shape: Shape, work: (pair: Pair) => Promise<Figures>): Promise<Figures> {
  return withDirectory((fullDir) =>
    withDirectory(async (freshDir) => {
      await inChild(PEER, fillNew, fullDir, count, shape);
      // Another process than the one that wrote, so that nothing of the writing is in its memory.
      const full = new Child(PEER);
      const fresh = new Child(PEER);
      try {
        const address = await full.call(start, { dir: fullDir });
        return await work({ count, full, address, fresh, freshDir });
      } finally {
        await Promise.all([full.end(), fresh.end()]);
      }
    }),
  );
}

async function fetchTimed({ count, full, address, fresh, freshDir }: Pair): Promise<Figures> {
  const beginMs = performance.now();
  await fresh.call(start, { dir: freshDir, join: [address] });
  await fresh.call(synced);
  const ms = performance.now() - beginMs;
  const bytes = (await fresh.call(linkBytes)).sent + (await full.call(linkBytes)).sent;
  return { bytes, perS: (1_000 * count) / ms };
}

async function fetchWatched({ full, address, fresh, freshDir }: Pair): Promise<Figures> {
  await fresh.call(start, { dir: freshDir });
  const before = { sender: await full.call(watchMemory), receiver: await fresh.call(watchMemory) };
  await fresh.call(join, address);
  await fresh.call(synced);
  const peak = { sender: await full.call(memoryPeak), receiver: await fresh.call(memoryPeak) };
  return {
    'sender heap': peak.sender.heapBytes - before.sender.heapBytes,
    'receiver heap': peak.receiver.heapBytes - before.receiver.heapBytes,
    'sender resident': peak.sender.residentBytes - before.sender.residentBytes,
    'receiver resident': peak.receiver.residentBytes - before.receiver.residentBytes,
  };
}
