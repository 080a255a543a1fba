/**
 * Reading requests: the target, the query, the body. Everything is checked once, here, and refused when it is not exactly
 * what a route asks for: a misspelt `ttl=5` that is silently ignored costs its author more than an error does.
 *
 * URLs are taken literally. `decodeURIComponent` is strict where `URL` and `URLSearchParams` repair: half a UTF-8
 * character would become U+FFFD, and another key than the one that was meant.
 */
import type { IncomingMessage } from 'node:http';
import { HearsayError, overLimit } from '../../../crdts/error.ts';

/**
 * The largest body, in bytes. The largest value, 1 MiB, fits as base64 and as most text; text that JSON must escape
 * throughout (6 bytes for a control character) may not.
 */
export const BODY_BYTES_MAX = 2 * 2 ** 20;

/** What is read and thrown away of a body that is too large, so that the client gets to read its answer. */
const DISCARDED_BYTES_MAX = 16 * 2 ** 20;

export interface Target {
  /** The parts of the path, decoded: ['v1', 'keys', 'user:1']. */
  readonly segments: readonly string[];
  readonly query: ReadonlyMap<string, readonly string[]>;
}

export const invalidRequest = (what: string): HearsayError => new HearsayError('InvalidRequest', what);

/** Throws `InvalidRequest` when it is not a path with an optional query, percent-encoded UTF-8. */
export function parseTarget(url: string): Target {
  if (!url.startsWith('/')) throw invalidRequest('the target of a request is a path that begins with /');
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = new Map<string, string[]>();
  for (const pair of (mark < 0 ? '' : url.slice(mark + 1)).split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decodeQuery(equals < 0 ? pair : pair.slice(0, equals));
    const value = equals < 0 ? '' : decodeQuery(pair.slice(equals + 1));
    const values = query.get(name);
    if (values === undefined) query.set(name, [value]);
    else values.push(value);
  }
  return { segments: path.slice(1).split('/').map(decode), query };
}

const decodeQuery = (text: string): string => decode(text.replaceAll('+', ' '));

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidRequest(`'${text.slice(0, 80)}' in the URL is not percent-encoded UTF-8`);
  }
}

/** A request's query, read by name. A name may be there once, save those read by `all`. */
export class Query {
  readonly #values: ReadonlyMap<string, readonly string[]>;
  readonly #known: ReadonlySet<string>;

  /** Throws `InvalidRequest` for a name that is not among `known`. */
  constructor(values: ReadonlyMap<string, readonly string[]>, known: readonly string[]) {
    this.#values = values;
    this.#known = new Set(known);
    for (const name of values.keys()) {
      if (this.#known.has(name)) continue;
      const list = known.length === 0 ? 'none' : known.join(', ');
      throw invalidRequest(`unknown query parameter '${name.slice(0, 80)}'; this route knows: ${list}`);
    }
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  one(name: string): string | undefined {
    const values = this.all(name);
    if (values.length > 1) throw invalidRequest(`the query parameter '${name}' is there ${values.length} times`);
    return values[0];
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.one(name);
    if (value === undefined || choices.includes(value as T)) return value as T | undefined;
    throw invalidRequest(`'${name}' is one of ${choices.join(', ')}, not '${value.slice(0, 80)}'`);
  }

  /** `?name` and `?name=true` are true. */
  flag(name: string): boolean {
    const value = this.oneOf(name, ['true', 'false', '']);
    return value === 'true' || value === '';
  }

  /** A whole number, `min` to `max`. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.one(name);
    if (value === undefined) return undefined;
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw invalidRequest(`'${name}' is a whole number from ${min} to ${max}, not '${value.slice(0, 80)}'`);
  }
}

/** What bodies under way may hold in memory, all together: 64 MiB. */
const BODIES_BYTES_MAX = 64 * 2 ** 20;

/** Reads bodies, within a common limit on the memory they take while they arrive. */
export class BodyReader {
  #bytes = 0;

  /**
   * The body's JSON, an object. Throws `BodyNotJson` (content type), `InvalidJson`, `InvalidRequest` (not an object),
   * `BodyTooLarge`, and `Overloaded` when too many others are being read.
   */
  async read(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
    const type = request.headers['content-type'] ?? '';
    if (!/^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(type)) {
      throw new HearsayError('BodyNotJson', 'send a body with the header content-type: application/json');
    }
    const json = parseJson(await this.#bytesOf(request));
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
    throw invalidRequest('the body is a JSON object, such as {"value": 1}');
  }

  async #bytesOf(request: IncomingMessage): Promise<Uint8Array> {
    if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw tooLarge(request);
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        this.#bytes += chunk.length;
        if (bytes > BODY_BYTES_MAX) throw tooLarge(request);
        if (this.#bytes > BODIES_BYTES_MAX) {
          throw new HearsayError('Overloaded', 'too many large bodies at once: try again later');
        }
        chunks.push(chunk);
      }
    } finally {
      this.#bytes -= bytes;
    }
    return Buffer.concat(chunks);
  }
}

function tooLarge(request: IncomingMessage): HearsayError {
  discard(request);
  return overLimit('BodyTooLarge', 'a body in bytes', BODY_BYTES_MAX, 'a value has at most 1 MiB');
}

/** Lets the rest of a body come in and drops it, up to a limit. */
function discard(request: IncomingMessage): void {
  let left = DISCARDED_BYTES_MAX;
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    const detail = error instanceof SyntaxError ? error.message : 'it is not UTF-8';
    throw new HearsayError('InvalidJson', `the body is not JSON: ${detail}`, {}, error);
  }
}

/** Throws `InvalidRequest` when an object has a field that is not among `known`: a typo, or a newer client. */
export function checkFields(body: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  for (const name of Object.keys(body)) {
    if (known.includes(name)) continue;
    throw invalidRequest(`unknown field '${name.slice(0, 80)}' in the body; known here: ${known.join(', ')}`);
  }
}

/** A field that is a number when it is there. */
export function numberField(body: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const value = body[name];
  if (value === undefined || typeof value === 'number') return value;
  throw invalidRequest(`'${name}' in the body is a number`);
}
