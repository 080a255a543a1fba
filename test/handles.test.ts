/**
 * Handles: what an app sees. Listing, removing, plain objects of maps, and the errors that say no before anything is written.
 */
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../crdts/engine.ts';
import { Handles } from '../crdts/handles.ts';
import { PATH_BYTES_MAX } from '../crdts/path.ts';
import { Replica } from '../crdts/replica.ts';

import { type Value, VALUE_BYTES_MAX } from '../crdts/value.ts';
import { actorOf, codeOf, valuesByType } from './support/arbitraries.ts';
import { StrictStore } from './support/strict-store.ts';

let nowMs = 1_000_000;
let replica: Replica;

beforeEach(() => {
  nowMs = 1_000_000;
  replica = new Replica({ actor: actorOf(1), nowMs: () => nowMs });
});

/** Handles over a store that counts what is read, with writes that say how many edits they had. */
function counted() {
  const store = new StrictStore();
  const engine = new Engine(store);
  engine.begin(actorOf(1));
  let time = 0;
  const handles = new Handles<number>({
    entries: (path) => engine.read(path).entries,
    *scan(start, end, reverse) {
      for (const [path, { entries }] of engine.rows(start, end, reverse)) yield [path, entries];
    },
    write: (edits) => edits.filter((edit) => engine.apply(edit, ++time) !== null).length,
    nowMs: () => nowMs,
  });
  return { store, engine, handles };
}

