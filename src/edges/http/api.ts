/**
 * The HTTP API `/v1`: what one may ask, who may ask, and how much at once. docs/HTTP.md is its contract.
 *
 *     request ─▶ admit ──▶ find the route ──▶ read query and body ──▶ answer ──▶ JSON, or an event stream (events.ts)
 *                  └────────────┴───────── any error ─────────────────┴───────▶ problem+json (problem.ts)
 *
 * Only processes on this machine are served: there are no tokens yet, and the port may be open to peers. Pages in the
 * browsers of this machine are kept out by browsers.ts.
 *
 * Always true: a request ends in an answer or in a closed connection; nothing a client sends or leaves unread makes
 * memory grow beyond the limits below; a write is answered once it is durable here.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { HearsayError } from '../../../crdts/error.ts';
import type { Place } from '../../../crdts/handles.ts';
import type { TypeName } from '../../../crdts/path.ts';
import type { ApiStore, Logger, Writes } from './api-store.ts';
import { isForeignPage, isOnThisMachine, isOwnHost } from './browsers.ts';
import { ended, streamChanges } from './events.ts';
import type { Json } from './json.ts';
import { listKeys } from './listing.ts';
import { isExpected, problemOf } from './problem.ts';
import { BodyReader, invalidRequest, parseTarget, Query, type Target } from './request.ts';
import { type Address, conflictsOf, hasElement, operate, placeAt, put, readAs, remove, TYPES } from './values.ts';

export type { ApiStore, Logger } from './api-store.ts';

export interface ApiOptions {
  readonly logger?: Logger | undefined;
}

export interface Api {
  /** For `createServer`. Never throws. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  /** Ends the event streams, refuses what comes, and resolves when what is under way has been answered. Idempotent. */
  close(): Promise<void>;
}

/** Requests under way, event streams apart. More get `Overloaded`; each costs a few kilobytes beside its body and answer. */
const REQUESTS_MAX = 1_024;
/** Event streams. Each costs its share of the store's feed, and about 20 kB. */
const STREAMS_MAX = 2_048;
/** Answers that clients have not read yet, all together, in bytes. More than a few slow readers of large answers. */
const UNREAD_BYTES_MAX = 64 * 2 ** 20;

interface Call {
  readonly store: ApiStore;
  readonly query: Query;
  /** The parts of the path that the route's pattern leaves open. */
  readonly key: string;
  readonly body: () => Promise<Readonly<Record<string, unknown>>>;
}

interface Route {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Segments; `{key}` takes any one. */
  readonly path: string;
  readonly query: readonly string[];
  readonly answer: 'events' | ((call: Call) => Json | Promise<Json>);
}

const ROUTES: readonly Route[] = [
  { method: 'GET', path: '/healthz', query: [], answer: () => ({ status: 'ok' }) },
  { method: 'GET', path: '/v1/status', query: [], answer: ({ store }) => store.status() as Json },
  {
    method: 'GET',
    path: '/v1/keys',
    query: ['prefix', 'after', 'limit', 'reverse', 'values'],
    answer: ({ store, query }) => listKeys(store, query),
  },
  { method: 'GET', path: '/v1/keys/{key}', query: ['type', 'field', 'element'], answer: read },
  { method: 'PUT', path: '/v1/keys/{key}', query: ['type', 'field'], answer: write },
  { method: 'POST', path: '/v1/keys/{key}', query: ['type', 'field'], answer: applyOperation },
  { method: 'DELETE', path: '/v1/keys/{key}', query: ['type', 'field'], answer: erase },
  { method: 'GET', path: '/v1/watch', query: ['prefix', 'since'], answer: 'events' },
];

