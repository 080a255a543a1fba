/** Where systems differ, as functions of what they differ by, so that each can be tested on any. */
import { hostname } from 'node:os';
import { relative } from 'node:path';

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
  const file = `node ${relative(directory, script)}`;
  if (env['npm_lifecycle_event'] === 'start') return { start: 'npm start --', client: file };
  if (env['npm_command'] === 'exec') return { start: 'npx hearsay start', client: 'npx hearsay' };
  return /\.[jt]s$/.test(script)
    ? { start: `${file} start`, client: file }
    : { start: 'hearsay start', client: 'hearsay' };
}
