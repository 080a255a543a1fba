/** The command line, as processes of its own: every command in text and in JSON, its exit codes, and how a node starts and ends. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseDuration, parseValue } from '../bin/arguments.ts';
import { keySegment, parseNodeUrl } from '../bin/client.ts';
import { prettyLine } from '../bin/logging.ts';
import { hasColour, table } from '../bin/output.ts';
import { isLoopbackHost, ownCommand, reachableHosts, stopSignals, urlOf } from '../bin/platform.ts';
import { type Outcome, run, Running, type StartedNode, startNode } from './cli-process.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'hearsay-cli-'));
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

let dirCount = 0;
const newDir = (): string => join(scratch, String(++dirCount));

/** A write, without a process of its own. Resolves to whether it was acknowledged. */
async function put(url: string, key: string, value: unknown): Promise<boolean> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ value });
  return (await fetch(`${url}/v1/keys/${key}`, { method: 'PUT', headers, body })).ok;
}

/** Signals of POSIX; Windows ends a process that is sent one. */
const onPosix = test.skipIf(process.platform === 'win32');

describe('commands against a node', () => {
  let node: StartedNode;
  beforeAll(async () => {
    node = await startNode(['--dir', newDir(), '--name', 'ann']);
  });
  afterAll(async () => {
    await node.stop();
  });

  const hearsay = (...args: string[]): Promise<Outcome> => run(args, { env: { HEARSAY_URL: node.url } });

  /** What it prints, when all is well. */
  async function output(...args: string[]): Promise<string> {
    const { code, out, err } = await hearsay(...args);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    return out;
  }

  const json = async (...args: string[]): Promise<unknown> => JSON.parse(await output(...args, '--json')) as unknown;

  test('set and get', async () => {
    expect(await output('set', 'greeting', 'hello')).toBe('');
    expect(await output('get', 'greeting')).toBe('hello\n');
    expect(await json('get', 'greeting')).toEqual({ key: 'greeting', values: [{ type: 'register', value: 'hello' }] });
    expect(await json('get', 'greeting', '--type', 'register')).toEqual({
      key: 'greeting',
      type: 'register',
      value: 'hello',
    });
    expect(await json('set', 'greeting', 'hi')).toMatchObject({
      key: 'greeting',
      type: 'register',
      dots: [expect.any(String)],
    });
  });

  test.each([
    ['{"a": [1, null]}', [], '{"a":[1,null]}\n'],
    ['12', [], '12\n'],
    ['12', ['--string'], '12\n'],
    ['{"$bigint":"12"}', [], '{"$bigint":"12"}\n'],
    ['-5', [], '-5\n'],
    ['a "b"\nc', [], 'a "b"\nc\n'],
    ['', [], '\n'],
  ])('set x %j %j', async (value, options, text) => {
    await output('set', 'x', value, ...options);
    expect(await output('get', 'x')).toBe(text);
    const { value: stored } = (await json('get', 'x', '--type', 'register')) as { value: unknown };
    if (options.length > 0) expect(stored).toBe(value);
  });

  test('set reads standard input, and lets values expire', async () => {
    const { code } = await run(['set', 'piped', '-', '--url', node.url, '--ttl', '1h'], {
      input: '{"from":"stdin"}\n',
    });
    expect(code).toBe(0);
    expect(await output('get', 'piped')).toBe('{"from":"stdin"}\n');
  });

  test('a number that JSON would change is refused, with what to do', async () => {
    const { code, err } = await hearsay('set', 'x', '12345678901234567890');
    expect(code).toBe(2);
    expect(err).toContain('{"$bigint":"12345678901234567890"}');
  });

  test('incr', async () => {
    expect(await output('incr', 'visits')).toBe('1\n');
    expect(await output('incr', 'visits', '10')).toBe('11\n');
    expect(await output('incr', 'visits', '-3')).toBe('8\n');
    expect(await json('incr', 'visits')).toMatchObject({ key: 'visits', type: 'counter', value: 9 });
    expect(await hearsay('incr', 'visits', 'many')).toMatchObject({
      code: 2,
      err: expect.stringContaining('whole number'),
    });
  });

  test('add and remove', async () => {
    expect(await output('add', 'tags', 'milk', 'tea', '3')).toBe('');
    expect(await output('get', 'tags')).toBe('3\nmilk\ntea\n');
    expect(await json('remove', 'tags', 'tea')).toMatchObject({ key: 'tags', type: 'set' });
    expect(await output('get', 'tags', '--type', 'set')).toBe('3\nmilk\n');
    expect(await output('get', 'tags', '--has', 'milk')).toBe('true\n');
    expect(await hearsay('get', 'tags', '--has', '3', '--string')).toMatchObject({ code: 1, out: 'false\n', err: '' });
    expect(await json('add', 'tags', 'x', '--type', 'set-remove-wins')).toMatchObject({ type: 'set-remove-wins' });
    expect(await output('get', 'tags')).toBe('set-remove-wins\tx\nset\t3\nset\tmilk\n');
  });

  test('enable and disable', async () => {
    await output('enable', 'dark');
    expect(await output('get', 'dark')).toBe('true\n');
    expect(await json('disable', 'dark')).toMatchObject({ key: 'dark', type: 'flag' });
    expect(await output('get', 'dark', '--type', 'flag')).toBe('false\n');
    await output('enable', 'dark', '--ttl', '10m', '--type', 'flag-disable-wins');
    expect(await output('get', 'dark')).toBe('true\n');
  });

  test('fields of maps, also with names that no URL likes', async () => {
    await output('set', 'user:1', 'Ann', '--field', 'name');
    await output('incr', 'user:1', '-f', 'stats', '-f', '../visits?', '2');
    expect(await output('get', 'user:1')).toBe('{"name":"Ann","stats":{"../visits?":2}}\n');
    expect(await output('get', 'user:1', '-f', 'stats', '-f', '../visits?')).toBe('2\n');
    await output('del', 'user:1', '-f', 'stats');
    expect(await output('get', 'user:1', '--type', 'map')).toBe('{"name":"Ann"}\n');
  });

  test('del, and what is not there', async () => {
    await output('set', '..', 'dots');
    expect(await output('get', '..')).toBe('dots\n');
    expect(await json('del', '..')).toMatchObject({ key: '..', dots: [expect.any(String)] });
    expect(await hearsay('get', '..')).toEqual({
      code: 1,
      signal: null,
      out: '',
      err: 'error: there is no value at ".." [NotFound]\n',
    });
    const missing = await hearsay('get', 'nothing', '--json');
    expect(missing).toMatchObject({ code: 1, out: '' });
    expect(JSON.parse(missing.err)).toEqual({ error: { code: 'NotFound', message: 'there is no value at "nothing"' } });
  });

  test('ls', async () => {
    for (const key of ['l:a', 'l:b', 'l:c']) await output('set', key, `of ${key}`);
    await output('incr', 'l:b');
    expect(await output('ls', 'l:')).toBe(
      'l:a\tregister\tof l:a\nl:b\tcounter\t1\nl:b\tregister\tof l:b\nl:c\tregister\tof l:c\n',
    );
    expect(await output('ls', 'l:', '--keys', '--reverse')).toBe('l:c\nl:b\nl:a\n');
    expect(await output('ls', 'l:', '--after', 'l:b', '--json')).toBe(
      '{"key":"l:c","type":"register","value":"of l:c"}\n',
    );
    expect(await hearsay('ls', 'l:', '--keys', '-n', '2')).toMatchObject({
      code: 0,
      out: 'l:a\nl:b\n',
      err: expect.stringContaining('--after "l:b"'),
    });
    expect(await output('ls', 'l:', '--keys', '--all')).toBe('l:a\nl:b\nl:c\n');
    expect(await hearsay('ls', 'none:')).toMatchObject({ code: 0, out: '', err: 'no keys\n' });
  });

  test('ls ends well when nobody reads on', async () => {
    for (let i = 0; i < 30; i++) await put(node.url, `pipe:${i}`, 'x'.repeat(10_000));
    const listing = new Running(['ls', '--url', node.url, '--all']);
    await listing.line();
    listing.child.stdout?.destroy();
    expect((await listing.end).code).toBe(0);
  });

  test('status', async () => {
    expect(await json('status')).toMatchObject({
      name: 'ann',
      node: node.node,
      role: 'member',
      state: 'open',
      links: [],
    });
    const text = await output('status');
    expect(text).toContain(`node      ann (${node.node}), member`);
    expect(text).toContain('none connected');
  });

  test('watch, in text and JSON, from now, from the start, and from where it ended', async () => {
    const watching = new Running(['watch', 'w:', '--url', node.url]);
    // The same state may be told twice, and later than others.
    const seen = new Set<string | undefined>();
    const next = async (): Promise<string | undefined> => {
      let line = await watching.line();
      while (line !== undefined && seen.has(line)) line = await watching.line();
      seen.add(line);
      return line;
    };
    const first = next();
    // It may not have connected yet: write until it has seen one.
    for (let isSeen = false; !isSeen; ) {
      await put(node.url, 'w:1', 'one');
      isSeen = (await Promise.race([first, output('get', 'w:1')])) === 'w:1\tregister\tone';
    }
    await output('del', 'w:1');
    expect(await next()).toBe('w:1\tregister\t(deleted)');
    await output('add', 'w:2', 'x');
    expect(await next()).toBe('w:2\tset\t+ x');
    await output('remove', 'w:2', 'x');
    expect(await next()).toBe('w:2\tset\t- x');
    expect((await watching.stop('SIGINT')).code).toBe(process.platform === 'win32' ? null : 0);

    await output('set', 'w:3', '3');
    const listing = new Running(['watch', 'w:', '--url', node.url, '--since', 'start', '--json']);
    expect(await listing.line()).toContain('"event":"listing-begins"');
    expect(JSON.parse((await listing.line()) ?? '')).toMatchObject({
      event: 'change',
      key: 'w:3',
      type: 'register',
      isPresent: true,
      value: 3,
    });
    const { clock } = JSON.parse((await listing.line()) ?? '') as { clock: string };
    await listing.stop();
    await output('set', 'w:4', '4');
    const { out } = await hearsay('watch', 'w:', '--since', clock, '-n', '1');
    expect(out).toBe('w:4\tregister\t4\n');
    expect(await hearsay('watch', '--since', 'yesterday')).toMatchObject({
      code: 1,
      err: expect.stringContaining('[InvalidClock]'),
    });
  });

  test('watch goes on where it was when its connection breaks', async () => {
    const sockets = new Set<Socket>();
    const proxy = createTcpServer((socket) => {
      const onward = connect(node.port, '127.0.0.1');
      for (const each of [socket, onward]) each.on('error', () => {});
      sockets.add(socket);
      socket.pipe(onward).pipe(socket);
      socket.on('close', () => onward.destroy());
    });
    await new Promise<void>((resolve) => void proxy.listen(0, '127.0.0.1', resolve));
    const url = urlOf('127.0.0.1', (proxy.address() as AddressInfo).port);
    const watching = new Running(['watch', 'broken:', '--url', url, '--since', 'start', '--json']);
    await watching.line();
    await watching.line();
    for (const socket of sockets) socket.destroy();
    await output('set', 'broken:1', '1');
    await watching.errorLine('going on where it was');
    expect(await watching.line()).toContain('"broken:1"');
    await watching.stop();
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });

  test('the node is found by --url, HEARSAY_URL, and without the scheme', async () => {
    for (const url of [node.url, `127.0.0.1:${node.port}`, `localhost:${node.port}/`]) {
      expect((await run(['get', 'nothing', '-u', url])).code).toBe(1);
      expect((await run(['get', 'nothing'], { env: { HEARSAY_URL: url } })).code).toBe(1);
    }
  });
});

