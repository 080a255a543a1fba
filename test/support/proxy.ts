/** A TCP proxy in front of a node: the cable between two real nodes, which a test can pull. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Proxy {
  /** To be joined instead of the node's own. */
  readonly url: string;
  /** Breaks all connections, and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
  /** Nothing passes any more, in neither direction, and nobody is told. */
  freeze(): void;
  /** Where new connections go: the port of a node that came back elsewhere. */
  targetPort: number;
  readonly connectionCount: number;
  close(): Promise<void>;
}

export async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let connectionCount = 0;
  const breakAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    connectionCount++;
    const far = connect(proxy.targetPort, '127.0.0.1');
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: Proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    targetPort,
    get connectionCount() {
      return connectionCount;
    },
    cut() {
      isCut = true;
      breakAll();
    },
    mend() {
      isCut = false;
    },
    freeze() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    async close() {
      isCut = true;
      breakAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
