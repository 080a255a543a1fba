/** Keys and values to write: keys of random letters, so in random order, and values of random bytes. */
import { randomBytes } from 'node:crypto';

export interface Shape {
  readonly keyBytes: number;
  readonly valueBytes: number;
}

/** What most items are measured with. */
export const USUAL: Shape = { keyBytes: 16, valueBytes: 100 };

/** Shapes that are printed for information. */
export const OTHERS: readonly Shape[] = [
  { keyBytes: 8, valueBytes: 100 },
  { keyBytes: 200, valueBytes: 100 },
  { keyBytes: 16, valueBytes: 10 },
  { keyBytes: 16, valueBytes: 1_000 },
  { keyBytes: 16, valueBytes: 10_000 },
];

/** Key + value. */
export const nameOf = ({ keyBytes, valueBytes }: Shape): string => `${keyBytes} + ${valueBytes} B`;

/** Fewer of large ones: what a measurement writes in all stays below about 50 MB. */
export const countOf = ({ keyBytes, valueBytes }: Shape, most: number): number =>
  Math.min(most, Math.floor(50_000_000 / (keyBytes + valueBytes)));

export function randomKeys(count: number, { keyBytes }: Shape): string[] {
  const letters = randomBytes(Math.ceil((count * keyBytes * 3) / 4)).toString('base64url');
  return Array.from({ length: count }, (_, i) => letters.slice(i * keyBytes, (i + 1) * keyBytes));
}

export function randomValues(count: number, { valueBytes }: Shape): Uint8Array[] {
  const bytes = new Uint8Array(randomBytes(count * valueBytes));
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * valueBytes, (i + 1) * valueBytes));
}

/** Calls `write` with 0 … count − 1, from `width` callers who each wait for one before they begin the next. */
export async function outstanding(
  count: number,
  width: number,
  write: (i: number) => PromiseLike<unknown>,
): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < count) await write(next++);
  };
  await Promise.all(Array.from({ length: width }, caller));
}
