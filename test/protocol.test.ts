import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HearsayError } from '../crdts/error.ts';
import { decodeMessage, encodeMessage } from '../src/protocol/codec.ts';
import type { Message } from '../src/protocol/messages.ts';

const bytes = (length?: number) =>
  fc.uint8Array(length === undefined ? { maxLength: 300 } : { minLength: length, maxLength: length });
const bytesOrNone = (length: number) => fc.oneof(bytes(length), fc.constant(new Uint8Array(0)));
const count = fc.maxSafeNat();
const shard = fc.nat(65_535);
const type = <T extends string>(name: T) => fc.constant(name);

/** One of every message there is: the record's keys are checked against the union by the compiler. */
const messages: { readonly [K in Message['type']]: fc.Arbitrary<Extract<Message, { type: K }>> } = {
  hello: fc.record({
    type: type('hello'),
    versionMin: count,
    versionMax: count,
    cluster: bytesOrNone(16),
    node: bytes(16),
    name: fc.string({ maxLength: 32 }),
    role: fc.constantFrom('member' as const, 'leaf' as const),
    actor: bytesOrNone(8),
    nonce: bytes(8),
    interests: fc.option(bytes()),
    wallMs: count,
    shard,
    clockHash: bytes(8),
    floorsHash: bytes(8),
  }),
  ask: fc.record({ type: type('ask'), shard, clock: fc.option(bytes()), floors: fc.option(bytes()) }),
  entries: fc.record({
    type: type('entries'),
    shard,
    clockBuckets: fc.option(bytes()),
    clock: bytes(),
    floorsBuckets: fc.option(bytes()),
    floors: bytes(),
  }),
  told: fc.record({ type: type('told'), shard, told: bytes() }),
  records: fc.record({ type: type('records'), shard, told: bytes(), records: bytes() }),
  begin: fc.record({
    type: type('begin'),
    shard,

    told: bytes(),
    slow: fc.boolean(),
    acked: count,
    actors: fc.option(bytes()),
  }),
  alive: fc.record({ type: type('alive'), shard, scope: bytes(), held: bytes() }),
  complete: fc.record({ type: type('complete'), shard, floors: bytes() }),
  ack: fc.record({ type: type('ack'), shard, upTo: count, told: bytes(), refused: fc.boolean() }),
  named: fc.record({ type: type('named'), shard, dots: bytes() }),
  check: fc.record({ type: type('check'), shard, clockHash: bytes(8), fingerprint: bytesOrNone(16) }),
  heard: fc.record({ type: type('heard'), shard, told: bytes(), heard: bytes() }),
  'ask-stable': fc.record({ type: type('ask-stable'), shard, dots: bytes() }),
  stable: fc.record({ type: type('stable'), shard, dots: bytes() }),
  buckets: fc.record({ type: type('buckets'), shard, sums: bytes(4096), isAnswer: fc.boolean() }),
  copies: fc.record({ type: type('copies'), shard, records: bytes() }),
  beat: fc.record({ type: type('beat'), wallMs: count, sent: count }),
  part: fc.record({ type: type('part'), bytes: bytes(), isLast: fc.boolean() }),
  'part-ack': fc.record({ type: type('part-ack'), byteCount: count }),
  bye: fc.record({ type: type('bye'), code: fc.string({ maxLength: 64 }), reason: fc.string({ maxLength: 200 }) }),
};

const anyMessage: fc.Arbitrary<Message> = fc.oneof(...Object.values(messages as Record<string, fc.Arbitrary<Message>>));

/** Buffers and typed arrays with the same bytes are the same here. */
const plain = (message: Message | null): unknown =>
  message === null
    ? null
    : Object.fromEntries(
        Object.entries(message).map(([key, value]) => [key, value instanceof Uint8Array ? [...value] : value]),
      );

const outcome = (frame: Uint8Array): string => {
  try {
    return decodeMessage(frame)?.type ?? 'ignored';
  } catch (error) {
    if (error instanceof HearsayError && error.code === 'Malformed') return 'Malformed';
    throw error;
  }
};

describe('the codec of messages', () => {
  it.each(Object.keys(messages))('[PROTOCOL] reads back what it wrote: %s', (name) => {
    const arbitrary = messages[name as Message['type']] as fc.Arbitrary<Message>;
    fc.assert(
      fc.property(arbitrary, (message) => {
        expect(plain(decodeMessage(encodeMessage(message)))).toEqual(plain(message));
      }),
      { numRuns: 200 },
    );
  });

  it('[LIMITS] answers any bytes with a message, with nothing, or with Malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (frame) => void outcome(frame)),
      { numRuns: 20_000 },
    );
  });

  it('[LIMITS] survives any change to a good message', () => {
    const damage = fc.array(fc.tuple(fc.nat(1_000), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(anyMessage, damage, fc.nat(50), (message, changes, cut) => {
        const frame = new Uint8Array(encodeMessage(message));
        for (const [at, byte] of changes) frame[at % frame.length] = byte;
        outcome(frame);
        outcome(frame.subarray(0, Math.max(0, frame.length - cut)));
      }),
      { numRuns: 20_000 },
    );
  });

  it('[LIMITS] reads no length that the frame does not have', () => {
    for (const tag of [0xc6, 0xdb, 0xdd, 0xdf, 0xc9]) {
      expect(outcome(Uint8Array.of(0x93, 4, 1, tag, 0xff, 0xff, 0xff, 0xff))).toBe('Malformed');
    }
  });

  it('[LIMITS] refuses nesting and extensions before they are decoded', () => {
    for (const nested of [
      [0x92, 4, 0x91, 1],
      [0x92, 4, 0x81, 1, 1],
      [0x92, 4, 0xd4, 1, 1],
      [0x92, 4, 0xc7, 1, 1, 1],
    ]) {
      expect(outcome(Uint8Array.from(nested))).toBe('Malformed');
    }
  });

  it('[CHANGE] ignores a type of message that it does not know, and items at the end that it does not know', () => {
    expect(outcome(Uint8Array.of(0x93, 99, 1, 7))).toBe('ignored');
    expect(outcome(Uint8Array.of(0x94, 19, 0, 5, 0xc3))).toBe('part-ack');
  });
});
