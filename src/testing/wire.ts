/** Messages in words, for stories that are told in every detail: `B → A records #3: ax {B1:2 live, B1:3 ghost}`. */
import { Reader } from '../../crdts/bytes.ts';
import { Clock } from '../../crdts/clock.ts';
import { PATH_BYTES_MAX } from '../../crdts/path.ts';
import { readRecords } from '../../crdts/record.ts';
import { decodeFrame } from '../protocol/codec.ts';
import type { Oracle } from './oracle.ts';

export function describeMessage(bytes: Uint8Array, oracle: Oracle): string {
  const { message, number } = readFrame(bytes) ?? { message: null, number: 0 };
  if (message === null) return `${bytes.length} bytes that are no message`;
  const parts: string[] = [number === 0 ? message.type : `#${number} ${message.type}`];
  for (const [name, value] of Object.entries(message)) {
    if (name === 'type' || name === 'shard') continue;
    if (message.type === 'hello' && !['name', 'role'].includes(name)) continue;
    parts.push(`${name} ${describeField(message.type, name, value, oracle)}`);
  }
  return parts.join(', ');
}

/** The message and its number; null for what is none, as spoilt ones are. */
export function readFrame(bytes: Uint8Array): ReturnType<typeof decodeFrame> | null {
  try {
    return decodeFrame(bytes);
  } catch {
    return null;
  }
}

const CLOCKS = new Set(['told', 'scope', 'held', 'floors', 'dots']);

function describeField(type: string, name: string, value: unknown, oracle: Oracle): string {
  if (!(value instanceof Uint8Array)) return String(value);
  try {
    if (name === 'records') {
      return readRecords(new Reader(value), PATH_BYTES_MAX)
        .map(({ path, entries, residue }) => {
          const dots = entries.map(({ actor, n, kind }) => `${oracle.name(actor)}:${n} ${kind}`).join(', ');
          return `${JSON.stringify(path)} {${dots}}${residue === null ? '' : ` residue ${describeClock(residue, oracle)}`}`;
        })
        .join('; ');
    }
    if (CLOCKS.has(name) || (type === 'entries' && (name === 'clock' || name === 'floors'))) {
      return value.length === 0 ? '∅' : describeClock(Clock.read(new Reader(value)), oracle);
    }
  } catch {
    // Spoilt on purpose, perhaps: then its length is all there is to say.
  }
  return `(${value.length} bytes)`;
}

/** `{A1: 1–4, 9; B2: 1}` */
export function describeClock(clock: Clock, oracle: Oracle): string {
  const actors = Array.from(clock.actors(), (actor) => {
    const intervals = clock.intervalsOf(actor).map(({ from, to }) => (from === to ? `${from}` : `${from}–${to}`));
    return `${oracle.name(actor)}: ${intervals.join(', ')}`;
  });
  return `{${actors.join('; ')}}`;
}
