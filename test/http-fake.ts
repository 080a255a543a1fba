/**
 * A store in memory with what the HTTP API asks of one, and a client that says exactly what it is told to: for the tests of the edge.
 */
import { createServer, type IncomingMessage, request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { actorFrom } from '../crdts/dot.ts';
import { Engine } from '../crdts/engine.ts';
import { HearsayError } from '../crdts/error.ts';
import { Handles, isPresent } from '../crdts/handles.ts';
import { MemoryStore } from '../crdts/memory.ts';
import { endOfPrefix, type Path, parsePath } from '../crdts/path.ts';
import { HybridTime } from '../crdts/timestamp.ts';
import { type Api, type ApiOptions, createApi } from '../src/edges/http/api.ts';
import type { ApiChange, ApiStore, ApiWatchItem, WatchOptions, Writes } from '../src/edges/http/api-store.ts';
import { closeHttpServer, createHttpServer, listen } from '../src/edges/http/server.ts';

/** Its clocks are the numbers of its writes. Its feed keeps the newest state of each path, and is asked, never pushed. */
export class FakeStore extends Handles<Writes> implements ApiStore {
  readonly #log: FakeLog;
  #isClosed = false;
  /** Items that watchers took. */
  takenCount = 0;

  constructor() {
    const engine = new Engine(new MemoryStore());
    const time = new HybridTime();
    engine.begin(actorFrom(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])));
    const log: FakeLog = {
      changedAt: new Map(),
      count: 0,
      waiting: [],
      gate: Promise.resolve(),
      nextFailure: undefined,
    };
    super({
      entries: (path) => engine.read(path).entries,
      *scan(start, end, reverse) {
        for (const [path, { entries }] of engine.rows(start, end, reverse)) yield [path, entries];
      },
      write(edits) {
        const failure = log.nextFailure;
        log.nextFailure = undefined;
        if (failure !== undefined) throw failure;
        const dots: string[] = [];
        for (const edit of edits) {
          engine.apply(edit, time.next(Date.now()));
          // Behind all others: a Map keeps the order of insertion.
          log.changedAt.delete(edit.path);
          log.changedAt.set(edit.path, ++log.count);
          dots.push(`0102030405060708:${log.count}`);
        }
        wakeAll(log);
        return log.gate.then(() => ({ dots }));
      },
      nowMs: Date.now,
    });
    this.#log = log;
  }

  /** Until it is resolved, no write becomes durable. */
  set gate(gate: Promise<void>) {
    this.#log.gate = gate;
  }

  /** What the next write throws. */
  set nextFailure(failure: Error) {
    this.#log.nextFailure = failure;
  }

  watch(prefix: string, { since, signal }: WatchOptions): AsyncGenerator<ApiWatchItem> {
    if (since === undefined || since === 'start' || /^\d+$/.test(since)) return this.#feed(prefix, since, signal);
    throw new HearsayError('InvalidClock', `'${since}' is no clock`);
  }

  async *#feed(prefix: string, since: string | undefined, signal: AbortSignal): AsyncGenerator<ApiWatchItem> {
    let seen = since === undefined || since === 'start' ? this.#now : Number(since);
    if (since === 'start') yield* this.#listing();
    while (!signal.aborted && !this.#isClosed) {
      const next = [...this.#log.changedAt].find(([, at]) => at > seen);
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          this.#log.waiting.push(resolve);
          signal.addEventListener('abort', () => resolve());
        });
        continue;
      }
      seen = next[1];
      if (!parsePath(next[0]).key.startsWith(prefix)) continue;
      this.takenCount++;
      yield this.#changeAt(next[0], seen);
    }
  }

  get #now(): number {
    return [...this.#log.changedAt.values()].at(-1) ?? 0;
  }

  *#listing(): Generator<ApiWatchItem> {
    const clock = String(this.#now);
    yield { type: 'listing-begins', clock: 'start' };
    for (const path of this.#log.changedAt.keys()) yield { ...this.#changeAt(path, 0), clock: 'start' };
    yield { type: 'listing-ends', clock };
  }

  #changeAt(path: Path, clock: number): ApiChange {
    const { key, fields, type, element } = parsePath(path);
    const entries = [...this.host.scan(path, endOfPrefix(path))].find(([each]) => each === path)?.[1] ?? [];
    const change = {
      key,
      fields,
      type,
      element,
      clock: String(clock),
      isPresent: isPresent(path, entries, Date.now()),
    };
    return type === 'register' ? { ...change, value: this.key(key).register().get() } : change;
  }

  status(): object {
    return { name: 'fake' };
  }

  close(): void {
    this.#isClosed = true;
    wakeAll(this.#log);
  }
}

