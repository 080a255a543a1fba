/**
 * The replica as its surroundings see it: events and time go in, effects come out.
 *
 * The replica (replica.ts) is synchronous and pure: it owns no timer, socket, file or random source. Two surroundings run
 * it: src/node.ts, with a real disk and real sockets, and src/testing, with simulated ones. Both do the same dance:
 *
 *     call write / receive / tick / …
 *       → takeEffects(), carry them out in order
 *       → when isDirty: batch = seal(now); storage.commit().then(() => durable(batch, now)), and takeEffects() again
 *
 * What must hold, and what the replica relies on:
 * - Effects are carried out in order. Messages of one link arrive in the order they were sent, or not at all, and nothing
 *   arrives after a gap: a link that lost a message is closed. (The replica checks; a repeated or missing message ends the link.)
 * - `durable(n)` says that batch n and all before it are on disk. Nothing is told to any peer before it is durable: the
 *   replica holds its messages back until then, so effects may be carried out at once.
 * - After a failed commit the replica is thrown away; a new one is made from the reopened store.
 */
import type { Dot } from '../../crdts/dot.ts';
import type { Edit } from '../../crdts/engine.ts';
import type { Path } from '../../crdts/path.ts';
import type { OrderedStore } from '../../crdts/store.ts';

/** The two clocks of a machine, handed in with every event. */
export interface Now {
  /** Monotonic milliseconds, from any beginning: for delays and timeouts. */
  readonly monoMs: number;
  /** Milliseconds since 1970, however wrong: for timestamps and times to live. */
  readonly wallMs: number;
}

export type Role =
  /** A full replica; counts for N, and for when a delete may be forgotten. */
  | 'member'
  /** Syncs with members only, may hold only some prefixes, never counts. */
  | 'leaf';

export interface ReplicaOptions {
  readonly store: OrderedStore;
  /** A collision-resistant hash of at least 16 bytes, such as the first half of SHA-256; for the fingerprint. */
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  /** Luck for jitter: 0 <= x < 1. */
  readonly random: () => number;
  /** Luck for names that must never repeat: `count` random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
  readonly now: Now;
  /** For people; may change from run to run. At most 64 characters. */
  readonly name: string;
  readonly role: Role;
  /**
   * 32 hexadecimal digits. A store keeps its cluster; opening it for another throws `ClusterMismatch`. Absent: the
   * store's own, or for a new store that of the first peer it meets, whether or not it has written before.
   */
  readonly cluster?: string | undefined;
  /** Leaves only: the key prefixes it holds; absent = all keys. Fixed when the store is made (`InterestsChanged` otherwise). */
  readonly interests?: readonly string[] | undefined;
  /** Pace; the defaults are for a LAN. The simulator turns them. */
  readonly pace?: Partial<Pace> | undefined;
}

export interface Pace {
  /** ms that pushes and other peers get before a round sends what is missing; jittered ± 40 %. Default 150. */
  readonly roundDelayMs: number;
  /** ms between clock checks on an idle link; jittered ± 20 %. Default 5,000. */
  readonly checkMs: number;
  /** ms between heartbeats. Default 2,000. */
  readonly heartbeatMs: number;
  /** Silence after which a link is closed. Default 15,000. */
  readonly silenceMs: number;
  /** ms between looks at which ghosts may go and which records have expired. Default 1,000. */
  readonly sweepMs: number;
  /** ms after its expiry at which a record is removed for good. Default 60,000. */
  readonly expiryGraceMs: number;
}

/** One connection, as named by whoever runs the replica; never used again after it was closed. */
export type LinkId = number;

export type Effect =
  | { readonly type: 'send'; readonly link: LinkId; readonly bytes: Uint8Array }
  /** Close the connection; `code` says why (docs/PROTOCOL.md). Messages before it in the list are still to be sent. */
  | { readonly type: 'close'; readonly link: LinkId; readonly code: string; readonly reason: string }
  /** Something worth a line in the log. */
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

export interface LinkStatus {
  readonly link: LinkId;
  /** hello: nothing known yet; comparing: clocks are being compared; syncing: one side lacks something; equal: neither does. */
  readonly state: 'hello' | 'comparing' | 'syncing' | 'equal';
  readonly node: string | null;
  readonly name: string | null;
  readonly role: Role | null;
  /** Events here that the peer lacks, and the other way round. */
  readonly eventsToSend: number;
  readonly eventsToReceive: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** The peer's wall time less ours, ms, without the way; null before it is known. */
  readonly clockSkewMs: number | null;
}

export interface ReplicaStatus {
  readonly cluster: string | null;
  readonly node: string;
  readonly name: string;
  readonly role: Role;
  /** 16 hexadecimal digits; null before the first write of this run. */
  readonly actor: string | null;
  /** 32 hexadecimal digits: the sum over all live dots. Equal clocks without residue must mean equal fingerprints. */
  readonly fingerprint: string;
  /** 16 hexadecimal digits: a hash of the clock. */
  readonly clock: string;
  readonly actors: number;
  readonly hasResidue: boolean;
  /** A peer has had events of this node that are not here: the disk was lost, or restored from a backup. */
  readonly wentBack: boolean;
  /** Node ids of the members that count for when a delete may be forgotten, this one included. */
  readonly members: readonly string[];
  readonly links: readonly LinkStatus[];
  /** What happened how often since the start: frames refused, guard alarms, timestamps too far ahead, … (names in docs/PROTOCOL.md). */
  readonly counts: Readonly<Record<string, number>>;
}

export interface ReplicaCore {
  readonly node: string;
  /** Writes to the store since the last `seal`. */
  readonly isDirty: boolean;
  /** Carries the edits out as events of this replica, all in the current batch; returns their dots. */
  write(edits: readonly Edit[], now: Now): Dot[];
  /** Closes the current batch: call right before `storage.commit()`. Returns its number, for `durable`. */
  seal(now: Now): number;
  durable(batch: number, now: Now): void;
  /**
   * A connection is open in both directions; the core says hello by itself. `isDialer`: this side opened it. When two nodes
   * dial each other at once, one of the links is closed again on both sides, with code `Duplicate`.
   */
  connect(link: LinkId, now: Now, isDialer?: boolean): void;
  /** One message, whole, as it was sent. Never throws, whatever the bytes. */
  receive(link: LinkId, bytes: Uint8Array, now: Now): void;
  /** The connection is gone; unknown and already closed ones are fine. */
  disconnect(link: LinkId, now: Now): void;
  /** Lets time pass. Call at `nextTickMs` at the latest; earlier and more often is fine. */
  tick(now: Now): void;
  /** The monotonic time at which `tick` has something to do. */
  nextTickMs(): number;
  takeEffects(): Effect[];
  /** Paths changed in the batch that the last `seal` closed, each once. Asked right after `seal`; for change feeds. null: too many. */
  takeChanged(): Path[] | null;
  status(now: Now): ReplicaStatus;
  /** Says goodbye on every link; what follows is `seal`, and the end. */
  close(now: Now): void;
}
