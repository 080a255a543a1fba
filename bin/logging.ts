/**
 * The node's log: pino's JSON lines on stderr for machines, readable lines when stderr is a terminal. Standard output stays
 * free for what a script wants to read.
 */
import { type BaseLogger, pino } from 'pino';
import { oneLine, paint } from './output.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

type Fields = Readonly<Record<string, unknown>>;

/** What the store logs through: pino's own methods. */
export type Logger = Pick<BaseLogger, 'debug' | 'info' | 'warn' | 'error'>;

export function createLogger(level: LogLevel, isTerminal = process.stderr.isTTY === true): Logger {
  // Synchronous: the last lines before an exit, or a crash, are the ones that matter.
  const destination = isTerminal ? { write: writePretty } : pino.destination({ dest: 2, sync: true });
  const timestamp = pino.stdTimeFunctions.isoTime;
  return pino({ level, base: null, errorKey: 'error', timestamp, formatters: { level: nameLevel } }, destination);
}

/** "info" says more than 30. */
const nameLevel = (level: string): Fields => ({ level });

const COLOURS = { debug: 'dim', info: 'green', warn: 'yellow', error: 'red' } as const;

function writePretty(line: string): void {
  process.stderr.write(`${prettyLine(JSON.parse(line) as Fields)}\n`);
}

/** `12:30:01 info  a peer joined  node=3f2a… address=192.168.1.7:7717` */
export function prettyLine({ time, level, msg, ...fields }: Fields): string {
  const colour = COLOURS[level as keyof typeof COLOURS] ?? 'dim';
  const facts = Object.entries(fields).map(([name, value]) => `${name}=${factText(value)}`);
  const moment = new Date(String(time)).toTimeString().slice(0, 8);
  const head = `${paint(moment, 'dim', process.stderr)} ${paint(String(level).padEnd(5), colour, process.stderr)} ${oneLine(String(msg))}`;
  return facts.length === 0 ? head : `${head}  ${paint(facts.join(' '), 'dim', process.stderr)}`;
}

function factText(value: unknown): string {
  const message = (value as { message?: unknown } | null)?.message;
  if (typeof message === 'string') return oneLine(message);
  return oneLine(typeof value === 'string' ? value : JSON.stringify(value));
}
