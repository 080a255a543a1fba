/**
 * Holds `hearsay/crdts` small: it is also usable alone, in a web page, where each kilobyte is waited for.
 * The bundle is what a bundler would ship of it when all of it is used. Tree shaking can only make it smaller.
 */

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type BuildResult, build } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';

/** 9 kB is the budget we set ourselves: raising it is a decision, and this line is where it shows. */
const gzipBytesMax = 9_000;

type Bundle = BuildResult<{ write: false; metafile: true }>;

describe('hearsay/crdts, bundled for a browser', () => {
  let bundle: Bundle;

  beforeAll(async () => {
    bundle = await build({
      absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
      entryPoints: ['crdts/index.ts'],
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2023',
      write: false,
      metafile: true,
      logLevel: 'silent',
    });
  });

  test('is made of files in crdts/ alone', () => {
    const inputs = Object.entries(bundle.metafile.inputs);
    const imported = inputs.flatMap(([, input]) => input.imports.map(({ path }) => path));
    expect([...inputs.map(([path]) => path), ...imported].filter((path) => !path.startsWith('crdts/'))).toEqual([]);
  });

  test(`is at most ${gzipBytesMax} bytes when minified and gzipped`, () => {
    const [file] = bundle.outputFiles;
    const minified = file?.contents ?? new Uint8Array();
    const gzipBytes = gzipSync(minified, { level: 9 }).byteLength;
    console.log(`hearsay/crdts: ${minified.byteLength} bytes minified, ${gzipBytes} gzipped (at most ${gzipBytesMax})`);
    expect(minified.byteLength).toBeGreaterThan(0);
    expect(gzipBytes).toBeLessThanOrEqual(gzipBytesMax);
  });
});
