/**
 * Reading and writing what lives at one place, each type in its own way: what stands between a route and the handles.
 *
 * Answers are made in memory and in one go, so they have limits; a node whose event loop stands still for a large answer
 * looks dead to its peers. What is beyond them is refused with `AnswerTooLarge`, never cut short unseen.
 */
import { HearsayError } from '../../../crdts/error.ts';
import type { BiasOption, Place, TtlOption } from '../../../crdts/handles.ts';
import { TYPE_BYTES, type TypeName } from '../../../crdts/path.ts';
import type { ApiStore, Writes } from './api-store.ts';
import { fromJson, type Json, jsonObject, toJson } from './json.ts';
import { checkFields, invalidRequest, numberField } from './request.ts';

export const TYPES = Object.keys(TYPE_BYTES) as readonly TypeName[];

/** Elements and fields in one answer, also inside each other: some 10 ms of work. */
export const ITEMS_MAX = 10_000;
/** The JSON of one value. Larger than any register, so it bears on sets and maps only. */
export const ANSWER_BYTES_MAX = 8 * 2 ** 20;

type Body = Readonly<Record<string, unknown>>;

/** Where something lives: a key, and the fields on the way through maps. */
export interface Address {
  readonly key: string;
  readonly fields: readonly string[];
}

export function placeAt(store: ApiStore, { key, fields }: Address): Place<Writes> {
  let place = store.key(key);
  for (const field of fields) place = place.map().field(field);
  return place;
}

/** The value as one type, in JSON. Undefined only for a register that is not there: the other types begin as 0, false, empty. */
export function readAs(place: Place<Writes>, type: TypeName): Json | undefined {
  const json = readPart(place, type, { itemsLeft: ITEMS_MAX });
  if (json === undefined || JSON.stringify(json).length <= ANSWER_BYTES_MAX) return json;
  throw tooLarge(`the ${type} has more than ${ANSWER_BYTES_MAX} bytes`);
}

interface Budget {
  itemsLeft: number;
}

function readPart(place: Place<Writes>, type: TypeName, budget: Budget): Json | undefined {
  switch (type) {
    case 'register': {
      const value = place.register().get();
      return value === undefined ? undefined : toJson(value);
    }
    case 'counter':
      return counterJson(place);
    case 'flag':
    case 'flag-disable-wins':
      return place.flag(bias(type)).get();
    case 'set':
    case 'set-remove-wins':
      return setJson(place, type, budget);
    case 'map':
      return mapJson(place, budget);
  }
}

/** Every concurrent value of a register, the winner first, where there is more than one. */
export function conflictsOf(place: Place<Writes>): Json[] | undefined {
  const values = place.register().conflicts();
  return values.length > 1 ? values.map(toJson) : undefined;
}

/** Whether an element is in the set. Throws `InvalidRequest` for a type without elements, and for text that is not JSON. */
export function hasElement(
  place: Place<Writes>,
  type: TypeName | undefined,
  text: string,
): { element: Json; value: boolean } {
  if (type !== 'set' && type !== 'set-remove-wins')
    throw invalidRequest("'element' goes with type=set or set-remove-wins");
  const element = fromJson(parseElement(text));
  return { element: toJson(element), value: place.set(bias(type)).has(element) };
}

function parseElement(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HearsayError('InvalidJson', `'element' is not JSON (text needs its quotes): ${String(error)}`, {}, error);
  }
}

/** PUT: a register's value, a flag's state. Throws `InvalidRequest` for types that are not replaced as a whole. */
export function put(place: Place<Writes>, type: TypeName, body: Body): Writes {
  checkFields(body, ['value', 'ttlMs']);
  if (body['value'] === undefined) throw invalidRequest('the body has a value: {"value": …}');
  const ttl = ttlOf(body);
  if (type === 'register') return place.register().set(fromJson(body['value']), ttl);
  if (type !== 'flag' && type !== 'flag-disable-wins') {
    throw invalidRequest(`a ${type} is not replaced as a whole: POST an operation, such as {"op": "add", …}`);
  }
  if (typeof body['value'] !== 'boolean') throw invalidRequest('the value of a flag is true or false');
  if (!body['value'] && ttl.ttlMs !== undefined) throw invalidRequest('only a flag that is on can have a ttlMs');
  return body['value'] ? place.flag(bias(type)).enable(ttl) : place.flag(bias(type)).disable();
}

/** POST: an operation on a counter or a set. */
export function operate(place: Place<Writes>, type: TypeName, body: Body): Writes {
  const op = body['op'];
  if (type === 'counter' && op === 'add') {
    checkFields(body, ['op', 'amount']);
    return place.counter().add(numberField(body, 'amount') ?? 1);
  }
  if ((type === 'set' || type === 'set-remove-wins') && (op === 'add' || op === 'remove')) {
    checkFields(body, op === 'add' ? ['op', 'value', 'ttlMs'] : ['op', 'value']);
    if (body['value'] === undefined) throw invalidRequest('the body has the element: {"op": …, "value": …}');
    const set = place.set(bias(type));
    const element = fromJson(body['value']);
    return op === 'add' ? set.add(element, ttlOf(body)) : set.remove(element);
  }
  const known = 'add (counter, set), remove (set); PUT writes registers and flags, DELETE resets and clears';
  throw invalidRequest(`a ${type} has no operation ${JSON.stringify(op) ?? 'in the body'}; "op" is one of ${known}`);
}

/** DELETE: what is seen here, as one type or, without one, whatever it is. */
export function remove(place: Place<Writes>, type: TypeName | undefined): Writes {
  switch (type) {
    case undefined:
      return place.delete();
    case 'register':
      return place.register().delete();
    case 'counter':
      return place.counter().reset();
    case 'flag':
    case 'flag-disable-wins':
      return place.flag(bias(type)).disable();
    case 'set':
    case 'set-remove-wins':
      return place.set(bias(type)).clear();
    case 'map':
      return place.map().clear();
  }
}

const bias = (type: TypeName): BiasOption => (type.endsWith('-wins') ? { wins: 'off' } : {});

const ttlOf = (body: Body): TtlOption => ({ ttlMs: numberField(body, 'ttlMs') });

function counterJson(place: Place<Writes>): Json {
  const exact = place.counter().exact();
  const rounded = Number(exact);
  return toJson(Number.isSafeInteger(rounded) ? rounded : exact);
}

function setJson(place: Place<Writes>, type: TypeName, budget: Budget): Json {
  const items: Json[] = [];
  for (const value of place.set(bias(type)).values()) {
    spend(budget);
    items.push(toJson(value));
  }
  return items;
}

/** As `MapHandle.toObject` names things: each type but the first under one name has its type behind it. */
function mapJson(place: Place<Writes>, budget: Budget): Json {
  const map = place.map();
  const fields = new Map<string, Json>();
  for (const name of map.keys()) {
    for (const { type } of map.field(name).things()) {
      spend(budget);
      const value = readPart(map.field(name), type, budget);
      if (value !== undefined) fields.set(fields.has(name) ? `${name} (${type})` : name, value);
    }
  }
  return jsonObject(fields);
}

function spend(budget: Budget): void {
  if (--budget.itemsLeft < 0) throw tooLarge(`it has more than ${ITEMS_MAX} elements or fields`);
}

const tooLarge = (what: string): HearsayError =>
  new HearsayError('AnswerTooLarge', `${what}: ask for one element or field, or watch its key`);
