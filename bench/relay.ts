/**
 * A relay between two nodes: passes their WebSocket messages on, counts them, and can be cut.
 *
 * It sees what a network sees, whatever the nodes themselves count, and it tells messages apart by their type.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { decodeMessage } from '../src/protocol/codec.ts';
import type { Message } from '../src/protocol/messages.ts';

export class Relay {
  readonly #upstream: string;
  readonly #server: Server;
  readonly #sockets = new Set<WebSocket>();
  readonly #bytes = new Map<Message['type'], { count: number; bytes: number }>();
  #isCut = false;
  #onConnection: () => void = () => {};

  private constructor(upstream: string, server: Server) {
    this.#upstream = upstream.replace(/^http/, 'ws');
    this.#server = server;
    const webSockets = new WebSocketServer({ server, handleProtocols: ([first]) => first ?? false });
    webSockets.on('connection', (socket, request) => this.#connect(socket, request.url ?? '/', socket.protocol));
  }

  /** Passes on to the node at `upstream`, its address. */
  static async start(upstream: string): Promise<Relay> {
    const server = createServer();
    const relay = new Relay(upstream, server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return relay;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #connect(downstream: WebSocket, path: string, protocol: string): void {
    if (this.#isCut) return downstream.terminate();
    const upstream = new WebSocket(this.#upstream + path, protocol, { perMessageDeflate: false });
    const early: Buffer[] = [];
    downstream.on('message', (data) => {
      this.#note(data as Buffer);
      if (upstream.readyState === WebSocket.OPEN) upstream.send(data as Buffer);
      else early.push(data as Buffer);
    });
    upstream.on('open', () => {
      for (const data of early) upstream.send(data);
      this.#onConnection();
    });
    upstream.on('message', (data) => {
      this.#note(data as Buffer);
      downstream.send(data as Buffer);
    });
    for (const [socket, other] of [
      [downstream, upstream],
      [upstream, downstream],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.terminate();
      });
    }
  }

  #note(data: Buffer): void {
    const type = decodeMessage(data)?.type;
    if (type === undefined) return;
    const noted = this.#bytes.get(type) ?? { count: 0, bytes: 0 };
    this.#bytes.set(type, { count: noted.count + 1, bytes: noted.bytes + data.length });
  }

  /** Breaks the connection, and lets no new one come until `mend`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.terminate();
  }

  /** Begins to count anew, and lets connections come; resolves when one has. */
  mend(): Promise<void> {
    this.forget();
    this.#isCut = false;
    return new Promise((resolve) => {
      this.#onConnection = resolve;
    });
  }

  forget(): void {
    this.#bytes.clear();
  }

  /** Payload both ways since `mend` or `forget`. */
  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.#bytes.values()) sum += bytes;
    return sum;
  }

  bytesOf(type: Message['type']): { readonly count: number; readonly bytes: number } {
    return this.#bytes.get(type) ?? { count: 0, bytes: 0 };
  }

  close(): void {
    for (const socket of this.#sockets) socket.terminate();
    this.#server.close();
  }
}
