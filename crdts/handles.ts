/**
 * Handles: how an app reads and writes. `store.counter('visits').add(1)` and its kin, over whatever can read rows and
 * take edits: the in-memory `Replica` of this floor, and the durable store that `open()` gives.
 *
 * Reads are synchronous and answer from this replica as it is now. What a write returns is the host's affair (`W`): nothing
 * in memory, a handle that can be awaited in a durable store.
 *
 * A handle is a name, not a thing: making one costs nothing and reads nothing, and it never goes stale.
 */
import { HearsayError } from './error.ts';
import {
  elementPath,
  endOfPrefix,
  fieldPrefix,
  keyPrefix,
  keyRange,
  type Path,
  parsePath,
  placeOnWay,
  type TypeName,
  typed,
  typeNameOf,
} from './path.ts';
import { type Entry, liveEntries } from './record.ts';
import type { Edit } from './records.ts';
import { addToCounter, counterValue, resetCounter } from './types/counter.ts';
import { registerConflicts, registerValue, removeRecord, setRegister } from './types/register.ts';
import { isOn, turnOffForGood, turnOn } from './types/toggle.ts';
import type { Value } from './value.ts';

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

function expiryAt<W>(host: Host<W>, { ttlMs }: TtlOption = {}): number {
  if (ttlMs === undefined) return 0;
  const expires = Math.ceil(host.nowMs() + ttlMs);
  if (ttlMs > 0 && Number.isSafeInteger(expires)) return expires;
  throw new HearsayError('InvalidTtl', `ttlMs must be positive, not ${ttlMs}`, { ttlMs });
}

/** A path of one type, seen through a host. */
class Handle<W> {
  protected readonly host: Host<W>;
  readonly path: Path;

  constructor(host: Host<W>, path: Path) {
    this.host = host;
    this.path = path;
  }

  protected get entries(): readonly Entry[] {
    return this.host.entries(this.path);
  }

  protected write(edit: Edit): W {
    return this.host.write([edit]);
  }
}

/** One value; see types/register.ts. */
export class RegisterHandle<W, T extends Value = Value> extends Handle<W> {
  /** The value, undefined when there is none; with concurrent writes the winner. Each call decodes a fresh copy. */
  get(): T | undefined {
    return registerValue(this.entries, this.host.nowMs()) as T | undefined;
  }

  /** Every concurrent value, the winner first. More than one: somebody should look, and write what is right. */
  conflicts(): T[] {
    return registerConflicts(this.entries, this.host.nowMs()) as T[];
  }

  /** Throws `InvalidValue`, `ValueTooDeep`, `ValueTooLarge`, `InvalidTtl`. */
  set(value: T, options?: TtlOption): W {
    return this.write(setRegister(this.path, value, expiryAt(this.host, options)));
  }

  /** Removes the values seen here; a concurrent `set` survives. */
  delete(): W {
    return this.write(removeRecord(this.path));
  }
}

/** An exact counter; see types/counter.ts. */
export class CounterHandle<W> extends Handle<W> {
  /** The sum, 0 for a counter that is not there. Beyond ±(2^53 − 1) it is rounded: see `exact`. */
  get(): number {
    return Number(this.exact());
  }

  exact(): bigint {
    return counterValue(this.entries);
  }

  /** `amount`: a safe integer of either sign, default 1. Throws `InvalidAmount`. */
  add(amount = 1): W {
    return this.write(addToCounter(this.path, amount));
  }

  subtract(amount = 1): W {
    return this.add(-amount);
  }

  /** Back to 0: takes away exactly what this replica has seen; concurrent additions survive. */
  reset(): W {
    return this.write(resetCounter(this.path));
  }
}

/** On or off; see types/toggle.ts. */
export class FlagHandle<W> extends Handle<W> {
  get(): boolean {
    return isOn(this.entries, this.host.nowMs());
  }

  enable(options?: TtlOption): W {
    return this.write(turnOn(this.path, expiryAt(this.host, options)));
  }

