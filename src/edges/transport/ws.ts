/**
 * The transport of a node: WebSockets, through `ws`, on the HTTP server that also carries the API.
 *
 * WebSockets because browsers have them, proxies let them through, and one port is enough for everything.
 *
 * Who may come in is decided before anything is allocated: path, sub-protocol, origin, number of connections. What a
 * stranger can send is bounded: a message has at most `MESSAGE_BYTES_MAX` bytes (ws closes the connection before it has
 * read more), text is refused, compression is off (one small frame could unpack to any size, and with it on everything
 * is 12 times slower). Each refusal is counted, none is an error of this node.
 *
 * A connection that ends for a reason says so in its close frame: status 4000, reason `Code: text`.
 *
 * Weakness: a peer that vanishes without a word (a pulled cable) is not noticed here; the replica's heartbeats do that.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ClientOptions, type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import { HearsayError } from '../../../crdts/error.ts';
import {
  BUFFER_BYTES_MAX,
  type CloseCode,
  type Connection,
  type Dial,
  MESSAGE_BYTES_MAX,
  messageTooLong,
  SUBPROTOCOL,
  SYNC_PATH,
} from './contract.ts';

export interface SyncServerOptions {
  /** A new connection; sets its callbacks at once. */
  readonly accept: (connection: Connection) => void;
  /** Why a request may not become a connection, undefined when it may: for checks of its origin. Answered with 403. */
  readonly refusalOf?: ((request: IncomingMessage) => string | undefined) | undefined;
  /**
   * Answers a request that would like to be upgraded to something else, such as `h2c`, as if it did not: with this server
   * attached, Node takes it for none of its own. Default: refused, as an upgrade that is none.
   */
  readonly answerOther?: ((request: IncomingMessage, socket: Duplex) => void) | undefined;
  /** Connections at a time; more are answered with 503. Default 256. */
  readonly connectionsMax?: number | undefined;
  /** Default `BUFFER_BYTES_MAX`. */
  readonly bufferBytesMax?: number | undefined;
}

/** Why something that came in was refused. */
export type Refusal =
  /** No HTTP at all, or nothing within the time a request may take. */
  | 'garbage'
  /** An upgrade to another path, to something that is no WebSocket, or with a broken header. */
  | 'handshake'
  /** A WebSocket, and not for `SUBPROTOCOL`. */
  | 'subprotocol'
  /** `refusalOf` said so. */
  | 'origin'
  | 'tooMany'
  /** On a connection: text, a message that is too long, a frame that breaks the rules. */
  | 'badMessage';

export interface SyncServer {
  readonly connectionCount: number;
  /** How often something was refused, by why, since the beginning. */
  readonly refused: Readonly<Record<Refusal, number>>;
  /** Takes no more connections and breaks those that are left: say goodbye first. Idempotent. */
  close(): void;
}

/** The pause after which a close that the other end does not answer is an end. */
const CLOSE_TIMEOUT_MS = 1_000;

/** `closeTimeout` is newer than the types of ws. */
const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MESSAGE_BYTES_MAX,
  closeTimeout: CLOSE_TIMEOUT_MS,
} satisfies ClientOptions & ServerOptions & { closeTimeout: number };

/** The status of every close frame of ours; 4000–4999 are for applications. */
const CLOSE_STATUS = 4000;
/** A close frame is a control frame: 125 bytes, two of them for the status. */
const CLOSE_REASON_BYTES_MAX = 123;

/**
 * Takes connections on `server`, at `SYNC_PATH`. It becomes the one place for upgrades on that server, and answers
 * requests that are none. Listening, and closing the server, remain the caller's.
 */