/** The API over an open store. It keeps no state but counts; several over one store are fine. */
export function createApi(store: ApiStore, { logger }: ApiOptions = {}): Api {
  const bodies = new BodyReader();
  const underWay = new Set<Promise<void>>();
  const streams = new Set<AbortController>();
  let isClosing = false;
  let unreadBytes = 0;

  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    // The client may go away at any moment; what is still written then is nobody's loss.
    request.on('error', () => {});
    response.on('error', () => {});
    const answered = serve(request, response)
      .catch((error: unknown) => fail(request, response, error))
      .catch(() => void response.destroy())
      .finally(() => underWay.delete(answered));
    underWay.add(answered);
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = parseTarget(request.url ?? '');
    const { route, key } = findRoute(request.method ?? '', target);
    if (route.path !== '/healthz') admit(request);
    const query = new Query(target.query, route.query);
    if (route.answer === 'events') {
      await streamTo(request, response, query);
    } else {
      const json = await route.answer({ store, query, key, body: () => bodies.read(request) });
      await send(response, 200, 'application/json', json);
    }
  }

  /** Who may ask, and whether there is room. Health is told to anybody, at any time. */
  function admit(request: IncomingMessage): void {
    if (isClosing) throw new HearsayError('Closing', 'the node is closing: ask another one');
    if (!isOnThisMachine(request)) {
      throw new HearsayError('TokenRequired', 'the API answers only to programs on the machine of the node');
    }
    if (!isOwnHost(request)) {
      throw new HearsayError('ForeignHost', 'reach the API as localhost or by its address, not by another name');
    }
    if (isForeignPage(request)) {
      throw new HearsayError('ForeignPage', 'the API does not answer to web pages of other sites');
    }
    if (underWay.size - streams.size > REQUESTS_MAX || unreadBytes > UNREAD_BYTES_MAX) throw overloaded('requests');
  }

  async function streamTo(request: IncomingMessage, response: ServerResponse, query: Query): Promise<void> {
    if (streams.size >= STREAMS_MAX) throw overloaded('event streams');
    // What the client saw last: a browser that reconnects by itself repeats the URL, and tells this in the header.
    const since = request.headers['last-event-id']?.toString() ?? query.one('since');
    const stream = new AbortController();
    streams.add(stream);
    try {
      await streamChanges(store, { prefix: query.one('prefix') ?? '', since }, response, stream);
    } finally {
      streams.delete(stream);
    }
  }

  async function send(response: ServerResponse, status: number, type: string, json: unknown): Promise<void> {
    const bytes = Buffer.from(`${JSON.stringify(json)}\n`);
    response.writeHead(status, { ...HEADERS, 'content-type': type, 'content-length': bytes.length });
    unreadBytes += bytes.length;
    await ended(response, bytes);
    unreadBytes -= bytes.length;
  }

  async function fail(request: IncomingMessage, response: ServerResponse, error: unknown): Promise<void> {
    // Begun already: all that is left to say is that the answer is not whole.
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (!isExpected(error)) logger?.error({ method: request.method, error }, 'a request failed');
    const problem = problemOf(error);
    if (error instanceof MethodNotAllowed) response.setHeader('allow', error.allowed.join(', '));
    if (problem.status === 401) response.setHeader('www-authenticate', 'Bearer');
    if (problem.status === 503) response.setHeader('retry-after', '1');
    if (problem.code === 'Closing') response.setHeader('connection', 'close');
    await send(response, problem.status, 'application/problem+json', problem);
  }

  return {
    handle,
    async close(): Promise<void> {
      isClosing = true;
      for (const stream of streams) stream.abort();
      await Promise.all(underWay);
    },
  };
}

const HEADERS = {
  // An answer is true for this moment only.
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // Even an image tag of another site's page shall not load it.
  'cross-origin-resource-policy': 'same-origin',
};

const overloaded = (what: string): HearsayError =>
  new HearsayError('Overloaded', `too many ${what} at once: try again a little later`);

class MethodNotAllowed extends HearsayError {
  readonly allowed: readonly string[];

  constructor(allowed: readonly string[]) {
    super('MethodNotAllowed', `this route knows the methods ${allowed.join(', ')}`);
    this.allowed = allowed;
  }
}

