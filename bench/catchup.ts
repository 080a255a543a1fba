/**
 * Two nodes that hold the same, are cut off from each other, and meet again: what does it cost to find and send the
 * difference, and what does it cost when there is none?
 *
 * Counted by a relay between the two: everything from the moment it lets them connect until both have been in sync for a
 * while; so hellos, clocks, acknowledgements, the first heartbeats and checks are in it. Of what was written apart, some is
 * the same key on both sides.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { countOf, nameOf, OTHERS, randomKeys, type Shape, USUAL } from './data.ts';
import { Child, type Effort, type Group, type Row, withDirectory } from './harness.ts';
import { fill, overwrite, PEER, start, synced } from './peer.ts';
import { Relay } from './relay.ts';

const WRITTEN = 100;
const SHARED = 10;
/** After both are in sync: whatever they still have to say to each other. */
const QUIET_MS = 1_000;
const CUT_MS = 200;
/** Three checks or so from each side. */
const IDLE_MS = 16_000;

export const catchup: Group = { name: 'catchup', run };

async function* run({ isQuick }: Effort): AsyncGenerator<Row> {
  const count = isQuick ? 10_000 : 100_000;
  yield* meetAgain(`${count} records`, count, USUAL, isQuick, true);
  for (const shape of OTHERS) {
    const some = countOf(shape, count);
    yield* meetAgain(`${some} records, ${nameOf(shape)}`, some, shape, isQuick, false);
  }
}

async function* meetAgain(
  label: string,
  count: number,
  shape: Shape,
  isQuick: boolean,
  isUsual: boolean,
): AsyncGenerator<Row> {
  const rows = await withDirectory((leftDir) =>
    withDirectory(async (rightDir) => {
      const left = new Child(PEER);
      const right = new Child(PEER);
      let relay: Relay | undefined;
      try {
        relay = await Relay.start(await left.call(start, { dir: leftDir }));
        const keys = await left.call(fill, count, shape);
        await right.call(start, { dir: rightDir, join: [relay.address] });
        await right.call(synced);
        const nodes = { left, right, relay };
        return [
          ...(await difference(label, nodes, keys, shape, isUsual)),
          ...(isUsual ? await inSync(nodes) : []),
          ...(isUsual && !isQuick ? await idle(relay) : []),
        ];
      } finally {
        relay?.close();
        await Promise.all([left.end(), right.end()]);
      }
    }),
  );
  yield* rows;
}

interface Nodes {
  readonly left: Child;
  readonly right: Child;
  readonly relay: Relay;
}

async function difference(
  label: string,
  nodes: Nodes,
  keys: readonly string[],
  shape: Shape,
  isLimited: boolean,
): Promise<Row[]> {
  const rows: Row[] = [];
  const writtenBytes = 2 * WRITTEN * (shape.keyBytes + shape.valueBytes);
  const reference = { name: 'keys and values', value: writtenBytes };
  for (const kind of ['overwrites', 'inserts'] as const) {
    const from = kind === 'overwrites' ? keys : randomKeys(2 * WRITTEN, shape);
    const { bytes, ms } = await meet(nodes, async () => {
      await nodes.left.call(overwrite, from.slice(0, WRITTEN), shape);
      await nodes.right.call(overwrite, from.slice(WRITTEN - SHARED, 2 * WRITTEN - SHARED), shape);
    });
    const name = `2 × ${WRITTEN} ${kind} apart, ${label}`;
    rows.push({ name, unit: 'bytes', ours: bytes, reference, limit: isLimited ? { atMost: 1.3 } : undefined });
    if (isLimited) rows.push({ name: `${name}, time`, unit: 'ms', ours: ms });
  }
  return rows;
}

async function inSync(nodes: Nodes): Promise<Row[]> {
  const { bytes, ms } = await meet(nodes, () => Promise.resolve());
  return [
    { name: 'reconnecting in sync', unit: 'bytes', ours: bytes, limit: { atMost: 300 } },
    { name: 'reconnecting in sync, time', unit: 'ms', ours: ms },
  ];
}

/** Cuts the two apart, lets `apart` happen, and counts what they say until they are in sync again. */
export async function meet(
  { left, right, relay }: Nodes,
  apart: () => Promise<void>,
): Promise<{ bytes: number; ms: number }> {
  relay.cut();
  await sleep(CUT_MS);
  await apart();
  const connected = relay.mend();
  await connected;
  const ms = Math.max(...(await Promise.all([left.call(synced), right.call(synced)])));
  await sleep(QUIET_MS);
  return { bytes: relay.bytes, ms };
}

async function idle(relay: Relay): Promise<Row[]> {
  relay.forget();
  await sleep(IDLE_MS);
  const checks = relay.bytesOf('check');
  const beats = relay.bytesOf('beat');
  return [
    // Both sides check: the mean of one side's, twice.
    { name: 'an idle check, both ways', unit: 'bytes', ours: (2 * checks.bytes) / checks.count, limit: { atMost: 64 } },
    { name: 'an idle link in all, heartbeats included', unit: 'bytes/s', ours: (1_000 * relay.bytes) / IDLE_MS },
    { name: 'a heartbeat', unit: 'bytes', ours: beats.bytes / beats.count },
  ];
}
