/** The command `hearsay` as a user runs it: the compiled program, in processes of its own. `npm test` has built it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../dist/bin/hearsay.js', import.meta.url));

/** What the tests' own environment could change: colours, the way npm started us, where a node is. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|NO_COLOR|FORCE_COLOR|HEARSAY_|NODE_)/.test(name)),
);

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunningOptions {
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** A shell command to run first, in the shell that becomes the program: for its limits. */
  readonly first?: string | undefined;
}

function launch(args: readonly string[], { env, first }: RunningOptions = {}): ChildProcess {
  const options = { env: { ...environment, ...env }, stdio: 'pipe' } as const;
  if (first === undefined) return spawn(process.execPath, [program, ...args], options);
  return spawn('sh', ['-c', `${first} && exec "$@"`, 'sh', process.execPath, program, ...args], options);
}

async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  let out = '';
  let err = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => void (out += chunk));
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => void (err += chunk));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, out, err };
}

/** Runs a command to its end. */
export function run(args: readonly string[], { input, env }: RunOptions = {}): Promise<Outcome> {
  const child = launch(args, { env });
  child.stdin?.on('error', () => {});
  child.stdin?.end(input ?? '');
  return outcomeOf(child);
}

/** A command that goes on until it is told to stop. */
export class Running {
  readonly child: ChildProcess;
  /** When it has ended. */
  readonly end: Promise<Outcome>;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: AsyncIterator<string>;

  constructor(args: readonly string[], options?: RunningOptions) {
    this.child = launch(args, options);
    // Both listen from now on: what comes before somebody asks for a line is kept.
    this.#lines = linesOf(this.child.stdout);
    this.#errors = linesOf(this.child.stderr);
    this.end = outcomeOf(this.child);
  }

  /** The next line on standard output; undefined at its end. */
  async line(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done === true ? undefined : value;
  }

  /** The next line on standard error that holds `text`. */
  async errorLine(text: string): Promise<string> {
    for (;;) {
      const { done, value } = await this.#errors.next();
      if (done === true) throw new Error(`no line with '${text}'`);
      if (value.includes(text)) return value;
    }
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    this.child.kill(signal);
    return this.end;
  }
}

function linesOf(stream: NodeJS.ReadableStream | null): AsyncIterator<string> {
  if (stream === null) throw new Error('the stream is not piped');
  return createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
}

export interface StartedNode extends Running {
  readonly url: string;
  readonly port: number;
  readonly node: string;
}

/** `hearsay start` on a free port; resolves when it listens. */
export async function startNode(args: readonly string[], options?: RunningOptions): Promise<StartedNode> {
  const running = new Running(['start', '--port', '0', '--json', ...args], options);
  const line = await running.line();
  if (line === undefined) throw new Error((await running.end).err);
  const { urls, port, node } = JSON.parse(line) as { urls: [string]; port: number; node: string };
  return Object.assign(running, { url: urls[0], port, node });
}