function findRoute(method: string, { segments }: Target): { route: Route; key: string } {
  const here = ROUTES.filter(({ path }) => isMatch(path, segments));
  if (here.length === 0) {
    const isSlash = segments[0] === 'v1' && segments[1] === 'keys' && segments.length > 3;
    const hint = isSlash ? 'a / in a key is written %2F' : 'docs/HTTP.md lists the routes; try /v1/status';
    throw new HearsayError('RouteUnknown', `there is nothing at this path: ${hint}`);
  }
  // HEAD is GET without the body, which node:http leaves away by itself; of an event stream nothing would be left.
  const isMet = (each: Route): boolean =>
    each.method === method || (method === 'HEAD' && each.method === 'GET' && each.answer !== 'events');
  const route = here.find(isMet);
  if (route === undefined) throw new MethodNotAllowed(here.map((each) => each.method));
  return { route, key: keyOf(segments[2] ?? '') };
}

function isMatch(path: string, segments: readonly string[]): boolean {
  const pattern = path.slice(1).split('/');
  if (pattern.length !== segments.length) return false;
  return pattern.every((part, i) => (part === '{key}' ? segments[i] !== '' : part === segments[i]));
}

/**
 * The key that a segment of the path stands for. A leading `~` is dropped: it makes room for the keys that no URL can
 * hold as a segment, the empty one (`~`) and `.` and `..` (`~.`, `~..`), which clients resolve away. `~a` is `~~a`.
 */
const keyOf = (segment: string): string => (segment.startsWith('~') ? segment.slice(1) : segment);

const addressOf = ({ key, query }: Call): Address => ({ key, fields: query.all('field') });

/** How answers name what they are about: the fields only where there are some. */
const named = ({ key, fields }: Address): { key: string; fields?: readonly string[] } =>
  fields.length === 0 ? { key } : { key, fields };

function read(call: Call): Json {
  const { store, query } = call;
  const address = addressOf(call);
  const place = placeAt(store, address);
  const type = query.oneOf('type', TYPES);
  const element = query.one('element');
  if (element !== undefined) return { ...named(address), type: type ?? null, ...hasElement(place, type, element) };
  if (type === undefined) return readAll(place, address);
  const value = readOne(place, type);
  if (value === undefined) throw notFound(address, type);
  return { ...named(address), ...value };
}

/** Everything at a place, one item for each type. */
function readAll(place: Place<Writes>, address: Address): Json {
  const values = [...place.things()].map(({ type }) => readOne(place, type)).filter((value) => value !== undefined);
  if (values.length === 0) throw notFound(address);
  return { ...named(address), values };
}

function readOne(place: Place<Writes>, type: TypeName): { type: TypeName; value: Json; conflicts?: Json } | undefined {
  const value = readAs(place, type);
  if (value === undefined) return undefined;
  const conflicts = type === 'register' ? conflictsOf(place) : undefined;
  return { type, value, ...(conflicts && { conflicts }) };
}

async function write(call: Call): Promise<Json> {
  const type = call.query.oneOf('type', TYPES) ?? 'register';
  const address = addressOf(call);
  const body = await call.body();
  const { dots } = await put(placeAt(call.store, address), type, body);
  return { ...named(address), type, dots };
}

async function applyOperation(call: Call): Promise<Json> {
  const type = call.query.oneOf('type', TYPES);
  if (type === undefined) throw invalidRequest('say what it is: add type=counter or type=set to the URL');
  const address = addressOf(call);
  const body = await call.body();
  const place = placeAt(call.store, address);
  const written = operate(place, type, body);
  // The sum with this addition and before any later one; but told only once the addition is durable.
  const sum = type === 'counter' ? readAs(place, type) : undefined;
  const { dots } = await written;
  return { ...named(address), type, dots, ...(sum !== undefined && { value: sum }) };
}

async function erase(call: Call): Promise<Json> {
  const type: TypeName | undefined = call.query.oneOf('type', TYPES);
  const address = addressOf(call);
  const { dots } = await remove(placeAt(call.store, address), type);
  return { ...named(address), ...(type && { type }), dots };
}

function notFound(address: Address, type?: TypeName): HearsayError {
  const place = [address.key, ...address.fields].map((part) => JSON.stringify(part)).join(' → ');
  return new HearsayError('NotFound', `there is no ${type ?? 'value'} at ${place}`);
}
