/**
 * Nodes over real sockets: they converge, survive cuts, strangers and failing disks, and leaves hold what they asked for.
 */
import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { Value } from '../crdts/value.ts';
import { openLmdb } from '../src/edges/storage/lmdb.ts';
import type { OpenOptions, Store } from '../src/index.ts';
import { FaultStorage } from './support/fault-storage.ts';
import { type Proxy, startProxy } from './support/proxy.ts';
import { afterEachTidy, codeOf, later, openStore, temporaryDir, until } from './support/stores.ts';

afterEachTidy();

const listening = (options: OpenOptions = { storage: 'memory' }): Promise<Store> =>
  openStore({ ...options, listen: { port: 0 } });

async function proxyTo(store: Store): Promise<Proxy> {
  const proxy = await startProxy(store.port as number);
  later(() => proxy.close());
  return proxy;
}

/** Everything in a store, by key and type. */
function contents(store: Store): Record<string, Value> {
  return Object.fromEntries(Array.from(store.scan(), ({ key, type, value }) => [`${type} ${key}`, value()]));
}

/** Two nodes with a cable between them. */
async function cabled(second: OpenOptions = { storage: 'memory' }): Promise<{ a: Store; b: Store; cable: Proxy }> {
  const a = await listening();
  const cable = await proxyTo(a);
  const b = await openStore({ ...second, join: [cable.url] });
  await b.synced();
  return { a, b, cable };
}

async function bothSynced(...stores: Store[]): Promise<void> {
  await Promise.all(stores.map((store) => store.synced()));
}

const fingerprints = (...stores: Store[]): Set<string> => new Set(stores.map((store) => store.status().fingerprint));

describe('two nodes', () => {
  test('hold the same after writing on both sides, and tell it to their watchers', async () => {
    const { a, b } = await cabled();
    const items = b.watch('from a');
    await a.register('from a').set({ text: 'hello' });
    const { value: item } = await items.next();
    expect(item).toMatchObject({ key: 'from a', value: { text: 'hello' } });
    await b.set('tags').add('milk');
    await a.map('user').field('visits').counter().add(3);
    await b.map('user').field('visits').counter().add(4);
    await bothSynced(a, b);
    expect(contents(a)).toEqual({
      'register from a': { text: 'hello' },
      'set tags': ['milk'],
      'map user': { visits: 7 },
    });
    expect(contents(b)).toEqual(contents(a));
    expect(fingerprints(a, b).size).toBe(1);
  });

  test('that are cut off from each other go on, and hold the same after the cut, deletes included', async () => {
    const { a, b, cable } = await cabled();
    for (let i = 0; i < 50; i++) void a.register(`k${i}`).set(i);
    await a.flush();
    await bothSynced(a, b);
    cable.cut();
    await until(() => a.status().links.length === 0 && b.status().links.length === 0);
    void a.delete('k1');
    void a.register('k2').set('a');
    void b.register('k2').set('b');
    void b.delete('k3');
    void a.counter('n').add(1);
    void b.counter('n').add(10);
    void a.set('s').add('a');
    void b.set('s').add('b');
    await Promise.all([a.flush(), b.flush()]);
    expect(a.counter('n').get()).toBe(1);
    cable.mend();
    await until(() => a.status().links.length === 1 && b.status().links.length === 1);
    await bothSynced(a, b);
    expect(contents(b)).toEqual(contents(a));
    expect(a.counter('n').get()).toBe(11);
    expect([...a.set('s').values()]).toEqual(['a', 'b']);
    expect(new Set(a.register('k2').conflicts())).toEqual(new Set(['a', 'b']));
    expect([a.has('k1'), a.has('k3')]).toEqual([false, false]);
    expect(fingerprints(a, b).size).toBe(1);
  });

  test('under many cuts in the middle of everything lose nothing that was acknowledged', async () => {
    const { a, b, cable } = await cabled();
    let isOver = false;
    const writer = async (store: Store, name: string): Promise<number> => {
      let count = 0;
      for (; !isOver; count++) {
        await store.register(`${name}${count}`).set('x'.repeat(500));
        await nextTurn();
      }
      return count;
    };
    const written = [writer(a, 'a'), writer(b, 'b')];
    for (let i = 0; i < 10; i++) {
      const before = cable.connectionCount;
      cable.cut();
      cable.mend();
      // Another dialer: the one before waits longer after each cut.
      b.join(`${cable.url}/?${i}`);
      await until(() => cable.connectionCount > before);
    }
    isOver = true;
    const [countA, countB] = await Promise.all(written);
    await bothSynced(a, b);
    expect([...a.keys()]).toHaveLength((countA as number) + (countB as number));
    expect(contents(b)).toEqual(contents(a));
  });

  test('a link on which nothing passes any more is given up, and another one found', async () => {
    const { a, b, cable } = await cabled();
    const before = cable.connectionCount;
    cable.freeze();
    void a.register('x').set(1);
    await until(() => cable.connectionCount > before);
    await until(() => b.register('x').get() === 1);
    expect(Object.keys({ ...a.status().counts, ...b.status().counts })).toContain('link: closed, Silence');
  });

  test('a node that comes back elsewhere, with its data, catches up', async () => {
    const dir = temporaryDir();
    const a = await listening({ dir });
    const cable = await proxyTo(a);
    const b = await openStore({ storage: 'memory', join: [cable.url] });
    await a.register('x').set(1);
    await bothSynced(a, b);
    await a.close();
    await until(() => b.status().links.length === 0);
    await b.register('x').set(2);
    const again = await listening({ dir });
    expect(again.register('x').get()).toBe(1);
    cable.targetPort = again.port as number;
    await until(() => again.register('x').get() === 2);
    await bothSynced(again, b);
    expect(again.status().node).toBe(a.status().node);
    expect(again.status().actor).not.toBe(a.status().actor);
  });

  test('that join each other keep one link', async () => {
    const a = await listening();
    const b = await listening();
    a.join(b.address as string);
    b.join(a.address as string);
    a.join(b.address as string);
    await until(() => [a, b].every((store) => store.status().links.some(({ state }) => state === 'equal')));
    await until(() => [a, b].every((store) => store.status().links.length === 1));
    await a.register('x').set(1);
    await bothSynced(a, b);
    expect(b.register('x').get()).toBe(1);
    expect(a.status().joined).toHaveLength(1);
  });

  test('a value of the greatest size, and a batch of thousands, arrive whole', async () => {
    const { a, b } = await cabled();
    const value = new Uint8Array(500_000).map((_, i) => (i * 31) % 256);
    void a.register('large').set(value);
    void a.batch(() => {
      for (let i = 0; i < 5_000; i++) a.set('many').add(i);
    });
    await a.flush();
    await bothSynced(a, b);
    expect(b.register<Uint8Array>('large').get()).toEqual(value);
    expect(b.set('many').size).toBe(5_000);
    expect(fingerprints(a, b).size).toBe(1);
  });
});

