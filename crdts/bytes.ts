/**
 * Reading and writing bytes: variable-length integers, byte strings, UTF-8. What every encoding here is made of.
 *
 * Why our own: floor 0 has no dependencies, stored records and paths must sort and compare as bytes, and what a peer or
 * a disk hands us is checked at every step: a `Reader` never reads past its end, never allocates by a length it has not
 * checked, and says `Malformed` instead of returning nonsense.
 */
import { HearsayError } from './error.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Small arrays are views of slabs, since an array with memory of its own costs a microsecond to make and to collect, and
 * every write makes three. A small value that is kept alone keeps its slab, as with Node's Buffers.
 */
const SLAB_BYTES = 8192;
let slab = new Uint8Array(0);
let slabAt = 0;

/** `length` zeros. */
function room(length: number): Uint8Array {
  if (length > SLAB_BYTES / 8) return new Uint8Array(length);
  if (slabAt + length > slab.length) {
    slab = new Uint8Array(SLAB_BYTES);
    slabAt = 0;
  }
  return slab.subarray(slabAt, (slabAt += length));
}

/** Stands before a byte that is 00 or 01 itself, written as one more. */
export const ESCAPE = 1;

/** Appends to a buffer that grows by doubling. Reusable: `reset` keeps the buffer. */
export class Writer {
  #bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  reset(): this {
    this.length = 0;
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    const copy = room(this.length);
    copy.set(this.view());
    return copy;
  }

  /** What was written, in the writer's own memory: valid until it is used again. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  /** What was written, as a byte string. */
  finishString(): string {
    return toByteString(this.view());
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    grown.set(this.view());
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.length++] = value;
  }

  /** An integer of 0 … 2^53 − 1, 7 bits a byte, least first. */
  varint(value: number): void {
    this.#reserve(8);
    while (value > 0x7f) {
      this.#bytes[this.length++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    this.#bytes[this.length++] = value;
  }

  /** An integer of ±(2^52 − 1): small magnitudes of either sign are short. */
  zigzag(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.length);
    this.length += value.length;
  }

  /** The bytes with every 00 and 01 written as two, so that a 00 can end them. A loop of its own: values are mostly this. */
  escaped(value: Uint8Array): void {
    this.#reserve(2 * value.length);
    const target = this.#bytes;
    let at = this.length;
    for (let i = 0; i < value.length; i++) {
      const byte = value[i] as number;
      if (byte <= ESCAPE) {
        target[at++] = ESCAPE;
        target[at++] = byte + 1;
      } else {
        target[at++] = byte;
      }
    }
    this.length = at;
  }

  /** Its length, then the bytes. */
  blob(value: Uint8Array): void {
    this.varint(value.length);
    this.bytes(value);
  }

  byteString(value: string): void {
    this.#reserve(value.length);
    const target = this.#bytes;
    let at = this.length;
    for (let i = 0; i < value.length; i++) target[at++] = value.charCodeAt(i);
    this.length = at;
  }

  byteStringBlob(value: string): void {
    this.varint(value.length);
    this.byteString(value);
  }
}

/** Reads what a `Writer` wrote; throws `Malformed` on anything else. */
export class Reader {
  readonly #bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  get left(): number {
    return this.end - this.at;
  }

  peek(): number {
    refuseUnless(!this.done, 'too short');
    return this.#bytes[this.at] as number;
  }

  byte(): number {
    const value = this.peek();
    this.at++;
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return safeInteger(value);
      scale *= 128;
    }
    throw malformed('an integer');
  }

  zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A view of the next `count` bytes: the reader's own memory, not a copy. */
  bytes(count: number): Uint8Array {
    refuseUnless(count <= this.left, 'too short');
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }

  blob(): Uint8Array {
    return this.bytes(this.varint());
  }

  byteString(count: number): string {
    return toByteString(this.bytes(count));
  }

  byteStringBlob(): string {
    return this.byteString(this.varint());
  }

  /** Where `byte` stands next, from the current position on; throws when it does not. */
  find(byte: number, from: number): number {
    const at = this.#bytes.indexOf(byte, from);
    refuseUnless(at >= 0 && at < this.end, 'too short');
    return at;
  }
}

/** The code every unreadable byte ends in: from a peer it is refused and counted, from a disk it is reported. */
export const malformed = (what: string): HearsayError => new HearsayError('Malformed', `malformed bytes: ${what}`);

/** Throws `Malformed`, naming what was being read, unless all is as a `Writer` would have written it. */
export function refuseUnless(isGood: boolean, what: string): asserts isGood {
  if (!isGood) throw malformed(what);
}

/** The integer itself; throws `Malformed` beyond ±(2^53 − 1). */
export function safeInteger(value: number): number {
  refuseUnless(Number.isSafeInteger(value), 'an integer');
  return value;
}

/** Bytes as a string of char codes 0–255. */
export function toByteString(bytes: Uint8Array): string {
  let text = '';
  // In parts: a call takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 4096) {
    // `apply`, not `...`: nine times as fast, and every path that is read goes through here.
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096) as unknown as number[]);
  }
  return text;
}

/** A string of char codes 0–255 as bytes. */
export function fromByteString(text: string): Uint8Array {
  const bytes = room(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** UTF-8 bytes as text; throws `Malformed` for bytes that are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length < 64 && bytes.every((byte) => byte < 0x80)) return toByteString(bytes);
  try {
    return decoder.decode(bytes);
  } catch {
    throw malformed('text');
  }
}
