/**
 * Reading and writing bytes: variable-length integers, byte strings, UTF-8. What every encoding here is made of.
 *
 * Why our own: floor 0 has no dependencies, stored records and paths must sort and compare as bytes, and what a peer or
 * a disk hands us is checked at every step: a `Reader` never reads past its end, never allocates by a length it has not
 * checked, and says `Malformed` instead of returning nonsense.
 */
import { HearsayError } from './error.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

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
    return this.#bytes.slice(0, this.length);
  }

  /** What was written, in the writer's own memory: valid until it is used again. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  /** What was written, as a byte string. */
  finishString(): string {
    return toByteString(this.#bytes.subarray(0, this.length));
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    grown.set(this.#bytes.subarray(0, this.length));
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

  /** An integer of ±(2^53 − 1), small magnitudes short: the sign, six bits and the rest as a varint. */
  signed(value: number): void {
    const magnitude = Math.abs(value);
    const rest = Math.floor(magnitude / 64);
    this.byte((value < 0 ? 1 : 0) + 2 * (magnitude % 64) + (rest > 0 ? 0x80 : 0));
    if (rest > 0) this.varint(rest);
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.length);
    this.length += value.length;
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

  /** `count` bytes of a non-negative integer, greatest first. */
  bigEndian(value: number, count: number): void {
    this.#reserve(count);
    for (let i = count - 1; i >= 0; i--) {
      this.#bytes[this.length + i] = value % 256;
      value = Math.floor(value / 256);
    }
    this.length += count;
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
    if (this.at >= this.end) throw malformed('ends too early');
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
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 128;
    }
    throw malformed('an integer is too large');
  }

  signed(): number {
    const first = this.byte();
    const magnitude = ((first & 0x7f) >> 1) + (first < 0x80 ? 0 : 64 * this.varint());
    if (!Number.isSafeInteger(magnitude)) throw malformed('an integer is too large');
    return first % 2 === 0 ? magnitude : 0 - magnitude;
  }

  /** A view of the next `count` bytes: the reader's own memory, not a copy. */
  bytes(count: number): Uint8Array {
    if (count > this.left) throw malformed('ends too early');
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

  bigEndian(count: number): number {
    const bytes = this.bytes(count);
    let value = 0;
    for (const byte of bytes) value = value * 256 + byte;
    return value;
  }

  /** Where `byte` stands next, from the current position on; throws when it does not. */
  find(byte: number, from: number): number {
    const at = this.#bytes.indexOf(byte, from);
    if (at < 0 || at >= this.end) throw malformed('ends too early');
    return at;
  }
}

/** The code every unreadable byte ends in: from a peer it is refused and counted, from a disk it is reported. */
export const malformed = (what: string): HearsayError => new HearsayError('Malformed', `malformed bytes: ${what}`);

/** Bytes as a string of char codes 0–255. */
export function toByteString(bytes: Uint8Array): string {
  if (bytes.length <= 4096) return String.fromCharCode.apply(null, bytes as unknown as number[]);
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) text += toByteString(bytes.subarray(i, i + 4096));
  return text;
}

/** A string of char codes 0–255 as bytes. */
export function fromByteString(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** UTF-8 bytes as text; throws `Malformed` for bytes that are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length < 64 && bytes.every((byte) => byte < 0x80)) return toByteString(bytes);
  try {
    return decoder.decode(bytes);
  } catch {
    throw malformed('text is not UTF-8');
  }
}