interface FakeLog {
  readonly changedAt: Map<Path, number>;
  count: number;
  readonly waiting: (() => void)[];
  gate: Promise<void>;
  nextFailure: Error | undefined;
}

function wakeAll({ waiting }: FakeLog): void {
  for (const wake of waiting.splice(0)) wake();
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body's JSON; undefined when it is none. */
  // oxlint-disable-next-line typescript/no-explicit-any -- what is in an answer is what the tests are about
  readonly json: any;
}

export interface Sent {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** The API over a fake store, on a free port. */
export async function startApi(options: ApiOptions = {}): Promise<Running> {
  const store = new FakeStore();
  const api = createApi(store, options);
  const server = createHttpServer(api);
  const { port } = await listen(server, { host: '127.0.0.1', port: 0 });
  return new Running(store, api, server, port);
}

export class Running {
  readonly store: FakeStore;
  readonly api: Api;
  readonly server: Server;
  readonly port: number;

  constructor(store: FakeStore, api: Api, server: Server, port: number) {
    this.store = store;
    this.api = api;
    this.server = server;
    this.port = port;
  }

  /** A body that is no text is sent as JSON. */
  ask(path: string, { method = 'GET', headers = {}, body }: Sent = {}): Promise<Answer> {
    const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    // The length is told by hand: Node's client leaves it out where it expects no body, as for HEAD.
    const length =
      text === undefined || 'transfer-encoding' in headers ? {} : { 'content-length': Buffer.byteLength(text) };
    const contentType = text === undefined ? {} : { 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        host: '127.0.0.1',
        port: this.port,
        method,
        path,
        agent: false,
        headers: { ...length, ...contentType, ...headers },
      });
      request.once('error', reject);
      request.once('response', (response) => {
        response.setEncoding('utf8');
        let all = '';
        response.on('data', (chunk: string) => void (all += chunk));
        response.once('error', reject);
        response.once('end', () => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: all, json: parse(all) });
        });
      });
      request.end(text);
    });
  }

  put(path: string, body: unknown): Promise<Answer> {
    return this.ask(path, { method: 'PUT', body });
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.ask(path, { method: 'POST', body });
  }

  /** A raw connection that has sent `text`. */
  raw(text: string): Socket {
    const socket = connect(this.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(text);
    return socket;
  }

  async close(): Promise<void> {
    this.store.close();
    await closeHttpServer(this.server, this.api, 500);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Everything a socket sends until it is closed. */
export function allOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => void (text += chunk));
    socket.once('close', () => resolve(text));
  });
}

/** A program that holds a port. */
export function occupyPort(): Promise<{ port: number; close: () => void }> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      resolve({ port: (server.address() as AddressInfo).port, close: () => void server.close() });
    });
  });
}

export interface Event {
  readonly event?: string;
  readonly id?: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly data: any;
}

/** A client of server-sent events, by the standard's rules as far as they are used here. */
export class EventReader {
  readonly #events: Event[] = [];
  readonly #waiting: ((event: Event | undefined) => void)[] = [];
  readonly status: Promise<number>;
  readonly headers: Promise<Readonly<Record<string, unknown>>>;
  #isOver = false;
  readonly close: () => void;

  constructor({ port }: { port: number }, path: string, headers: Readonly<Record<string, string>> = {}) {
    const request = httpRequest({ host: '127.0.0.1', port, path, agent: false, headers });
    this.close = () => request.destroy();
    request.on('error', () => this.#end());
    const response = new Promise<IncomingMessage>((resolve) => void request.once('response', resolve));
    this.status = response.then(({ statusCode }) => statusCode ?? 0);
    this.headers = response.then((each) => each.headers);
    void response.then((each) => {
      let rest = '';
      each.setEncoding('utf8');
      each.on('data', (chunk: string) => {
        const blocks = (rest + chunk).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) this.#take(block);
      });
      each.on('error', () => this.#end());
      each.on('end', () => this.#end());
    });
    request.end();
  }

  #take(block: string): void {
    const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: ?(.*)/s).slice(0, 2)));
    if (fields['data'] === undefined) return;
    const event = { ...fields, data: JSON.parse(fields['data'] as string) as unknown } as Event;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#events.push(event);
    else waiting(event);
  }

  #end(): void {
    this.#isOver = true;
    for (const waiting of this.#waiting.splice(0)) waiting(undefined);
  }

  /** The next event; undefined when the stream has ended. */
  next(): Promise<Event | undefined> {
    const event = this.#events.shift();
    if (event !== undefined || this.#isOver) return Promise.resolve(event);
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }
}
