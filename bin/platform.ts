/** Where systems differ, as functions of what they differ by, so that each can be tested on any. */
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { relative } from 'node:path';

/**
 * The signals that ask a node to stop. Windows has no SIGTERM to receive: there Ctrl-C, Ctrl-Break and a closing window
 * come as SIGINT, SIGBREAK and SIGHUP. Elsewhere SIGHUP says that the terminal is gone.
 */
export function stopSignals(platform: NodeJS.Platform = process.platform): readonly NodeJS.Signals[] {
  return platform === 'win32' ? ['SIGINT', 'SIGBREAK', 'SIGHUP'] : ['SIGINT', 'SIGTERM', 'SIGHUP'];
}

export interface OwnCommand {
  /** What to type to start another node. */
  readonly start: string;
  /** What to type before any other command. */
  readonly client: string;
}

/** How this process was started, to be typed again: `npm start`, `npx`, an installed command, or the file. */
export function ownCommand(
  env: NodeJS.ProcessEnv = process.env,
  script: string = process.argv[1] ?? 'hearsay',
  directory: string = process.cwd(),
): OwnCommand {
  const near = relative(directory, script);
  const file = `node ${near.startsWith('..') ? script : near}`;
  if (env['npm_lifecycle_event'] === 'start') return { start: 'npm start --', client: file };
  if (env['npm_command'] === 'exec') return { start: 'npx hearsay start', client: 'npx hearsay' };
  return /\.[jt]s$/.test(script)
    ? { start: `${file} start`, client: file }
    : { start: 'hearsay start', client: 'hearsay' };
}

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const isAny = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** Whether only this machine can reach what listens there. */
export const isLoopbackHost = (host: string): boolean => host === 'localhost' || host === '::1' || /^127\./.test(host);

/** The addresses under which others reach what listens on `host`, the best first. */
export function reachableHosts(host: string, interfaces: Interfaces = networkInterfaces()): readonly string[] {
  if (!isAny(host)) return [host];
  const all = Object.values(interfaces).flatMap((each) => each ?? []);
  const outside = all.filter(({ internal, family, scopeid }) => !internal && (family === 'IPv4' || scopeid === 0));
  const addresses = outside.toSorted((a, b) => a.family.localeCompare(b.family)).map(({ address }) => address);
  return addresses.length === 0 ? ['127.0.0.1'] : addresses;
}

export const urlOf = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
