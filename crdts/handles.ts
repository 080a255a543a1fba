/**
 * Handles: how an app reads and writes. `store.counter('visits').add(1)` and its kin, over whatever can read rows and
 * take edits: the in-memory `Replica` of this floor, and the durable store that `open()` gives.
 *
 * Reads are synchronous and answer from this replica as it is now. What a write returns is the host's affair (`W`): nothing
 * in memory, a handle that can be awaited in a durable store.
 *
 * A handle is a name, not a thing: making one costs nothing and reads nothing, and it never goes stale.
 */
import type { Edit } from './records.ts';
import { HearsayError } from './error.ts';
import {
  elementPath,
  endOfPrefix,
  fieldPrefix,
  keyPrefix,
  keyRange,
  type Path,
  parsePath,
  type TypeName,
  typed,
  typeNameOf,
} from './path.ts';
import { type Entry, liveEntries } from './record.ts';
import { addToCounter, counterValue, isCounterPresent, resetCounter } from './types/counter.ts';
import { registerConflicts, registerValue, removeRecord, setRegister } from './types/register.ts';
import { isOn, turnOff, turnOffForGood, turnOn } from './types/toggle.ts';
import { setField, type Value } from './value.ts';

export interface Host<W> {
  /** The dots of the record at `path`. */
  entries(path: Path): readonly Entry[];
  /** The records with `start` <= path < `end` in path order, or backwards; may be written to while it is read. */
  scan(start: Path, end: Path, reverse?: boolean): Iterable<readonly [Path, readonly Entry[]]>;
  /** Carries the edits out, all or none. */
  write(edits: readonly Edit[]): W;
  /** Wall time in ms, for times to live. */
  nowMs(): number;
}

export interface TtlOption {
  /** Time to live in ms, more than 0; absent: for ever. A concurrent write with a longer one, or none, prolongs it. */
  readonly ttlMs?: number | undefined;
}

export type BiasOption = {
  /** Who wins when on and off (add and remove) are concurrent. Part of the name: the two kinds are different things. */
  readonly wins?: 'on' | 'off';
};

function expiryAt<W>(host: Host<W>, { ttlMs }: TtlOption): number {
  if (ttlMs === undefined) return 0;
  const expires = Math.ceil(host.nowMs() + ttlMs);
  if (ttlMs > 0 && Number.isSafeInteger(expires)) return expires;
  throw new HearsayError('InvalidTtl', `a time to live is a positive number of milliseconds, not ${ttlMs}`, { ttlMs });
}

/** One value; see types/register.ts. */
export class RegisterHandle<W, T extends Value = Value> {
  readonly #host: Host<W>;
  readonly path: Path;

  constructor(host: Host<W>, prefix: Path) {
    this.#host = host;
    this.path = typed(prefix, 'register');
  }

