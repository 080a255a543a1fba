/** What people type, made exact: values, durations, counts. A value that would be stored as something else is refused. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { usageFailure } from './failure.ts';
import type { Json } from './output.ts';

const INTEGER = /^-?\d+$/;
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** JSON where the text is JSON, else text; `-` reads it from standard input. With `isText` nothing is taken for JSON. */
export function parseValue(text: string, isText: boolean): Json {
  const source = text === '-' ? readFileSync(0, 'utf8') : text;
  if (isText) return source;
  if (INTEGER.test(source) && !Number.isSafeInteger(Number(source))) {
    throw usageFailure(
      `${source} has more digits than a JSON number keeps`,
      `Store it as a bigint, '{"$bigint":"${BigInt(source)}"}', or as text with --string.`,
    );
  }
  try {
    return JSON.parse(source) as Json;
  } catch {
    return source;
  }
}

/** `30s`, `10m`, `1.5h` in ms. */
export function parseDuration(text: string): number {
  const [, number, unit] = DURATION.exec(text) ?? [];
  if (unit === undefined) throw new InvalidArgumentError('It is a number with its unit: 500ms, 30s, 10m, 2h or 7d.');
  return Number(number) * MS[unit as keyof typeof MS];
}

/** A whole number from `min` to `max`. */
export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = INTEGER.test(text) ? Number(text) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw new InvalidArgumentError(`It is a whole number from ${min} to ${max}.`);
  };
}

/** For options that may be given several times. */
export const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
