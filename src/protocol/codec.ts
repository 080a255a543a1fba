/**
 * Messages as bytes: each a flat msgpack tuple: the code of its type, its number on the link, then its items.
 *
 * Flat is what makes it safe: before msgpackr sees a byte, `checkFlat` has walked over the tuple and knows that it holds
 * only scalars, text and byte strings that end inside the frame. No nesting, no extensions, no length that allocates.
 *
 * Compatible change: a new type of message (older builds ignore and count it), or a further item at the end of a tuple
 * (older builds do not look at it). Everything else is a new version.
 */
import { Packr, Unpackr } from 'msgpackr/index-no-eval';
import { malformed } from '../../crdts/bytes.ts';
import { unreachable } from './unreachable.ts';
import { MESSAGE_BYTES_MAX, type Message, NAME_CHARS_MAX } from './messages.ts';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, copyBuffers: true, int64AsType: 'number' });

const CODES = {
  hello: 1,
  ask: 2,
  entries: 3,
  told: 4,
  records: 5,
  begin: 6,
  alive: 7,
  complete: 8,
  ack: 9,
  named: 10,
  check: 11,
  heard: 12,
  'ask-stable': 13,
  stable: 14,
  buckets: 15,
  copies: 16,
  beat: 17,
  part: 18,
  'part-ack': 19,
  bye: 20,
} as const satisfies Record<Message['type'], number>;

const TYPES = new Map<number, Message['type']>(
  (Object.keys(CODES) as Message['type'][]).map((type) => [CODES[type], type]),
);

/** `number`: its place among the messages of its link; 0 for one that may overtake others. */
export function encodeMessage(message: Message, number = 0): Uint8Array {
  return packr.pack([CODES[message.type], number, ...itemsOf(message)]);
}

function itemsOf(m: Message): unknown[] {
  switch (m.type) {
    case 'hello':
      return [
        m.versionMin,
        m.versionMax,
        m.cluster,
        m.node,
        m.name,
        m.role === 'leaf' ? 1 : 0,
        m.actor,
        m.nonce,
        m.interests,
        m.wallMs,
        m.shard,
        m.clockHash,
        m.floorsHash,
      ];
    case 'ask':
      return [m.shard, m.clock, m.floors];
    case 'entries':
      return [m.shard, m.clockBuckets, m.clock, m.floorsBuckets, m.floors];
    case 'told':
      return [m.shard, m.told];
    case 'records':
      return [m.shard, m.told, m.records];
    case 'begin':
      return [m.shard, m.told, m.slow, m.acked, m.actors];
    case 'alive':
      return [m.shard, m.scope, m.held];
    case 'complete':
      return [m.shard, m.floors];
    case 'ack':
      return [m.shard, m.upTo, m.told, m.refused];
    case 'named':
    case 'ask-stable':
    case 'stable':
      return [m.shard, m.dots];
    case 'check':
      return [m.shard, m.clockHash, m.fingerprint];
    case 'heard':
      return [m.shard, m.told, m.heard];
    case 'buckets':
      return [m.shard, m.sums, m.isAnswer];
    case 'copies':
      return [m.shard, m.records];
    case 'beat':
      return [m.wallMs, m.sent];
    case 'part':
      return [m.bytes, m.isLast];
    case 'part-ack':
      return [m.byteCount];
    case 'bye':
      return [m.code, m.reason];
    default:
      return unreachable(m);
  }
}

export interface Frame {
  readonly number: number;
  /** null: of a type that this build does not know. */
  readonly message: Message | null;
}

/** Throws `Malformed` for what is no message. */
export function decodeFrame(bytes: Uint8Array): Frame {
  if (bytes.length > MESSAGE_BYTES_MAX) throw malformed('a message is too long');
  const count = checkFlat(bytes);
  const items = unpackr.unpack(bytes) as unknown[];
  if (!Array.isArray(items) || items.length !== count) throw malformed('a message is not a tuple');
  const type = TYPES.get(items[0] as number);
  const rest = new Items(items);
  const number = rest.count();
  return { number, message: type === undefined ? null : read(type, rest) };
}

export const decodeMessage = (bytes: Uint8Array): Message | null => decodeFrame(bytes).message;

/** The items behind the type, taken one by one, each checked for what it has to be. */
class Items {
  readonly #items: readonly unknown[];
  #at = 1;

  constructor(items: readonly unknown[]) {
    this.#items = items;
  }

  count(): number {
    const item = this.#items[this.#at++];
    if (!Number.isSafeInteger(item) || (item as number) < 0)
      throw malformed('a message has no number where one belongs');
    return item as number;
  }

  bytes(length?: number): Uint8Array {
    const item = this.#items[this.#at++];
    if (!(item instanceof Uint8Array) || (length !== undefined && item.length !== length)) {
      throw malformed('a message has no bytes, or too few or many, where they belong');
    }
    return item;
  }

