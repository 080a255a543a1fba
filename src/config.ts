/**
 * The options of `open`, checked once, and every limit of a node with its reason.
 *
 * A wrong option ends in `InvalidOption`, with its name in `facts.option`, before anything is opened or written. Unknown
 * names are refused too: a misspelt `durabilty` that is passed over costs somebody their data.
 */
import { hostname } from 'node:os';
import { HearsayError } from '../crdts/error.ts';
import type { Durability, Storage } from './edges/storage/contract.ts';
import { syncUrl } from './edges/transport/ws.ts';
import { type Logger, silent } from './logger.ts';
import { NAME_CHARS_MAX } from './protocol/messages.ts';
import type { Pace, Role } from './replica/contract.ts';

export interface OpenOptions {
  /** The directory of the store, made when missing. Either this or `storage` has to be given. */
  readonly dir?: string | undefined;
  /** `'memory'`: nothing is kept. Or a storage of your own; the store closes it. */
  readonly storage?: 'memory' | Storage | undefined;
  /**
   * Default `strict`: a write is durable once it was fsynced. `relaxed`: once the operating system has it; writes are
   * faster, and a power cut may tear the file, which then has to be fetched from the peers again. Only with `dir`.
   */
  readonly durability?: Durability | undefined;
  /** What people call this node, 1–64 characters; it identifies nothing. Default: the name of the machine. */
  readonly name?: string | undefined;
  /**
   * Default `member`: a full copy, which counts for when a delete may be forgotten. `leaf`: syncs with members it joins,
   * and nobody waits for it: for apps and laptops that come and go. Kept by the store; opening it as the other is refused.
   */
  readonly role?: Role | undefined;
  /** Leaves only: the prefixes of the keys to hold, at most 100. Default: all keys. Fixed when the store is made (`InterestsChanged`). */
  readonly interests?: readonly string[] | undefined;
  /**
   * 32 hexadecimal digits: stores of different clusters never mix. Default: the store's own; a new store takes that of the
   * first peer it meets. Another one than the store's: `ClusterMismatch`.
   */
  readonly cluster?: string | undefined;
  /** Nodes to sync with, at most 100: `http://host:port` or `ws://host:port`. Dialled for ever. Default: none. */
  readonly join?: readonly string[] | undefined;
  /** Take connections of peers, and serve the HTTP API to this machine. Default: no. */
  readonly listen?: ListenOptions | undefined;
  /** Default: nothing is logged. */
  readonly logger?: Logger | undefined;
  /**
   * How often peers are talked to: `lan` (default), `wan`, or single values over those of `lan`. Shorter finds losses and
   * dead peers sooner, longer saves idle traffic and forgives slow links.
   */
  readonly pace?: 'lan' | 'wan' | Partial<Pace> | undefined;
}

export interface ListenOptions {
  /** 0: any free port; see `Store.listening` for which. */
  readonly port: number;
  /** Default `127.0.0.1`: this machine alone. Anything else opens the store to its network: peers are not asked for a key yet. */
  readonly host?: string | undefined;
  /** Connections of peers at a time, 1–10,000; more are turned away. Each costs its buffers, up to 1 MiB. Default 256. */
  readonly connectionsMax?: number | undefined;
}

/** The options, checked, with every default in its place. */
export interface Config {
  readonly dir: string | null;
  readonly storage: 'memory' | Storage | null;
  readonly durability: Durability;
  readonly name: string;
  readonly role: Role;
  readonly interests: readonly string[] | undefined;
  readonly cluster: string | undefined;
  /** As they are dialled. */
  readonly join: readonly string[];
  readonly listen: ListenConfig | null;
  readonly logger: Logger;
  readonly pace: Partial<Pace>;
}

export interface ListenConfig {
  readonly port: number;
  readonly host: string;
  readonly connectionsMax: number;
}

// ---------------------------------------------------------------- limits

/** Operations in one batch. A batch is one transaction and is held in memory; larger ones hold up everyone else's. */
export const BATCH_OPERATIONS_MAX = 10_000;

/** Bytes of paths and values in one batch. A single value may have 1 MiB. */
export const BATCH_BYTES_MAX = 8 * 1024 * 1024;

/** Bytes that are written and not yet durable; beyond it writes are refused with `Overloaded`. They are all in memory. */
export const PENDING_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Commits under way at once. With two, the next batch is put together while the disk works on this one; more would only
 * make smaller batches.
 */
export const COMMITS_MAX = 2;

/** ms that `close` waits for peers to take their goodbye. They find out anyway, a little later. */
export const GOODBYE_MS = 1_000;

/** Changed paths that wait for a slow watcher. More: less is read again from the index; each costs up to 1 KiB. */
export const WATCH_BUFFER_DEFAULT = 1_024;
export const WATCH_BUFFER_MAX = 1_000_000;

/** URLs to join, and interests of a leaf. Each of the former is a connection, each of the latter is looked at for every record. */
const LIST_MAX = 100;

const WAN: Partial<Pace> = { roundDelayMs: 500, checkMs: 15_000, heartbeatMs: 10_000, silenceMs: 45_000 };

/** Each value's least; the most is a day. The least of `checkMs` and `heartbeatMs` keeps an idle link from being a busy one. */
const PACE_MIN: Readonly<Record<keyof Pace, number>> = {
  roundDelayMs: 0,
  checkMs: 10,
  heartbeatMs: 10,
  silenceMs: 50,
  sweepMs: 10,
  expiryGraceMs: 0,
};
const PACE_MS_MAX = 24 * 60 * 60 * 1_000;

