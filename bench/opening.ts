/** Opening a store up to the first read, by how much is in it. What is read was written a moment ago, so it is in memory. */
import { open } from '../src/index.ts';
import { USUAL } from './data.ts';
import { type Effort, type Figures, type Group, inChild, inTurns, type Row, withDirectory } from './harness.ts';
import { fillNew, PEER } from './peer.ts';

const ROUNDS_MIN = 9;
const OPENING = import.meta.url;

export const opening: Group = { name: 'opening', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const [few, many] = isQuick ? [1_000, 50_000] : [10_000, 1_000_000];
  yield* await withDirectory(async (dir) => {
    const small = { dir: `${dir}/small`, key: await inChild(PEER, fillNew, `${dir}/small`, few, USUAL) };
    const large = { dir: `${dir}/large`, key: await inChild(PEER, fillNew, `${dir}/large`, many, USUAL) };
    const times = await inTurns(Math.max(rounds, ROUNDS_MIN), {
      small: () => inChild(OPENING, openAndRead, small.dir, small.key),
      large: () => inChild(OPENING, openAndRead, large.dir, large.key),
    });
    const row: Row = {
      name: `opening to the first read, ${many} records`,
      unit: 'ms',
      ours: times.large['ms'] ?? Number.NaN,
      reference: { name: `${few} records`, value: times.small['ms'] ?? Number.NaN },
      limit: { atMost: 1.5 },
    };
    return [row];
  });
}

/** In a child. Without what it takes to load the code, which is the same for every store. */
export async function openAndRead(dir: string, key: string): Promise<Figures> {
  await import('lmdb');
  const beginMs = performance.now();
  const store = await open({ dir });
  const value = store.register(key).get();
  const ms = performance.now() - beginMs;
  if (value === undefined) throw new Error('the record that was written is not there');
  await store.close();
  return { ms };
}
