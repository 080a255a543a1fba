/** Where systems differ, as functions of what they differ by, so that each can be tested on any. */
import { hostname } from 'node:os';

/**
 * The signals that ask a node to stop. Windows has no SIGTERM to receive: there Ctrl-C, Ctrl-Break and a closing window
 * come as SIGINT, SIGBREAK and SIGHUP. Elsewhere SIGHUP says that the terminal is gone.
 */
export function stopSignals(platform: NodeJS.Platform = process.platform): readonly NodeJS.Signals[] {
  return platform === 'win32' ? ['SIGINT', 'SIGBREAK', 'SIGHUP'] : ['SIGINT', 'SIGTERM', 'SIGHUP'];
}

/** A node's name for people, at most 64 characters: the machine's. It identifies nothing; ids are random. */
export function defaultName(machine: string = hostname()): string {
  return machine.split('.')[0]?.slice(0, 64) || 'node';
}

/** How this process was started, as one would type it again: `npm start --`, `npx hearsay`, `hearsay` or the file. */
export function ownCommand(
  env: NodeJS.ProcessEnv = process.env,
  script: string = process.argv[1] ?? 'hearsay',
): { readonly start: string; readonly other: string } {
  if (env['npm_lifecycle_event'] === 'start') return { start: 'npm start --', other: `node ${SCRIPT}` };
  if (env['npm_command'] === 'exec') return { start: 'npx hearsay start', other: 'npx hearsay' };
  if (/\.[jt]s$/.test(script)) return { start: `node ${SCRIPT} start`, other: `node ${SCRIPT}` };
  return { start: 'hearsay start', other: 'hearsay' };
}

const SCRIPT = 'dist/bin/hearsay.js';
