/**
 * Adding an element to a large set, against adding one to an empty set of the same store.
 *
 * Both in one store and in turns, so that what is compared is what the size of the set costs, not what the size of the
 * store costs; for that, the store also holds as many sets of one element, among which the empty ones are begun.
 * (For information: the same in a store that is empty.)
 */
import { open, type Store } from '../src/index.ts';
import { outstanding, randomKeys, USUAL } from './data.ts';
import { type Effort, type Figures, type Group, inChild, inTurns, median, type Row, withDirectory } from './harness.ts';

const OUTSTANDING = 256;
const TURNS = 10;
const SETS = import.meta.url;

export const sets: Group = { name: 'sets', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const size = isQuick ? 10_000 : 100_000;
  const { figures } = await inTurns(rounds, {
    figures: () => withDirectory((dir) => inChild(SETS, addBoth, dir, size, size / 50)),
  });
  const { large = Number.NaN, empty = Number.NaN, fresh = Number.NaN } = figures;
  yield {
    name: `adding to a set of ${size}`,
    unit: 'µs',
    ours: large,
    reference: { name: 'to an empty set', value: empty },
    limit: { atMost: 1.2 },
  };
  yield {
    name: `adding to a set of ${size}, against an empty store`,
    unit: 'µs',
    ours: large,
    reference: { name: 'to a set in an empty store', value: fresh },
  };
}

const inOne = (_element: string): string => 'tags';
const inItsOwn = (element: string): string => `tags of ${element}`;

/** In a child: µs per element, `count` at a time. */
export async function addBoth(dir: string, size: number, count: number): Promise<Figures> {
  const freshStore = await open({ dir: `${dir}/fresh` });
  const fresh = await addTimed(freshStore, randomKeys(count, USUAL), inOne);
  await freshStore.close();

  const store = await open({ dir: `${dir}/large` });
  for (const keyOf of [inOne, inItsOwn]) {
    const elements = randomKeys(size, USUAL);
    for (let from = 0; from < size; from += 1_000) {
      await store.batch(() => {
        for (const element of elements.slice(from, from + 1_000)) void store.set(keyOf(element)).add(element);
      });
    }
  }
  const large: number[] = [];
  const empty: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    large.push(await addTimed(store, randomKeys(count, USUAL), inOne));
    empty.push(await addTimed(store, randomKeys(count, USUAL), inItsOwn));
  }
  await store.close();
  return { large: median(large), empty: median(empty), fresh };
}

async function addTimed(
  store: Store,
  elements: readonly string[],
  keyOf: (element: string) => string,
): Promise<number> {
  const beginMs = performance.now();
  await outstanding(elements.length, OUTSTANDING, (i) => {
    const element = elements[i] as string;
    return store.set(keyOf(element)).add(element);
  });
  return (1_000 * (performance.now() - beginMs)) / elements.length;
}
