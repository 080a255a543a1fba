/**
 * Packs what would be published and uses it as a stranger would: in an empty folder, from JavaScript and from TypeScript.
 *
 * Tests that import `../src/…` cannot see a wrong `exports`, a file that was not packed, a type that leans on a
 * devDependency, or a `close()` that leaves something open so that the user's program never ends. These can.
 *
 * The package is built and packed in a copy of the working tree: nothing stale in `dist` gets in, and tests that run
 * `dist` meanwhile keep it. Installing needs the registry; without it those tests are skipped, and say why.
 */

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';

const repository = fileURLToPath(new URL('..', import.meta.url));

/** What may be in the package besides the compiled files. */
const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
const compiled = /^dist\/(crdts|src|bin)\/.+\.(js|js\.map|d\.ts)$/;

/** Each one is somebody else's code in every user's process. */
const runtimeDependencyCountMax = 6;

interface Manifest {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Packed {
  /** The tarball. */
  readonly file: string;
  /** The paths in it, sorted. */
  readonly paths: readonly string[];
}

interface Outcome {
  readonly succeeded: boolean;
  /** Standard output; what went to standard error is only in `all`. */
  readonly output: string;
  /** Everything it printed, behind its command line: what to show when it failed. */
  readonly all: string;
}

const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as Manifest;

/** Scratch space for the copy, the tarball and its consumer: outside the repository, whose node_modules must stay unseen. */
let scratch: string;
let packed: Packed;
/** Why the package could not be installed, when it is not the package's fault. */
let unreachable: string | undefined;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'hearsay-package-'));
  packed = await pack();
  unreachable = await install();
  if (unreachable !== undefined) console.log(`not installing the package: ${unreachable}`);
}, 300_000);

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

describe('the package', () => {
  test('holds the compiled sources and its papers, and nothing else', () => {
    expect(packed.paths.filter((path) => !compiled.test(path) && !documents.includes(path))).toEqual([]);
  });

  test('holds everything that package.json points at', () => {
    const targets = [manifest.exports, manifest.bin].flatMap(pathsIn).map((path) => path.replace(/^\.\//, ''));
    expect(packed.paths).toEqual(expect.arrayContaining([...documents, ...targets]));
  });

  test(`makes its users install at most ${runtimeDependencyCountMax} packages by name`, () => {
    const names = Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies });
    expect(names.length, names.join(', ')).toBeLessThanOrEqual(runtimeDependencyCountMax);
  });

  test('satisfies publint', async () => {
    const { succeeded, all } = await run(repository, tool('publint'), ['run', packed.file, '--strict']);
    expect(succeeded, all).toBe(true);
  });

  test('has types that resolve for every ESM consumer (are the types wrong?)', async () => {
    const options = ['--profile', 'esm-only', '--no-definitely-typed', '--no-emoji', '--no-color', '--format', 'ascii'];
    const { succeeded, all } = await run(repository, tool('attw'), [packed.file, ...options]);
    expect(succeeded, all).toBe(true);
  });
});

describe('the package, installed in an empty folder', () => {
  test('runs from JavaScript, keeps what was written, and lets the program end', async (context) => {
    skipWhenUnreachable(context);
    writeFileSync(consumer('consumer.js'), consumerSource);
    const { succeeded, output, all } = await run(consumer(), process.execPath, ['consumer.js', 'data'], 30_000);
    expect(succeeded, all).toBe(true);
    expect(output).toContain('all is well');
  }, 60_000);

  test('type-checks from TypeScript, declarations of its dependencies included', async (context) => {
    skipWhenUnreachable(context);
    writeFileSync(consumer('consumer.ts'), consumerSource);
    writeFileSync(consumer('tsconfig.json'), JSON.stringify(consumerCompilerSettings));
    const { succeeded, all } = await run(consumer(), tool('tsc'), ['-p', 'tsconfig.json']);
    expect(succeeded, all).toBe(true);
  }, 60_000);

  test('brings the command hearsay', async (context) => {
    skipWhenUnreachable(context);
    const { succeeded, output, all } = await run(consumer(), join('node_modules', '.bin', 'hearsay'), ['--help']);
    expect(succeeded, all).toBe(true);
    expect(output).toContain('start');
  }, 60_000);
});

