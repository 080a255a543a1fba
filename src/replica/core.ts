/** What the parts of a replica share: the engine, who we are, and ways to report. Made by replica.ts, handed to its parts. */
import type { Engine } from '../../crdts/engine.ts';
import type { Effect, Now, Pace, Role } from './contract.ts';
import type { Identity } from './identity.ts';
import type { Link } from './link.ts';

export interface Core {
  readonly engine: Engine;
  readonly identity: Identity;
  readonly role: Role;
  readonly pace: Pace;
  readonly random: () => number;
  /** All links that are open, in whatever state. */
  readonly links: ReadonlyMap<number, Link>;
  /** The batch that all of the store's contents, as they are now, will be durable with. */
  batch(): number;
  /** False for a leaf and a path outside its prefixes. */
  isHeldHere(path: string): boolean;
  /** Something happened once more; the names are listed in docs/PROTOCOL.md. */
  count(name: string): void;
  log(level: (Effect & { type: 'log' })['level'], message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** `ms`, more or less by a random share of up to `spread`. */
export const jittered = (ms: number, spread: number, random: () => number): number =>
  ms * (1 - spread + 2 * spread * random());

export type { Now };
