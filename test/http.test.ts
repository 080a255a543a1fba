/** The HTTP API, over a store in memory and a real socket: what docs/HTTP.md promises, and what hostile clients cannot do. */
import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HearsayError } from '../crdts/error.ts';
import { isOnThisMachine, isOwnHost, refusalOfUpgrade } from '../src/edges/http/browsers.ts';
import { fromJson, toJson } from '../src/edges/http/json.ts';
import { BODY_BYTES_MAX } from '../src/edges/http/request.ts';
import { answerWithoutUpgrade, closeHttpServer, createHttpServer, listen } from '../src/edges/http/server.ts';
import { allOf, EventReader, occupyPort, type Running, startApi } from './http-fake.ts';
import { values } from './support/arbitraries.ts';

let node: Running;
const logged: unknown[] = [];

beforeEach(async () => {
  logged.length = 0;
  node = await startApi({ logger: { error: (fields, message) => void logged.push({ message, ...fields }) } });
});

afterEach(async () => {
  await node.close();
});

/** What every refusal looks like. */
function expectProblem(answer: { status: number; json: unknown; headers: object }, status: number, code: string): void {
  expect(answer.json).toMatchObject({ status, code, title: expect.any(String), detail: expect.any(String) });
  expect(answer.status).toBe(status);
  expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json' });
}

