/**
 * The types by their definitions: what a replica that has seen a set of operations must answer, worked out from those
 * operations and who had seen what, with no dots, clocks or joins.
 *
 * An operation *replaces* another when its replica had seen it (its `past`). What is left of a place's operations are
 * the survivors; each type says what they mean. Slow and obvious on purpose.
 */
import type { Value } from '../../crdts/value.ts';

export type Leaf = 'register' | 'counter' | 'flag' | 'flag-disable-wins' | 'set' | 'set-remove-wins';

export type Act =
  | { readonly type: 'set'; readonly value: Value }
  | { readonly type: 'add'; readonly amount: number }
  | { readonly type: 'on' }
  /** A live "off", which only the kinds where off wins have. */
  | { readonly type: 'off' }
  /** Removes what was seen: the delete of a register, the off of what is on-wins, the reset of a counter. */
  | { readonly type: 'remove' };

export interface Operation {
  readonly id: number;
  /** The name of the record, whatever the test calls it. */
  readonly at: string;
  readonly leaf: Leaf;
  readonly act: Act;
  readonly past: ReadonlySet<number>;
  readonly time: number;
  /** Whose operation it was: decides between equal times. */
  readonly replica: number;
  /** Wall time in ms, 0 = never. */
  readonly expires: number;
}

export class World {
  readonly operations: Operation[] = [];
  readonly #byRecord = new Map<string, Operation[]>();

  happen(operation: Omit<Operation, 'id'>): number {
    const happened = { ...operation, id: this.operations.length };
    this.operations.push(happened);
    this.#byRecord.set(operation.at, [...(this.#byRecord.get(operation.at) ?? []), happened]);
    return happened.id;
  }

  /** What is left at `at` for somebody who has seen `seen`: neither replaced nor a removal. */
  survivors(at: string, seen: ReadonlySet<number>): Operation[] {
    const here = (this.#byRecord.get(at) ?? []).filter(({ id }) => seen.has(id));
    const isReplaced = (old: Operation): boolean =>
      here.some(({ act, past }) => past.has(old.id) && (old.act.type !== 'add' || act.type === 'remove'));
    return here.filter((operation) => operation.act.type !== 'remove' && !isReplaced(operation));
  }

  /** The survivors, or none of them once the record has expired: at the end of the longest time to live. */
  #unexpired(at: string, seen: ReadonlySet<number>, nowMs: number): Operation[] {
    const survivors = this.survivors(at, seen);
    const hasEnd = survivors.every(({ expires }) => expires !== 0);
    return hasEnd && survivors.every(({ expires }) => expires <= nowMs) ? [] : survivors;
  }

  /** Every concurrent value of a register, the winner first. */
  conflicts(at: string, seen: ReadonlySet<number>, nowMs: number): Operation[] {
    return this.#unexpired(at, seen, nowMs).sort((a, b) => b.time - a.time);
  }

  sum(at: string, seen: ReadonlySet<number>): bigint {
    return this.survivors(at, seen).reduce((sum, { act }) => sum + (act.type === 'add' ? BigInt(act.amount) : 0n), 0n);
  }

  isOn(at: string, seen: ReadonlySet<number>, nowMs: number): boolean {
    const left = this.#unexpired(at, seen, nowMs);
    return left.length > 0 && left.every(({ act }) => act.type === 'on');
  }

  /** Does it count as there, for `has`, `keys` and the map around it? */
  isPresent(at: string, leaf: Leaf, seen: ReadonlySet<number>, nowMs: number): boolean {
    switch (leaf) {
      case 'register':
        return this.conflicts(at, seen, nowMs).length > 0;
      case 'counter':
        return this.survivors(at, seen).length > 0;
      case 'flag':
      case 'flag-disable-wins':
      case 'set':
      case 'set-remove-wins':
        return this.isOn(at, seen, nowMs);
    }
  }
}