/** Valid both as JavaScript and as strict TypeScript. Its argument is the folder for the data. */
const consumerSource = `
import assert from 'node:assert/strict';
import { open } from 'hearsay';
import * as crdts from 'hearsay/crdts';
import * as testing from 'hearsay/testing';

assert.notEqual(Object.keys(crdts).length, 0);
assert.notEqual(Object.keys(testing).length, 0);

const dir = String(process.argv[2]);
const store = await open({ dir });
await store.register('x').set(1);
assert.equal(store.register('x').get(), 1);
await store.counter('visits').add(1);
await store.close();

const again = await open({ dir });
assert.equal(again.register('x').get(), 1);
await again.close();
console.log('all is well');
`;

/** As strict as a user may be: also our declarations, and those they lean on, are checked. Only Node's types are lent. */
const consumerCompilerSettings = {
  compilerOptions: {
    target: 'ES2023',
    lib: ['ES2023', 'ESNext.Disposable', 'DOM'],
    module: 'NodeNext',
    types: ['node'],
    typeRoots: [join(repository, 'node_modules', '@types')],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
  },
  files: ['consumer.ts'],
};

/** Builds and packs a copy of the working tree, by the same `prepack` that publishing runs. */
async function pack(): Promise<Packed> {
  const copy = join(scratch, 'copy');
  const leftOut = /^(node_modules|\.git|\.hearsay|dist|coverage)$|\.tgz$/;
  cpSync(repository, copy, { recursive: true, filter: (source) => !leftOut.test(relative(repository, source)) });
  symlinkSync(join(repository, 'node_modules'), join(copy, 'node_modules'), 'junction');
  const { succeeded, output, all } = await run(copy, 'npm', ['pack', '--json', '--ignore-scripts=false']);
  if (!succeeded) throw new Error(all);
  const [result] = JSON.parse(output.slice(output.indexOf('['))) as [{ filename: string; files: { path: string }[] }];
  return { file: join(copy, result.filename), paths: result.files.map(({ path }) => path).toSorted() };
}

/** Installs the tarball for the consumer, without install scripts. Returns why not, if the registry cannot be reached. */
async function install(): Promise<string | undefined> {
  mkdirSync(consumer());
  writeFileSync(consumer('package.json'), JSON.stringify({ private: true, type: 'module' }));
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  const patience = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-timeout=30000'];
  const { succeeded, all } = await run(consumer(), 'npm', ['install', ...options, ...patience, packed.file]);
  if (succeeded) return undefined;
  const network = /^.*\b(ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|E\w+UNREACH|E\w*TIMEOUT|ERR_SOCKET_TIMEOUT)\b.*$/m;
  const reason = network.exec(all)?.[0];
  if (reason === undefined) throw new Error(all);
  return `the registry cannot be reached (${reason.trim()})`;
}

function skipWhenUnreachable(context: TestContext): void {
  context.skip(unreachable !== undefined, unreachable);
}

/** A path in the consumer's folder. */
function consumer(...path: string[]): string {
  return join(scratch, 'consumer', ...path);
}

/** The command of one of our devDependencies. */
function tool(name: string): string {
  return join(repository, 'node_modules', '.bin', name);
}

/** Every path in a value of `exports` or `bin`, whatever the conditions it stands under. */
function pathsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(pathsIn) : [];
}

/** Runs a program to its end, however that is; one that does not end within `timeoutMs` is killed, and has failed. */
function run(cwd: string, command: string, args: readonly string[], timeoutMs = 120_000): Promise<Outcome> {
  return new Promise((resolve) => {
    const limits = { timeout: timeoutMs, maxBuffer: 64 * 2 ** 20 };
    const child = execFile(command, args, { cwd, ...limits }, (error, output, errors) => {
      const commandLine = [command, ...args].join(' ');
      const end = error === null ? '' : `\n${error.killed === true ? 'killed: it did not end' : `exit: ${error.code}`}`;
      resolve({ succeeded: error === null, output, all: `${commandLine}\n${output}${errors}${end}` });
    });
    child.stdin?.end();
  });
}