describe('values', () => {
  test('a register is put, read, and deleted', async () => {
    const written = await node.put('/v1/keys/greeting', { value: { a: [1, null, 'é'] } });
    expect(written).toMatchObject({
      status: 200,
      json: { key: 'greeting', type: 'register', dots: ['0102030405060708:1'] },
    });
    expect((await node.ask('/v1/keys/greeting?type=register')).json).toEqual({
      key: 'greeting',
      type: 'register',
      value: { a: [1, null, 'é'] },
    });
    expect((await node.ask('/v1/keys/greeting', { method: 'DELETE' })).status).toBe(200);
    expectProblem(await node.ask('/v1/keys/greeting?type=register'), 404, 'NotFound');
    expectProblem(await node.ask('/v1/keys/greeting'), 404, 'NotFound');
  });

  test('a counter adds, tells its sum, and is reset', async () => {
    expect((await node.post('/v1/keys/visits?type=counter', { op: 'add', amount: 5 })).json).toMatchObject({
      value: 5,
    });
    expect((await node.post('/v1/keys/visits?type=counter', { op: 'add' })).json).toMatchObject({ value: 6 });
    expect((await node.post('/v1/keys/visits?type=counter', { op: 'add', amount: -10 })).json).toMatchObject({
      value: -4,
    });
    await node.ask('/v1/keys/visits?type=counter', { method: 'DELETE' });
    expect((await node.ask('/v1/keys/visits?type=counter')).json.value).toBe(0);
  });

  test('a counter beyond the safe integers is told exactly', async () => {
    const amount = Number.MAX_SAFE_INTEGER;
    await node.post('/v1/keys/n?type=counter', { op: 'add', amount });
    expect((await node.post('/v1/keys/n?type=counter', { op: 'add', amount })).json.value).toEqual({
      $bigint: String(2n * BigInt(amount)),
    });
  });

  test.each(['flag', 'flag-disable-wins'])('a %s is put on and off', async (type) => {
    expect((await node.ask(`/v1/keys/dark?type=${type}`)).json.value).toBe(false);
    await node.put(`/v1/keys/dark?type=${type}`, { value: true });
    expect((await node.ask(`/v1/keys/dark?type=${type}`)).json.value).toBe(true);
    await node.put(`/v1/keys/dark?type=${type}`, { value: false });
    expect((await node.ask(`/v1/keys/dark?type=${type}`)).json.value).toBe(false);
  });

  test.each(['set', 'set-remove-wins'])('a %s takes elements, gives them, and knows each', async (type) => {
    await node.post(`/v1/keys/tags?type=${type}`, { op: 'add', value: 'milk' });
    await node.post(`/v1/keys/tags?type=${type}`, { op: 'add', value: { $bigint: '1' } });
    await node.post(`/v1/keys/tags?type=${type}`, { op: 'add', value: 'tea' });
    await node.post(`/v1/keys/tags?type=${type}`, { op: 'remove', value: 'tea' });
    expect((await node.ask(`/v1/keys/tags?type=${type}`)).json.value).toEqual([{ $bigint: '1' }, 'milk']);
    const has = (element: string) => node.ask(`/v1/keys/tags?type=${type}&element=${encodeURIComponent(element)}`);
    expect((await has('"milk"')).json).toEqual({ key: 'tags', type, element: 'milk', value: true });
    expect((await has('1')).json.value).toBe(false);
    expect((await has('{"$bigint":"1"}')).json.value).toBe(true);
    await node.ask(`/v1/keys/tags?type=${type}`, { method: 'DELETE' });
    expect((await node.ask(`/v1/keys/tags?type=${type}`)).json.value).toEqual([]);
  });

  test('fields of maps are reached by name, at any depth', async () => {
    await node.put('/v1/keys/user%3A1?field=name', { value: 'Ann' });
    await node.post('/v1/keys/user%3A1?field=stats&field=visits&type=counter', { op: 'add', amount: 2 });
    expect((await node.ask('/v1/keys/user:1?type=map')).json.value).toEqual({ name: 'Ann', stats: { visits: 2 } });
    expect((await node.ask('/v1/keys/user:1?field=name&type=register')).json).toEqual({
      key: 'user:1',
      fields: ['name'],
      type: 'register',
      value: 'Ann',
    });
    expect((await node.ask('/v1/keys/user:1?field=stats&field=visits')).json).toEqual({
      key: 'user:1',
      fields: ['stats', 'visits'],
      values: [{ type: 'counter', value: 2 }],
    });
    await node.post('/v1/keys/user:1?field=name&type=counter', { op: 'add' });
    await node.put('/v1/keys/user:1?field=$x', { value: { $date: '1970-01-01T00:00:00.000Z' } });
    const whole = (await node.ask('/v1/keys/user:1?type=map')).json.value;
    expect(fromJson(whole)).toEqual(node.store.map('user:1').toObject());
    expect(Object.keys(whole)).toEqual(['$$x', 'name', 'name (register)', 'stats']);
    await node.ask('/v1/keys/user:1?field=name&type=counter', { method: 'DELETE' });
    await node.ask('/v1/keys/user:1?field=$x', { method: 'DELETE' });
    expect((await node.ask('/v1/keys/user:1?field=stats', { method: 'DELETE' })).json).toMatchObject({
      fields: ['stats'],
    });
    expect((await node.ask('/v1/keys/user:1?type=map')).json.value).toEqual({ name: 'Ann' });
  });

  test('several types under one key are told apart', async () => {
    await node.put('/v1/keys/x', { value: 1 });
    await node.put('/v1/keys/x?type=flag', { value: true });
    await node.put('/v1/keys/xy', { value: 2 });
    expect((await node.ask('/v1/keys/x')).json).toEqual({
      key: 'x',
      values: [
        { type: 'flag', value: true },
        { type: 'register', value: 1 },
      ],
    });
  });

  test('a time to live is taken, and checked', async () => {
    expect((await node.put('/v1/keys/x', { value: 1, ttlMs: 60_000 })).status).toBe(200);
    expectProblem(await node.put('/v1/keys/x', { value: 1, ttlMs: 0 }), 400, 'InvalidTtl');
    expectProblem(await node.put('/v1/keys/x', { value: 1, ttlMs: '5' }), 400, 'InvalidRequest');
    expectProblem(await node.put('/v1/keys/x?type=flag', { value: false, ttlMs: 5 }), 400, 'InvalidRequest');
  });

  test.each(['.', '..', '', '~', '~x', 'a/b', 'a b', 'a+b', '%', 'é😀', '\0', '?#&='])(
    'the key %j has a path',
    async (key) => {
      const path = `/v1/keys/${encodeURIComponent(['', '.', '..'].includes(key) || key.startsWith('~') ? `~${key}` : key)}`;
      expect((await node.put(path, { value: 1 })).json).toMatchObject({ key });
      expect([...node.store.keys()]).toEqual([key]);
    },
  );

  test('a write is answered once it is durable, and not before', async () => {
    let open!: () => void;
    node.store.gate = new Promise((resolve) => void (open = resolve));
    let isAnswered = false;
    const answer = node.put('/v1/keys/x', { value: 1 }).finally(() => void (isAnswered = true));
    // Another request goes in and out meanwhile, and already sees it: reads are of what is here now.
    while ((await node.ask('/v1/keys/x?type=register')).status !== 200);
    expect(isAnswered).toBe(false);
    open();
    expect((await answer).status).toBe(200);
  });

  test('a set that is too large for one answer is refused, not cut', async () => {
    for (let i = 0; i <= 10_000; i++) void node.store.set('big').add(i);
    expectProblem(await node.ask('/v1/keys/big?type=set'), 422, 'AnswerTooLarge');
    expect((await node.ask('/v1/keys/big?type=set&element=77')).json.value).toBe(true);
    expect((await node.ask('/v1/keys?values')).json.items).toEqual([{ key: 'big', type: 'set' }]);
  });
});

