/**
 * Keeps one peer connected: dials, waits as redial.ts says, dials again, until it is stopped.
 *
 * Always true: at most one of attempt, pause and connection at a time.
 */
import type { Connection, Dial, DialOnce } from './contract.ts';
import { ended, NEVER_DIALLED, opened, type Redial } from './redial.ts';

export interface DialerOptions {
  readonly url: string;
  readonly dial: DialOnce;
  /** Each new connection; like `Connection` says, it sets both callbacks at once. */
  readonly accept: (connection: Connection) => void;
  /** Each attempt that failed, with the pause until the next. */
  readonly failed: (error: Error, delayMs: number) => void;
  readonly random: () => number;
}

export interface DialerStatus {
  readonly url: string;
  readonly state: 'dialling' | 'connected' | 'waiting' | 'stopped';
  /** Attempts and short-lived connections in a row. */
  readonly failures: number;
  /** What the last attempt failed with; null when it did not. */
  readonly lastError: string | null;
}

export class Dialer {
  readonly #options: DialerOptions;
  #state: DialerStatus['state'] = 'stopped';
  #redial: Redial = NEVER_DIALLED;
  #dial: Dial | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastError: string | null = null;

  /** Dials at once. */
  constructor(options: DialerOptions) {
    this.#options = options;
    this.#attempt();
  }

  get status(): DialerStatus {
    const { failures } = this.#redial;
    return { url: this.#options.url, state: this.#state, failures, lastError: this.#lastError };
  }

  /** Dials no more. A connection that is open stays. Idempotent. */
  stop(): void {
    this.#state = 'stopped';
    clearTimeout(this.#timer);
    this.#dial?.cancel();
  }

  #attempt(): void {
    const { url, dial } = this.#options;
    this.#state = 'dialling';
    this.#dial = dial(
      url,
      (connection) => this.#connected(connection),
      (error) => this.#failed(error),
    );
  }

  #connected(connection: Connection): void {
    this.#state = 'connected';
    this.#lastError = null;
    this.#redial = opened(this.#redial, performance.now());
    this.#options.accept(connection);
    const { onClose } = connection;
    connection.onClose = (code, reason) => {
      onClose(code, reason);
      if (this.#state !== 'stopped') this.#wait(code);
    };
  }

  #failed(error: Error): void {
    this.#lastError = error.message;
    this.#options.failed(error, this.#wait());
  }

  #wait(code?: string): number {
    const { redial, delayMs } = ended(this.#redial, performance.now(), this.#options.random(), code);
    this.#redial = redial;
    this.#state = 'waiting';
    // Keeps the process alive: a node that waits for its peer is at work.
    this.#timer = setTimeout(() => this.#attempt(), delayMs);
    return delayMs;
  }
}