  disable(): W {
    return this.write(removalOf(this.path));
  }
}

/** A set of values; every element is its own record, so adding to a large set costs what adding to an empty one costs. */
export class SetHandle<W, T extends Value = Value> extends Handle<W> {
  /** Elements are the same when their canonical encodings are: `{a: 1, b: 2}` is `{b: 2, a: 1}`, 1 is not 1n. */
  has(element: T): boolean {
    return isOn(this.host.entries(elementPath(this.path, element)), this.host.nowMs());
  }

  add(element: T, options?: TtlOption): W {
    return this.write(turnOn(elementPath(this.path, element), expiryAt(this.host, options)));
  }

  /** Removes it as seen here; a concurrent `add` wins, or loses, by the set's kind. */
  remove(element: T): W {
    return this.write(removalOf(elementPath(this.path, element)));
  }

  /** Removes every element seen here. */
  clear(): W {
    return this.host.write(removalsUnder(this.host, this.path));
  }

  /** The elements in the order of their encodings. */
  *values(): Generator<T> {
    for (const path of this.#paths()) yield parsePath(path).element as T;
  }

  [Symbol.iterator](): Generator<T> {
    return this.values();
  }

  /** Counts by reading all elements. */
  get size(): number {
    let count = 0;
    for (const _ of this.#paths()) count++;
    return count;
  }

  *#paths(): Generator<Path> {
    for (const [path, entries] of this.host.scan(this.path, endOfPrefix(this.path))) {
      if (isOn(entries, this.host.nowMs())) yield path;
    }
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
    return new RegisterHandle(this.host, typed(this.prefix, 'register'));
  }

  counter(): CounterHandle<W> {
    return new CounterHandle(this.host, typed(this.prefix, 'counter'));
  }

  flag({ wins }: BiasOption = {}): FlagHandle<W> {
    return new FlagHandle(this.host, typed(this.prefix, wins === 'off' ? 'flag-disable-wins' : 'flag'));
  }

  set<T extends Value = Value>({ wins }: BiasOption = {}): SetHandle<W, T> {
    return new SetHandle(this.host, typed(this.prefix, wins === 'off' ? 'set-remove-wins' : 'set'));
  }

  map(): MapHandle<W> {
    return new MapHandle(this.host, typed(this.prefix, 'map'));
  }

  /** What lives here: one for each type. */
  *things(): Generator<Thing> {
    const end = endOfPrefix(this.prefix);
    let path = firstPresent(this.host, this.prefix, end);
    while (path !== undefined) {
      const type = typeNameOf(path.charCodeAt(this.prefix.length));
      yield { type, value: () => this.#whole(type) };
      path = firstPresent(this.host, endOfPrefix(typed(this.prefix, type)), end);
    }
  }

  #whole(type: TypeName): Value {
    switch (type) {
      case 'register':
        return this.register().get() ?? null;
      case 'counter': {
        const exact = this.counter().exact();
        return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
      }
      case 'flag':
      case 'flag-disable-wins':
        return new FlagHandle(this.host, typed(this.prefix, type)).get();
      case 'set':
      case 'set-remove-wins':
        return [...new SetHandle(this.host, typed(this.prefix, type))];
      case 'map':
        return this.map().toObject();
    }
  }

  /** True when anything lives here, of any type. */
  has(): boolean {
    return firstPresent(this.host, this.prefix, endOfPrefix(this.prefix)) !== undefined;
  }

  /** Removes what this replica has seen here, of every type; concurrent updates survive. */
  delete(): W {
    return this.host.write(removalsUnder(this.host, this.prefix));
  }
}

/** Named fields, each of any type, maps included. Update wins: what is written concurrently with a removal survives it. */
export class MapHandle<W> extends Handle<W> {
  /** A field, to be used as any type: `map.field('tags').set().add('x')`. */
  field(name: string): Place<W> {
    return new Place(this.host, fieldPrefix(this.path, name));
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
    return this.host.write(removalsUnder(this.host, this.path));
  }

