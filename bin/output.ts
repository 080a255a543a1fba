/**
 * What commands print: results to stdout, everything else to stderr. On a terminal: colour (unless NO_COLOR), tables cut
 * to its width, control characters made visible, for a stored value must not steer somebody's terminal. Into a pipe: the
 * bare values, and listings as tab-separated lines without a head, so that `cut`, `sort` and `while read` work.
 */
import { inspect } from 'node:util';

/** JSON as the API speaks it; docs/HTTP.md tells of its tags. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export const isTerminal = process.stdout.isTTY === true;

/** https://no-color.org: any value but the empty one says no. */
export function hasColour(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;

export function paint(text: string, colour: keyof typeof CODES, stream: { isTTY?: boolean } = process.stdout): string {
  return hasColour(stream) ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
}

/** Resolves when there is room for more: a command that prints millions of lines waits for who reads them. */
export function print(text: string): Promise<void> | undefined {
  if (process.stdout.write(`${text}\n`)) return undefined;
  return new Promise((resolve) => void process.stdout.once('drain', resolve));
}

export const printJson = (value: unknown): Promise<void> | undefined => print(JSON.stringify(value));

export function note(text: string): void {
  process.stderr.write(`${paint(text, 'dim', process.stderr)}\n`);
}

/** Text as it is, or as JSON where a control character in it could do something to the terminal. */
export function visible(text: string): string {
  return isTerminal && /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(text) ? quoted(text) : text;
}

/** On one line, whatever is in it. */
export function oneLine(text: string): string {
  return /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text) ? quoted(text) : text;
}

function quoted(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A value for people: text without quotes, elements one a line, the rest as JSON. */
export function valueText(value: Json): string {
  if (typeof value === 'string') return visible(value);
  return visible(JSON.stringify(value));
}

/** A value within a line of a table. */
export function valueCell(value: Json | undefined): string {
  if (value === undefined) return '';
  return oneLine(typeof value === 'string' ? value : JSON.stringify(value));
}

/** A table for people: on a terminal, cut to its width. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  columns = isTerminal ? process.stdout.columns : Number.POSITIVE_INFINITY,
): string[] {
  const widths = fit(
    head.map((title, i) => Math.max(...[title, ...rows.map((row) => row[i] ?? '')].map(widthOf))),
    columns,
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => padded(cell, widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [paint(line(head), 'bold'), ...rows.map(line)];
}

/** The widths, made smaller from the widest on until the table fits. */
function fit(widths: number[], columns: number): number[] {
  const fitting = [...widths];
  const room = columns - 2 * (widths.length - 1);
  for (let excess = sum(fitting) - room; excess > 0; excess = sum(fitting) - room) {
    const widest = fitting.indexOf(Math.max(...fitting));
    if (fitting[widest]! <= 4) break;
    const second = Math.max(4, ...fitting.filter((_, i) => i !== widest));
    fitting[widest] = Math.max(second < fitting[widest]! ? second : fitting[widest]! - 1, fitting[widest]! - excess);
  }
  return fitting;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

const padded = (text: string, width: number): string => {
  const fitting = cut(text, width);
  return fitting + ' '.repeat(width - widthOf(fitting));
};

function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let fitting = '';
  let used = 1;
  for (const { segment } of graphemes.segment(text)) {
    used += widthOf(segment);
    if (used > width) break;
    fitting += segment;
  }
  return `${fitting}…`;
}

const graphemes = new Intl.Segmenter();

/** Columns on a terminal: two for East Asian wide characters and emoji, none for what joins another. */
function widthOf(text: string): number {
  if (/^[\u0020-\u007e]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) {
    width +=
      /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{20000}-\u{3fffd}]/u.test(
        segment,
      )
        ? 2
        : 1;
  }
  return width;
}

/** An error's insides, for `--log-level debug`. */
export const insides = (error: unknown): string => inspect(error, { depth: 4, colors: hasColour(process.stderr) });
