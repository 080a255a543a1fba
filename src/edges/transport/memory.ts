/**
 * A network inside this process: for tests, and for several stores in one program. What is sent is copied, and arrives
 * later, in order: code that works here passes bytes and not objects, and cannot lean on being called at once.
 */
import { HearsayError } from '../../../crdts/error.ts';
import {
  BUFFER_BYTES_MAX,
  type Connection,
  type Dial,
  type DialOnce,
  MESSAGE_BYTES_MAX,
  messageTooLong,
} from './contract.ts';

export interface MemoryListener {
  /** What `dial` takes to reach this listener. */
  readonly url: string;
  /** Takes no more connections; those there are stay. Idempotent. */
  close(): void;
}

export interface MemoryNetwork {
  listen(accept: (connection: Connection) => void): MemoryListener;
  readonly dial: DialOnce;
  /** Breaks every connection at once, as a pulled cable would, but noticed: each end is told `Lost`. */
  cut(): void;
  /** While set, dialling fails. */
  isDown: boolean;
}

/** A new network with nobody on it. */
export function memoryNetwork(bufferBytesMax = BUFFER_BYTES_MAX): MemoryNetwork {
  const listeners = new Map<string, (connection: Connection) => void>();
  const ends = new Set<MemoryEnd>();
  let listenerCount = 0;
  const network: MemoryNetwork = {
    isDown: false,
    listen(accept) {
      const url = `memory://${++listenerCount}`;
      listeners.set(url, accept);
      return { url, close: () => void listeners.delete(url) };
    },
    dial(url, opened, failed): Dial {
      const attempt = setImmediate(() => {
        const accept = network.isDown ? undefined : listeners.get(url);
        if (accept === undefined) return failed(new HearsayError('DialFailed', `nobody listens at ${url}`, { url }));
        const here = new MemoryEnd(url, bufferBytesMax);
        const there = new MemoryEnd('memory', bufferBytesMax);
        here.join(there);
        there.join(here);
        for (const end of [here, there]) {
          ends.add(end);
          end.ended = () => ends.delete(end);
        }
        accept(there);
        opened(here);
      });
      return { cancel: () => clearImmediate(attempt) };
    },
    cut() {
      for (const end of [...ends]) end.lose('Lost', 'the network was cut');
    },
  };
  return network;
}

/** What is under way to one end. */
type Letter =
  | { readonly type: 'message'; readonly bytes: Uint8Array }
  | { readonly type: 'close'; readonly code: string; readonly reason: string };

class MemoryEnd implements Connection {
  readonly remote: string;
  readonly #bufferBytesMax: number;
  #other!: MemoryEnd;
  #inbox: Letter[] = [];
  #inboxBytes = 0;
  #isScheduled = false;
  #state: 'open' | 'closing' | 'closed' = 'open';
  onMessage: (bytes: Uint8Array) => void = () => {};
  onClose: (code: string, reason: string) => void = () => {};
  ended: () => void = () => {};

  constructor(remote: string, bufferBytesMax: number) {
    this.remote = remote;
    this.#bufferBytesMax = bufferBytesMax;
  }

  join(other: MemoryEnd): void {
    this.#other = other;
  }

  get bufferedBytes(): number {
    return this.#other.#inboxBytes;
  }

  send(bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    if (bytes.length > MESSAGE_BYTES_MAX) throw messageTooLong(bytes);
    this.#other.#deliver({ type: 'message', bytes: bytes.slice() });
    if (this.bufferedBytes <= this.#bufferBytesMax) return;
    // As on a real network, what the other end did not take in time never arrives there.
    this.#other.lose('TooSlow', 'more waits than may');
    this.close('TooSlow', 'more waits than may');
  }

  close(code: string, reason: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'closing';
    this.#other.#deliver({ type: 'close', code, reason });
    this.lose(code, reason);
  }

  /** The end of it at this end; what is under way to it is lost. */
  lose(code: string, reason: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closing';
    this.#inbox = [{ type: 'close', code, reason }];
    this.#inboxBytes = 0;
    this.#schedule();
  }

  #deliver(letter: Letter): void {
    if (this.#state !== 'open') return;
    this.#inbox.push(letter);
    if (letter.type === 'message') this.#inboxBytes += letter.bytes.length;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#take();
    });
  }

  #take(): void {
    for (;;) {
      const letter = this.#inbox.shift();
      if (letter === undefined || this.#state === 'closed') return;
      if (letter.type === 'message') {
        this.#inboxBytes -= letter.bytes.length;
        this.onMessage(letter.bytes);
        continue;
      }
      this.#state = 'closed';
      this.#inbox = [];
      this.ended();
      this.onClose(letter.code, letter.reason);
    }
  }
}