describe('JSON', () => {
  test('gives back every value that was put, and by one form only', () => {
    fc.assert(
      fc.property(values, (value) => {
        const json = JSON.parse(JSON.stringify(toJson(value))) as unknown;
        // −0 has no JSON of its own; the store takes it for 0 anyway.
        expect(fromJson(json)).toEqual(withoutMinusZero(value));
        expect(JSON.stringify(toJson(fromJson(json)))).toBe(JSON.stringify(json));
      }),
    );
  });

  test.each([
    [12n, '{"$bigint":"12"}'],
    [new Date(0), '{"$date":"1970-01-01T00:00:00.000Z"}'],
    [Uint8Array.of(0xde, 0xad, 0xbe, 0xef), '{"$bytes":"3q2+7w=="}'],
    [Number.NaN, '{"$number":"NaN"}'],
    [Number.NEGATIVE_INFINITY, '{"$number":"-Infinity"}'],
    [{ $date: 5, $$: 1, a$: 2 }, '{"$$date":5,"$$$":1,"a$":2}'],
    [JSON.parse('{"__proto__":{"x":1}}'), '{"__proto__":{"x":1}}'],
  ])('%o is %s', (value, text) => {
    expect(JSON.stringify(toJson(value))).toBe(text);
    expect(fromJson(JSON.parse(text))).toEqual(value);
  });

  test.each([
    '{"$unknown":1}',
    '{"$bigint":"1","a":1}',
    '{"$bigint":1}',
    '{"$bigint":"1.5"}',
    '{"$bigint":""}',
    '{"$date":"yesterday"}',
    '{"$date":"2024-13-01T00:00:00Z"}',
    '{"$date":1}',
    '{"$bytes":"a"}',
    '{"$bytes":"3q2-7w=="}',
    '{"$number":"1"}',
    '{"$":1}',
    '1e999',
  ])('refuses %s', (text) => {
    expect(() => fromJson(JSON.parse(text))).toThrow(expect.objectContaining({ code: 'InvalidValue' }));
  });

  test('large bigints go in hexadecimal, both ways', () => {
    const decimal = { $bigint: '9'.repeat(100_001) };
    expect(() => fromJson(decimal)).toThrow(expect.objectContaining({ code: 'InvalidValue' }));
    for (const value of [2n ** 500_000n, -(2n ** 500_000n)]) expect(fromJson(toJson(value))).toBe(value);
  });

  test('refuses what is too deep, however deep', () => {
    for (const depth of [33, 500_000]) {
      const json = JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown;
      expect(() => fromJson(json)).toThrow(expect.objectContaining({ code: 'ValueTooDeep' }));
    }
  });
});

function withoutMinusZero(value: unknown): unknown {
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(withoutMinusZero);
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, withoutMinusZero(field)]));
}

