/**
 * The one HTTP server of a node: the API's requests, and the upgrade to WebSockets that whoever mounts it adds. Here are
 * its time-outs and its end. A server without them can be held by clients that send a byte a minute, and cannot be closed
 * while one keeps its connection.
 */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { HearsayError } from '../../../crdts/error.ts';
import type { Api } from './api.ts';
import { problemOf } from './problem.ts';

const LIMITS = {
  /** ms for a request's headers, and for all of it with its body. */
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  /** ms between two looks at who has used up the above. */
  connectionsCheckingInterval: 5_000,
  /** ms that a connection without a request stays open. */
  keepAliveTimeout: 10_000,
  /** Room for a `since` of some 3,000 actors in the URL; Node's default is 16 KiB. */
  maxHeaderSize: 64 * 1024,
  /** A request without a Host is refused by the API, with a code. */
  requireHostHeader: false,
};

/** Connections, of peers and of clients. Each idle one costs about 10 kB here, and a file descriptor. */
const CONNECTIONS_MAX = 10_000;

export interface Listening {
  readonly host: string;
  readonly port: number;
}

/** A server with the API mounted, not listening yet. */
export function createHttpServer(api: Api): Server {
  const server = createServer(LIMITS, api.handle);
  server.maxConnections = CONNECTIONS_MAX;
  server.on('clientError', refuseMalformed);
  return server;
}

/** What the HTTP parser itself refuses: no request comes of it, but the client still gets its code. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const code = CLIENT_ERRORS[error.code ?? ''] ?? 'InvalidRequest';
  const problem = problemOf(new HearsayError(code, `the request could not be read: ${error.message}`));
  const body = `${JSON.stringify(problem)}\n`;
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/**
 * Answers a request that asks for an upgrade nobody here speaks, as if it had not asked. With an 'upgrade' listener Node
 * hands it all of them over, also those of clients that would like HTTP/2 (`Upgrade: h2c`: Java's HttpClient, `curl
 * --http2`) and are content without. The parser has let go of the connection, so it is closed after the answer, and a
 * body is not read: such a request gets `InvalidRequest`.
 */
export function answerWithoutUpgrade(server: Server, request: IncomingMessage, socket: Duplex): void {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Socket);
  response.once('finish', () => socket.end());
  server.emit('request', request, response);
}

const CLIENT_ERRORS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: 'HeadersTooLarge',
  ERR_HTTP_REQUEST_TIMEOUT: 'RequestTimeout',
};

/**
 * Listens, on any free port for port 0, and resolves to where. Throws `PortInUse`, `PortForbidden` and
 * `AddressUnavailable`; the server may be tried again elsewhere then.
 */
export function listen(server: Server, { host, port }: Listening): Promise<Listening> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void => reject(listenError(error, host, port));
    server.once('error', refuse);
    server.listen({ host, port }, () => {
      server.off('error', refuse);
      // What may still come is of single connections (too many open files): accepting goes on afterwards.
      server.on('error', () => {});
      const address = server.address();
      resolve({ host, port: typeof address === 'object' && address !== null ? address.port : port });
    });
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): unknown {
  const facts = { host, port };
  switch (error.code) {
    case 'EADDRINUSE':
      return new HearsayError('PortInUse', `port ${port} on ${host} is taken by another program`, facts, error);
    case 'EACCES':
      return new HearsayError('PortForbidden', `this user may not listen on port ${port} of ${host}`, facts, error);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EINVAL':
      return new HearsayError('AddressUnavailable', `${host} is no address of this machine`, facts, error);
    default:
      return error;
  }
}

/** How long requests under way may take to finish when the server closes. */
const GRACE_MS = 2_000;

/**
 * Stops listening at once, lets requests under way finish for `graceMs`, then ends every HTTP connection. WebSockets are
 * their owner's to close; this does not wait for them. Idempotent.
 */
export async function closeHttpServer(server: Server, api: Api, graceMs = GRACE_MS): Promise<void> {
  server.close();
  let timer: NodeJS.Timeout | undefined;
  const grace = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, graceMs);
  });
  await Promise.race([api.close(), grace]);
  clearTimeout(timer);
  server.closeAllConnections();
}
