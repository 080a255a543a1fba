/**
 * Operations as data: what a schedule's writes do, over every CRDT type, and the edits they become.
 *
 * A place is a key, or a field inside maps: "x", "x/tags", "x/address/street". Every type may live at every place.
 */
import type { Edit } from '../../crdts/engine.ts';
import { type Host, removalsUnder } from '../../crdts/handles.ts';
import { elementPath, fieldPrefix, keyPrefix, keyRange, type Path, type TypeName, typed } from '../../crdts/path.ts';
import { addToCounter, resetCounter } from '../../crdts/types/counter.ts';
import { removeRecord, setRegister } from '../../crdts/types/register.ts';
import { turnOff, turnOffForGood, turnOn } from '../../crdts/types/toggle.ts';
import type { Value } from '../../crdts/value.ts';
import { unreachable } from '../protocol/unreachable.ts';

interface At {
  readonly at: string;
}

interface Ttl {
  /** Time to live; absent: for ever. */
  readonly ttlMs?: number;
}

interface Bias {
  /** Of flags and sets: `off` makes it disable-wins, or remove-wins. */
  readonly wins?: 'on' | 'off';
}

interface Elements extends At, Bias {
  readonly element: number;
  /** This many elements, from `element` on; default 1. */
  readonly count?: number;
}

export type Operation =
  /** `bytes`: the value is that long, so that messages are. */
  | ({ readonly op: 'set'; readonly value: number; readonly bytes?: number } & At & Ttl)
  | ({ readonly op: 'unset' } & At)
  | ({ readonly op: 'add'; readonly amount: number } & At)
  | ({ readonly op: 'reset' } & At)
  | ({ readonly op: 'enable' } & At & Bias & Ttl)
  | ({ readonly op: 'disable' } & At & Bias)
  | ({ readonly op: 'insert' } & Elements & Ttl)
  | ({ readonly op: 'remove' } & Elements)
  /** A set, without what was seen of it. */
  | ({ readonly op: 'clear' } & At & Bias)
  /** Everything at a place, of every type. */
  | ({ readonly op: 'delete' } & At);

/** Paths by their names; schedules use few, again and again. */
const prefixes = new Map<string, Path>();
const elements = new Map<string, Path>();

function prefixOf(at: string): Path {
  let prefix = prefixes.get(at);
  if (prefix === undefined) {
    const [key, ...fields] = at.split('/');
    prefix = fields.reduce((path, field) => fieldPrefix(typed(path, 'map'), field), keyPrefix(key as string));
    if (prefixes.size > 10_000) prefixes.clear();
    prefixes.set(at, prefix);
  }
  return prefix;
}

function pathOfElement(at: string, type: TypeName, element: number): Path {
  const name = `${at} ${type} ${element}`;
  let path = elements.get(name);
  if (path === undefined) {
    path = elementPath(typed(prefixOf(at), type), element);
    if (elements.size > 10_000) elements.clear();
    elements.set(name, path);
  }
  return path;
}

const setType = ({ wins }: Bias): TypeName => (wins === 'off' ? 'set-remove-wins' : 'set');

function pathsOf(op: Elements): Path[] {
  const type = setType(op);
  return Array.from({ length: op.count ?? 1 }, (_, i) => pathOfElement(op.at, type, op.element + i));
}

const expiryOf = (host: Host<unknown>, { ttlMs }: Ttl): number =>
  ttlMs === undefined ? 0 : Math.max(1, Math.ceil(host.nowMs() + ttlMs));

/** A number, or as many bytes that begin with it. */
function valueOf({ value, bytes }: { readonly value: number; readonly bytes?: number }): Value {
  if (bytes === undefined) return value;
  const long = new Uint8Array(bytes).fill(0x55);
  new DataView(long.buffer).setUint32(0, value);
  return long;
}

/** What the operation does to the replica that `host` reads. */
export function editsOf(op: Operation, host: Host<unknown>): Edit[] {
  switch (op.op) {
    case 'set':
      return [setRegister(typed(prefixOf(op.at), 'register'), valueOf(op), expiryOf(host, op))];
    case 'unset':
      return [removeRecord(typed(prefixOf(op.at), 'register'))];
    case 'add':
      return [addToCounter(typed(prefixOf(op.at), 'counter'), op.amount)];
    case 'reset':
      return [resetCounter(typed(prefixOf(op.at), 'counter'))];
    case 'enable':
      return [turnOn(typed(prefixOf(op.at), op.wins === 'off' ? 'flag-disable-wins' : 'flag'), expiryOf(host, op))];
    case 'disable':
      return op.wins === 'off'
        ? [turnOffForGood(typed(prefixOf(op.at), 'flag-disable-wins'))]
        : [turnOff(typed(prefixOf(op.at), 'flag'))];
    case 'insert':
      return pathsOf(op).map((path) => turnOn(path, expiryOf(host, op)));
    case 'remove':
      return pathsOf(op).map(op.wins === 'off' ? turnOffForGood : turnOff);
    case 'clear':
      return removalsUnder(host, typed(prefixOf(op.at), setType(op)));
    case 'delete':
      return removalsUnder(host, prefixOf(op.at));
    default:
      return unreachable(op);
  }
}

export const keyOfPlace = (at: string): string => {
  const slash = at.indexOf('/');
  return slash < 0 ? at : at.slice(0, slash);
};

/** True when a leaf with these prefixes holds `key`; null: it holds everything. */
export const isHeld = (interests: readonly string[] | null, key: string): boolean =>
  interests === null || interests.some((prefix) => key.startsWith(prefix));

const ranges = new Map<string, { start: Path; end: Path }>();

/** True when a leaf with these prefixes holds the record at `path`; system paths are no user's. */
export function isPathHeld(interests: readonly string[] | null, path: Path): boolean {
  return (
    interests === null ||
    interests.some((prefix) => {
      let range = ranges.get(prefix);
      if (range === undefined) ranges.set(prefix, (range = keyRange(prefix)));
      return path >= range.start && path < range.end;
    })
  );
}

/** The operation in words, behind "B …". */
export function describeOperation(op: Operation): string {
  const kind = 'wins' in op && op.wins === 'off' ? ', off wins' : '';
  const ttl = 'ttlMs' in op && op.ttlMs !== undefined ? ` for ${op.ttlMs} ms` : '';
  const elementsOf = ({ element, count = 1 }: Elements): string =>
    count === 1 ? `${element}` : `${element}–${element + count - 1}`;
  switch (op.op) {
    case 'set':
      return `sets register ${op.at} to ${op.value}${op.bytes === undefined ? '' : ` and ${op.bytes} bytes`}${ttl}`;
    case 'unset':
      return `deletes register ${op.at}`;
    case 'add':
      return `adds ${op.amount} to counter ${op.at}`;
    case 'reset':
      return `resets counter ${op.at}`;
    case 'enable':
    case 'disable':
      return `${op.op}s flag ${op.at}${ttl}${kind}`;
    case 'insert':
      return `adds ${elementsOf(op)} to set ${op.at}${ttl}${kind}`;
    case 'remove':
      return `removes ${elementsOf(op)} from set ${op.at}${kind}`;
    case 'clear':
      return `clears set ${op.at}${kind}`;
    case 'delete':
      return `deletes all of ${op.at}`;
    default:
      return unreachable(op);
  }
}
