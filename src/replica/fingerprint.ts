/**
 * The fingerprint: a running 128-bit sum of hashes over all live dots. Two replicas with equal clocks and no residue must
 * have equal fingerprints; if not, events were lost (bit rot, a bug), and the guard wakes up (guard.ts).
 *
 * A sum, not an XOR: with XOR the same dot counted twice vanishes, and unlike mistakes cancel out more easily.
 * A record with a time to live does not count at all: replicas remove expired records at different moments. Whether it has
 * one is a function of its live dots alone, looked at again at each change.
 */
import { Writer } from '../../crdts/bytes.ts';
import { type Entry, expiryOf, type Row } from '../../crdts/record.ts';

export const FINGERPRINT_BYTES = 16;

const writer = new Writer();

const counted = (entries: readonly Entry[]): readonly Entry[] =>
  expiryOf(entries) === 0 ? entries.filter((entry) => entry.kind === 'live') : [];

/** Four unsigned 32-bit lanes, each summed on its own: as good as one 128-bit sum, and fast. */
export class Fingerprint {
  readonly #lanes = new Uint32Array(4);
  readonly #hash: (bytes: Uint8Array) => Uint8Array;

  constructor(hash: (bytes: Uint8Array) => Uint8Array, saved?: Uint8Array) {
    this.#hash = hash;
    if (saved?.length === FINGERPRINT_BYTES) {
      const view = new DataView(saved.buffer, saved.byteOffset);
      for (let i = 0; i < 4; i++) this.#lanes[i] = view.getUint32(4 * i);
    }
  }

  /** The record at `path` was `before` and is `after`. */
  change(path: string, before: Row, after: Row): void {
    const gone = counted(before.entries);
    const come = counted(after.entries);
    for (const entry of gone) if (!come.includes(entry)) this.#add(path, entry, -1);
    for (const entry of come) if (!gone.includes(entry)) this.#add(path, entry, 1);
  }

  addRow(path: string, row: Row): void {
    for (const entry of counted(row.entries)) this.#add(path, entry, 1);
  }

  #add(path: string, { actor, n, time, body }: Entry, sign: 1 | -1): void {
    writer.reset().byteString(actor);
    writer.varint(n);
    writer.varint(time);
    writer.byteStringBlob(path);
    writer.bytes(body);
    const digest = this.#hash(writer.view());
    for (let i = 0; i < 4; i++) {
      const word =
        ((digest[4 * i] as number) << 24) |
        ((digest[4 * i + 1] as number) << 16) |
        ((digest[4 * i + 2] as number) << 8) |
        (digest[4 * i + 3] as number);
      this.#lanes[i] = (this.#lanes[i] as number) + sign * word;
    }
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(FINGERPRINT_BYTES);
    const view = new DataView(bytes.buffer);
    this.#lanes.forEach((lane, i) => view.setUint32(4 * i, lane));
    return bytes;
  }

  equals(other: Uint8Array): boolean {
    return this.bytes().every((byte, i) => byte === other[i]);
  }
}