  bytesOrNull(): Uint8Array | null {
    if (this.#items[this.#at] !== null) return this.bytes();
    this.#at++;
    return null;
  }

  /** A byte string that may also be empty, for "none". */
  bytesOrEmpty(length: number): Uint8Array {
    const bytes = this.bytes();
    if (bytes.length !== 0 && bytes.length !== length) throw malformed('a message has too few or too many bytes');
    return bytes;
  }

  text(charsMax: number): string {
    const item = this.#items[this.#at++];
    if (typeof item !== 'string' || item.length > charsMax)
      throw malformed('a message has no text, or too much, where it belongs');
    return item;
  }

  flag(): boolean {
    const item = this.#items[this.#at++];
    if (typeof item !== 'boolean') throw malformed('a message has no yes or no where one belongs');
    return item;
  }
}

function read(type: Message['type'], items: Items): Message {
  switch (type) {
    case 'hello':
      return {
        type,
        versionMin: items.count(),
        versionMax: items.count(),
        cluster: items.bytesOrEmpty(16),
        node: items.bytes(16),
        name: items.text(NAME_CHARS_MAX),
        role: items.count() === 1 ? 'leaf' : 'member',
        actor: items.bytesOrEmpty(8),
        nonce: items.bytes(8),
        interests: items.bytesOrNull(),
        wallMs: items.count(),
        shard: items.count(),
        clockHash: items.bytes(8),
        floorsHash: items.bytes(8),
      };
    case 'ask':
      return { type, shard: items.count(), clock: items.bytesOrNull(), floors: items.bytesOrNull() };
    case 'entries':
      return {
        type,
        shard: items.count(),
        clockBuckets: items.bytesOrNull(),
        clock: items.bytes(),
        floorsBuckets: items.bytesOrNull(),
        floors: items.bytes(),
      };
    case 'told':
      return { type, shard: items.count(), told: items.bytes() };
    case 'records':
      return { type, shard: items.count(), told: items.bytes(), records: items.bytes() };
    case 'begin':
      return {
        type,
        shard: items.count(),
        told: items.bytes(),
        slow: items.flag(),
        acked: items.count(),
        actors: items.bytesOrNull(),
      };
    case 'alive':
      return { type, shard: items.count(), scope: items.bytes(), held: items.bytes() };
    case 'complete':
      return { type, shard: items.count(), floors: items.bytes() };
    case 'ack':
      return { type, shard: items.count(), upTo: items.count(), told: items.bytes(), refused: items.flag() };
    case 'named':
    case 'ask-stable':
    case 'stable':
      return { type, shard: items.count(), dots: items.bytes() };
    case 'check':
      return { type, shard: items.count(), clockHash: items.bytes(8), fingerprint: items.bytesOrEmpty(16) };
    case 'heard':
      return { type, shard: items.count(), told: items.bytes(), heard: items.bytes() };
    case 'buckets':
      return { type, shard: items.count(), sums: items.bytes(256 * 16), isAnswer: items.flag() };
    case 'copies':
      return { type, shard: items.count(), records: items.bytes() };
    case 'beat':
      return { type, wallMs: items.count(), sent: items.count() };
    case 'part':
      return { type, bytes: items.bytes(), isLast: items.flag() };
    case 'part-ack':
      return { type, byteCount: items.count() };
    case 'bye':
      return { type, code: items.text(64), reason: items.text(1024) };
    default:
      return unreachable(type);
  }
}

/** Checks that `bytes` are one msgpack tuple of scalars, text and byte strings, to the last byte; returns how many items. */
function checkFlat(bytes: Uint8Array): number {
  const head = bytes[0] ?? 0;
  if ((head & 0xf0) !== 0x90 || head === 0x90) throw malformed('a message is not a short tuple');
  const count = head & 0x0f;
  let at = 1;
  for (let i = 0; i < count; i++) at += itemBytes(bytes, at);
  if (at !== bytes.length) throw malformed('a message ends too early or too late');
  return count;
}

/** The length of the item at `at`, its head included. */
function itemBytes(bytes: Uint8Array, at: number): number {
  const tag = bytes[at];
  if (tag === undefined) throw malformed('a message ends too early');
  const sized = (lengthBytes: number): number => {
    let length = 0;
    for (let i = 1; i <= lengthBytes; i++) length = length * 256 + (bytes[at + i] ?? 0);
    return 1 + lengthBytes + length;
  };
  if (tag <= 0x7f || tag >= 0xe0) return 1; // small integers
  if (tag >= 0xa0 && tag <= 0xbf) return 1 + (tag & 0x1f); // short text
  switch (tag) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return 1;
    case 0xcc: // integers of 1, 2, 4, 8 bytes; floats of 4 and 8
    case 0xd0:
      return 2;
    case 0xcd:
    case 0xd1:
      return 3;
    case 0xca:
    case 0xce:
    case 0xd2:
      return 5;
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return 9;
    case 0xc4: // bytes and text with lengths of 1, 2, 4 bytes
    case 0xd9:
      return sized(1);
    case 0xc5:
    case 0xda:
      return sized(2);
    case 0xc6:
    case 0xdb:
      return sized(4);
    default:
      throw malformed('a message holds something other than numbers, text and bytes');
  }
}
