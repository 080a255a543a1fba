/**
 * What may happen to a message on its way, besides being late: it is lost, arrives twice, has its bytes spoilt, or carries
 * a record that the receiver cannot read (of a later version, say) and has to refuse alone.
 */
import { Reader, Writer } from '../../crdts/bytes.ts';
import { PATH_BYTES_MAX } from '../../crdts/path.ts';
import { readRecords, writeRecords } from '../../crdts/record.ts';
import { encodeMessage } from '../protocol/codec.ts';
import { readFrame } from './wire.ts';

export type Tampering = 'lose' | 'repeat' | 'garble' | 'refuse';

/** The path of no type that there is. */
const UNREADABLE_PATH = '\x02unreadable';

/** What arrives in the place of the message; null when this cannot happen to it: it carries no records. */
export function tampered(bytes: Uint8Array, how: Tampering): Uint8Array[] | null {
  switch (how) {
    case 'lose':
      return [];
    case 'repeat':
      return [bytes, bytes.slice()];
    case 'garble':
      // Cut short, so that no luck makes another message of it.
      return [bytes.slice(0, bytes.length - 1 - (bytes.length >> 2))];
    case 'refuse': {
      const unreadable = withUnreadableRecord(bytes);
      return unreadable === null ? null : [unreadable];
    }
  }
}

function withUnreadableRecord(bytes: Uint8Array): Uint8Array | null {
  const frame = readFrame(bytes);
  if (frame?.message?.type !== 'records') return null;
  const { number, message } = frame;
  const [first, ...rest] = readRecords(new Reader(message.records), PATH_BYTES_MAX);
  if (first === undefined) return null;
  const writer = new Writer();
  writeRecords(writer, [{ ...first, path: UNREADABLE_PATH }, ...rest]);
  return encodeMessage({ ...message, records: writer.finish() }, number);
}