describe('more nodes', () => {
  test('in a line pass on what they heard', async () => {
    const a = await listening();
    const b = await listening({ storage: 'memory', join: [a.address as string] });
    const c = await openStore({ storage: 'memory', join: [b.address as string] });
    void a.register('a').set(1);
    void b.register('b').set(2);
    void c.register('c').set(3);
    await until(() => [a, b, c].every((store) => [...store.keys()].length === 3));
    await bothSynced(a, b, c);
    expect(fingerprints(a, b, c).size).toBe(1);
  });

  test('a leaf holds its interests alone, writes to them, and gets nothing else', async () => {
    const a = await listening();
    const leaf = await openStore({
      storage: 'memory',
      role: 'leaf',
      interests: ['user:ann:', 'shared'],
      join: [a.address as string],
    });
    void a.register('user:ann:name').set('Ann');
    void a.register('user:bob:name').set('Bob');
    void a.set('shared').add('milk');
    await a.flush();
    await until(() => leaf.has('user:ann:name') && leaf.has('shared'));
    await leaf.set('shared').add('tea');
    await leaf.register('user:ann:age').set(40);
    expect(() => leaf.register('user:bob:age').set(50)).toThrow(expect.objectContaining({ code: 'OutsideInterests' }));
    await until(() => a.register('user:ann:age').get() === 40 && a.set('shared').has('tea'));
    expect([...leaf.keys()]).toEqual(['shared', 'user:ann:age', 'user:ann:name']);
    await a.delete('user:ann:name');
    await until(() => !leaf.has('user:ann:name'));
    expect(a.status().links[0]).toMatchObject({ role: 'leaf' });
    expect(a.status().members).toHaveLength(1);
  });

  test('of different clusters do not mix, and both say so', async () => {
    const a = await listening({ storage: 'memory', cluster: 'a'.repeat(32) });
    const b = await openStore({ storage: 'memory', cluster: 'b'.repeat(32), join: [a.address as string] });
    await a.register('x').set(1);
    await until(() => Object.keys(b.status().counts).some((name) => name.includes('ClusterMismatch')));
    expect(b.has('x')).toBe(false);
    await expect(b.synced({ timeoutMs: 20 })).rejects.toMatchObject({ code: 'Timeout' });
  });

  test('a node that is told to join itself notices', async () => {
    const a = await listening();
    a.join(a.address as string);
    await until(() => Object.keys(a.status().counts).some((name) => name.includes('SelfConnection')));
    await until(() => a.status().links.length === 0);
    await a.register('x').set(1);
  });
});

