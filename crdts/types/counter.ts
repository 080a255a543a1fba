/**
 * Counter: additions and subtractions from anywhere, exact, with an exact reset.
 *
 * Each actor has a *chain*: one dot that it replaces with each addition, whose payload is the chain's running totals. A
 * reset replaces all it saw by a *mark*: a ghost that names the chains it saw, with their totals then. The value is the
 * totals of the chains less what marks name of them:
 *
 *     A: +5        A's chain: 5
 *     B, having seen it: reset       mark { A's chain: 5 }
 *     A, concurrently: +2            A's chain: 7          value everywhere: 7 − 5 = 2
 *
 * so that additions concurrent with a reset survive it, and nothing is ever subtracted twice: two concurrent resets that
 * saw the same 5 subtract it once, because a mark says "seen up to", not "minus".
 *
 * A chain keeps what was added (plus) and subtracted (minus) apart, because "seen up to" needs totals that only grow; a
 * chain that appears twice (a restored copy beside later events) counts once, by its greatest totals. It is extended only
 * by the actor that began it. When a total would leave the safe integers, a further chain is begun beside it.
 *
 * A mark may be dropped only by a rule of its own (src/replica/ghosts.ts): not before every actor it names was heard.
 *
 * Sources: Shapiro et al. (2011), §3.1 (PN-counter); the marks are ours, checked by the counter model (docs/decisions/0004).
 */
import { Reader, refuseUnless, Writer } from '../bytes.ts';
import type { Actor } from '../dot.ts';
import type { Edit } from '../records.ts';
import { HearsayError } from '../error.ts';
import type { Path } from '../path.ts';
import { type Entry, ofKind } from '../record.ts';

interface Totals {
  readonly plus: number;
  readonly minus: number;
}

/** A chain: who began it, and the event number it began with (an actor begins a new one after each reset). */
interface Chain extends Totals {
  readonly actor: Actor;
  readonly begin: number;
}

const writer = new Writer();

const chainKey = ({ actor, begin }: Chain): string => `${actor}${begin}`;

function writeTotals({ begin, plus, minus }: Chain): void {
  writer.varint(begin);
  writer.varint(plus);
  writer.varint(minus);
}

const readTotals = (reader: Reader): Totals & { begin: number } => ({
  begin: reader.varint(),
  plus: reader.varint(),
  minus: reader.varint(),
});

const chainOf = (entry: Entry): Chain => ({ actor: entry.actor, ...readTotals(new Reader(entry.body)) });

/** The chains that a mark names, each with its totals as the reset saw them. Throws `Malformed`. */
export function readMark(body: Uint8Array): Chain[] {
  const reader = new Reader(body);
  const chains: Chain[] = [];
  while (!reader.done) chains.push({ actor: reader.byteString(8) as Actor, ...readTotals(reader) });
  return chains;
}

/** Each chain once, with its greatest totals. */
function greatest(chains: Iterable<Chain>): Map<string, Chain> {
  const byKey = new Map<string, Chain>();
  for (const chain of chains) {
    const other = byKey.get(chainKey(chain));
    byKey.set(
      chainKey(chain),
      other === undefined
        ? chain
        : { ...chain, plus: Math.max(chain.plus, other.plus), minus: Math.max(chain.minus, other.minus) },
    );
  }
  return byKey;
}

const chainsOf = (entries: readonly Entry[]): Chain[] => ofKind(entries, 'live').map(chainOf);

const marksOf = (entries: readonly Entry[]): Chain[] => ofKind(entries, 'ghost').flatMap(({ body }) => readMark(body));

/** The exact value; 0n for a counter that is not there. */
export function counterValue(entries: readonly Entry[]): bigint {
  const seen = greatest(marksOf(entries));
  let value = 0n;
  for (const [key, { plus, minus }] of greatest(chainsOf(entries))) {
    const mark = seen.get(key);
    value += BigInt(Math.max(0, plus - (mark?.plus ?? 0))) - BigInt(Math.max(0, minus - (mark?.minus ?? 0)));
  }
  return value;
}

/** True while an addition survives, even one of sum 0. */
export const isCounterPresent = (entries: readonly Entry[]): boolean => ofKind(entries, 'live').length > 0;

/** Adds `amount`, a safe integer of either sign; throws `InvalidAmount` for anything else. */
export function addToCounter(path: Path, amount: number): Edit {
  if (!Number.isSafeInteger(amount)) {
    throw new HearsayError('InvalidAmount', `a counter adds safe integers, not ${amount}`, {
      amount,
    });
  }
  return {
    path,
    decide(seen, { actor, n }) {
      const [own] = ofKind(seen, 'live')
        .filter((entry) => entry.actor === actor)
        .sort((a, b) => b.n - a.n);
      const fresh: Chain = { actor, begin: n, plus: 0, minus: 0 };
      const extended = grown(own === undefined ? fresh : chainOf(own), amount);
      const fits = Number.isSafeInteger(extended.plus) && Number.isSafeInteger(extended.minus);
      writer.reset();
      writeTotals(fits ? extended : grown(fresh, amount));
      // The only chain that its actor may extend is the newest: that ended those before it.
      const keep = fits ? seen.filter((entry) => entry !== own) : seen;
      return { keep, kind: 'live', body: writer.finish(), expires: 0 };
    },
  };
}

const grown = (chain: Chain, amount: number): Chain => ({
  ...chain,
  plus: chain.plus + Math.max(0, amount),
  minus: chain.minus + Math.max(0, -amount),
});

/** Sets the counter to 0 as seen here; concurrent additions survive. Nothing where no addition is known. */
export const resetCounter = (path: Path): Edit => ({
  path,
  decide(seen, dot) {
    if (!isCounterPresent(seen)) return null;
    writer.reset();
    for (const chain of chainsThatMayGrow([...chainsOf(seen), ...marksOf(seen)], dot.actor)) {
      writer.byteString(chain.actor);
      writeTotals(chain);
    }
    return { keep: [], kind: 'ghost', body: writer.finish(), expires: 0 };
  },
});

/**
 * What a mark has to name: a mark bears only on additions that extend a chain beyond what the reset saw. My own chains
 * end here and now, and an actor that began a newer chain had seen its older one end; who knows the newer one covers the
 * last dot of the older. Without this, marks would name every chain of every reset that they merged.
 */
function chainsThatMayGrow(chains: readonly Chain[], self: Actor): Chain[] {
  const newest = new Map<Actor, Chain>();
  for (const chain of greatest(chains).values()) {
    if (chain.actor !== self && chain.begin > (newest.get(chain.actor)?.begin ?? 0)) newest.set(chain.actor, chain);
  }
  return [...newest.values()];
}

/** Throws `Malformed` where a counter's dot has a payload that is none. For dots that come from a peer. */
export function checkCounterEntry({ kind, body, expires }: Entry): void {
  const reader = new Reader(body);
  if (kind === 'ghost') return void readMark(body);
  readTotals(reader);
  refuseUnless(reader.done && expires === 0, 'a counter');
}

/** The event number that a live dot's chain began with. */
export const chainBegin = (entry: Entry): number => chainOf(entry).begin;