describe('listing', () => {
  beforeEach(() => {
    for (const key of ['a', 'b', 'c:1', 'c:2', 'd']) void node.store.register(key).set(key);
    void node.store.counter('b').add(1);
  });

  test('gives keys with their types, and values when asked', async () => {
    expect((await node.ask('/v1/keys')).json).toEqual({
      items: [
        { key: 'a', type: 'register' },
        { key: 'b', type: 'counter' },
        { key: 'b', type: 'register' },
        { key: 'c:1', type: 'register' },
        { key: 'c:2', type: 'register' },
        { key: 'd', type: 'register' },
      ],
      next: null,
    });
    expect((await node.ask('/v1/keys?prefix=c%3A&values=true')).json.items).toEqual([
      { key: 'c:1', type: 'register', value: 'c:1' },
      { key: 'c:2', type: 'register', value: 'c:2' },
    ]);
  });

  test.each([
    ['', ['a', 'b', 'c:1', 'c:2', 'd']],
    ['&reverse', ['d', 'c:2', 'c:1', 'b', 'a']],
  ])('pages through all of them%s, a key with its types on one page', async (reverse, keys) => {
    const seen: string[] = [];
    for (let after: string | null = null; ; ) {
      const cursor: string = after === null ? '' : `&after=${encodeURIComponent(after)}`;
      const { items, next } = (await node.ask(`/v1/keys?limit=2${reverse}${cursor}`)).json;
      seen.push(...new Set<string>(items.map((item: { key: string }) => item.key)));
      if (next === null) break;
      after = next;
    }
    expect(seen).toEqual(keys);
  });

  test('a page ends early when its values are large', async () => {
    for (let i = 0; i < 5; i++) void node.store.register(`big:${i}`).set('x'.repeat(400_000));
    const { items, next } = (await node.ask('/v1/keys?prefix=big&values')).json;
    expect(items).toHaveLength(3);
    expect(next).toBe('big:2');
  });
});

