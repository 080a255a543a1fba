/**
 * Holds the import directions of docs/ARCHITECTURE.md ("imports only go down") and the purity of floors 0 and 1.
 *
 * Without this test a convenient import from the core into an edge, or one `Date.now()` in a state machine, goes
 * unseen, and the simulator stops being exact. Every source file is parsed (vite's parser, the one that runs these
 * tests), so comments and strings never count, and type-only imports do: a type also ties its file to a floor.
 *
 * Known limits: an import whose name is computed is seen only on floors 0 and 1, where `import()` itself is refused;
 * a local variable named like a forbidden global (`process`) is taken for the global: choose another name.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'vite';
import { describe, expect, test } from 'vitest';

const repository = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as Manifest;

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

type Floor = 0 | 1 | 2 | 3 | 4;

/** What floor 4 may see of the repository; everything else is private to the package. */
const publicEntries = ['src/index.ts', 'src/testing/index.ts', 'crdts/index.ts'];

/** The floor of a file, by its path from the root of the repository; undefined when no floor claims it. */
function floorOf(path: string): Floor | undefined {
  if (/^crdts\//.test(path)) return 0;
  if (/^src\/(replica|cluster|quorum|protocol)\//.test(path)) return 1;
  if (/^src\/edges\//.test(path)) return 2;
  if (/^src\/([^/]+$|testing\/)/.test(path)) return 3;
  if (/^(bin|examples)\//.test(path)) return 4;
  return undefined;
}

/** Names that floors 0 and 1 must not mention: time, luck, the outside world, and everything that is not synchronous. */
const forbiddenNames = new Set(
  (
    'setTimeout setInterval setImmediate queueMicrotask Promise PromiseLike ' +
    'performance console process Buffer fetch WebSocket require'
  ).split(' '),
);
/** Members of otherwise welcome objects, with the same fault. */
const forbiddenMembers = new Set(
  'Date.now Math.random crypto.getRandomValues crypto.randomUUID crypto.subtle'.split(' '),
);

/** What is wrong with one file, as `path:line what`; empty when it keeps to its floor. */
function violations(path: string, source: string): string[] {
  const floor = floorOf(path);
  if (floor === undefined) return [`${path}:1 lies on no floor: give its folder one in test/floors.test.ts`];
  const found: string[] = [];
  for (const node of parse(path, source)) {
    const imported = importedBy(node);
    const problem =
      (imported === undefined ? undefined : importProblem(path, floor, imported)) ??
      (floor <= 1 ? impurity(node) : undefined);
    if (problem !== undefined) found.push(`${path}:${lineOf(source, node.start)} ${problem}`);
  }
  return found;
}

function importProblem(path: string, floor: Floor, imported: string): string | undefined {
  const refused = `floor ${floor} may not import '${imported}'`;
  if (/^[./]/.test(imported)) return mayReach(path, floor, imported) ? undefined : refused;
  if (packageOf(imported) === manifest.name) return floor === 4 ? undefined : refused;
  if (floor === 0) return refused;
  if (floor === 1) return path.startsWith('src/protocol/') && packageOf(imported) === 'msgpackr' ? undefined : refused;
  return undefined;
}

function mayReach(path: string, floor: Floor, imported: string): boolean {
  const target = posix.join(posix.dirname(path), imported);
  if (floor === 4) return publicEntries.includes(target) || topFolder(target) === topFolder(path);
  const targetFloor = floorOf(target);
  return targetFloor !== undefined && targetFloor <= floor;
}

/** `@scope/name/file` → `@scope/name`; `name/file` → `name`. */
function packageOf(imported: string): string {
  return /^(@[^/]+\/)?[^/]+/.exec(imported)?.[0] ?? imported;
}

function topFolder(path: string): string {
  return path.slice(0, path.indexOf('/') + 1);
}

// ---- Reading the syntax tree (ESTree with TypeScript's nodes) ----

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

/** All nodes of a file that mean something, in source order; names of properties are not among them. */
function parse(path: string, source: string): Node[] {
  const { program, errors } = parseSync(path, source);
  const error = errors[0];
  if (error !== undefined) throw new SyntaxError(`${path} does not parse: ${error.message}`);
  const nodes: Node[] = [];
  collect(program, nodes);
  return nodes;
}

function collect(value: unknown, nodes: Node[]): void {
  if (Array.isArray(value)) {
    for (const each of value) collect(each, nodes);
  } else if (isNode(value)) {
    nodes.push(value);
    for (const [field, child] of Object.entries(value)) {
      if (!isName(value, field)) collect(child, nodes);
    }
  }
}

/** Whether `field` of `node` is a plain name: `x.process`, `{ process: 1 }` and `import { a as b }` mention no global. */
function isName(node: Node, field: string): boolean {
  if (field === 'key' || field === 'property') return node['computed'] !== true;
  return ['label', 'imported', 'exported', 'qualifier'].includes(field);
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value;
}

/** What a node imports, if it is any of the forms of import: static, re-export, dynamic, type, `import x = require()`. */
function importedBy(node: Node): string | undefined {
  const from = node.type === 'TSExternalModuleReference' ? node['expression'] : node['source'];
  return isNode(from) ? textOf(from) : undefined;
}

function impurity(node: Node): string | undefined {
  if (node.type === 'ImportExpression') return 'floors 0 and 1 are synchronous: no import()';
  if (node.type === 'AwaitExpression' || node['await'] === true) return 'floors 0 and 1 are synchronous: no await';
  if (node['async'] === true) return 'floors 0 and 1 are synchronous: no async';
  if (node.type === 'NewExpression' && nameOf(node['callee']) === 'Date' && isEmpty(node['arguments'])) {
    return 'time is an argument on floors 0 and 1: no new Date()';
  }
  if (node.type === 'CallExpression' && nameOf(node['callee']) === 'Date') {
    return 'time is an argument on floors 0 and 1: no Date()';
  }
  const name = nameOf(node);
  if (name === undefined || !(forbiddenNames.has(name) || forbiddenMembers.has(name))) return undefined;
  return `floors 0 and 1 are pure and synchronous: no ${name}`;
}

/** `x` → "x", `x.y` and `x['y']` → "x.y", the same behind `globalThis.`; undefined for anything else. */
function nameOf(value: unknown): string | undefined {
  if (!isNode(value)) return undefined;
  if (value.type === 'Identifier') return value['name'] as string;
  if (value.type !== 'MemberExpression') return undefined;
  const object = nameOf(value['object']);
  const property = value['computed'] === true ? textOf(value['property']) : nameOf(value['property']);
  if (object === undefined || property === undefined) return undefined;
  return object === 'globalThis' ? property : `${object}.${property}`;
}

function textOf(value: unknown): string | undefined {
  return isNode(value) && typeof value['value'] === 'string' ? value['value'] : undefined;
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}

// ---- The repository ----

/** Every source file below `folder`, as paths from the root of the repository with `/`; none when there is no such folder. */
function sourceFiles(folder: string): string[] {
  let entries: string[];
  try {
    entries = readdirSync(join(repository, folder), { recursive: true, encoding: 'utf8' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .map((entry) => posix.join(folder, entry.replaceAll('\\', '/')))
    .filter((path) => /\.[cm]?[jt]sx?$/.test(path) && !path.includes('/node_modules/'))
    .toSorted();
}

function read(path: string): string {
  return readFileSync(join(repository, path), 'utf8');
}

describe('the sources', () => {
  test.each(['crdts', 'src', 'bin', 'examples'])(
    'imports in %s/ only go down, and floors 0 and 1 stay pure',
    (folder) => {
      expect(sourceFiles(folder).flatMap((path) => violations(path, read(path)))).toEqual([]);
    },
  );

  test('published code imports only packages that package.json promises to its users', () => {
    const promised = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies };
    const unpromised = ['crdts', 'src', 'bin']
      .flatMap(sourceFiles)
      .flatMap((path) => parse(path, read(path)).map((node) => ({ path, imported: importedBy(node) })))
      .filter(({ imported }) => imported !== undefined && !/^[./]/.test(imported) && !isBuiltin(imported))
      .filter(({ imported = '' }) => packageOf(imported) !== manifest.name && !(packageOf(imported) in promised));
    expect(unpromised).toEqual([]);
  });
});

describe('the checker', () => {
  test.each([
    ['crdts/clock.ts', `import { Dot } from './dot.ts';`],
    ['crdts/types/set.ts', `export type { Clock } from '../clock.ts';`],
    ['src/replica/stream.ts', `import { join } from '../../crdts/index.ts'; import { x } from '../cluster/peer.ts';`],
    ['src/protocol/codec.ts', `import { Packr } from 'msgpackr'; import { pack } from 'msgpackr/index-no-eval';`],
    ['src/edges/http/server.ts', `import http from 'node:http'; import 'ws'; import '../../replica/a.ts';`],
    [
      'src/node.ts',
      `import './edges/storage/lmdb.ts'; import './config.ts'; import './testing/net.ts'; import 'pino';`,
    ],
    ['src/testing/simulator.ts', `import { Node } from '../node.ts'; import '../../crdts/dot.ts';`],
    [
      'bin/hearsay.ts',
      `import { open } from '../src/index.ts'; import './table.ts'; import { Command } from 'commander';`,
    ],
    [
      'examples/cart.ts',
      `import { open } from 'hearsay'; import { simulate } from 'hearsay/testing'; import 'node:fs';`,
    ],
  ])('lets %s import downwards: %s', (path, source) => {
    expect(violations(path, source)).toEqual([]);
  });

  test.each([
    ['crdts/clock.ts', `import { x } from '../src/replica/stream.ts';`],
    ['crdts/clock.ts', `import type { Logger } from 'pino';`],
    ['crdts/clock.ts', `import 'node:crypto';`],
    ['crdts/clock.ts', `import fs from 'fs';`],
    ['crdts/clock.ts', `import { x } from '../test/support.ts';`],
    ['crdts/clock.ts', `export * from '../src/index.ts';`],
    ['crdts/clock.ts', `export { a } from '../src/index.ts';`],
    ['crdts/clock.ts', `type A = import('../src/config.ts').Config;`],
    ['crdts/clock.ts', `import ws = require('ws');`],
    ['src/replica/stream.ts', `import { Packr } from 'msgpackr';`],
    ['src/replica/stream.ts', `import { put } from '../edges/storage/lmdb.ts';`],
    ['src/replica/stream.ts', `import type { Config } from '../config.ts';`],
    ['src/protocol/codec.ts', `import { sha256 } from '@noble/hashes/sha2.js';`],
    ['src/protocol/codec.ts', `import { x } from 'msgpackr-extract';`],
    ['src/protocol/codec.ts', `import { hash } from 'node:crypto';`],
    ['src/edges/http/server.ts', `import type { Node } from '../../node.ts';`],
    ['src/edges/http/server.ts', `const node = await import('../../node.ts');`],
    ['src/edges/http/server.ts', `import { open } from 'hearsay';`],
    ['src/node.ts', `import { table } from '../bin/table.ts';`],
    ['src/testing/simulator.ts', `import { x } from '../../test/support.ts';`],
    ['bin/hearsay.ts', `import { Node } from '../src/node.ts';`],
    ['bin/hearsay.ts', `import { Clock } from '../crdts/clock.ts';`],
    ['bin/hearsay.ts', `import '../examples/cart.ts';`],
    ['examples/cart.ts', `import { Lmdb } from '../src/edges/storage/lmdb.ts';`],
  ])('refuses in %s: %s', (path, source) => {
    expect(violations(path, source)).toEqual([expect.stringContaining('may not import')]);
  });

  test.each([
    'const now = Date.now();',
    `const now = Date['now']();`,
    'const now = globalThis.Date.now();',
    'const now = new Date();',
    'const now = new Date;',
    'const now = Date();',
    'const luck = Math.random();',
    'const luck = globalThis.crypto.randomUUID();',
    'const now = performance.now();',
    'setTimeout(tick, 1);',
    'setInterval(tick, 1);',
    'setImmediate(tick);',
    'queueMicrotask(tick);',
    'globalThis.setTimeout(tick, 1);',
    `console.log('here');`,
    'const log = console;',
    'const home = process.env.HOME;',
    'const text = `${process.pid}`;',
    'const done = Promise.resolve();',
    'let done: Promise<void>;',
    'async function f() {}',
    'const f = async () => 1;',
    'const o = { async f() {} };',
    'await done;',
    'function* f(all: AsyncIterable<number>) { const bytes = Buffer.alloc(1); }',
    `const later = import('./dot.ts');`,
    `const fs = require('node:fs');`,
  ])('refuses on floors 0 and 1: %s', (source) => {
    expect(violations('crdts/clock.ts', source)).toHaveLength(1);
    expect(violations('src/replica/stream.ts', source)).toHaveLength(1);
  });

  test('leaves time, luck and promises to floor 2', () => {
    expect(violations('src/edges/clock.ts', 'export const now = async () => Date.now() + Math.random();')).toEqual([]);
  });

  test.each([
    '// Date.now() and Math.random() would be convenient here',
    '/** @returns a Promise; process.exit(1); await */',
    `const text = 'process.env, Date.now(), import("ws")';`,
    'const text = `await Promise ${1} setTimeout(`;',
    'const pattern = /console.log\\(Date.now\\(\\)\\)/;',
    'const then = new Date(now);',
    'const nonce = hello.process.nonce;',
    'const hello = { process: nonce, Promise: 1 };',
    'interface Hello { process: string; console(): void }',
    'class Peer { setTimeout() {} }',
    'const half = Math.floor(Date.UTC(2020) / 2);',
  ])('is not fooled by: %s', (source) => {
    expect(violations('crdts/clock.ts', source)).toEqual([]);
  });

  test('names the file and the line of a violation', () => {
    expect(violations('crdts/clock.ts', `/* é — 🦉\n */\n\nconst now = Date.now();\n`)).toEqual([
      'crdts/clock.ts:4 floors 0 and 1 are pure and synchronous: no Date.now',
    ]);
  });

  test('refuses a file on no floor', () => {
    expect(violations('src/helpers/misc.ts', '')).toEqual([expect.stringContaining('lies on no floor')]);
  });
});
