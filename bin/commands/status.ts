/** `hearsay status`: one node at a glance: what it is, what is wrong with it, and how far each peer is. */
import { Client } from '../client.ts';
import { oneLine, paint, print, printJson, table } from '../output.ts';
import type { NodeOptions } from './data.ts';

/** What is read of `GET /v1/status`; docs/HTTP.md has all of it. */
interface Status {
  readonly cluster: string | null;
  readonly node: string;
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly clock: string;
  readonly fingerprint: string;
  readonly actors: number;
  readonly wentBack: boolean;
  readonly storage: { readonly kind: string; readonly dir: string | null; readonly pendingBytes: number };
  readonly listening: { readonly host: string; readonly port: number } | null;
  readonly links: readonly Link[];
  readonly joined: readonly Joined[];
}

interface Link {
  readonly state: string;
  readonly node: string | null;
  readonly name: string | null;
  readonly role: string | null;
  readonly eventsToSend: number;
  readonly eventsToReceive: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly clockSkewMs: number | null;
}

interface Joined {
  readonly url: string;
  readonly state: string;
  readonly failures: number;
  readonly lastError: string | null;
}

export async function status({ url, json }: NodeOptions): Promise<void> {
  const answer = await new Client(url).ask<Status>('GET', '/v1/status');
  if (json) return printJson(answer);
  for (const line of lines(answer)) await print(line);
}

function* lines(status: Status): Generator<string> {
  const { storage, links, joined } = status;
  yield* problems(status).map((text) => paint(`! ${text}`, 'red'));
  yield* facts([
    ['node', `${oneLine(status.name)} (${status.node}), ${status.role}`],
    ['cluster', status.cluster ?? 'none yet: it will be that of the first node it meets'],
    ['data', `${storage.kind}${storage.dir === null ? '' : ` in ${oneLine(storage.dir)}`}`],
    ['contents', `${status.fingerprint} (the same on nodes that are equal)`],
    ['peers', summary(links)],
  ]);
  const rows = links.map((link) => [
    oneLine(link.name ?? link.node ?? '(not introduced yet)'),
    link.role ?? '',
    link.state,
    String(link.eventsToSend),
    String(link.eventsToReceive),
    bytesText(link.bytesSent),
    bytesText(link.bytesReceived),
    link.clockSkewMs === null ? '' : `${Math.round(link.clockSkewMs)} ms`,
  ]);
  const head = ['PEER', 'ROLE', 'STATE', 'TO SEND', 'TO RECEIVE', 'SENT', 'RECEIVED', 'CLOCK SKEW'];
  if (rows.length > 0) yield* ['', ...table(head, rows)];
  const unconnected = joined.filter(({ state }) => state !== 'connected');
  const waiting = unconnected.map(({ url, state, failures, lastError }) => {
    return [oneLine(url), state, String(failures), oneLine(lastError ?? '')];
  });
  if (waiting.length > 0) yield* ['', ...table(['JOINING', 'STATE', 'FAILURES', 'LAST ERROR'], waiting)];
}

function problems({ state, failure, wentBack }: Status): string[] {
  const found: string[] = [];
  if (failure !== null) found.push(`it has failed: ${oneLine(failure.message)} [${failure.code}]`);
  else if (state !== 'open') found.push(`it is ${state}`);
  if (wentBack) {
    found.push('it went back in time: peers have had events of this node that its disk lost, or a backup was restored');
  }
  return found;
}

function facts(rows: readonly (readonly [string, string])[]): string[] {
  return rows.map(([label, text]) => `${paint(label.padEnd(9), 'dim')} ${text}`);
}

function summary(links: readonly Link[]): string {
  if (links.length === 0) return 'none connected';
  const equalCount = links.filter(({ state }) => state === 'equal').length;
  return `${links.length} connected, ${equalCount} of them equal to this one`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

function bytesText(bytes: number): string {
  let unit = 0;
  let number = bytes;
  for (; number >= 1_000 && unit < UNITS.length - 1; unit++) number /= 1_000;
  return `${number < 10 && unit > 0 ? number.toFixed(1) : Math.round(number)} ${UNITS[unit]}`;
}
