/** Rows as text: a table for people, and JSON lines for programs. */
import { isWithin, type Limit, type Row, valueOf } from './harness.ts';

const WIDTHS = [66, 18, 30, 9, 9, 3] as const;

const line = (cells: readonly string[]): string =>
  cells.map((cell, i) => (i === 0 ? cell.padEnd(WIDTHS[0]) : cell.padStart(WIDTHS[i] ?? 0))).join('  ');

export const TABLE_HEAD = line(['item', 'ours', 'reference', 'ratio', 'limit', 'ok']);

export function tableLine(row: Row): string {
  const { name, unit, ours, reference, limit } = row;
  const isOk = isWithin(row);
  return line([
    name,
    `${figure(ours)} ${unit}`,
    reference === undefined ? '' : `${reference.name} ${figure(reference.value)}`,
    reference === undefined ? '' : figure(valueOf(row)),
    limit === undefined ? '' : limitText(limit),
    isOk === null ? '' : isOk ? 'yes' : 'NO',
  ]);
}

/** What is held against the limit, and, where that is a ratio, both figures behind it as lines of their own. */
export function jsonLines(row: Row): string {
  const { name, unit, ours, reference, limit } = row;
  const lines = [
    {
      name,
      value: valueOf(row),
      unit: reference === undefined ? unit : `× ${reference.name}`,
      limit: limit === undefined ? null : limitText(limit),
      ok: isWithin(row),
    },
  ];
  if (reference !== undefined) {
    const information = { unit, limit: null, ok: null };
    lines.push({ name: `${name}: ours`, value: ours, ...information });
    lines.push({ name: `${name}: ${reference.name}`, value: reference.value, ...information });
  }
  return lines.map((fields) => JSON.stringify(fields)).join('\n');
}

const limitText = (limit: Limit): string =>
  'atLeast' in limit ? `>= ${figure(limit.atLeast)}` : `<= ${figure(limit.atMost)}`;

/** Three digits, or all of a large number. */
function figure(value: number): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}