// ---------------------------------------------------------------- checking

const OPTION_NAMES: readonly string[] = [
  'dir',
  'storage',
  'durability',
  'name',
  'role',
  'interests',
  'cluster',
  'join',
  'listen',
  'logger',
  'pace',
] satisfies (keyof OpenOptions)[];

/** Throws `InvalidOption`. */
export function checkOptions(options: OpenOptions): Config {
  if (typeof options !== 'object' || options === null) throw invalid('options', options, 'an object');
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.includes(name)) throw invalid(name, name, `one of ${OPTION_NAMES.join(', ')}`);
  }
  const { dir, storage, durability, name = defaultName(), role = 'member', interests, cluster, logger } = options;
  if ((dir === undefined) === (storage === undefined)) {
    throw invalid('dir', dir, "a directory, or else the option storage must be given ('memory', or one of your own)");
  }
  if (dir !== undefined) check('dir', dir, typeof dir === 'string' && dir !== '', 'the path of a directory');
  if (storage !== undefined) check('storage', storage, isStorage(storage), "'memory' or an object that is a Storage");
  if (durability !== undefined) {
    check('durability', durability, durability === 'strict' || durability === 'relaxed', "'strict' or 'relaxed'");
    check('durability', durability, dir !== undefined, 'given with dir only: a storage has its own');
  }
  check('name', name, isText(name) && name.length > 0 && name.length <= NAME_CHARS_MAX, '1–64 characters of text');
  check('role', role, role === 'member' || role === 'leaf', "'member' or 'leaf'");
  if (interests !== undefined) {
    check('interests', interests, isList(interests) && interests.every(isText), 'a list of 1–100 key prefixes');
    check('interests', interests, role === 'leaf', "given with role 'leaf' only: a member holds every key");
  }
  if (cluster !== undefined) check('cluster', cluster, isHex32(cluster), '32 hexadecimal digits');
  if (logger !== undefined) check('logger', logger, isLogger(logger), 'an object with debug, info, warn and error');
  return {
    dir: dir ?? null,
    storage: storage ?? null,
    durability: durability ?? 'strict',
    name,
    role,
    interests,
    cluster,
    join: checkJoin(options.join ?? []),
    listen: options.listen === undefined ? null : checkListen(options.listen),
    logger: logger ?? silent,
    pace: checkPace(options.pace ?? {}),
  };
}

function checkJoin(join: readonly string[]): string[] {
  check('join', join, Array.isArray(join) && join.length <= LIST_MAX, 'a list of at most 100 addresses');
  return join.map((text) => {
    try {
      return syncUrl(text);
    } catch {
      throw invalid('join', text, 'addresses such as http://192.168.1.7:7717');
    }
  });
}

function checkListen(listen: ListenOptions): ListenConfig {
  check('listen', listen, typeof listen === 'object' && listen !== null, 'an object such as { port: 7717 }');
  const { port, host = '127.0.0.1', connectionsMax = 256 } = listen;
  check('listen.port', port, isCount(port, 0, 65_535), 'a number from 0 (any free port) to 65,535');
  check('listen.host', host, isText(host) && host !== '', 'an address of this machine');
  check('listen.connectionsMax', connectionsMax, isCount(connectionsMax, 1, 10_000), 'a number from 1 to 10,000');
  return { port, host, connectionsMax };
}

function checkPace(pace: 'lan' | 'wan' | Partial<Pace>): Partial<Pace> {
  if (pace === 'lan') return {};
  if (pace === 'wan') return WAN;
  check('pace', pace, typeof pace === 'object' && pace !== null, "'lan', 'wan', or an object of milliseconds");
  for (const [name, ms] of Object.entries(pace)) {
    const least = PACE_MIN[name as keyof Pace];
    if (least === undefined) throw invalid(`pace.${name}`, name, `one of ${Object.keys(PACE_MIN).join(', ')}`);
    const isPossible = typeof ms === 'number' && ms >= least && ms <= PACE_MS_MAX;
    check(`pace.${name}`, ms, isPossible, `milliseconds from ${least} to ${PACE_MS_MAX}`);
  }
  return pace;
}

/** For other calls with options of their own. Throws `InvalidOption`. */
export function check(option: string, value: unknown, holds: boolean, expected: string): void {
  if (!holds) throw invalid(option, value, expected);
}

function invalid(option: string, value: unknown, expected: string): HearsayError {
  return new HearsayError('InvalidOption', `the option ${option} must be ${expected}, not ${shown(value)}`, { option });
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

export function isCount(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

/** Lone surrogates have no UTF-8. */
const isText = (value: unknown): value is string => typeof value === 'string' && !/\p{Surrogate}/u.test(value);

const isList = (value: unknown): value is readonly unknown[] =>
  Array.isArray(value) && value.length > 0 && value.length <= LIST_MAX;

const isHex32 = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);

const hasMethods = (value: unknown, names: readonly string[]): boolean =>
  typeof value === 'object' &&
  value !== null &&
  names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');

const isStorage = (value: unknown): boolean =>
  value === 'memory' || hasMethods(value, ['get', 'put', 'delete', 'range', 'commit', 'close']);

const isLogger = (value: unknown): boolean => hasMethods(value, ['debug', 'info', 'warn', 'error']);

const defaultName = (): string => hostname().split('.')[0]?.slice(0, NAME_CHARS_MAX) || 'node';
