/**
 * Durable writes, against raw lmdb that does as many puts of the same keys and values.
 *
 * Two ways to write: single writes with 256 awaited ones outstanding, and batches of 1,000, one awaited after the other.
 * Inserts are into a store that is empty at first; overwrites go over all of them again, in the same order of random keys.
 *
 * For information, the same against raw lmdb that also keeps an index of what was written when, as every store has to that
 * can say what another lacks without looking at everything: one more put with each write, one more removal with each overwrite.
 */
import { open as openRaw } from 'lmdb';
import { open } from '../src/index.ts';
import { countOf, nameOf, OTHERS, outstanding, randomKeys, randomValues, type Shape, USUAL } from './data.ts';
import {
  type Effort,
  type Figures,
  type Group,
  inChild,
  inTurns,
  type Limit,
  type Row,
  withDirectory,
} from './harness.ts';

const OUTSTANDING = 256;
const BATCH = 1_000;

export type Way = 'outstanding' | 'batches';

/** What raw lmdb writes. */
export type Reference = 'records' | 'records and index';

export const WRITES = import.meta.url;

export const writes: Group = { name: 'writes', run };

async function* run({ isQuick, rounds }: Effort): AsyncGenerator<Row> {
  const count = isQuick ? 20_000 : 100_000;
  yield* compare('outstanding', `${OUTSTANDING} outstanding`, { atLeast: 0.6 }, count, USUAL, rounds);
  yield* compare('batches', `batches of ${BATCH}`, { atLeast: 0.5 }, count, USUAL, rounds);
  for (const shape of OTHERS) {
    const label = `${OUTSTANDING} outstanding, ${nameOf(shape)}`;
    yield* compare('outstanding', label, undefined, countOf(shape, count), shape, 1);
  }
}

async function* compare(
  way: Way,
  label: string,
  limit: Limit | undefined,
  count: number,
  shape: Shape,
  rounds: number,
): AsyncGenerator<Row> {
  const ours = (): Promise<Figures> => withDirectory((dir) => inChild(WRITES, writeOurs, dir, way, count, shape));
  const lmdb = (reference: Reference) => (): Promise<Figures> =>
    withDirectory((dir) => inChild(WRITES, writeLmdb, dir, way, count, shape, reference));
  const figures = await inTurns(rounds, { ours, plain: lmdb('records'), indexed: lmdb('records and index') });
  for (const kind of ['insert', 'overwrite'] as const) {
    const row = (name: string, figure: string, unit: string, against: 'plain' | 'indexed', rowLimit?: Limit): Row => ({
      name: `${kind}s, ${label}${name}`,
      unit,
      ours: figures.ours[kind + figure] ?? Number.NaN,
      reference: {
        name: against === 'plain' ? 'raw lmdb' : 'lmdb with an index',
        value: figures[against][kind + figure] ?? Number.NaN,
      },
      limit: rowLimit,
    });
    yield row('', 'PerS', 'writes/s', 'plain', limit);
    yield row(', CPU', 'CpuUs', 'µs/write', 'plain');
    yield row(', index', 'PerS', 'writes/s', 'indexed');
  }
}

/** In a child: writes `count` records twice. */
export async function writeOurs(dir: string, way: Way, count: number, shape: Shape): Promise<Figures> {
  const store = await open({ dir });
  const figures = await writeTwice(count, shape, {
    write: (key, value) => store.register(key).set(value),
    batch: (writeAll) => store.batch(writeAll),
    way,
  });
  await store.close();
  return figures;
}

/** In a child: the same with lmdb alone, as it comes. */
export async function writeLmdb(
  dir: string,
  way: Way,
  count: number,
  shape: Shape,
  reference: Reference,
): Promise<Figures> {
  const database = openRaw<Uint8Array | string, string | number>({ path: dir, encoding: 'binary' });
  const numbers = new Map<string, number>();
  let last = 0;
  const index = (key: string): void => {
    const before = numbers.get(key);
    if (before !== undefined) void database.remove(before);
    numbers.set(key, ++last);
    void database.put(last, key);
  };
  const figures = await writeTwice(count, shape, {
    write: (key, value) => {
      if (reference === 'records and index') index(key);
      return database.put(key, value);
    },
    batch: (writeAll) => database.batch(writeAll),
    way,
  });
  await database.close();
  return figures;
}

interface Writer {
  readonly write: (key: string, value: Uint8Array) => PromiseLike<unknown>;
  readonly batch: (writeAll: () => void) => PromiseLike<unknown>;
  readonly way: Way;
}

async function writeTwice(count: number, shape: Shape, writer: Writer): Promise<Figures> {
  const keys = randomKeys(count, shape);
  const figures: Record<string, number> = {};
  for (const kind of ['insert', 'overwrite']) {
    const values = randomValues(count, shape);
    const cpuBefore = process.cpuUsage();
    const beginMs = performance.now();
    await writeAll(keys, values, writer);
    const ms = performance.now() - beginMs;
    const cpu = process.cpuUsage(cpuBefore);
    figures[`${kind}PerS`] = (1_000 * count) / ms;
    figures[`${kind}CpuUs`] = (cpu.user + cpu.system) / count;
  }
  return figures;
}

async function writeAll(
  keys: readonly string[],
  values: readonly Uint8Array[],
  { write, batch, way }: Writer,
): Promise<void> {
  const writeOne = (i: number): PromiseLike<unknown> => write(keys[i] as string, values[i] as Uint8Array);
  if (way === 'outstanding') return outstanding(keys.length, OUTSTANDING, writeOne);
  for (let from = 0; from < keys.length; from += BATCH) {
    await batch(() => {
      for (let i = from; i < Math.min(from + BATCH, keys.length); i++) void writeOne(i);
    });
  }
}