  /** The names of the fields where anything lives, in order. */
  *keys(): Generator<string> {
    for (const [name] of placesIn(this.host, this.path)) yield name;
  }

  /**
   * The whole map as a plain object: registers by their value, counters by their sum, flags as booleans, sets as arrays,
   * maps as objects. Where several types live under one name, the name of each but the first gets its type in brackets.
   */
  toObject(): { [name: string]: Value } {
    const fields = new Map<string, Value>();
    for (const [name, place] of placesIn(this.host, this.path)) {
      for (const { type, value } of place.things()) fields.set(fields.has(name) ? `${name} (${type})` : name, value());
    }
    return Object.fromEntries(fields);
  }
}

/** True when the record counts as there, by the rule of its type. Throws `Malformed` for a path of none. */
export function isPresent(path: Path, entries: readonly Entry[], nowMs: number): boolean {
  const { type } = parsePath(path);
  return type === 'register' || type === 'counter' ? liveEntries(entries, nowMs).length > 0 : isOn(entries, nowMs);
}

function firstPresent<W>(host: Host<W>, start: Path, end: Path, reverse?: boolean): Path | undefined {
  for (const [path, entries] of host.scan(start, end, reverse)) {
    if (isPresent(path, entries, host.nowMs())) return path;
  }
  return undefined;
}

/**
 * The places where anything lives, with their names: the fields of the map at `level`, or, where that is '', the keys.
 * Writing while iterating is fine.
 */
function* placesIn<W>(
  host: Host<W>,
  level: Path,
  start = level,
  end = endOfPrefix(level),
  limit = Infinity,
  reverse = false,
): Generator<[string, Place<W>]> {
  for (; limit > 0; limit--) {
    const path = firstPresent(host, start, end, reverse);
    if (path === undefined) return;
    const { name, prefix } = placeOnWay(path, level);
    yield [name, new Place(host, prefix)];
    // Straight to the next one: what lies between are the rest of this one's records, a million of them in a large set.
    if (reverse) end = prefix;
    else start = endOfPrefix(prefix);
  }
}

/** The edits that remove what lives under `prefix`, each by the rule of its type. */
export function removalsUnder<W>(host: Host<W>, prefix: Path): Edit[] {
  const edits: Edit[] = [];
  for (const [path, entries] of host.scan(prefix, endOfPrefix(prefix))) {
    // Expired records are removed as well: their dots must not come to life under a later, longer time to live.
    if (isPresent(path, entries, 0)) edits.push(removalOf(path));
  }
  return edits;
}

function removalOf(path: Path): Edit {
  switch (parsePath(path).type) {
    case 'counter':
      return resetCounter(path);
    case 'flag-disable-wins':
    case 'set-remove-wins':
      return turnOffForGood(path);
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

export interface ScanOptions {
  /** Start behind this key (before it, with `reverse`); it need not exist. */
  readonly after?: string | undefined;
  /** At most this many keys; default all. */
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
  *keys(prefix?: string, options?: ScanOptions): Generator<string> {
    for (const [key] of this.#places(prefix, options)) yield key;
  }

  /** What lives under the keys that begin with `prefix`: an item for each key and type. Writing while iterating is fine. */
  *scan(prefix?: string, options?: ScanOptions): Generator<ScanItem> {
    for (const [key, place] of this.#places(prefix, options)) {
      for (const thing of place.things()) yield { key, ...thing };
    }
  }

  #places(prefix = '', { after, limit, reverse = false }: ScanOptions = {}): Iterable<[string, Place<W>]> {
    let { start, end } = keyRange(prefix);
    if (after !== undefined) {
      const behind = reverse ? keyPrefix(after) : endOfPrefix(keyPrefix(after));
      if (reverse && behind < end) end = behind;
      if (!reverse && behind > start) start = behind;
    }
    return placesIn(this.host, '', start, end, limit, reverse);
  }
}
