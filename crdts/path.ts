/**
 * Paths: where a value lives, as an order-preserving byte string.
 *
 *     register "a"                       text(a) r
 *     element "x" of the set "tags"      text(tags) s value(x)
 *     tags of the map "user:1"           text(user:1) m text(tags) s value(x)
 *
 * The type is part of the name, so two types can never clash under one name, and a container is a range of paths: every
 * path that begins with its prefix. Parts end themselves (value.ts), so no part is the beginning of another.
 *
 * Paths that begin with `SYSTEM` belong to the store itself (who stands behind an actor) and are no user's keys.
 */
import { fromByteString, Reader, refuseUnless, Writer } from './bytes.ts';
import { overLimit } from './error.ts';
import { readText, readValue, type Value, writeText, writeValue } from './value.ts';

export type Path = string;

/** The type byte in paths. Letters, so that a path is readable in a dump. */
export const TYPE_BYTES = {
  register: 'r',
  counter: 'c',
  flag: 'f',
  'flag-disable-wins': 'F',
  set: 's',
  'set-remove-wins': 'S',
  map: 'm',
} as const;

export type TypeName = keyof typeof TYPE_BYTES;

const TYPE_NAMES = new Map<number, TypeName>(
  (Object.keys(TYPE_BYTES) as TypeName[]).map((name) => [TYPE_BYTES[name].charCodeAt(0), name]),
);

/** Longer paths are refused at the write: they would not fit the keys of every storage beside our own prefixes. */
export const PATH_BYTES_MAX = 1024;

/** The type that a byte of a path stands for. Throws `Malformed`. */
export function typeNameOf(byte: number): TypeName {
  const type = TYPE_NAMES.get(byte);
  refuseUnless(type !== undefined, PATH);
  return type;
}

export const SYSTEM: Path = '\x01';

const writer = new Writer();
/** What is unreadable, in errors. */
const PATH = 'a path';

const textPart = (text: string): Path => {
  writeText(writer.reset(), text);
  return writer.finishString();
};

const checked = (path: Path): Path => {
  if (path.length <= PATH_BYTES_MAX) return path;
  throw overLimit('PathTooLong', 'a path in bytes', PATH_BYTES_MAX, 'use shorter names');
};

/** The prefix of everything under a key, whatever its type. */
export const keyPrefix = (key: string): Path => checked(textPart(key));

/** A key's or field's prefix, made the path of one type: a record for register, counter and flag, else a container. */
export const typed = (prefix: Path, type: TypeName): Path => checked(prefix + TYPE_BYTES[type]);

/** The prefix of everything under a field of a map. */
export const fieldPrefix = (map: Path, field: string): Path => checked(map + textPart(field));

/** The record of one element of a set. */
export function elementPath(set: Path, element: Value): Path {
  writeValue(writer.reset(), element);
  return checked(set + writer.finishString());
}

/** The least path after every path that begins with `prefix`. The last byte of a prefix is never 0xff. */
export const endOfPrefix = (prefix: Path): Path =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);

/** The range of all user keys that begin with `text`; with '' all of them. */
export function keyRange(text: string): { start: Path; end: Path } {
  const open = textPart(text).slice(0, -1);
  return { start: open, end: endOfPrefix(open) };
}

/** The first place that the way from `level` (a map, or '' for the top) to `path` leads through. */
export function placeOnWay(path: Path, level: Path): { name: string; prefix: Path } {
  // A text ends at its first zero: those inside it are escaped.
  const prefix = path.slice(0, path.indexOf('\0', level.length) + 1);
  return { name: readText(new Reader(fromByteString(prefix), level.length)), prefix };
}

export interface ParsedPath {
  readonly key: string;
  /** The fields on the way through maps, outermost first. */
  readonly fields: readonly string[];
  /** The type of what holds the record: a set for a set's element. */
  readonly type: Exclude<TypeName, 'map'>;
  /** Only for a set's element. */
  readonly element?: Value;
  /** Where the type's own path ends: before the element of a set. */
  readonly typeEnd: number;
}

/** The parts of a record's path. Throws `Malformed` for what is no record's path, system paths included. */
export function parsePath(path: Path): ParsedPath {
  const reader = new Reader(fromByteString(path));
  const key = readText(reader);
  const fields: string[] = [];
  for (;;) {
    const type = typeNameOf(reader.byte());
    if (type === 'map') {
      fields.push(readText(reader));
      continue;
    }
    const isElement = type === 'set' || type === 'set-remove-wins';
    const typeEnd = reader.at;
    const parsed = isElement
      ? { key, fields, type, typeEnd, element: readValue(reader) }
      : { key, fields, type, typeEnd };
    refuseUnless(reader.done, PATH);
    return parsed;
  }
}
