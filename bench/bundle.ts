/** `hearsay/crdts` as a web page would load it: bundled, minified, gzipped. test/size.test.ts holds it to the same limit. */
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import type { Group, Row } from './harness.ts';

export const bundle: Group = { name: 'bundle', run };

async function* run(): AsyncGenerator<Row> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../crdts/index.js', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2023',
    write: false,
    logLevel: 'silent',
  });
  const minified = outputFiles[0]?.contents ?? new Uint8Array(0);
  yield {
    name: 'hearsay/crdts, minified and gzipped',
    unit: 'bytes',
    ours: gzipSync(minified, { level: 9 }).length,
    limit: { atMost: 9_000 },
  };
}
