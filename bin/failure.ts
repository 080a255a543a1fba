/**
 * How a command fails: one line that says what happened, one that says what to do, and an exit code to branch on. A stack
 * trace helps nobody who typed a command; `--log-level debug` (start) shows it.
 */

export const EXIT = {
  ok: 0,
  /** Not found, or refused by the node, or failed. */
  failed: 1,
  /** The command line makes no sense. */
  usage: 2,
  /** No node answered. */
  unreachable: 3,
} as const;

export class Failure extends Error {
  override readonly name = 'Failure';
  readonly exitCode: number;
  /** The stable code of the library or the API where there is one, else one of ours. */
  readonly code: string;
  readonly hint: string | undefined;

  constructor(
    exitCode: number,
    code: string,
    message: string,
    { hint, cause }: { hint?: string; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
    this.code = code;
    this.hint = hint;
  }
}

export const usageFailure = (message: string, hint?: string): Failure =>
  new Failure(EXIT.usage, 'Usage', message, hint === undefined ? {} : { hint });

/** What to do about errors of the library that a user can do something about. */
const HINTS: Readonly<Record<string, string>> = {
  PortInUse: 'Is a node running already? Take another port with --port, or any free one with --port 0.',
  PortForbidden: 'Ports below 1024 are reserved on most systems; take another with --port.',
  AddressUnavailable: 'Use an address of this machine with --host, such as 127.0.0.1.',
  StorageLocked: 'A second node needs a directory of its own: --dir.',
  DirectoryNotWritable: 'Choose another directory with --dir, or change its permissions.',
};

/** Any error as a failure with a code and, where we know one, a hint. */
export function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const { code, message } = error as { code?: unknown; message?: unknown };
  const text = typeof message === 'string' ? message : String(error);
  if (typeof code !== 'string') return new Failure(EXIT.failed, 'Internal', text, { cause: error });
  if (code === 'InvalidOption') return new Failure(EXIT.usage, code, text, { cause: error });
  const hint = HINTS[code];
  return new Failure(EXIT.failed, code, text, { cause: error, ...(hint !== undefined && { hint }) });
}