describe('synced', () => {
  test('waits for a first peer, until its time is over or its signal says stop', async () => {
    const a = await openStore();
    await expect(a.synced({ timeoutMs: 10 })).rejects.toMatchObject({ code: 'Timeout', facts: { timeoutMs: 10 } });
    const abort = new AbortController();
    const waiting = a.synced({ signal: abort.signal }).catch((reason: unknown) => reason);
    abort.abort('enough');
    expect(await waiting).toBe('enough');
    await expect(a.synced({ signal: AbortSignal.abort('no') })).rejects.toBe('no');
    const closed = a.synced().catch(codeOf);
    await a.close();
    expect(await closed).toBe('StorageClosed');
  });
});

describe('strangers at the port', () => {
  test('are refused and counted, while peers go on', async () => {
    const { a, b } = await cabled();
    const url = `ws://127.0.0.1:${a.port}/v1/sync`;
    const ended: Promise<unknown>[] = [];
    for (const garbage of [
      'GET / HTTP/9.9\r\n\r\n',
      '\x16\x03\x01\x00',
      '\0'.repeat(100),
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    ]) {
      const socket = connect(a.port as number, '127.0.0.1');
      socket.on('error', () => {});
      socket.end(garbage);
      ended.push(new Promise((resolve) => socket.once('close', resolve).resume()));
    }
    for (const garbage of [
      new Uint8Array(0),
      new Uint8Array(1_000).fill(0xc1),
      new Uint8Array(60_000).fill(0x91),
      'text',
    ]) {
      const socket = new WebSocket(url, 'hearsay.1');
      socket.on('error', () => {});
      socket.once('open', () => socket.send(garbage));
      ended.push(new Promise((resolve) => socket.once('close', resolve)));
    }
    const foreign = new WebSocket(url, 'hearsay.1', { origin: 'http://evil.example' });
    foreign.on('error', () => {});
    ended.push(new Promise((resolve) => foreign.once('close', resolve)));
    await Promise.all(ended);
    expect(a.status().refused).toMatchObject({ origin: 1, badMessage: 1 });
    expect(a.status().refused.garbage).toBeGreaterThan(0);
    await b.register('still').set('here');
    await bothSynced(a, b);
    expect(a.register('still').get()).toBe('here');
    const api = await fetch(`${a.address}/v1/status`);
    expect(await api.json()).toMatchObject({ node: a.status().node });
  });
});

describe('a failing disk', () => {
  test('closes the links, keeps what was lost from the peers, and the node comes back from what it has', async () => {
    const dir = temporaryDir();
    const a = await listening();
    const storage = new FaultStorage(await openLmdb({ dir }));
    const b = await openStore({ storage, join: [a.address as string] });
    b.on('error', () => {});
    await b.register('kept').set(1);
    await bothSynced(a, b);
    storage.hold();
    const lost = b.register('lost').set(1).then(String, codeOf);
    await a.register('from a').set(1);
    await nextTurn();
    storage.fail();
    expect(await lost).toBe('StorageFailed');
    await until(() => a.status().links.length === 0);
    expect(a.has('lost')).toBe(false);
    expect(b.status().joined).toMatchObject([{ state: 'stopped' }]);
    await b.close();
    const again = await openStore({ dir, join: [a.address as string] });
    await bothSynced(again, a);
    expect([...again.keys()]).toEqual(['from a', 'kept']);
    expect(fingerprints(a, again).size).toBe(1);
  });
});

describe('closing', () => {
  test('says goodbye: the peer is told, and does not wait for silence', async () => {
    const { a, b } = await cabled();
    await b.close();
    await until(() => a.status().links.length === 0);
    expect(a.status().counts).toMatchObject({ 'link: closed by the peer, Closing': 1 });
  });

  test('ends also when a peer takes nothing any more', async () => {
    const { b, cable } = await cabled();
    cable.freeze();
    await b.close();
  });

  test('raises `status` for what comes and goes', async () => {
    const a = await listening();
    const seen: number[] = [];
    a.on('status', ({ links }) => seen.push(links.length));
    const b = await openStore({ storage: 'memory', join: [a.address as string] });
    await until(() => seen.includes(1));
    await b.close();
    await until(() => seen.at(-1) === 0);
  });
});
