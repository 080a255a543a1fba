/**
 * The one error class of hearsay. The `code` is API and stays; the text may be bettered at any time.
 * The facts (which key, how many bytes, which limit) are in `facts`, the error that caused this one in `cause`.
 */

export class HearsayError extends Error {
  override readonly name = 'HearsayError';
  /** Stable, in UpperCamelCase: `InvalidValue`, `StorageFailed`, … The whole list is in docs/ERRORS.md. */
  readonly code: string;
  readonly facts: Readonly<Record<string, unknown>>;

  /** `message` says what happened, to what, and what to do next. */
  constructor(code: string, message: string, facts: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = facts;
  }
}

/** What is too long, deep or large: `limit` is in the text and in the facts. */
export const overLimit = (code: string, what: string, limit: number, advice: string): HearsayError =>
  new HearsayError(code, `${what} is over the limit of ${limit}: ${advice}`, { limit });