describe('watching', () => {
  test('tells of changes as they come, with deletes, elements and fields', async () => {
    const events = new EventReader(node, '/v1/watch?prefix=a');
    expect(await events.status).toBe(200);
    expect(await events.headers).toMatchObject({ 'content-type': 'text/event-stream' });
    void node.store.register('b').set('unseen');
    void node.store.register('a').set(12n);
    expect(await events.next()).toEqual({
      event: 'change',
      id: '2',
      data: { key: 'a', type: 'register', isPresent: true, value: { $bigint: '12' } },
    });
    void node.store.register('a').delete();
    expect((await events.next())?.data).toEqual({ key: 'a', type: 'register', isPresent: false });
    void node.store.map('a').field('tags').set().add('x');
    expect((await events.next())?.data).toEqual({
      key: 'a',
      fields: ['tags'],
      type: 'set',
      element: 'x',
      isPresent: true,
    });
    events.close();
  });

  test.each(['since', 'last-event-id'])('resumes by %s without loss', async (by) => {
    const first = new EventReader(node, '/v1/watch');
    await first.status;
    void node.store.register('a').set(1);
    const { id = '' } = (await first.next()) ?? {};
    first.close();
    for (let i = 0; i < 500; i++) void node.store.register(`k${String(i).padStart(3, '0')}`).set(i);
    const second =
      by === 'since'
        ? new EventReader(node, `/v1/watch?since=${id}`)
        : new EventReader(node, '/v1/watch?since=0', { 'last-event-id': id });
    const seen: number[] = [];
    let lastId: string | undefined;
    while (seen.length < 250) {
      const event = await second.next();
      seen.push(event?.data.value);
      lastId = event?.id ?? lastId;
    }
    second.close();
    const third = new EventReader(node, `/v1/watch?since=${lastId}`);
    const again = ((await third.next())?.data.value ?? 0) as number;
    expect(again).toBeGreaterThan(250 - 64);
    seen.splice(again, seen.length, again);
    while (seen.length < 500) seen.push((await third.next())?.data.value);
    third.close();
    expect(seen).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  test('a listing stands between its marks', async () => {
    void node.store.register('a').set(1);
    const events = new EventReader(node, '/v1/watch?since=start');
    const all = [await events.next(), await events.next(), await events.next()];
    expect(all.map((each) => each?.event)).toEqual(['listing-begins', 'change', 'listing-ends']);
    expect(all[2]).toMatchObject({ id: '1', data: {} });
    events.close();
  });

  test('a clock that is none is refused with a status, as long as there is one', async () => {
    expectProblem(await node.ask('/v1/watch?since=tomorrow'), 400, 'InvalidClock');
  });

  test('a slow reader takes nothing from the feed that it cannot send, and gets the newest state later', async () => {
    const socket = node.raw('GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await new Promise((resolve) => void socket.once('data', resolve));
    socket.pause();
    const text = 'x'.repeat(100_000);
    for (let i = 0; i < 500; i++) void node.store.register(`k${i}`).set(text + i);
    // 50 MB are waiting; what is taken is what fits the pipes, and stops there.
    let before = -1;
    while (before !== node.store.takenCount) {
      before = node.store.takenCount;
      for (let i = 0; i < 20; i++) await node.ask('/healthz');
    }
    expect(node.store.takenCount).toBeLessThan(250);
    void node.store.register('k499').set('the newest');
    let all = '';
    socket.on('data', (chunk) => void (all += chunk.toString().slice(-1_000)));
    socket.resume();
    while (!all.includes('the newest')) await new Promise((resolve) => void socket.once('data', resolve));
    expect(node.store.takenCount).toBe(500);
    socket.destroy();
  });

  test('the stream ends when the store is closed, and when the API is', async () => {
    const events = new EventReader(node, '/v1/watch');
    await events.status;
    node.store.close();
    expect(await events.next()).toBeUndefined();
    const others = await startApi();
    const more = new EventReader(others, '/v1/watch');
    await more.status;
    await others.close();
    expect(await more.next()).toBeUndefined();
  });

  test('many streams at once raise no warning of a leak', async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warn);
    const readers = Array.from({ length: 30 }, () => new EventReader(node, '/v1/watch'));
    await Promise.all(readers.map(({ status }) => status));
    void node.store.register('a').set(1);
    for (const reader of readers) expect((await reader.next())?.data.value).toBe(1);
    for (const reader of readers) reader.close();
    process.off('warning', warn);
    expect(warnings).toEqual([]);
  });

  test('a client that goes is forgotten', async () => {
    const events = new EventReader(node, '/v1/watch');
    await events.status;
    events.close();
    await node.api.close();
  });
});

const upgrade = (headers: Readonly<Record<string, string>>): IncomingMessage =>
  ({ headers, socket: { localAddress: '127.0.0.1' } }) as unknown as IncomingMessage;

describe('who may ask', () => {
  test.each(['localhost', 'LOCALHOST:1', '127.0.0.1:7717', '127.9.9.9', '[::1]:80'])(
    'Host %s is ours',
    async (host) => {
      expect((await node.ask('/v1/status', { headers: { host } })).status).toBe(200);
    },
  );

  test.each(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:7717', '192.168.1.7', 'localhost:x'])(
    'Host %j is not (DNS rebinding)',
    async (host) => {
      expectProblem(await node.ask('/v1/status', { headers: { host } }), 403, 'ForeignHost');
      expect((await node.ask('/healthz', { headers: { host } })).json).toEqual({ status: 'ok' });
    },
  );

  test('a request without a Host is nobody we know', async () => {
    for (const version of ['1.0', '1.1']) {
      const text = await allOf(node.raw(`GET /v1/status HTTP/${version}\r\nconnection: close\r\n\r\n`));
      expect(text).toContain('"code":"ForeignHost"');
    }
  });

  test.each([
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:3000', host: 'localhost:7717' },
    { origin: 'http://evil.example', host: 'evil.example' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ])('a foreign page is refused: %j', async (headers: Record<string, string>) => {
    const answer = await node.ask('/v1/keys/x', { method: 'PUT', body: { value: 1 }, headers });
    expect(answer.status).toBe(403);
    expect(node.store.has('x')).toBe(false);
    expect(refusalOfUpgrade(upgrade(headers))).toEqual(expect.any(String));
  });

  test('a page of our own origin, and a program, are not', async () => {
    const headers = { host: 'localhost:7717', origin: 'http://localhost:7717', 'sec-fetch-site': 'same-origin' };
    expect((await node.ask('/v1/status', { headers })).status).toBe(200);
    expect(refusalOfUpgrade(upgrade(headers))).toBeUndefined();
    expect(refusalOfUpgrade(upgrade({ host: 'nas.lan:7717' }))).toBeUndefined();
  });

  test('what counts is the machine that the client is on, and the address that it used', () => {
    const from = (
      remoteAddress: string | undefined,
      localAddress = '192.168.1.7',
      host = localAddress,
    ): IncomingMessage =>
      ({ headers: { host }, socket: { remoteAddress, localAddress } }) as unknown as IncomingMessage;
    for (const address of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1', '192.168.1.7', '::ffff:192.168.1.7']) {
      expect(isOnThisMachine(from(address))).toBe(true);
    }
    for (const address of ['192.168.1.8', '10.0.0.1', '::', '', undefined]) {
      expect(isOnThisMachine(from(address))).toBe(false);
    }
    expect(isOwnHost(from('192.168.1.7', '::ffff:192.168.1.7', '192.168.1.7:7717'))).toBe(true);
    expect(isOwnHost(from('fd00::7', 'fd00::7', '[fd00::7]:7717'))).toBe(true);
    expect(isOwnHost(from('192.168.1.7', '192.168.1.7', '192.168.1.8'))).toBe(false);
    expect(isOwnHost(from('192.168.1.7', undefined, ''))).toBe(false);
  });

  test('a body that no form can send is asked for', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', '', 'application/json; charset=latin1']) {
      const answer = await node.ask('/v1/keys/x', {
        method: 'PUT',
        body: '{"value":1}',
        headers: { 'content-type': type },
      });
      expectProblem(answer, 415, 'BodyNotJson');
    }
    const headers = { 'content-type': 'Application/JSON; charset="UTF-8"' };
    expect((await node.ask('/v1/keys/x', { method: 'PUT', body: '{"value":1}', headers })).status).toBe(200);
  });

  test('an upgrade that nobody speaks is answered as if it had not been asked for', async () => {
    node.server.on('upgrade', (request, socket) => answerWithoutUpgrade(node.server, request, socket));
    const head =
      'host: localhost\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n';
    const text = await allOf(node.raw(`GET /v1/status HTTP/1.1\r\n${head}\r\n`));
    expect(text).toContain('HTTP/1.1 200 OK');
    expect(text).toContain('{"name":"fake"}');
    const body = 'content-type: application/json\r\ncontent-length: 11\r\n';
    const put = await allOf(node.raw(`PUT /v1/keys/x HTTP/1.1\r\n${head}${body}\r\n{"value":1}`));
    expect(put).toContain('"code":"InvalidJson"');
  });
});

