/**
 * Dots name events: (actor, n) is the n-th event of one writer, for ever and everywhere.
 *
 * An actor is 64 random bits, taken by one replica for one run of its process and never again (DESIGN: never reuse a
 * dot). It is kept as a byte string of 8 chars, so that it is a Map key, compares in byte order and copies into stored
 * keys as it is. n counts 1, 2, 3… without gaps for its actor.
 *
 * Source: Preguiça et al., *Dotted version vectors* (2010).
 */
import { HearsayError } from './error.ts';

/** 8 chars of 0–255: one writer. Print it with `formatActor`. */
export type Actor = string & { readonly __actor: true };

/**
 * Event numbers and timestamps stay below it, so that the difference of two has room for a sign (`Writer.zigzag`). Enough
 * for a million events a second for 140 years, and for microseconds since 1970 until 2112.
 */
export const NUMBERS_END: number = 2 ** 52;

export interface Dot {
  readonly actor: Actor;
  /** 1 … 2^52 − 1 */
  readonly n: number;
}

/** An actor from 8 random bytes. The randomness is the caller's: 64 bits, never from a seed that repeats. */
export function actorFrom(bytes: Uint8Array): Actor {
  if (bytes.length !== 8) throw new HearsayError('InvalidActor', `an actor has 8 bytes, not ${bytes.length}`);
  return String.fromCharCode(...bytes) as Actor;
}

/** 16 hexadecimal digits; sorts like the actor itself. */
export function formatActor(actor: Actor): string {
  let text = '';
  for (let i = 0; i < 8; i++) text += actor.charCodeAt(i).toString(16).padStart(2, '0');
  return text;
}

/** The reverse of `formatActor`; throws `InvalidActor` for anything else. */
export function parseActor(text: string): Actor {
  if (!/^[0-9a-f]{16}$/.test(text)) throw new HearsayError('InvalidActor', `not an actor: ${text.slice(0, 40)}`);
  return actorFrom(Uint8Array.from({ length: 8 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16)));
}

/** `actor:n`, for people and logs. */
export const formatDot = (actor: Actor, n: number): string => `${formatActor(actor)}:${n}`;
