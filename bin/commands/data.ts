/** The commands that read and write values on a running node. Each is a request or a few; docs/HTTP.md has their answers. */
import { parseValue } from '../arguments.ts';
import { Client, keySegment, type QueryValues } from '../client.ts';
import { EXIT } from '../failure.ts';
import { isTerminal, type Json, note, oneLine, print, printJson, table, valueCell, valueText } from '../output.ts';

export interface NodeOptions {
  readonly url: string;
  readonly json?: boolean;
}

export interface PlaceOptions extends NodeOptions {
  readonly field?: readonly string[];
  readonly type?: string;
}

export interface GetOptions extends PlaceOptions {
  readonly has?: string;
  readonly string?: boolean;
}

export interface WriteOptions extends PlaceOptions {
  readonly ttl?: number;
  readonly string?: boolean;
}

interface Thing {
  readonly type: string;
  readonly value: Json;
  readonly conflicts?: readonly Json[];
}

interface Listed {
  readonly key: string;
  readonly type: string;
  readonly value?: Json;
}

const pathOf = (key: string): string => `/v1/keys/${keySegment(key)}`;

const placeQuery = ({ field, type }: PlaceOptions, typeDefault?: string): QueryValues => ({
  type: type ?? typeDefault,
  field,
});

export async function get(key: string, options: GetOptions): Promise<void> {
  const client = new Client(options.url);
  if (options.has !== undefined) {
    const element = JSON.stringify(parseValue(options.has, options.string === true));
    const query = { ...placeQuery(options, 'set'), element };
    const answer = await client.ask<{ value: boolean }>('GET', pathOf(key), query);
    await (options.json ? printJson(answer) : print(String(answer.value)));
    if (!answer.value) process.exitCode = EXIT.failed;
    return;
  }
  const answer = await client.ask<Thing | { values: readonly Thing[] }>('GET', pathOf(key), placeQuery(options));
  if (options.json) return printJson(answer);
  const values = 'values' in answer ? answer.values : [answer];
  for (const { type, value, conflicts } of values) {
    const label = values.length > 1 ? `${type}\t` : '';
    for (const line of linesOf(type, value)) await print(label + line);
    if (conflicts !== undefined) note(`${conflicts.length} concurrent values, this one won; --json shows them all`);
  }
}

function linesOf(type: string, value: Json): string[] {
  if (type.startsWith('set') && Array.isArray(value)) return (value as readonly Json[]).map(valueCell);
  return [valueText(value)];
}

export async function set(key: string, text: string, options: WriteOptions): Promise<void> {
  const body = { value: parseValue(text, options.string === true), ttlMs: options.ttl };
  await tell(options, await new Client(options.url).ask('PUT', pathOf(key), placeQuery(options, 'register'), body));
}

export async function del(key: string, options: PlaceOptions): Promise<void> {
  await tell(options, await new Client(options.url).ask('DELETE', pathOf(key), placeQuery(options)));
}

export async function incr(key: string, amount: number, options: PlaceOptions): Promise<void> {
  const query = placeQuery(options, 'counter');
  const client = new Client(options.url);
  const answer = await client.ask<{ value: Json }>('POST', pathOf(key), query, { op: 'add', amount });
  await (options.json ? printJson(answer) : print(valueText(answer.value)));
}

/** `add` and `remove`: a request for each element, in order. Those before one that fails are written. */
export async function changeSet(
  op: 'add' | 'remove',
  key: string,
  texts: readonly string[],
  options: WriteOptions,
): Promise<void> {
  const client = new Client(options.url);
  const query = placeQuery(options, 'set');
  const values = texts.map((text) => parseValue(text, options.string === true));
  for (const value of values) {
    await tell(options, await client.ask('POST', pathOf(key), query, { op, value, ttlMs: options.ttl }));
  }
}

export async function setFlag(value: boolean, key: string, options: WriteOptions): Promise<void> {
  const body = { value, ttlMs: options.ttl };
  await tell(options, await new Client(options.url).ask('PUT', pathOf(key), placeQuery(options, 'flag'), body));
}

/** A write that went well says nothing, unless it is asked to. */
const tell = (options: NodeOptions, answer: object): Promise<void> | undefined =>
  options.json ? printJson(answer) : undefined;

export interface ListOptions extends NodeOptions {
  readonly after?: string;
  readonly limit: number;
  readonly all?: boolean;
  readonly reverse?: boolean;
  readonly keys?: boolean;
}

interface Page {
  readonly items: readonly Listed[];
  readonly next: string | null;
}

/** The most that one request gives. */
const PAGE_KEYS_MAX = 1_000;

export async function list(prefix: string, options: ListOptions): Promise<void> {
  const client = new Client(options.url);
  let left = options.all ? Number.POSITIVE_INFINITY : options.limit;
  let after: string | undefined = options.after;
  let isFirst = true;
  while (left > 0) {
    const { items, next }: Page = await client.ask<Page>('GET', '/v1/keys', {
      prefix,
      after,
      limit: Math.min(left, PAGE_KEYS_MAX),
      reverse: options.reverse ? 'true' : undefined,
      values: options.keys ? undefined : 'true',
    });
    for (const line of lines(items, options, isFirst)) await print(line);
    if (isFirst && items.length === 0 && !options.json) note('no keys');
    isFirst = false;
    left -= new Set(items.map(({ key }) => key)).size;
    if (next === null) return;
    after = next;
  }
  note(`there are more: --after ${JSON.stringify(after)}, or --all`);
}

function lines(items: readonly Listed[], { json, keys }: ListOptions, isFirst: boolean): string[] {
  if (json) return items.map((item) => JSON.stringify(item));
  if (keys) return [...new Set(items.map(({ key }) => oneLine(key)))];
  const rows = items.map(({ key, type, value }) => [oneLine(key), type, valueCell(value)]);
  if (!isTerminal) return rows.map((row) => row.join('\t'));
  return rows.length === 0 ? [] : table(['KEY', 'TYPE', 'VALUE'], rows).slice(isFirst ? 0 : 1);
}