describe('what is wrong', () => {
  test.each([
    ['GET', '/', 'RouteUnknown', 404],
    ['GET', '/v1', 'RouteUnknown', 404],
    ['GET', '/v2/keys', 'RouteUnknown', 404],
    ['GET', '/v1/keys/', 'RouteUnknown', 404],
    ['GET', '/v1/keys/a/b', 'RouteUnknown', 404],
    ['GET', '/v1/keys/../status', 'RouteUnknown', 404],
    ['POST', '/v1/keys', 'MethodNotAllowed', 405],
    ['PUT', '/v1/watch', 'MethodNotAllowed', 405],
    ['OPTIONS', '/v1/keys/a', 'MethodNotAllowed', 405],
    ['PATCH', '/v1/keys/a', 'MethodNotAllowed', 405],
    ['GET', '/v1/keys/a?typo=1', 'InvalidRequest', 400],
    ['GET', '/v1/keys/a?type=list', 'InvalidRequest', 400],
    ['GET', '/v1/keys/a?type=set&type=map', 'InvalidRequest', 400],
    ['GET', '/v1/keys/a?field=x', 'NotFound', 404],
    ['GET', '/v1/keys/a?element=1', 'InvalidRequest', 400],
    ['GET', '/v1/keys/a?type=set&element=milk', 'InvalidJson', 400],
    ['GET', '/v1/keys/%ff', 'InvalidRequest', 400],
    ['GET', '/v1/keys/%', 'InvalidRequest', 400],
    ['GET', '/v1/keys?limit=0', 'InvalidRequest', 400],
    ['GET', '/v1/keys?limit=1001', 'InvalidRequest', 400],
    ['GET', '/v1/keys?limit=1e1', 'InvalidRequest', 400],
    ['GET', '/v1/keys?reverse=yes', 'InvalidRequest', 400],
    ['DELETE', '/v1/keys/a?type=nothing', 'InvalidRequest', 400],
  ])('%s %s is %s', async (method, path, code, status) => {
    const answer = await node.ask(path, { method });
    expectProblem(answer, status, code);
    if (status === 405) expect(answer.headers['allow']).toMatch(/GET/);
  });

  test('a key or a URL that is too long is said to be', async () => {
    expectProblem(await node.ask(`/v1/keys/${'x'.repeat(1_100)}`), 400, 'PathTooLong');
    expectProblem(await node.ask(`/v1/keys/${'x'.repeat(70_000)}`), 431, 'HeadersTooLarge');
  });

  test.each([
    ['PUT', '', 'not json', 'InvalidJson'],
    ['PUT', '', '', 'InvalidJson'],
    ['PUT', '', Buffer.from([0x22, 0xff, 0x22]), 'InvalidJson'],
    ['PUT', '', '[1]', 'InvalidRequest'],
    ['PUT', '', '{}', 'InvalidRequest'],
    ['PUT', '', '{"value":1,"ttl":5}', 'InvalidRequest'],
    ['PUT', '', '{"value":{"$x":1}}', 'InvalidValue'],
    ['PUT', '', '{"value":"\\ud800"}', 'InvalidValue'],
    ['PUT', '', `{"value":${'['.repeat(40)}${']'.repeat(40)}}`, 'ValueTooDeep'],
    ['PUT', '?type=counter', '{"value":1}', 'InvalidRequest'],
    ['PUT', '?type=flag', '{"value":1}', 'InvalidRequest'],
    ['POST', '', '{"op":"add"}', 'InvalidRequest'],
    ['POST', '?type=register', '{"op":"add"}', 'InvalidRequest'],
    ['POST', '?type=counter', '{"op":"multiply"}', 'InvalidRequest'],
    ['POST', '?type=counter', '{"op":"add","amount":1.5}', 'InvalidAmount'],
    ['POST', '?type=counter', '{"op":"add","amount":"1"}', 'InvalidRequest'],
    ['POST', '?type=set', '{"op":"add"}', 'InvalidRequest'],
    ['POST', '?type=set', '{"op":"remove","value":1,"ttlMs":1}', 'InvalidRequest'],
  ])('%s %s %s is %s', async (method, query, body, code) => {
    expectProblem(await node.ask(`/v1/keys/a${query}`, { method, body }), 400, code);
    expect(node.store.has('a')).toBe(false);
  });

  test('no request, however made, gets a 5xx or an answer without a code', async () => {
    const names = fc.constantFrom(
      'v1',
      'keys',
      'watch',
      'status',
      'healthz',
      '..',
      '.',
      '',
      '~',
      '%2F',
      '%zz',
      'a',
      '%00',
    );
    const queries = fc.constantFrom(
      'type',
      'field',
      'element',
      'prefix',
      'after',
      'limit',
      'reverse',
      'values',
      'since',
      'x',
      '',
    );
    const texts = fc.oneof(
      fc.constantFrom(
        'register',
        'counter',
        'flag',
        'set',
        'set-remove-wins',
        'map',
        '',
        '-1',
        '0',
        '5',
        'true',
        '{"$date":1}',
        '[]',
      ),
      fc.string({ unit: 'binary', maxLength: 6 }),
    );
    const request = fc.record({
      method: fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'),
      path: fc.oneof(fc.array(names, { maxLength: 5 }), fc.constantFrom(['v1', 'keys'], ['v1', 'keys', 'a'])),
      query: fc.array(fc.tuple(queries, texts), { maxLength: 3 }),
      body: fc.option(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 20 }),
          fc.json(),
          fc.record(
            {
              op: fc.constantFrom('add', 'remove', 1),
              value: fc.jsonValue(),
              amount: fc.jsonValue(),
              ttlMs: fc.jsonValue(),
            },
            { requiredKeys: [] },
          ),
        ),
        { nil: undefined },
      ),
    });
    await fc.assert(
      fc.asyncProperty(request, async ({ method, path, query, body }) => {
        const pairs = query.map(([name, text]) => `${name}=${encodeURIComponent(text)}`);
        const url = `/${path.join('/')}?${pairs.join('&')}`;
        if (url.startsWith('/v1/watch')) return;
        const answer = await node.ask(url, { method, ...(body !== undefined && { body }) });
        expect(answer.status).toBeLessThan(500);
        if (answer.status >= 400 && method !== 'HEAD') expectProblem(answer, answer.status, answer.json.code);
      }),
      { numRuns: 500 },
    );
    expect(logged).toEqual([]);
  }, 60_000);

  test.each([
    [new HearsayError('StorageFull', 'no room'), 507, 'StorageFull'],
    [new HearsayError('Overloaded', 'later'), 503, 'Overloaded'],
    [new HearsayError('SomethingNew', 'with a secret in it'), 500, 'Internal'],
    [new TypeError('with a secret in it'), 500, 'Internal'],
  ])('%o thrown by the store is %i %s, and the node goes on', async (error, status, code) => {
    node.store.nextFailure = error;
    const answer = await node.put('/v1/keys/x', { value: 1 });
    expectProblem(answer, status, code);
    expect(answer.text).not.toContain('secret');
    expect(logged).toHaveLength(status === 500 ? 1 : 0);
    expect((await node.put('/v1/keys/x', { value: 1 })).status).toBe(200);
  });
});