export function attachSyncServer(server: Server, options: SyncServerOptions): SyncServer {
  const { accept, refusalOf, answerOther, connectionsMax = 256, bufferBytesMax = BUFFER_BYTES_MAX } = options;
  const refused: Record<Refusal, number> = {
    garbage: 0,
    handshake: 0,
    subprotocol: 0,
    origin: 0,
    tooMany: 0,
    badMessage: 0,
  };
  const sockets = new WebSocketServer({ ...SOCKET_OPTIONS, noServer: true, handleProtocols: () => SUBPROTOCOL });
  const count = (refusal: Refusal): void => void refused[refusal]++;

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (answerOther !== undefined && request.headers.upgrade?.toLowerCase() !== 'websocket') {
      return answerOther(request, socket);
    }
    const refuse = (refusal: Refusal, status: string, text: string): void => {
      count(refusal);
      answer(socket, status, text);
    };
    if (request.url?.split('?', 1)[0] !== SYNC_PATH)
      return refuse('handshake', '404 Not Found', `there are WebSockets at ${SYNC_PATH} only`);
    const refusal = refusalOf?.(request);
    if (refusal !== undefined) return refuse('origin', '403 Forbidden', refusal);
    if (!isOffered(request.headers['sec-websocket-protocol'])) {
      return refuse('subprotocol', '400 Bad Request', `the sub-protocol spoken here is ${SUBPROTOCOL}`);
    }
    if (sockets.clients.size >= connectionsMax)
      return refuse('tooMany', '503 Service Unavailable', 'too many connections');
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      accept(new WsConnection(webSocket, addressOf(request), bufferBytesMax, () => count('badMessage')));
    });
  };
  const clientError = (_error: Error, socket: Duplex & { bytesWritten?: number }): void => {
    count('garbage');
    // Whoever made the server may have an answer of its own; and in the middle of one there is nothing to say.
    if (server.listenerCount('clientError') > 1) return;
    if (socket.bytesWritten === 0) answer(socket, '400 Bad Request', 'this is no HTTP');
    else socket.destroy();
  };
  sockets.on('wsClientError', (error, socket) => {
    count('handshake');
    answer(socket, '400 Bad Request', error.message);
  });
  server.on('upgrade', upgrade);
  server.on('clientError', clientError);

  return {
    refused,
    get connectionCount() {
      return sockets.clients.size;
    },
    close() {
      server.off('upgrade', upgrade);
      server.off('clientError', clientError);
      sockets.close();
      for (const webSocket of sockets.clients) webSocket.terminate();
    },
  };
}

export interface DialOptions {
  /** ms until the connection must stand, from the name's resolution to the end of the handshake. Default 10,000. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Default `BUFFER_BYTES_MAX`. */
  readonly bufferBytesMax?: number | undefined;
}

/**
 * Tries once to connect; see `DialOnce`. `url`: as `syncUrl` gives it. Fails with `DialFailed`, its `cause` what the
 * network said.
 */
export function dialWebSocket(
  url: string,
  opened: (connection: Connection) => void,
  failed: (error: HearsayError) => void,
  { handshakeTimeoutMs = 10_000, bufferBytesMax = BUFFER_BYTES_MAX }: DialOptions = {},
): Dial {
  let isOver = false;
  const webSocket = new WebSocket(url, SUBPROTOCOL, SOCKET_OPTIONS as ClientOptions);
  const fail = (cause: Error): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    failed(new HearsayError('DialFailed', `${url} cannot be reached: ${textOf(cause)}`, { url }, cause));
  };
  // Over all of it: the timeout of ws begins anew with every byte that arrives.
  const timer = setTimeout(() => {
    fail(new Error(`no connection after ${handshakeTimeoutMs} ms`));
    webSocket.terminate();
  }, handshakeTimeoutMs);
  webSocket.on('error', fail);
  webSocket.once('open', () => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    opened(new WsConnection(webSocket, new URL(url).host, bufferBytesMax, () => {}));
  });
  return {
    cancel() {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      webSocket.terminate();
    },
  };
}

/**
 * The address to dial for what a person writes: `http://host:port`, `ws://host:port`, also with `s` for TLS, with or
 * without a path; without one it is `SYNC_PATH`. Throws `InvalidUrl`.
 */
export function syncUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const protocol = url === undefined ? undefined : PROTOCOLS[url.protocol];
  if (url === undefined || protocol === undefined || url.host === '') {
    const how = 'write it as http://host:port or ws://host:port';
    throw new HearsayError('InvalidUrl', `${JSON.stringify(text)} is not the address of a node: ${how}`, { url: text });
  }
  const path = url.pathname === '/' ? SYNC_PATH : url.pathname;
  return `${protocol}//${url.host}${path}${url.search}`;
}

