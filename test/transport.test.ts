/**
 * The transports: the contract over each, what strangers do to a port, and when a lost peer is dialled again.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { Connection } from '../src/edges/transport/contract.ts';
import { Dialer } from '../src/edges/transport/dialer.ts';
import { memoryNetwork } from '../src/edges/transport/memory.ts';
import {
  ended,
  LASTING_MS,
  NEVER_DIALLED,
  opened,
  REDIAL_MAX_MS,
  REDIAL_MIN_MS,
} from '../src/edges/transport/redial.ts';
import {
  attachSyncServer,
  dialWebSocket,
  type SyncServer,
  type SyncServerOptions,
  syncUrl,
} from '../src/edges/transport/ws.ts';
import { type OpenTransport, Probe, transportContract } from './transport.contract.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

async function listen(server: { listen(port: number, host: string, done: () => void): unknown }): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
}

interface Listening {
  readonly server: Server;
  readonly sync: SyncServer;
  readonly port: number;
  readonly url: string;
  readonly accepted: Connection[];
  readonly close: () => Promise<void>;
}

async function startServer(options: Partial<SyncServerOptions> = {}): Promise<Listening> {
  const accepted: Connection[] = [];
  const server = createServer((_, response) => response.end('plain'));
  const sync = attachSyncServer(server, { accept: (connection) => accepted.push(connection), ...options });
  await listen(server);
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    sync.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { server, sync, port, url: `ws://127.0.0.1:${port}/v1/sync`, accepted, close };
}

async function tracked(options: Partial<SyncServerOptions> = {}): Promise<Listening> {
  const listening = await startServer(options);
  undo.push(() => listening.close());
  return listening;
}

const overWs: OpenTransport = async (accept) => {
  const sockets = new Set<Socket>();
  const listening = await startServer({ accept });
  listening.server.on('connection', (socket) => sockets.add(socket));
  return {
    dial: dialWebSocket,
    url: listening.url,
    deadUrl: listening.url.replace('/v1/sync', '/elsewhere'),
    stall: () => {
      for (const socket of sockets) socket.pause();
    },
    close: () => listening.close(),
  };
};

const overMemory: OpenTransport = async (accept) => {
  const network = memoryNetwork();
  const { url } = network.listen(accept);
  return { dial: network.dial, url, deadUrl: 'memory://nobody', stall: () => {}, close: async () => {} };
};

transportContract('ws', overWs);
// Nothing has to be stalled there: no message is taken before the sender returns to the event loop.
transportContract('memory', overMemory);

/** Everything a raw connection answers until it is closed. */
async function converse(port: number, said: string | Uint8Array): Promise<string> {
  const socket = connectTcp(port, '127.0.0.1');
  let heard = '';
  socket.on('data', (data) => (heard += data.toString('latin1')));
  socket.on('error', () => {});
  socket.write(said);
  await new Promise((resolve) => socket.once('close', resolve));
  return heard;
}