describe('keys and scan', () => {
  test('[keys] are those where anything lives, in UTF-8 order, each once', () => {
    for (const key of ['b', 'a', '😀', '\uffff', '', 'a\0', 'gone', 'ab']) replica.register(key).set(1);
    replica.counter('a').add(1);
    replica.set('a').add('x');
    replica.delete('gone');
    expect([...replica.keys()]).toEqual(['', 'a', 'a\0', 'ab', 'b', '\uffff', '😀']);
  });

  test('[keys] a prefix, a place to go on from, a limit, and either direction', () => {
    for (const key of ['a', 'b', 'ba', 'bb', 'bc', 'c']) replica.flag(key).enable();
    expect([...replica.keys('b')]).toEqual(['b', 'ba', 'bb', 'bc']);
    expect([...replica.keys('b', { after: 'ba' })]).toEqual(['bb', 'bc']);
    expect([...replica.keys('b', { after: 'b9' })]).toEqual(['ba', 'bb', 'bc']);
    expect([...replica.keys('b', { after: '' })]).toEqual(['b', 'ba', 'bb', 'bc']);
    expect([...replica.keys('b', { after: 'c' })]).toEqual([]);
    expect([...replica.keys('b', { limit: 2 })]).toEqual(['b', 'ba']);
    expect([...replica.keys('b', { limit: 0 })]).toEqual([]);
    expect([...replica.keys('b', { reverse: true })]).toEqual(['bc', 'bb', 'ba', 'b']);
    expect([...replica.keys('b', { reverse: true, after: 'bb', limit: 1 })]).toEqual(['ba']);
    expect([...replica.keys('b', { reverse: true, after: 'zzz' })]).toEqual(['bc', 'bb', 'ba', 'b']);
    expect([...replica.keys('b', { reverse: true, after: 'a' })]).toEqual([]);
    expect([...replica.keys('nothing')]).toEqual([]);
  });

  test('[keys] agree with a sorted list of texts, whatever is in them', () => {
    const texts = fc.array(valuesByType.texts, { maxLength: 8 });
    const byCodePoint = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
    fc.assert(
      fc.property(
        texts,
        texts,
        valuesByType.texts,
        fc.boolean(),
        fc.boolean(),
        (keys, removed, text, reverse, continues) => {
          const store = new Replica({ actor: actorOf(1), nowMs: () => nowMs });
          for (const key of keys) store.register(key).set(1);
          for (const key of removed) store.delete(key);
          const left = [...new Set(keys)].filter((key) => !removed.includes(key)).sort(byCodePoint);
          expect([...store.keys()]).toEqual(left);
          const [prefix = ''] = text;
          const isBehind = (key: string): boolean =>
            !continues || (reverse ? byCodePoint(key, text) < 0 : byCodePoint(key, text) > 0);
          const expected = left.filter((key) => key.startsWith(prefix) && isBehind(key));
          const options = { reverse, after: continues ? text : undefined };
          expect([...store.keys(prefix, options)]).toEqual(reverse ? expected.reverse() : expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('[keys] may be written to while they are read', () => {
    for (let i = 0; i < 50; i++) replica.register(`key ${i}`).set(i);
    for (const key of replica.keys()) replica.delete(key);
    expect([...replica.keys()]).toEqual([]);
  });

  test('[scan] yields an item for each key and type, with its whole value', () => {
    replica.register('k').set({ deep: [1] });
    replica.counter('k').add(3);
    replica.flag('k').enable();
    replica.flag('k', { wins: 'off' }).disable();
    replica.flag('l', { wins: 'off' }).enable();
    replica.set('k').add('x');
    replica.set('k', { wins: 'off' }).add('y');
    replica.map('k').set('f', 1);
    const items = [...replica.scan()].map(({ key, type, value }) => [key, type, value()]);
    expect(items).toEqual([
      ['k', 'set-remove-wins', ['y']],
      ['k', 'counter', 3],
      ['k', 'flag', true],
      ['k', 'map', { f: 1 }],
      ['k', 'register', { deep: [1] }],
      ['k', 'set', ['x']],
      ['l', 'flag-disable-wins', true],
    ]);
    expect([...replica.scan('k', { limit: 1 })], 'the limit counts keys').toHaveLength(6);
  });

  test('[scan] a counter beyond the safe integers is a bigint', () => {
    for (let i = 0; i < 2; i++) replica.counter('k').add(Number.MAX_SAFE_INTEGER);
    const [item] = replica.scan();
    expect(item?.value()).toBe(2n * BigInt(Number.MAX_SAFE_INTEGER));
    expect(replica.counter('k').get()).toBe(2 * Number.MAX_SAFE_INTEGER);
  });

  test('[keys] steps over a large set, or a large map, in a few reads', () => {
    const { store, handles } = counted();
    for (let i = 0; i < 3_000; i++) {
      handles.set('large').add(i);
      handles
        .map('wide')
        .field(`f${i % 3}`)
        .set()
        .add(i);
    }
    handles.register('a').set(1);
    handles.register('z').set(1);
    for (const reverse of [false, true]) {
      store.readCount = 0;
      expect([...handles.keys('', { reverse })]).toHaveLength(4);
      expect(store.readCount).toBeLessThanOrEqual(50);
    }
    store.readCount = 0;
    expect([...handles.map('wide').keys()]).toEqual(['f0', 'f1', 'f2']);
    expect(store.readCount, 'the fields of a map likewise').toBeLessThanOrEqual(50);
    store.readCount = 0;
    expect([...handles.scan()]).toHaveLength(4);
    expect(store.readCount, 'and the types under a key').toBeLessThanOrEqual(100);
  });

  test('[keys] leave out what has expired', () => {
    replica.register('a').set(1, { ttlMs: 10 });
    replica.map('b').field('f').flag().enable({ ttlMs: 20 });
    nowMs += 10;
    expect([...replica.keys()]).toEqual(['b']);
    nowMs += 10;
    expect([...replica.keys()]).toEqual([]);
    expect(replica.map('b').toObject()).toEqual({});
  });
});

describe('maps', () => {
  test('[map] is a plain object of all that is in it', () => {
    const map = replica.map('m');
    map.set('text', 'a');
    map.set('removed', 1);
    map.delete('removed');
    map.field('count').counter().add(2);
    map.field('on').flag().enable();
    map.field('tags').set().add('x');
    map.field('tags').set().add('y');
    map.field('in').map().set('deeper', [1]);
    expect(map.toObject()).toEqual({ count: 2, in: { deeper: [1] }, on: true, tags: ['x', 'y'], text: 'a' });
    expect([...map.keys()]).toEqual(['count', 'in', 'on', 'tags', 'text']);
    expect([map.has('in'), map.has('removed'), map.get('text'), map.get('count')]).toEqual([
      true,
      false,
      'a',
      undefined,
    ]);
  });

  test('[map] several types under one name: each is there, and says which', () => {
    const map = replica.map('m');
    map.set('f', 'text');
    map.field('f').counter().add(1);
    map.field('f').flag().enable();
    map.set('f (flag)', 'a field of its own');
    expect(map.toObject()).toEqual({
      f: 1,
      'f (flag)': true,
      'f (register)': 'text',
      'f (flag) (register)': 'a field of its own',
    });
    map.delete('f');
    expect(map.toObject()).toEqual({ 'f (flag)': 'a field of its own' });
  });

  test('[map] `__proto__` is a name like any other', () => {
    const map = replica.map('__proto__');
    map.set('__proto__', { polluted: 1 });
    map.field('constructor').counter().add(1);
    const object = map.toObject() as { polluted?: number };
    expect(Object.keys(object)).toEqual(['__proto__', 'constructor']);
    expect(Object.getPrototypeOf(object)).toBe(Object.prototype);
    expect(object.polluted).toBeUndefined();
    expect(JSON.stringify(object)).toBe('{"__proto__":{"polluted":1},"constructor":1}');
    expect([...replica.keys()]).toEqual(['__proto__']);
  });

  test('[map] names that begin with other names, with NUL behind, are others', () => {
    const map = replica.map('m');
    map.set('a', 1);
    map.set('a\0b', 2);
    map.field('a\0').map().set('x', 3);
    expect([...map.keys()]).toEqual(['a', 'a\0', 'a\0b']);
    map.delete('a');
    expect(map.toObject()).toEqual({ 'a\0': { x: 3 }, 'a\0b': 2 });
  });

  test('[map] clear removes what was seen under every field, and nothing beside', () => {
    replica.map('m').set('f', 1);
    replica.map('m').field('s').set().add(1);
    replica.register('m').set('beside');
    replica.map('m\0').set('f', 1);
    replica.map('m').clear();
    expect(replica.map('m').toObject()).toEqual({});
    expect([...replica.keys()]).toEqual(['m', 'm\0']);
  });
});

describe('has and delete', () => {
  const writes: [string, (handles: Handles<number>) => void, (handles: Handles<number>) => number][] = [
    ['register', (h) => h.register('k').set(1), (h) => h.register('k').delete()],
    ['counter', (h) => h.counter('k').add(0), (h) => h.counter('k').reset()],
    ['flag', (h) => h.flag('k').enable(), (h) => h.flag('k').disable()],
    ['set', (h) => h.set('k').add('x'), (h) => h.set('k').remove('x')],
    ['set, cleared', (h) => h.set('k').add('x'), (h) => h.set('k').clear()],
    [
      'remove-wins set, cleared',
      (h) => h.set('k', { wins: 'off' }).add('x'),
      (h) => h.set('k', { wins: 'off' }).clear(),
    ],
    ['map', (h) => h.map('k').set('f', 1), (h) => h.map('k').delete('f')],
    ['flag, by its key', (h) => h.flag('k').enable(), (h) => h.delete('k')],
    ['disable-wins flag, by its key', (h) => h.flag('k', { wins: 'off' }).enable(), (h) => h.delete('k')],
    ['remove-wins set, by its key', (h) => h.set('k', { wins: 'off' }).add('x'), (h) => h.delete('k')],
    ['counter in a map, by its key', (h) => h.map('k').field('f').counter().add(1), (h) => h.delete('k')],
  ];

  test.each(writes)('[delete] %s: there when written, gone when removed, and not removed twice', (_, write, remove) => {
    const { handles, engine } = counted();
    expect(handles.has('k')).toBe(false);
    expect(remove(handles), 'what was never there makes no event').toBe(0);
    write(handles);
    expect(handles.has('k')).toBe(true);
    expect(remove(handles)).toBe(1);
    expect(handles.has('k')).toBe(false);
    expect(remove(handles), 'what is removed makes no event').toBe(0);
    expect(handles.delete('k')).toBe(0);
    expect(engine.clock.dotCount).toBe(2);
  });

  test('[delete] an off of an off-wins flag is an event, also where nothing is known: a concurrent on must lose', () => {
    const { handles } = counted();
    expect(handles.flag('k', { wins: 'off' }).disable()).toBe(1);
    expect(handles.set('k', { wins: 'off' }).remove('x')).toBe(1);
    expect(handles.has('k')).toBe(false);
    expect(handles.delete('k')).toBe(0);
  });

  test('[delete] takes all types under a key, and no other key', () => {
    const { handles } = counted();
    for (const [, write] of writes) write(handles);
    for (const other of ['', 'j', 'k\0', 'k\0\0', 'k\x01', 'kk', 'l']) handles.register(other).set(1);
    expect(handles.delete('k')).toBe(8);
    expect(handles.has('k')).toBe(false);
    expect([...handles.keys()]).toEqual(['', 'j', 'k\0', 'k\0\0', 'k\x01', 'kk', 'l']);
    expect(handles.has('k\0')).toBe(true);
  });

  test('[delete] an expired record is removed as well: a longer time to live must not bring it back', () => {
    const { handles, engine } = counted();
    handles.register('k').set('old', { ttlMs: 10 });
    nowMs += 10;
    expect(handles.has('k')).toBe(false);
    expect(handles.delete('k')).toBe(1);
    expect(engine.expired(1e15, 10)).toEqual([]);
  });
});

describe('refused at the write, with nothing written', () => {
  const longest = 'x'.repeat(PATH_BYTES_MAX - 3);
  const cases: [string, string, (replica: Replica) => unknown][] = [
    ['a value that is none', 'InvalidValue', (r) => r.register('k').set(undefined as unknown as Value)],
    ['a value with a function', 'InvalidValue', (r) => r.register('k').set({ f: () => 1 } as unknown as Value)],
    ['an element that is none', 'InvalidValue', (r) => r.set('k').add(Symbol('s') as unknown as Value)],
    ['a key with a lone surrogate', 'InvalidValue', (r) => r.register('\ud800').set(1)],
    ['a field with a lone surrogate', 'InvalidValue', (r) => r.map('k').set('\udfff', 1)],
    ['a cycle', 'ValueTooDeep', (r) => r.register('k').set(cycle())],
    ['a value too large', 'ValueTooLarge', (r) => r.register('k').set('x'.repeat(VALUE_BYTES_MAX))],
    ['a value that would be endless', 'ValueTooLarge', (r) => r.register('k').set(thicket())],
    ['a key too long', 'PathTooLong', (r) => r.register(`${longest}x`).set(1)],
    ['a field too long', 'PathTooLong', (r) => r.map('k').set(longest, 1)],
    ['an element too long', 'PathTooLong', (r) => r.set('k').add(longest)],
    ['half an amount', 'InvalidAmount', (r) => r.counter('k').add(0.5)],
    ['an amount beyond 2^53 − 1', 'InvalidAmount', (r) => r.counter('k').add(2 ** 53)],
    ['an amount that is none', 'InvalidAmount', (r) => r.counter('k').subtract(Number.NaN)],
    ['an amount as text', 'InvalidAmount', (r) => r.counter('k').add('1' as unknown as number)],
    ['a bigint amount', 'InvalidAmount', (r) => r.counter('k').add(1n as unknown as number)],
    ['a bigint to subtract', 'InvalidAmount', (r) => r.counter('k').subtract(1n as unknown as number)],
    ['no time to live', 'InvalidTtl', (r) => r.register('k').set(1, { ttlMs: 0 })],
    ['a negative time to live', 'InvalidTtl', (r) => r.flag('k').enable({ ttlMs: -1 })],
    ['a time to live that is none', 'InvalidTtl', (r) => r.set('k').add(1, { ttlMs: Number.NaN })],
    ['an endless time to live', 'InvalidTtl', (r) => r.map('k').set('f', 1, { ttlMs: Infinity })],
  ];

  function cycle(): Value {
    const value: Value[] = [];
    value.push(value);
    return value;
  }
  /** 2^31 leaves in 31 objects: small to hold, endless to write out. */
  function thicket(): Value {
    let value: Value = 'leaf';
    for (let i = 0; i < 31; i++) value = [value, value];
    return value;
  }

  test.each(cases)('[error] %s: %s', (_, code, write) => {
    replica.register('before').set(1);
    const before = replica.changesSince();
    expect(codeOf(() => write(replica))).toBe(code);
    expect(replica.changesSince()).toEqual(before);
  });

  test('[limits] the longest key and the largest value are taken', () => {
    replica.register(longest).set('x'.repeat(VALUE_BYTES_MAX - 2));
    expect(replica.register(longest).get()).toHaveLength(VALUE_BYTES_MAX - 2);
    expect([...replica.keys()]).toEqual([longest]);
    replica.register('k').set(1, { ttlMs: 0.5 });
    expect(replica.register('k').get()).toBe(1);
  });

  test('[register] each read is a fresh copy', () => {
    replica.register('k').set({ list: [1], bytes: Uint8Array.of(1) });
    const first = replica.register<{ list: number[]; bytes: Uint8Array }>('k').get();
    first?.list.push(2);
    first?.bytes.fill(9);
    expect(replica.register('k').get()).toEqual({ list: [1], bytes: Uint8Array.of(1) });
  });
});