describe('what goes wrong', () => {
  test.each([
    [['bogus']],
    [['get']],
    [['get', 'a', 'b']],
    [['get', 'a', '--type', 'list']],
    [['set', 'a', 'b', '--ttl', 'soon']],
    [['ls', '--limit', '0']],
    [['get', 'a', '--url', 'ftp://x']],
    [['start', '--port', '65536']],
    [['start', '--role', 'king']],
    [['simulate', '--profile', 'none']],
    [[]],
  ])('%j is a usage error', async (args) => {
    const { code, out, err } = await run(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).not.toMatch(/^ {4}at /m);
  });

  test('a usage error is JSON where JSON is asked for', async () => {
    const { code, err } = await run(['get', '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(err)).toEqual({ error: { code: 'Usage', message: "missing required argument 'key'" } });
  });

  test('no node, and something else in its place, are said to be', async () => {
    const server = createServer((_request, response) => void response.end('<h1>hello</h1>'));
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const other = await run(['status', '--url', `127.0.0.1:${port}`]);
    expect(other).toMatchObject({ code: 3, err: expect.stringContaining('is not a hearsay node') });
    await new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
    const nobody = await run(['status', '--url', `127.0.0.1:${port}`]);
    expect(nobody).toMatchObject({ code: 3, out: '', err: expect.stringContaining('hearsay start') });
    expect(nobody.err.trim().split('\n')).toHaveLength(2);
  });
});

describe('help', () => {
  test('names every command, and each has examples and exit codes are told', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    expect(out).toContain('Exit codes:');
    const names = 'start get set del incr add remove enable disable ls watch status simulate'.split(' ');
    const helps = await Promise.all(names.map((name) => run([name, '--help'])));
    for (const [i, help] of helps.entries()) {
      expect(out).toContain(`  ${names[i]} `);
      expect(help).toMatchObject({ code: 0, err: '' });
      expect(help.out).toContain('Examples:');
      expect(help.out).toContain('--json');
      expect(Math.max(...help.out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    }
  });

  test('tells the version', async () => {
    expect((await run(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('start', () => {
  let nodes: Running[] = [];
  beforeEach(() => {
    nodes = [];
  });
  afterEach(async () => {
    await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
  });

  async function start(...args: string[]): Promise<StartedNode> {
    const node = await startNode(args);
    nodes.push(node);
    return node;
  }

  test('says what it is, where it listens, and how to join it', async () => {
    const dir = newDir();
    const node = new Running(['start', '--port', '0', '--dir', dir, '--name', 'ann']);
    nodes.push(node);
    let text = '';
    for (let line = await node.line(); line !== undefined; line = await node.line()) {
      text += `${line}\n`;
      if (line.includes('join it')) break;
    }
    expect(text).toMatch(/node +ann \([0-9a-f]{32}\)/);
    expect(text).toContain(dir);
    const [, url = ''] = /listening +(http:\/\/127\.0\.0\.1:\d+)/.exec(text) ?? [];
    expect(text).toMatch(new RegExp(`join it +node .*hearsay.js start --dir \\./second --port \\d+ --join ${url}\n`));
    expect((await run(['status', '--url', url])).code).toBe(0);
  });

  test('two nodes, one joined to the other by its URL, converge, and again after a cut', async () => {
    const dirs = [newDir(), newDir()] as const;
    const ann = await start('--dir', dirs[0], '--name', 'ann');
    await run(['set', 'early', '1', '--url', ann.url]);
    const bob = await start('--dir', dirs[1], '--name', 'bob', '--join', `127.0.0.1:${ann.port}`);
    const see = async (key: string, url: string): Promise<string> =>
      (await run(['watch', key, '--since', 'start', '-n', '1', '--url', url])).out;
    expect(await see('early', bob.url)).toBe('early\tregister\t1\n');
    await run(['add', 'tags', 'from-bob', '--url', bob.url]);
    expect(await see('tags', ann.url)).toBe('tags\tset\t+ from-bob\n');
    const status = (await run(['status', '--url', ann.url])).out;
    expect(status).toMatch(/^bob +member +(equal|syncing|comparing)/m);

    await bob.stop('SIGKILL');
    await run(['incr', 'n', '5', '--url', ann.url]);
    const again = await start('--dir', dirs[1], '--name', 'bob');
    await run(['incr', 'n', '2', '--url', again.url]);
    expect((await run(['get', 'n', '--url', again.url])).out).toBe('2\n');
    await again.stop();
    const joined = await start('--dir', dirs[1], '--name', 'bob', '--join', ann.url);
    const watching = new Running(['watch', 'n', '--since', 'start', '--url', joined.url]);
    for (let line = await watching.line(); line !== 'n\tcounter\t7'; line = await watching.line())
      expect(line).toBe('n\tcounter\t2');
    await watching.stop();
    expect((await run(['get', 'n', '--url', joined.url])).out).toBe('7\n');
  }, 60_000);

  onPosix(
    'SIGTERM and SIGINT finish what is under way, lose nothing, and exit with 0',
    async () => {
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
        const dir = newDir();
        const node = await start('--dir', dir);
        const acknowledged: string[] = [];
        let isOver = false;
        const writers = Array.from({ length: 8 }, async (_, writer) => {
          for (let i = 0; !isOver; i++) {
            const key = `${writer}:${i}`;
            if (!(await put(node.url, key, 1).catch(() => false))) return;
            acknowledged.push(key);
            if (acknowledged.length === 100) node.child.kill(signal);
          }
        });
        const { code, err } = await node.end;
        isOver = true;
        await Promise.all(writers);
        expect(code).toBe(0);
        expect(err).toContain('"stopped"');
        const again = await start('--dir', dir);
        const kept = new Set((await run(['ls', '--keys', '--all', '--url', again.url])).out.split('\n'));
        expect(acknowledged.filter((key) => !kept.has(key))).toEqual([]);
        expect(acknowledged.length).toBeGreaterThanOrEqual(100);
        await again.stop();
      }
    },
    60_000,
  );

  onPosix('a second signal does not wait', async () => {
    const node = await start('--dir', newDir());
    // A request that never ends holds up the first.
    const socket = connect(node.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      'PUT /v1/keys/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n{',
    );
    await new Promise((resolve) => void socket.once('data', resolve));
    node.child.kill('SIGTERM');
    await node.errorLine('stopping');
    const { code, err } = await node.stop('SIGTERM');
    expect(code).toBe(1);
    expect(err).not.toContain('"stopped"');
  });

  test('a port that is taken, and a directory that is, are said to be, with what to do', async () => {
    const dir = newDir();
    const node = await start('--dir', dir);
    const port = await run(['start', '--dir', newDir(), '--port', String(node.port)]);
    expect(port).toMatchObject({ code: 1, out: '', err: expect.stringContaining('[PortInUse]') });
    expect(port.err).toContain('--port 0');
    const locked = await run(['start', '--dir', dir, '--port', '0']);
    expect(locked).toMatchObject({ code: 1, out: '', err: expect.stringContaining('[StorageLocked]') });
    expect(locked.err).toContain('--dir');
    for (const { err } of [port, locked]) expect(err.trim().split('\n')).toHaveLength(2);
    const debug = await run(['start', '--dir', dir, '--port', '0', '--log-level', 'debug']);
    expect(debug.err).toMatch(/^ {4}at /m);
  });

  test.each([
    [['--host', '192.0.2.1'], 1, 'AddressUnavailable'],
    [['--join', 'ftp://x'], 2, 'InvalidOption'],
    [['--name', ''], 2, 'InvalidOption'],
  ])('%j exits with %i: %s', async (args, code, name) => {
    const dir = newDir();
    expect(await run(['start', '--dir', dir, '--port', '0', ...args])).toMatchObject({
      code,
      out: '',
      err: expect.stringContaining(`[${name}]`),
    });
  });

  test('a directory that cannot be one is said to be', async () => {
    const file = newDir();
    writeFileSync(file, 'a file');
    const { code, err } = await run(['start', '--dir', file, '--port', '0']);
    expect(code).toBe(1);
    expect(err).toMatch(/\[[A-Z]\w+\]\n/);
    expect(err).not.toMatch(/^ {4}at /m);
  });

  onPosix('when its disk fails, the node says so and exits with 1; what it acknowledged is kept', async () => {
    const dir = newDir();
    // No file may grow beyond this many blocks, of 512 or 1,024 bytes by the shell.
    const node = await startNode(['--dir', dir], { first: 'ulimit -f 1000' });
    nodes.push(node);
    const acknowledged: string[] = [];
    for (let i = 0; await put(node.url, `k${i}`, 'x'.repeat(90_000)).catch(() => false); i++)
      acknowledged.push(`k${i}`);
    const { code, err } = await node.end;
    expect(code).toBe(1);
    expect(err).toMatch(/^error: The store in .* failed .*\[StorageFailed\]$/m);
    const again = await start('--dir', dir);
    expect((await run(['ls', '--keys', '--all', '--url', again.url])).out.split('\n')).toEqual(
      expect.arrayContaining(acknowledged),
    );
    expect(acknowledged.length).toBeGreaterThan(0);
  });

  test('opening the node to its network is warned of', async () => {
    const node = await start('--dir', newDir(), '--host', '0.0.0.0', '--log-level', 'silent');
    expect(await node.errorLine('warning')).toContain('read and change everything');
    await node.stop();
  });
});

describe('simulate', () => {
  test('runs clusters, reports, and repeats by the seed', async () => {
    const text = await run(['simulate', '--seed', '7', '--runs', '3']);
    expect(text).toMatchObject({ code: 0, err: '' });
    expect(text.out).toContain('from seed 7');
    const reports = await Promise.all([1, 2].map(() => run(['simulate', '--seed', '7', '--runs', '3', '--json'])));
    const [one, two] = reports.map(({ out }) => ({ ...(JSON.parse(out) as object), elapsedMs: 0 }));
    expect(one).toMatchObject({ seed: 7, runs: 3, failures: [] });
    expect(one).toEqual(two);
  }, 60_000);

  test('says when a schedule is none', async () => {
    expect(await run(['simulate', '--schedule', join(scratch, 'none.json')])).toMatchObject({
      code: 1,
      err: expect.stringContaining('[FileUnreadable]'),
    });
  });
});

describe('the pieces', () => {
  test.each([
    ['1', 1],
    ['"1"', '1'],
    ['hello', 'hello'],
    ['007', '007'],
    ['null', null],
    ['9007199254740991', 9007199254740991],
  ])('the value %s is %j', (text, value) => {
    expect(parseValue(text, false)).toEqual(value);
    expect(parseValue(text, true)).toBe(text);
  });

  test('durations have units', () => {
    expect(['500ms', '30s', '1.5h', '7d'].map(parseDuration)).toEqual([500, 30_000, 5_400_000, 604_800_000]);
    for (const text of ['5', 's', '-5s', '5 s', '']) expect(() => parseDuration(text)).toThrow();
  });

  test('keys become parts of URLs that no client resolves away', () => {
    expect(['a/b', '', '.', '..', '~x', 'é'].map(keySegment)).toEqual(['a%2Fb', '~', '~.', '~..', '~~x', '%C3%A9']);
  });

  test('the address of a node is a URL without a query', () => {
    expect(parseNodeUrl('nas.lan:7717').href).toBe('http://nas.lan:7717/');
    expect(parseNodeUrl('http://[::1]:7717').host).toBe('[::1]:7717');
    for (const text of ['', 'ws://x', 'http://', 'http://x?y', 'x:y:z']) expect(() => parseNodeUrl(text)).toThrow();
  });

  test('tables fit, however wide their cells', () => {
    const rows = [
      ['short', 'x'.repeat(100)],
      ['日本語', '🙂'.repeat(30)],
    ];
    const [head, ...lines] = table(['KEY', 'VALUE'], rows, 40);
    expect(head).toBe('KEY     VALUE');
    expect(lines[0]).toBe(`short   ${'x'.repeat(31)}…`);
    expect(lines[1]).toBe(`日本語  ${'🙂'.repeat(15)}…`);
    expect(table(['A', 'B'], [['a'.repeat(30), 'b'.repeat(30)]], 20)[1]).toBe(`${'a'.repeat(8)}…  ${'b'.repeat(8)}…`);
  });

  test('colour is for terminals that want it', () => {
    const terminal = { isTTY: true };
    expect(hasColour(terminal, {})).toBe(true);
    expect(hasColour(terminal, { NO_COLOR: '' })).toBe(true);
    expect(hasColour(terminal, { NO_COLOR: '1' })).toBe(false);
    expect(hasColour(terminal, { TERM: 'dumb' })).toBe(false);
    expect(hasColour({}, {})).toBe(false);
  });

  test('log lines for people are one line, whatever is in them', () => {
    const line = prettyLine({
      time: '2030-01-01T12:00:00Z',
      level: 'warn',
      msg: 'odd',
      peer: 'a\u001b[2J',
      n: 1,
      error: { message: 'no\nway' },
    });
    expect(line).toMatch(/^\d\d:00:00 warn {2}odd {2}peer="a\\u001b\[2J" n=1 error="no\\nway"$/);
  });

  test('Windows has other signals', () => {
    expect(stopSignals('linux')).toContain('SIGTERM');
    expect(stopSignals('win32')).toEqual(['SIGINT', 'SIGBREAK', 'SIGHUP']);
  });

  test('the command to join is what was typed to start', () => {
    expect(ownCommand({ npm_lifecycle_event: 'start' }, '/app/dist/bin/hearsay.js', '/app')).toEqual({
      start: 'npm start --',
      client: 'node dist/bin/hearsay.js',
    });
    expect(ownCommand({ npm_command: 'exec' }, '/x/.bin/hearsay').start).toBe('npx hearsay start');
    expect(ownCommand({}, '/usr/local/bin/hearsay').start).toBe('hearsay start');
    expect(ownCommand({}, '/app/dist/bin/hearsay.js', '/app/dist').start).toBe('node bin/hearsay.js start');
  });

  test('where others reach a node', () => {
    const interfaces = {
      lo: [{ address: '127.0.0.1', family: 'IPv4', internal: true }],
      eth0: [
        { address: 'fe80::1', family: 'IPv6', internal: false, scopeid: 2 },
        { address: 'fd00::7', family: 'IPv6', internal: false, scopeid: 0 },
        { address: '192.168.1.7', family: 'IPv4', internal: false },
      ],
    } as unknown as Parameters<typeof reachableHosts>[1];
    expect(reachableHosts('0.0.0.0', interfaces)).toEqual(['192.168.1.7', 'fd00::7']);
    expect(reachableHosts('::', {})).toEqual(['127.0.0.1']);
    expect(reachableHosts('192.168.1.7', interfaces)).toEqual(['192.168.1.7']);
    expect(['localhost', '127.0.0.2', '::1', '0.0.0.0', '192.168.1.7'].map(isLoopbackHost)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(urlOf('::1', 7717)).toBe('http://[::1]:7717');
  });
});