const upgradeRequest = (headers: string, path = '/v1/sync'): string =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`;

const OURS = 'Sec-WebSocket-Protocol: hearsay.1\r\n';

async function dialled(url: string): Promise<Probe> {
  return new Promise((resolve, reject) => dialWebSocket(url, (connection) => resolve(new Probe(connection)), reject));
}

async function dialFailure(url: string, handshakeTimeoutMs?: number): Promise<Error> {
  return new Promise((resolve, reject) => {
    dialWebSocket(url, () => reject(new Error('opened')), resolve, { handshakeTimeoutMs });
  });
}

describe('a sync server', () => {
  test.each([
    ['garbage', `\x16\x03\x01 no http at all\r\n\r\n`, '400 Bad Request'],
    ['handshake', upgradeRequest(OURS, '/v1/other'), '404 Not Found'],
    ['handshake', upgradeRequest(OURS, '//'), '404 Not Found'],
    ['handshake', upgradeRequest(OURS).replace('dGhlIHNhbXBsZSBub25jZQ==', 'short'), '400 Bad Request'],
    ['handshake', upgradeRequest(OURS).replace('Upgrade: websocket', 'Upgrade: h2c'), '400 Bad Request'],
    ['subprotocol', upgradeRequest(''), '400 Bad Request'],
    ['subprotocol', upgradeRequest('Sec-WebSocket-Protocol: hearsay.2, chat\r\n'), '400 Bad Request'],
  ] as const)('refuses and counts as %s: %j', async (refusal, said, status) => {
    const { port, sync, accepted } = await tracked();
    expect(await converse(port, said)).toContain(`HTTP/1.1 ${status}\r\n`);
    expect(sync.refused[refusal]).toBe(1);
    expect(accepted).toEqual([]);
  });

  test('refuses what the check of the origin refuses, with its words', async () => {
    const refusalOf = ({ headers: { origin } }: IncomingMessage) =>
      origin === undefined ? undefined : `not from ${origin}`;
    const { port, sync, url } = await tracked({ refusalOf });
    const answer = await converse(port, upgradeRequest(`${OURS}Origin: http://evil.example\r\n`));
    expect(answer).toContain('403 Forbidden');
    expect(answer).toContain('not from http://evil.example');
    expect(sync.refused.origin).toBe(1);
    await dialled(url);
  });

  test('takes the offer of our sub-protocol among others, and serves plain requests beside it', async () => {
    const { port, url, sync } = await tracked();
    const socket = new WebSocket(url, ['other', 'hearsay.1']);
    await new Promise((resolve) => socket.once('open', resolve));
    expect(socket.protocol).toBe('hearsay.1');
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('plain');
    expect(sync.connectionCount).toBe(1);
    socket.terminate();
  });

  test('refuses connections beyond its limit, and takes new ones when others have ended', async () => {
    const { url, sync, port, accepted } = await tracked({ connectionsMax: 2 });
    const [first] = [await dialled(url), await dialled(url)];
    const firstThere = new Probe(accepted[0]!);
    expect(await converse(port, upgradeRequest(OURS))).toContain('503 Service Unavailable');
    expect(sync.refused.tooMany).toBe(1);
    first.close();
    await firstThere.closed();
    await dialled(url);
  });

  test.each([
    ['text', (socket: WebSocket) => socket.send('{"hello":1}')],
    ['a message beyond the limit', (socket: WebSocket) => socket.send(new Uint8Array(70_000))],
    [
      'a fragmented message beyond the limit',
      (socket: WebSocket) => {
        for (let i = 0; i < 3; i++) socket.send(new Uint8Array(30_000), { fin: i === 2 });
      },
    ],
    [
      'a frame that breaks the rules',
      (socket: WebSocket) => {
        (socket as unknown as { _socket: Socket })._socket.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
      },
    ],
  ])('ends a connection on %s, counts it, and goes on', async (_, misbehave) => {
    const { url, sync, accepted } = await tracked();
    const socket = new WebSocket(url, 'hearsay.1');
    await new Promise((resolve) => socket.once('open', resolve));
    const there = new Probe(accepted[0]!);
    misbehave(socket);
    await there.closed();
    socket.terminate();
    expect(there.messages).toEqual([]);
    expect(there.closes[0]?.code).toBe('BadMessage');
    expect(sync.refused.badMessage).toBe(1);
    await dialled(url);
  });

  test('a connection that is reset is lost, not an error', async () => {
    const { url, accepted } = await tracked();
    const socket = new WebSocket(url, 'hearsay.1');
    await new Promise((resolve) => socket.once('open', resolve));
    const there = new Probe(accepted[0]!);
    (socket as unknown as { _socket: Socket })._socket.resetAndDestroy();
    await there.closed();
    expect(there.closes[0]?.code).toBe('Lost');
  });

  test('a close frame of somebody else is a lost connection with its status', async () => {
    const { url, accepted } = await tracked();
    const socket = new WebSocket(url, 'hearsay.1');
    await new Promise((resolve) => socket.once('open', resolve));
    const there = new Probe(accepted[0]!);
    socket.close(1000, 'Goodbye: not ours');
    await there.closed();
    expect(there.closes).toEqual([{ code: 'Lost', reason: 'closed with status 1000: Goodbye: not ours' }]);
  });

  test('a reason that does not fit is cut off between characters', async () => {
    const { url, accepted } = await tracked();
    const here = await dialled(url);
    const there = new Probe(accepted[0]!);
    here.close('Long', '🦉'.repeat(100));
    await there.closed();
    expect(there.closes[0]).toEqual({ code: 'Long', reason: '🦉'.repeat(Math.floor((123 - 6) / 4)) });
  });

  test('when it closes, connections that are left break and upgrades are over', async () => {
    const { url, sync } = await tracked();
    const here = await dialled(url);
    sync.close();
    sync.close();
    await here.closed();
    expect(here.closes[0]?.code).toBe('Lost');
    await dialFailure(url);
  });
});