  /** The value, undefined when there is none; with concurrent writes the winner. Each call decodes a fresh copy. */
  get(): T | undefined {
    return registerValue(this.#host.entries(this.path), this.#host.nowMs()) as T | undefined;
  }

  /** Every concurrent value, the winner first. More than one: somebody should look, and write what is right. */
  conflicts(): T[] {
    return registerConflicts(this.#host.entries(this.path), this.#host.nowMs()) as T[];
  }

  /** Throws `InvalidValue`, `ValueTooDeep`, `ValueTooLarge`, `InvalidTtl`. */
  set(value: T, options: TtlOption = {}): W {
    return this.#host.write([setRegister(this.path, value, expiryAt(this.#host, options))]);
  }

  /** Removes the values seen here; a concurrent `set` survives. */
  delete(): W {
    return this.#host.write([removeRecord(this.path)]);
  }
}

/** An exact counter; see types/counter.ts. */
export class CounterHandle<W> {
  readonly #host: Host<W>;
  readonly path: Path;

  constructor(host: Host<W>, prefix: Path) {
    this.#host = host;
    this.path = typed(prefix, 'counter');
  }

  /** The sum, 0 for a counter that is not there. Beyond ±(2^53 − 1) it is rounded: see `exact`. */
  get(): number {
    return Number(this.exact());
  }

  exact(): bigint {
    return counterValue(this.#host.entries(this.path));
  }

  /** `amount`: a safe integer of either sign, default 1. Throws `InvalidAmount`. */
  add(amount = 1): W {
    return this.#host.write([addToCounter(this.path, amount)]);
  }

  subtract(amount = 1): W {
    return this.add(-amount);
  }

  /** Back to 0: takes away exactly what this replica has seen; concurrent additions survive. */
  reset(): W {
    return this.#host.write([resetCounter(this.path)]);
  }
}

/** On or off; see types/toggle.ts. */
export class FlagHandle<W> {
  readonly #host: Host<W>;
  readonly #isOffWins: boolean;
  readonly path: Path;

  constructor(host: Host<W>, prefix: Path, { wins = 'on' }: BiasOption = {}) {
    this.#host = host;
    this.#isOffWins = wins === 'off';
    this.path = typed(prefix, this.#isOffWins ? 'flag-disable-wins' : 'flag');
  }

  get(): boolean {
    return isOn(this.#host.entries(this.path), this.#host.nowMs());
  }

  enable(options: TtlOption = {}): W {
    return this.#host.write([turnOn(this.path, expiryAt(this.#host, options))]);
  }

  disable(): W {
    return this.#host.write([this.#isOffWins ? turnOffForGood(this.path) : turnOff(this.path)]);
  }
}

/** A set of values; every element is its own record, so adding to a large set costs what adding to an empty one costs. */
export class SetHandle<W, T extends Value = Value> {
  readonly #host: Host<W>;
  readonly #isOffWins: boolean;
  readonly path: Path;

  constructor(host: Host<W>, prefix: Path, { wins = 'on' }: BiasOption = {}) {
    this.#host = host;
    this.#isOffWins = wins === 'off';
    this.path = typed(prefix, this.#isOffWins ? 'set-remove-wins' : 'set');
  }

  /** Elements are the same when their canonical encodings are: `{a: 1, b: 2}` is `{b: 2, a: 1}`, 1 is not 1n. */
  has(element: T): boolean {
    return isOn(this.#host.entries(elementPath(this.path, element)), this.#host.nowMs());
  }

  add(element: T, options: TtlOption = {}): W {
    return this.#host.write([turnOn(elementPath(this.path, element), expiryAt(this.#host, options))]);
  }

  /** Removes it as seen here; a concurrent `add` wins, or loses, by the set's kind. */
  remove(element: T): W {
    const path = elementPath(this.path, element);
    return this.#host.write([this.#isOffWins ? turnOffForGood(path) : turnOff(path)]);
  }

  /** Removes every element seen here. */
  clear(): W {
    return this.#host.write(removalsUnder(this.#host, this.path));
  }

  /** The elements in the order of their encodings. */
  *values(): Generator<T> {
    for (const [path, entries] of this.#host.scan(this.path, endOfPrefix(this.path))) {
      if (isOn(entries, this.#host.nowMs())) yield parsePath(path).element as T;
    }
  }

  [Symbol.iterator](): Generator<T> {
    return this.values();
  }

  /** Counts by reading all elements. */
  get size(): number {
    let count = 0;
    for (const [, entries] of this.#host.scan(this.path, endOfPrefix(this.path))) {
      if (isOn(entries, this.#host.nowMs())) count++;
    }
    return count;
  }
}

/** What a key of the store and a field of a map have in common: any type may live there, several at once, each its own. */
export class Place<W> {
  protected readonly host: Host<W>;
  protected readonly prefix: Path;

  constructor(host: Host<W>, prefix: Path) {
    this.host = host;
    this.prefix = prefix;
  }

  register<T extends Value = Value>(): RegisterHandle<W, T> {
    return new RegisterHandle(this.host, this.prefix);
  }

  counter(): CounterHandle<W> {
    return new CounterHandle(this.host, this.prefix);
  }

  flag(options?: BiasOption): FlagHandle<W> {
    return new FlagHandle(this.host, this.prefix, options);
  }

  set<T extends Value = Value>(options?: BiasOption): SetHandle<W, T> {
    return new SetHandle(this.host, this.prefix, options);
  }

  map(): MapHandle<W> {
    return new MapHandle(this.host, this.prefix);
  }

  /** What lives here: one for each type. */
  things(): Iterable<Thing> {
    return thingsAt(this.host, this.prefix);
  }

  /** True when anything lives here, of any type. */
  has(): boolean {
    return isAnythingIn(this.host, this.prefix);
  }

  /** Removes what this replica has seen here, of every type; concurrent updates survive. */
  delete(): W {
    return this.host.write(removalsUnder(this.host, this.prefix));
  }
}

/** Named fields, each of any type, maps included. Update wins: what is written concurrently with a removal survives it. */
export class MapHandle<W> {
  readonly #host: Host<W>;
  readonly path: Path;

  constructor(host: Host<W>, prefix: Path) {
    this.#host = host;
    this.path = typed(prefix, 'map');
  }

  /** A field, to be used as any type: `map.field('tags').set().add('x')`. */
  field(name: string): Place<W> {
    return new Place(this.#host, fieldPrefix(this.path, name));
  }

  /** Sets a field that is a register: short for `field(name).register().set(value)`. */
  set(name: string, value: Value, options?: TtlOption): W {
    return this.field(name).register().set(value, options);
  }

  /** Reads a field that is a register. */
  get(name: string): Value | undefined {
    return this.field(name).register().get();
  }

  has(name: string): boolean {
    return this.field(name).has();
  }

  /** Removes what was seen under a field, of every type. */
  delete(name: string): W {
    return this.field(name).delete();
  }

  /** Removes what was seen under every field. */
  clear(): W {
    return this.#host.write(removalsUnder(this.#host, this.path));
  }

  /** The names of the fields where anything lives, in order. */
  *keys(): Generator<string> {
    const depth = depthOf(this.path);
    let last: string | undefined;
    for (const [path, entries] of this.#host.scan(this.path, endOfPrefix(this.path))) {
      const name = parsePath(path).fields[depth];
      if (name === last || name === undefined || !isPresent(path, entries, this.#host.nowMs())) continue;
      last = name;
      yield name;
    }
  }

  /**
   * The whole map as a plain object: registers by their value, counters by their sum, flags as booleans, sets as arrays,
   * maps as objects. Where several types live under one name, the name of each but the first gets its type in brackets.
   */
  toObject(): { [name: string]: Value } {
    const object: Record<string, Value> = {};
    for (const name of this.keys()) {
      for (const { type, value } of thingsAt(this.#host, fieldPrefix(this.path, name))) {
        const key = Object.hasOwn(object, name) ? `${name} (${type})` : name;
        setField(object, key, value());
      }
    }
    return object;
  }
}

/** How many fields stand in a map's own path. */
const depthOf = (map: Path): number => parsePath(typed(fieldPrefix(map, ''), 'register')).fields.length - 1;

/** True when the record counts as there, by the rule of its type. Throws `Malformed` for a path of none. */
export function isPresent(path: Path, entries: readonly Entry[], nowMs: number): boolean {
  switch (parsePath(path).type) {
    case 'register':
      return liveEntries(entries, nowMs).length > 0;
    case 'counter':
      return isCounterPresent(entries);
    case 'flag':
    case 'flag-disable-wins':
    case 'set':
    case 'set-remove-wins':
      return isOn(entries, nowMs);
  }
}

export function isAnythingIn<W>(host: Host<W>, prefix: Path): boolean {
  for (const [path, entries] of host.scan(prefix, endOfPrefix(prefix)))
    if (isPresent(path, entries, host.nowMs())) return true;
  return false;
}

/** The edits that remove what lives under `prefix`, each by the rule of its type. */
export function removalsUnder<W>(host: Host<W>, prefix: Path): Edit[] {
  const edits: Edit[] = [];
  for (const [path, entries] of host.scan(prefix, endOfPrefix(prefix))) {
    // Expired records are removed as well: their dots must not come to life under a later, longer time to live.
    if (entries.some((entry) => entry.kind === 'live')) edits.push(removalOf(path, entries));
  }
  return edits;
}

function removalOf(path: Path, entries: readonly Entry[]): Edit {
  switch (parsePath(path).type) {
    case 'counter':
      return resetCounter(path);
    case 'flag-disable-wins':
    case 'set-remove-wins':
      return isOn(entries, 0) ? turnOffForGood(path) : { path, decide: () => null };
    case 'register':
    case 'flag':
    case 'set':
      return removeRecord(path);
  }
}

/** One thing at one place: a key or a field, as one type. */
export interface Thing {
  readonly type: TypeName;
  /** Reads it whole: a set as an array, a map as an object. Costs what is in it. */
  readonly value: () => Value;
}

const FIRST_TYPE = '\x01';
const AFTER_TYPES = '\x7f';

/** What lives at a place, one for each type; a place where nothing lives yields nothing. */
function* thingsAt<W>(host: Host<W>, prefix: Path): Generator<Thing> {
  let start = prefix + FIRST_TYPE;
  while (start < prefix + AFTER_TYPES) {
    const type = typeFrom(host, prefix, start);
    if (type === undefined) return;
    yield { type, value: () => wholeValue(host, prefix, type) };
    start = endOfPrefix(typed(prefix, type));
  }
}

function typeFrom<W>(host: Host<W>, prefix: Path, start: Path): TypeName | undefined {
  for (const [path, entries] of host.scan(start, prefix + AFTER_TYPES)) {
    if (isPresent(path, entries, host.nowMs())) return typeNameOf(path.charCodeAt(prefix.length));
  }
  return undefined;
}

function wholeValue<W>(host: Host<W>, prefix: Path, type: TypeName): Value {
  switch (type) {
    case 'register':
      return new RegisterHandle(host, prefix).get() ?? null;
    case 'counter': {
      const exact = new CounterHandle(host, prefix).exact();
      return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
    }
    case 'flag':
      return new FlagHandle(host, prefix).get();
    case 'flag-disable-wins':
      return new FlagHandle(host, prefix, { wins: 'off' }).get();
    case 'set':
      return [...new SetHandle(host, prefix).values()];
    case 'set-remove-wins':
      return [...new SetHandle(host, prefix, { wins: 'off' }).values()];
    case 'map':
      return new MapHandle(host, prefix).toObject();
  }
}

export interface ScanOptions {
  /** Start behind this key (before it, with `reverse`); it need not exist. */
  readonly after?: string | undefined;
  /** At most this many; default all. */
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

export interface ScanItem extends Thing {
  readonly key: string;
}

/** Handles by key: what a store offers at its top. */
export class Handles<W> {
  protected readonly host: Host<W>;

  constructor(host: Host<W>) {
    this.host = host;
  }

  /** Everything under one key. Throws `PathTooLong` for keys over about 1,000 bytes. */
  key(key: string): Place<W> {
    return new Place(this.host, keyPrefix(key));
  }

  register<T extends Value = Value>(key: string): RegisterHandle<W, T> {
    return this.key(key).register<T>();
  }

  counter(key: string): CounterHandle<W> {
    return this.key(key).counter();
  }

  flag(key: string, options?: BiasOption): FlagHandle<W> {
    return this.key(key).flag(options);
  }

  set<T extends Value = Value>(key: string, options?: BiasOption): SetHandle<W, T> {
    return this.key(key).set<T>(options);
  }

  map(key: string): MapHandle<W> {
    return this.key(key).map();
  }

  /** True when anything lives under `key`, of any type. */
  has(key: string): boolean {
    return this.key(key).has();
  }

  /** Removes what this replica has seen under `key`, of every type; concurrent updates survive. */
  delete(key: string): W {
    return this.key(key).delete();
  }

  /** The keys that begin with `prefix` and where anything lives, in UTF-8 order. Writing while iterating is fine. */
  *keys(
    prefix = '',
    { after, limit = Number.POSITIVE_INFINITY, reverse = false }: ScanOptions = {},
  ): Generator<string> {
    let { start, end } = keyRange(prefix);
    if (after !== undefined && reverse && keyPrefix(after) < end) end = keyPrefix(after);
    if (after !== undefined && !reverse && keyPrefix(after) > start) start = endOfPrefix(keyPrefix(after));
    for (let count = 0; count < limit; count++) {
      const key = this.#nextKey(start, end, reverse);
      if (key === undefined) return;
      yield key;
      // Straight to the next key: what lies between are the rest of this one's records, a million of them in a large set.
      if (reverse) end = keyPrefix(key);
      else start = endOfPrefix(keyPrefix(key));
    }
  }

  #nextKey(start: Path, end: Path, reverse: boolean): string | undefined {
    for (const [path, entries] of this.host.scan(start, end, reverse)) {
      if (isPresent(path, entries, this.host.nowMs())) return parsePath(path).key;
    }
    return undefined;
  }

  /** What lives under the keys that begin with `prefix`: an item for each key and type. Writing while iterating is fine. */
  *scan(prefix = '', options: ScanOptions = {}): Generator<ScanItem> {
    for (const key of this.keys(prefix, options)) {
      for (const thing of thingsAt(this.host, keyPrefix(key))) yield { key, ...thing };
    }
  }
}
