/** One counter that three nodes, each connected to both others, add to at the same time: exact, and cheap. */
import { Child, type Effort, type Group, type Row, withDirectory } from './harness.ts';
import { openLmdb } from '../src/edges/storage/lmdb.ts';
import { addUp, counted, linkBytes, PEER, start, stop, synced } from './peer.ts';

const NODES = 3;
const ADDITIONS = 20_000;
const OUTSTANDING = 256;
const KEY = 'visits';

export const counters: Group = { name: 'counters', run };

async function* run({ isQuick }: Effort): AsyncGenerator<Row> {
  const all = isQuick ? ADDITIONS / 10 : ADDITIONS;
  yield* await withDirectory(async (dir) => {
    const nodes = Array.from({ length: NODES }, () => new Child(PEER));
    try {
      return await addTogether(nodes, dir, all);
    } finally {
      await Promise.all(nodes.map((node) => node.end()));
    }
  });
}

async function addTogether(nodes: readonly Child[], dir: string, all: number): Promise<Row[]> {
  const dirs = nodes.map((_, i) => `${dir}/${i}`);
  const addresses: string[] = [];
  for (const [i, node] of nodes.entries()) {
    addresses.push(await node.call(start, { dir: dirs[i] as string, join: addresses }));
    if (i > 0) await node.call(synced);
  }
  // The additions are dealt out evenly; the first nodes get one more where that does not come out even.
  const shares = nodes.map((_, i) => Math.floor((all + NODES - 1 - i) / NODES));
  const durations = await Promise.all(nodes.map((node, i) => node.call(addUp, KEY, shares[i] as number, OUTSTANDING)));
  await Promise.all(nodes.map((node) => node.call(synced)));
  const values = await Promise.all(nodes.map((node) => node.call(counted, KEY)));
  const bytes = (await Promise.all(nodes.map((node) => node.call(linkBytes)))).map(({ sent }) => sent);
  await Promise.all(nodes.map((node) => node.call(stop)));
  const stored = await Promise.all(dirs.map(storedBytes));
  const what = `${all} additions, ${NODES} nodes`;
  const missing = Math.max(...values.map((value) => Math.abs(all - value)));
  const sum = bytes.reduce((total, sent) => total + sent, 0);
  return [
    { name: `${what}: missing or too many`, unit: 'additions', ours: missing, limit: { atMost: 0 } },
    { name: `${what}: payload on all links`, unit: 'bytes', ours: sum, limit: { atMost: 150_000 } },
    {
      name: `${what}: stored on a node, with all else`,
      unit: 'bytes',
      ours: Math.max(...stored),
      limit: { atMost: 2_000 },
    },
    { name: `${what}: speed of all`, unit: 'additions/s', ours: (1_000 * all) / Math.max(...durations) },
  ];
}

/** Keys and values of the whole store, its identity and clock included. */
async function storedBytes(dir: string): Promise<number> {
  const storage = await openLmdb({ dir, readOnly: true });
  let bytes = 0;
  for (const [key, value] of storage.range('', '\u0100')) bytes += key.length + value.length;
  await storage.close();
  return bytes;
}
