import { randomBytes } from 'node:crypto';
import { rmSync, mkdirSync } from 'node:fs';
import { open as rawOpen } from 'lmdb';
const mode = process.argv[2]!;
const N = Number(process.argv[3] ?? 100000);
const { open } = await import(process.env.DIST ? '/work/main/dist/src/index.js' : '/work/main/src/index.ts');
rmSync('/tmp/nb/data', { recursive: true, force: true }); mkdirSync('/tmp/nb/data');
const keys = Array.from({ length: N }, () => randomBytes(8).toString('hex'));
const vals = Array.from({ length: N }, () => new Uint8Array(randomBytes(100)));
async function outstanding(write: (i: number) => PromiseLike<unknown>) {
  let next = 0;
  await Promise.all(Array.from({ length: 256 }, async () => { while (next < N) { const i = next++; await write(i); } }));
}
const t = () => process.cpuUsage();
async function timed(name: string, f: () => Promise<unknown>) {
  const c = process.cpuUsage(), s = performance.now();
  await f();
  const ms = performance.now() - s; const d = process.cpuUsage(c);
  console.log(name.padEnd(28), Math.round(N / ms * 1000).toLocaleString().padStart(10), '/s', ((d.user + d.system) / N).toFixed(1), 'µs cpu/write');
}
if (mode.startsWith('raw')) {
  const db = rawOpen({ path: '/tmp/nb/data', encoding: 'binary' } as any);
  if (mode === 'raw256') { await timed('raw 256 insert', () => outstanding((i) => db.put(keys[i]!, Buffer.from(vals[i]!)))); await timed('raw 256 overwrite', () => outstanding((i) => db.put(keys[i]!, Buffer.from(vals[i]!)))); }
  else { const f = async () => { for (let i = 0; i < N; i += 1000) { await db.batch(() => { for (let j = i; j < i + 1000; j++) void db.put(keys[j]!, Buffer.from(vals[j]!)); }); } }; await timed('raw batch insert', f); await timed('raw batch overwrite', f); }
  await db.close();
} else {
  const store = await open({ dir: '/tmp/nb/data', ...(process.env.RELAXED ? { durability: 'relaxed' } : {}) });
  if (mode === '256') { await timed('hearsay 256 insert', () => outstanding((i) => store.register(keys[i]!).set(vals[i]!))); await timed('hearsay 256 overwrite', () => outstanding((i) => store.register(keys[i]!).set(vals[i]!))); }
  else { const f = async () => { for (let i = 0; i < N; i += 1000) await store.batch(() => { for (let j = i; j < i + 1000; j++) void store.register(keys[j]!).set(vals[j]!); }); }; await timed('hearsay batch insert', f); await timed('hearsay batch overwrite', f); }
  await store.close();
}