const PROTOCOLS: Readonly<Record<string, string>> = { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' };

class WsConnection implements Connection {
  readonly remote: string;
  readonly #socket: WebSocket;
  readonly #bufferBytesMax: number;
  readonly #countBadMessage: () => void;
  /** What `onClose` will be told; undefined while nobody has ended the connection. */
  #end: { readonly code: string; readonly reason: string } | undefined;
  onMessage: (bytes: Uint8Array) => void = () => {};
  onClose: (code: string, reason: string) => void = () => {};

  constructor(socket: WebSocket, remote: string, bufferBytesMax: number, countBadMessage: () => void) {
    this.remote = remote;
    this.#socket = socket;
    this.#bufferBytesMax = bufferBytesMax;
    this.#countBadMessage = countBadMessage;
    socket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary));
    socket.on('error', (error) => this.#erred(error));
    socket.on('close', (status, text) => {
      const { code, reason } = this.#end ?? endOf(status, text.toString());
      this.onClose(code, reason);
    });
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    if (bytes.length > MESSAGE_BYTES_MAX) throw messageTooLong(bytes);
    this.#socket.send(bytes, SEND_OPTIONS);
    if (this.#socket.bufferedAmount <= this.#bufferBytesMax) return;
    this.#end = closed('TooSlow', `${this.#socket.bufferedAmount} bytes wait for the other end to take them`);
    // A close frame would have to wait behind them.
    this.#socket.terminate();
  }

  close(code: string, reason: string): void {
    if (this.#end !== undefined) return;
    this.#end = { code, reason };
    this.#socket.close(CLOSE_STATUS, cutOff(`${code}: ${reason}`));
  }

  #received(data: Buffer, isBinary: boolean): void {
    if (this.#end !== undefined) return;
    if (isBinary) return this.onMessage(data);
    this.#countBadMessage();
    const { code, reason } = closed('BadMessage', 'text was sent, and only binary messages are spoken');
    this.close(code, reason);
  }

  /** Of ws, for a frame that breaks the rules, and of the socket; `close` follows either. */
  #erred(error: Error & { code?: string }): void {
    const isPeersFault = error.code?.startsWith('WS_ERR_') ?? false;
    if (isPeersFault) this.#countBadMessage();
    this.#end ??= closed(isPeersFault ? 'BadMessage' : 'Lost', error.message);
  }
}

const SEND_OPTIONS = { binary: true, compress: false } as const;

const closed = (code: CloseCode, reason: string): { code: string; reason: string } => ({ code, reason });

/** What a close frame says; anything but one of ours comes down to a lost connection. */
function endOf(status: number, text: string): { code: string; reason: string } {
  const [, code, reason] = (status === CLOSE_STATUS && /^([A-Za-z0-9]{1,40}): (.*)$/s.exec(text)) || [];
  if (code !== undefined && reason !== undefined) return { code, reason };
  return closed('Lost', `closed with status ${status}${text === '' ? '' : `: ${text}`}`);
}

/** As many whole characters as fit. */
function cutOff(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= CLOSE_REASON_BYTES_MAX) return text;
  // A character that was cut in two becomes U+FFFD, which is longer than what is left of it.
  return bytes.toString('utf8', 0, CLOSE_REASON_BYTES_MAX).replace(/\uFFFD+$/, '');
}

/** Whether a list of sub-protocols, as in the header, has ours. */
function isOffered(header: string | undefined): boolean {
  return header?.split(',').some((name) => name.trim() === SUBPROTOCOL) ?? false;
}

function addressOf({ socket: { remoteAddress, remotePort } }: IncomingMessage): string {
  return remoteAddress?.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
}

/** Connecting to a name with several addresses ends in an error without a text of its own. */
function textOf(error: Error): string {
  const inner = error instanceof AggregateError ? (error.errors[0] as Error | undefined) : undefined;
  return error.message || inner?.message || error.name;
}

/** Refuses before there is a WebSocket. The other end may be gone, and anything but well-behaved. */
function answer(socket: Duplex, status: string, text: string): void {
  socket.on('error', () => {});
  if (!socket.writable) return void socket.destroy();
  const body = `${text}\n`;
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n`;
  socket.once('finish', () => socket.destroy());
  socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}
