/**
 * What a node needs of a network: connections that deliver whole binary messages, in order, or end.
 *
 * There is no loss and no repetition to be handled above: a connection that cannot keep its promise (a full buffer, a
 * message that is none) is closed instead, and says why. What is not promised: that a message sent right before a close
 * arrives, or that a dead peer is noticed soon. Whoever uses a connection asks for signs of life itself.
 *
 * Written once as tests in test/transport.contract.ts, and run over each implementation.
 */
import { HearsayError } from '../../../crdts/error.ts';
import { FRAME_BYTES_MAX, WINDOW_BYTES_MAX } from '../../protocol/messages.ts';

/** The largest message: a frame of the protocol, and a little for additions of a later version. */
export const MESSAGE_BYTES_MAX = FRAME_BYTES_MAX + 1024;

/**
 * Bytes that may wait in a connection for its other end. The replica keeps to `WINDOW_BYTES_MAX` of records by itself; four
 * times that leaves room for clocks and heartbeats. Smaller closes healthy connections, larger lets a peer that has
 * stopped reading cost more memory.
 */
export const BUFFER_BYTES_MAX = 4 * WINDOW_BYTES_MAX;

/** The name of what is spoken over a connection; another major version has another. */
export const SUBPROTOCOL = 'hearsay.1';

/** Where a server takes connections. */
export const SYNC_PATH = '/v1/sync';

/** Why a connection ended, where its other end did not say so itself. */
export type CloseCode =
  /** It broke, or the other end closed it without a word. */
  | 'Lost'
  /** The other end sent something that is no binary message of at most `MESSAGE_BYTES_MAX` bytes. */
  | 'BadMessage'
  /** The other end takes messages more slowly than they are sent: more than `bufferBytesMax` wait. */
  | 'TooSlow'
  /** Too many connections, or the server is closing. */
  | 'Refused';

/**
 * One end of a connection that is open in both directions. Whoever receives it sets `onMessage` and `onClose` before it
 * returns to the event loop; nothing is delivered until then.
 */
export interface Connection {
  /** Where the other end is, for people. */
  readonly remote: string;
  /** Bytes handed to `send` that wait for the other end to take them. */
  readonly bufferedBytes: number;
  /**
   * Called with each message, never inside a call of `send` or `close`, and not after `close`. The bytes may be kept, and
   * may not be changed.
   */
  onMessage: (bytes: Uint8Array) => void;
  /**
   * Called once, when the connection has ended, whoever ended it; never inside a call of `send` or `close`. `code` is what
   * the other end (or this one) gave to `close`, or a `CloseCode`.
   */
  onClose: (code: string, reason: string) => void;
  /** Sends one message after all before it; takes over `bytes`. Nothing happens once the connection is closed. */
  send(bytes: Uint8Array): void;
  /**
   * Ends the connection after the messages sent before. `code`: letters and digits, at most 40; `reason`: for people, cut
   * off where it does not fit. Idempotent.
   */
  close(code: string, reason: string): void;
}

/** An attempt to connect, under way or over. */
export interface Dial {
  /** Gives up; neither callback is called any more. A connection that was made already stays. Idempotent. */
  cancel(): void;
}

/** Tries once to connect to `url`. Calls one of the two, once, and not before it has returned. */
export type DialOnce = (url: string, opened: (connection: Connection) => void, failed: (error: Error) => void) => Dial;

/** For `send`: what is to be sent was made here, so this is no peer's fault. */
export function messageTooLong(bytes: Uint8Array): HearsayError {
  const text = `a message of ${bytes.length} bytes was to be sent, and ${MESSAGE_BYTES_MAX} is the most: a bug of hearsay`;
  return new HearsayError('MessageTooLong', text, { bytes: bytes.length, limit: MESSAGE_BYTES_MAX });
}
