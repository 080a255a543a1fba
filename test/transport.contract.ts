/** What every transport must do, written once: run it over each with `transportContract(name, open)`. */
import { afterEach, describe, expect, test } from 'vitest';
import {
  BUFFER_BYTES_MAX,
  type Connection,
  type DialOnce,
  MESSAGE_BYTES_MAX,
} from '../src/edges/transport/contract.ts';

export interface OpenedTransport {
  readonly dial: DialOnce;
  readonly url: string;
  /** A URL at which nobody listens. */
  readonly deadUrl: string;
  /** Whatever the other end does from now on: it takes no bytes. */
  readonly stall: (connection: Connection) => void;
  readonly close: () => Promise<void>;
}

/** Opens a server that hands its connections to `accept`. */
export type OpenTransport = (accept: (connection: Connection) => void) => Promise<OpenedTransport>;

/** One end, as a test sees it: what came, and how it ended. */
export class Probe {
  readonly connection: Connection;
  readonly messages: Uint8Array[] = [];
  readonly closes: { code: string; reason: string }[] = [];
  #changed: () => void = () => {};
  isInsideCall = false;
  isCalledInside = false;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.onMessage = (bytes) => {
      this.messages.push(bytes);
      this.#note();
    };
    connection.onClose = (code, reason) => {
      this.closes.push({ code, reason });
      this.#note();
    };
  }

  #note(): void {
    this.isCalledInside ||= this.isInsideCall;
    this.#changed();
  }

  get texts(): string[] {
    return this.messages.map((bytes) => Buffer.from(bytes).toString());
  }

  send(bytes: Uint8Array | string): void {
    this.inside(() => this.connection.send(typeof bytes === 'string' ? new Uint8Array(Buffer.from(bytes)) : bytes));
  }

  close(code = 'Bye', reason = 'enough'): void {
    this.inside(() => this.connection.close(code, reason));
  }

  inside(call: () => void): void {
    this.isInsideCall = true;
    call();
    this.isInsideCall = false;
  }

  /** Resolves once `condition` holds; asked after each event of this end. */
  async until(condition: (probe: Probe) => boolean): Promise<this> {
    while (!condition(this)) await new Promise<void>((resolve) => (this.#changed = resolve));
    return this;
  }

  received(count: number): Promise<this> {
    return this.until(({ messages }) => messages.length >= count);
  }

  closed(): Promise<this> {
    return this.until(({ closes }) => closes.length > 0);
  }
}

/** Connects, and gives both ends. */
export async function pair(open: OpenTransport): Promise<{ here: Probe; there: Probe; transport: OpenedTransport }> {
  let accepted!: (probe: Probe) => void;
  const there = new Promise<Probe>((resolve) => (accepted = resolve));
  const transport = await open((connection) => accepted(new Probe(connection)));
  const here = await new Promise<Probe>((resolve, reject) => {
    transport.dial(transport.url, (connection) => resolve(new Probe(connection)), reject);
  });
  return { here, there: await there, transport };
}

export function transportContract(name: string, open: OpenTransport): void {
  describe(`[transport] ${name}`, () => {
    const opened: OpenedTransport[] = [];
    afterEach(async () => {
      for (const transport of opened.splice(0)) await transport.close();
    });
    const openTracked: OpenTransport = async (accept) => {
      const transport = await open(accept);
      opened.push(transport);
      return transport;
    };
    const connect = (): ReturnType<typeof pair> => pair(openTracked);

    test('messages arrive whole and in order, in both directions at once', async () => {
      const { here, there } = await connect();
      const texts = Array.from({ length: 500 }, (_, i) => `${i} ${'x'.repeat(i)}`);
      for (const text of texts) {
        here.send(text);
        there.send(text);
      }
      expect((await there.received(texts.length)).texts).toEqual(texts);
      expect((await here.received(texts.length)).texts).toEqual(texts);
    });

    test('an empty message and one of the greatest size arrive as they are', async () => {
      const { here, there } = await connect();
      const largest = new Uint8Array(MESSAGE_BYTES_MAX).map((_, i) => i % 251);
      here.send('');
      here.send(largest.slice());
      await there.received(2);
      expect(there.messages[0]?.length).toBe(0);
      expect(Buffer.from(there.messages[1]!).equals(largest)).toBe(true);
    });

    test('sending a message that is too long is a bug, and thrown at whoever sends it', async () => {
      const { here, there } = await connect();
      expect(() => here.send(new Uint8Array(MESSAGE_BYTES_MAX + 1))).toThrow(/bug/);
      here.send('still here');
      expect((await there.received(1)).texts).toEqual(['still here']);
    });

    test('what was sent before a close arrives, then its code and reason; the closing end is told its own', async () => {
      const { here, there } = await connect();
      for (let i = 0; i < 50; i++) here.send(`${i}`);
      here.close('Goodbye', 'closing for today: ✓');
      await Promise.all([there.closed(), here.closed()]);
      expect(there.messages).toHaveLength(50);
      expect(there.closes).toEqual([{ code: 'Goodbye', reason: 'closing for today: ✓' }]);
      expect(here.closes).toEqual([{ code: 'Goodbye', reason: 'closing for today: ✓' }]);
    });

    test('the accepting end may close as well', async () => {
      const { here, there } = await connect();
      there.send('before');
      there.close('Refused', 'no');
      await here.closed();
      expect([here.texts, here.closes]).toEqual([['before'], [{ code: 'Refused', reason: 'no' }]]);
    });

    test('nothing is delivered to an end that has closed, and nothing is sent by it', async () => {
      const { here, there } = await connect();
      there.send('too late');
      here.close();
      here.send('too late');
      await Promise.all([here.closed(), there.closed()]);
      expect([here.messages, there.messages]).toEqual([[], []]);
    });

    test('closing twice, on either side, ends the connection once', async () => {
      const { here, there } = await connect();
      here.close('First', 'a');
      here.close('Second', 'b');
      there.close('Third', 'c');
      await Promise.all([here.closed(), there.closed()]);
      here.close();
      there.send('x');
      await new Promise(setImmediate);
      expect([here.closes.length, there.closes.length]).toEqual([1, 1]);
      expect(here.closes[0]?.code).toBe('First');
    });

    test('callbacks are never called inside a call', async () => {
      const { here, there } = await connect();
      here.send('a');
      there.send('b');
      await here.received(1);
      await there.received(1);
      here.close();
      await Promise.all([here.closed(), there.closed()]);
      expect([here.isCalledInside, there.isCalledInside]).toEqual([false, false]);
    });

    test('bytes that arrived are a copy of those that were sent', async () => {
      const { here, there } = await connect();
      const bytes = Uint8Array.of(1, 2, 3);
      here.send(bytes);
      await there.received(1);
      expect(there.messages[0]?.buffer).not.toBe(bytes.buffer);
      expect([...there.messages[0]!]).toEqual([1, 2, 3]);
    });

    test('what waits for the other end is counted, and beyond a limit the connection ends', async () => {
      const { here, transport } = await connect();
      transport.stall(here.connection);
      const kilobytes64 = new Uint8Array(64 * 1024);
      let most = 0;
      // The operating system takes some of it: far more than the limit has to be sent before it counts as waiting.
      for (let i = 0; i < 1_000 && here.closes.length === 0; i++) {
        here.send(kilobytes64.slice());
        most = Math.max(most, here.connection.bufferedBytes);
        if (i % 64 === 63) await new Promise(setImmediate);
      }
      await here.closed();
      expect(here.closes[0]?.code).toBe('TooSlow');
      expect(most).toBeLessThan(BUFFER_BYTES_MAX + 2 * MESSAGE_BYTES_MAX);
    });

    test('dialling where nobody listens fails, later', async () => {
      const { transport } = await connect();
      let isInside = true;
      const error = await new Promise<Error>((resolve, reject) => {
        transport.dial(transport.deadUrl, reject, (failure) => resolve(isInside ? new Error('too early') : failure));
        isInside = false;
      });
      expect(error).toMatchObject({ code: 'DialFailed' });
    });

    test('a cancelled dial says nothing more', async () => {
      const { transport, here, there } = await connect();
      const said: string[] = [];
      const dial = transport.dial(
        transport.url,
        () => said.push('opened'),
        () => said.push('failed'),
      );
      dial.cancel();
      dial.cancel();
      here.send('later');
      await there.received(1);
      expect(said).toEqual([]);
    });
  });
}
