/**
 * The commands' way to a running node: requests and event streams over HTTP. On node:http rather than `fetch`, which
 * costs every command 30 ms at its start, refuses some ports, and ends an event stream that is silent for five minutes.
 */
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { EXIT, Failure, usageFailure } from './failure.ts';
import type { Json } from './output.ts';

export const PORT_DEFAULT = 7717;
export const URL_DEFAULT = `http://127.0.0.1:${PORT_DEFAULT}`;

/** A node that is silent for so long is taken for gone. */
const SILENCE_MS = 30_000;
/** Event streams have a heartbeat every 15 s. */
const STREAM_SILENCE_MS = 45_000;

export interface ServerEvent {
  /** `change`, `listing-begins` or `listing-ends`. */
  readonly event: string;
  readonly data: Readonly<Record<string, Json>>;
  /** Where to resume behind this event; not every event has one. */
  readonly id: string | undefined;
}

/** `localhost:7717` and `http://localhost:7717/` alike. Throws a usage failure. */
export function parseNodeUrl(text: string): URL {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url?.protocol === 'http:' && url.search === '' && url.hash === '') return url;
  throw usageFailure(`'${text}' is not the URL of a node`, `It looks like ${URL_DEFAULT}`);
}

/** A key as a part of a URL's path. A leading `~` makes room for `.`, `..` and the empty key (docs/HTTP.md). */
export function keySegment(key: string): string {
  const needsMark = key === '' || key === '.' || key === '..' || key.startsWith('~');
  return encodeURIComponent(needsMark ? `~${key}` : key);
}

export type QueryValues = Readonly<Record<string, string | number | readonly string[] | undefined>>;

export class Client {
  readonly #base: URL;

  constructor(url: string) {
    this.#base = parseNodeUrl(url);
  }

  /** The answer's JSON, taken for what docs/HTTP.md says it is. Throws a `Failure`: with the API's code, or `Unreachable`. */
  async ask<Answer extends object>(
    method: string,
    path: string,
    query: QueryValues = {},
    body?: unknown,
  ): Promise<Answer> {
    const response = await this.#send(method, path, query, body);
    const json = parseObject(await this.#read(response));
    if ((response.statusCode ?? 0) >= 400 || json === undefined) throw this.#refusal(json);
    return json as Answer;
  }

  /** The events of a stream until it ends, however it does. Throws as `ask` before the first. */
  async *events(
    path: string,
    query: QueryValues,
    lastId: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<ServerEvent> {
    const headers = lastId === undefined ? {} : { 'last-event-id': lastId };
    const response = await this.#send('GET', path, query, undefined, headers, signal);
    if (response.statusCode !== 200) throw this.#refusal(parseObject(await this.#read(response)));
    response.setTimeout(STREAM_SILENCE_MS, () => response.destroy());
    response.setEncoding('utf8');
    let rest = '';
    try {
      for await (const chunk of response as AsyncIterable<string>) {
        const blocks = (rest + chunk).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) {
          const event = parseEvent(block);
          if (event !== undefined) yield event;
        }
      }
    } catch {
      // The connection broke: the caller resumes, or was the one who ended it.
    }
  }

  #send(
    method: string,
    path: string,
    query: QueryValues,
    body?: unknown,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const target = this.#base.pathname.replace(/\/$/, '') + path + queryText(query);
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const bodyHeaders = bytes && { 'content-type': 'application/json', 'content-length': bytes.length };
    return new Promise((resolve, reject) => {
      const { hostname, port } = this.#base;
      const request: ClientRequest = httpRequest({
        // Brackets around an IPv6 address belong to URLs only.
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port === '' ? 80 : Number(port),
        method,
        path: target,
        headers: { ...headers, ...bodyHeaders },
        ...(signal && { signal }),
      });
      request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`no answer within ${SILENCE_MS / 1000} s`)));
      request.once('response', resolve);
      request.once('error', (error) => reject(this.#unreachable(error)));
      request.end(bytes);
    });
  }

  async #read(response: IncomingMessage): Promise<string> {
    response.setEncoding('utf8');
    let text = '';
    try {
      for await (const chunk of response as AsyncIterable<string>) text += chunk;
    } catch (error) {
      throw this.#unreachable(error);
    }
    return text;
  }

  #unreachable(cause: unknown): Failure {
    const { code, message } = cause as { code?: string; message: string };
    const why = code === 'ECONNREFUSED' ? '' : ` (${message})`;
    return new Failure(EXIT.unreachable, 'Unreachable', `no node answers at ${this.#base.origin}${why}`, {
      hint: 'Start one with: hearsay start. One that runs elsewhere is named with --url or HEARSAY_URL.',
      cause,
    });
  }

  /** What an answer other than the one asked for means. */
  #refusal(problem: Readonly<Record<string, Json>> | undefined): Failure {
    const { code, detail } = problem ?? {};
    if (typeof code === 'string' && typeof detail === 'string') return new Failure(EXIT.failed, code, detail);
    return new Failure(EXIT.unreachable, 'Unreachable', `what answers at ${this.#base.origin} is not a hearsay node`, {
      hint: 'Name the node with --url or HEARSAY_URL.',
    });
  }
}

function queryText(query: QueryValues): string {
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const values = typeof value === 'object' ? value : [String(value)];
    return values.map((each) => `${name}=${encodeURIComponent(each)}`);
  });
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

function parseObject(text: string): Readonly<Record<string, Json>> | undefined {
  try {
    const json = JSON.parse(text) as Json;
    return typeof json === 'object' && json !== null && !Array.isArray(json)
      ? (json as Record<string, Json>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** One block of a stream; undefined for comments and settings. */
function parseEvent(block: string): ServerEvent | undefined {
  const fields = new Map(block.split('\n').map((line) => splitOnce(line, ': ')));
  const data = parseObject(fields.get('data') ?? '');
  return data && { event: fields.get('event') ?? 'message', data, id: fields.get('id') };
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}
