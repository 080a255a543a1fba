/**
 * Errors over HTTP: one shape (RFC 9457, application/problem+json), one table from the library's codes to statuses.
 *
 *     HTTP/1.1 400 Bad Request
 *     {"title": "Bad Request", "status": 400, "code": "InvalidTtl", "detail": "a time to live is …", "facts": {"ttlMs": -1}}
 *
 * `code` is API, the same word that the library throws; `detail` is for people. `facts` holds what can be said in plain
 * JSON values, and is left out when there is nothing.
 */
import { STATUS_CODES } from 'node:http';
import { HearsayError } from '../../../crdts/error.ts';

/** Codes that a request can end in. One that is not here is our own fault, hence 500. All are explained in docs/ERRORS.md. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  InvalidAmount: 400,
  InvalidClock: 400,
  InvalidJson: 400,
  InvalidRequest: 400,
  InvalidTtl: 400,
  InvalidValue: 400,
  KeyEmpty: 400,
  KeyTooLong: 400,
  PathTooLong: 400,
  ValueTooDeep: 400,
  TokenRequired: 401,
  ForeignHost: 403,
  ForeignPage: 403,
  StorageReadOnly: 403,
  NotFound: 404,
  RouteUnknown: 404,
  MethodNotAllowed: 405,
  RequestTimeout: 408,
  BatchTooLarge: 413,
  BodyTooLarge: 413,
  ValueTooLarge: 413,
  BodyNotJson: 415,
  OutsideInterests: 421,
  AnswerTooLarge: 422,
  HeadersTooLarge: 431,
  Closing: 503,
  Overloaded: 503,
  StorageClosed: 503,
  StorageFailed: 503,
  StorageFull: 507,
};

export interface Problem {
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly facts?: Readonly<Record<string, string | number | boolean>>;
}

export function isExpected(error: unknown): error is HearsayError {
  return error instanceof HearsayError && STATUS_OF_CODE[error.code] !== undefined;
}

/** What the client is told of an error. Of one that nobody expected, nothing: it may hold what is not the client's. */
export function problemOf(error: unknown): Problem {
  if (!isExpected(error)) {
    const detail = 'the node failed to answer; its log says more';
    return { title: 'Internal Server Error', status: 500, code: 'Internal', detail };
  }
  const status = STATUS_OF_CODE[error.code]!;
  const facts: Record<string, string | number | boolean> = {};
  for (const [name, fact] of Object.entries(error.facts)) {
    if (typeof fact === 'string' || typeof fact === 'boolean' || Number.isFinite(fact)) facts[name] = fact as string;
  }
  const problem = { title: STATUS_CODES[status] ?? 'Error', status, code: error.code, detail: error.message };
  return Object.keys(facts).length === 0 ? problem : { ...problem, facts };
}