describe('dialling', () => {
  test('a closed port, a plain web server and a server without our sub-protocol each fail with a reason', async () => {
    const { port, close } = await startServer();
    await close();
    expect(await dialFailure(`ws://127.0.0.1:${port}/v1/sync`)).toMatchObject({
      code: 'DialFailed',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    const plain = createServer((_, response) => response.end('hello'));
    await listen(plain);
    undo.push(() => plain.close());
    expect((await dialFailure(`ws://127.0.0.1:${(plain.address() as AddressInfo).port}/`)).message).toContain('200');
    const other = createServer();
    const { WebSocketServer } = await import('ws');
    const sockets = new WebSocketServer({ server: other, handleProtocols: () => false });
    await listen(other);
    undo.push(() => {
      for (const client of sockets.clients) client.terminate();
      other.close();
    });
    const failure = await dialFailure(`ws://127.0.0.1:${(other.address() as AddressInfo).port}/`);
    expect(failure.message).toMatch(/subprotocol/);
  });

  test('a peer that takes the connection and says nothing, or drips, is given up', async () => {
    const sockets: Socket[] = [];
    const silent = createTcpServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      const drip = setInterval(() => socket.write('H'), 10);
      socket.once('close', () => clearInterval(drip));
      drip.unref();
    });
    await listen(silent);
    undo.push(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const failure = await dialFailure(`ws://127.0.0.1:${(silent.address() as AddressInfo).port}/`, 80);
    expect(failure.message).toMatch(/80 ms|Parse Error/);
  });

  test.each([
    ['http://host:7717', 'ws://host:7717/v1/sync'],
    ['https://host', 'wss://host/v1/sync'],
    ['ws://[::1]:7717/', 'ws://[::1]:7717/v1/sync'],
    ['wss://host/behind/a/proxy?x=1', 'wss://host/behind/a/proxy?x=1'],
    ['http://user:secret@host:1#part', 'ws://host:1/v1/sync'],
  ])('%s is dialled as %s', (text, url) => {
    expect(syncUrl(text)).toBe(url);
  });

  test.each(['', 'host:7717', 'localhost', 'ftp://host', 'http://'])('%j is no address', (text) => {
    expect(() => syncUrl(text)).toThrow(expect.objectContaining({ code: 'InvalidUrl' }));
  });
});

describe('redialling', () => {
  test('ceilings double from 250 ms to 30 s, and luck draws from the whole range below', () => {
    let redial = NEVER_DIALLED;
    const ceilings: number[] = [];
    for (let i = 0; i < 10; i++) {
      expect(ended(redial, 0, 0).delayMs).toBe(0);
      const next = ended(redial, 0, 1);
      ceilings.push(next.delayMs);
      redial = next.redial;
    }
    expect(ceilings).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect([REDIAL_MIN_MS, REDIAL_MAX_MS]).toEqual([250, 30_000]);
  });

  test('only a connection that has lasted makes up for the failures before it', () => {
    const afterFive = { failures: 5, openedMs: null };
    const short = ended(opened(afterFive, 1_000), 1_000 + LASTING_MS - 1, 1);
    expect(short).toEqual({ redial: { failures: 6, openedMs: null }, delayMs: 8_000 });
    const lasting = ended(opened(afterFive, 1_000), 1_000 + LASTING_MS, 1);
    expect(lasting).toEqual({ redial: { failures: 1, openedMs: null }, delayMs: 250 });
  });

  test('for ever: the thousandth pause is as long as the tenth', () => {
    expect(ended({ failures: 100_000, openedMs: null }, 0, 1).delayMs).toBe(REDIAL_MAX_MS);
  });

  test('a dialer comes back after failures and after lost connections, until it is stopped', async () => {
    const network = memoryNetwork();
    network.isDown = true;
    const { url } = network.listen(() => {});
    const failures: string[] = [];
    let connected: (connection: Connection) => void = () => {};
    let failed: () => void = () => {};
    const dialer = new Dialer({
      url,
      dial: network.dial,
      accept: (connection) => connected(connection),
      failed: (error) => {
        failures.push((error as Error & { code: string }).code);
        if (failures.length === 3) failed();
      },
      random: () => 0,
    });
    await new Promise<void>((resolve) => (failed = resolve));
    expect(dialer.status).toMatchObject({ state: 'waiting', failures: 3, lastError: expect.stringContaining(url) });
    for (let i = 0; i < 2; i++) {
      const next = new Promise<Probe>((resolve) => {
        connected = (connection) => resolve(new Probe(connection));
      });
      network.isDown = false;
      const probe = await next;
      expect(dialer.status).toMatchObject({ state: 'connected', lastError: null });
      network.cut();
      await probe.closed();
    }
    dialer.stop();
    dialer.stop();
    expect(dialer.status.state).toBe('stopped');
  });

  test('stopping while an attempt is under way, or while connected, ends the dialling and nothing else', async () => {
    const network = memoryNetwork();
    const accepted: Connection[] = [];
    const { url } = network.listen((connection) => accepted.push(connection));
    const dialTo = (accept: (connection: Connection) => void): Dialer =>
      new Dialer({ url, dial: network.dial, accept, failed: () => {}, random: () => 0 });
    dialTo(() => expect.fail('a stopped dialer connected')).stop();
    let dialer!: Dialer;
    const probe = await new Promise<Probe>((resolve) => {
      dialer = dialTo((connection) => resolve(new Probe(connection)));
    });
    dialer.stop();
    probe.send('still open');
    expect((await new Probe(accepted[0]!).received(1)).texts).toEqual(['still open']);
    probe.close();
    await probe.closed();
    expect(dialer.status.state).toBe('stopped');
    expect(accepted).toHaveLength(1);
  });
});