describe('limits', () => {
  test('the largest value fits, as text and as bytes', async () => {
    const bytes = Buffer.alloc(2 ** 20 - 100, 0xab);
    expect((await node.put('/v1/keys/x', { value: { $bytes: bytes.toString('base64') } })).status).toBe(200);
    expect((await node.put('/v1/keys/x', { value: 'é'.repeat(2 ** 19 - 100) })).status).toBe(200);
    expectProblem(await node.put('/v1/keys/x', { value: 'x'.repeat(2 ** 20 + 100) }), 413, 'ValueTooLarge');
  });

  test('a body that is too large is refused, whether its length is told or not', async () => {
    const body = JSON.stringify({ value: 'x'.repeat(BODY_BYTES_MAX) });
    expectProblem(await node.ask('/v1/keys/x', { method: 'PUT', body }), 413, 'BodyTooLarge');
    const chunked = { 'transfer-encoding': 'chunked' };
    expectProblem(await node.ask('/v1/keys/x', { method: 'PUT', body, headers: chunked }), 413, 'BodyTooLarge');
    expect(node.store.has('x')).toBe(false);
  });

  test('bodies that never end do not add up beyond their common limit', async () => {
    const sockets = Array.from({ length: 40 }, () =>
      node.raw(
        `PUT /v1/keys/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${BODY_BYTES_MAX}\r\n\r\n` +
          'x'.repeat(BODY_BYTES_MAX - 1),
      ),
    );
    const answers = sockets.map(
      (socket) => new Promise<string>((resolve) => void socket.once('data', (chunk) => resolve(chunk.toString()))),
    );
    expect(await Promise.race(answers)).toContain('"code":"Overloaded"');
    for (const socket of sockets) socket.destroy();
    while ((await node.put('/v1/keys/x', { value: 'x'.repeat(1_000_000) })).status !== 200);
  });

  test.each([
    ['no HTTP', 'nonsense\r\n\r\n', 'InvalidRequest'],
    ['a broken length', 'GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n', 'InvalidRequest'],
    ['huge headers', `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`, 'HeadersTooLarge'],
  ])('what the parser refuses has a code as well: %s', async (_what, text, code) => {
    expect(await allOf(node.raw(text))).toContain(`"code":"${code}"`);
  });

  test('a target that is no path is refused', async () => {
    for (const target of ['*', 'http://localhost/v1/status', 'v1']) {
      expect(await allOf(node.raw(`GET ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`))).toContain(
        '"code":"InvalidRequest"',
      );
    }
  });

  test('HEAD is answered without a body', async () => {
    expect(await node.ask('/v1/status', { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
  });
});

describe('the server', () => {
  test('closing lets a write under way finish, and refuses what comes then', async () => {
    let open!: () => void;
    node.store.gate = new Promise((resolve) => void (open = resolve));
    const answer = node.put('/v1/keys/x', { value: 1 });
    while (!node.store.has('x')) await node.ask('/healthz');
    const closed = closeHttpServer(node.server, node.api, 10_000);
    open();
    expect((await answer).status).toBe(200);
    await closed;
    await expect(node.ask('/healthz')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('closing does not wait for those who never finish', async () => {
    node.store.gate = new Promise(() => {});
    const answer = node.put('/v1/keys/x', { value: 1 });
    while (!node.store.has('x')) await node.ask('/healthz');
    const idle = node.raw('GET /v1/sta');
    await Promise.all([closeHttpServer(node.server, node.api, 1), expect(answer).rejects.toThrow(), allOf(idle)]);
  });

  test('requests on a connection that is still open are refused once the API is closing', async () => {
    await node.api.close();
    expectProblem(await node.ask('/v1/status'), 503, 'Closing');
  });

  test('says why it cannot listen', async () => {
    const other = await occupyPort();
    const server = createHttpServer(node.api);
    await expect(listen(server, { host: '127.0.0.1', port: other.port })).rejects.toMatchObject({ code: 'PortInUse' });
    await expect(listen(server, { host: '192.0.2.1', port: 0 })).rejects.toMatchObject({ code: 'AddressUnavailable' });
    other.close();
    expect((await listen(server, { host: '127.0.0.1', port: 0 })).port).toBeGreaterThan(0);
    server.close();
  });
});
