/**
 * Everything two replicas say to each other: one closed union. docs/PROTOCOL.md tells the same story in order of time.
 *
 * Bytes inside messages (clocks, records) are encoded by crdts/, so that they mean the same on the wire, in the change
 * sets of `hearsay/crdts`, and in tests.
 *
 * Every message about data names its shard. There is one shard so far: 0.
 */
import type { Role } from '../replica/contract.ts';

/** Versions of this protocol that this build speaks. A new major version is a new number here; additions are not. */
export const VERSION_MIN = 1;
export const VERSION_MAX = 1;

/** A message on the wire, and each part of a larger one, is at most this long. Small enough that a heartbeat never waits long behind one. */
export const FRAME_BYTES_MAX = 64 * 1024;

/** Bytes sent to one peer and not yet acknowledged, at most. Four frames: enough to fill a LAN, little enough to lose. */
export const WINDOW_BYTES_MAX = 256 * 1024;

/** A message that came in parts is at most this long: the largest record, with many concurrent values. */
export const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

export const NAME_CHARS_MAX = 64;

/** The first message on a link, in both directions. */
export interface Hello {
  readonly type: 'hello';
  readonly versionMin: number;
  readonly versionMax: number;
  /** 16 bytes; empty: this store belongs to no cluster yet and takes the peer's. */
  readonly cluster: Uint8Array;
  /** 16 bytes: the node's id, the same for as long as its store lives. */
  readonly node: Uint8Array;
  readonly name: string;
  readonly role: Role;
  /** 8 bytes; empty: nothing written yet in this run. All other actors of the node have ended. */
  readonly actor: Uint8Array;
  /** 8 random bytes of this process: two processes with the same node id are told apart by it. */
  readonly nonce: Uint8Array;
  /** Key prefixes of a leaf, encoded; null: it holds everything. */
  readonly interests: Uint8Array | null;
  readonly wallMs: number;
  readonly shard: number;
  /** 8 bytes each: equal hashes need no comparison. */
  readonly clockHash: Uint8Array;
  readonly floorsHash: Uint8Array;
}

/** Asks for the peer's clock or floors, because the hashes differ. */
export interface Ask {
  readonly type: 'ask';
  readonly shard: number;
  /** null: not asked; empty: send all; else a hash per bucket of actors: send the buckets whose hash differs. */
  readonly clock: Uint8Array | null;
  readonly floors: Uint8Array | null;
}

/** The answer: the entries asked for, and which buckets they fill (a bit each; empty: all). */
export interface Entries {
  readonly type: 'entries';
  readonly shard: number;
  readonly clockBuckets: Uint8Array | null;
  readonly clock: Uint8Array;
  readonly floorsBuckets: Uint8Array | null;
  readonly floors: Uint8Array;
}

/** The sender's clock has grown by this. */
export interface Told {
  readonly type: 'told';
  readonly shard: number;
  readonly told: Uint8Array;
}

/** Records of one instant, and by how much the sender's clock had grown by then: a push, or a part of a round. */
export interface Records {
  readonly type: 'records';
  readonly shard: number;
  readonly told: Uint8Array;
  readonly records: Uint8Array;
}

/** A round begins: its target is the sender's clock as told with this. */
export interface Begin {
  readonly type: 'begin';
  readonly shard: number;
  readonly told: Uint8Array;
  /** The receiver's clock is below the sender's floor: `alive` follows before `complete`. */
  readonly slow: boolean;
  /** The last number whose acknowledgement the sender had: what was refused after it, the round does not know of. */
  readonly acked: number;
  /** Of a leaf: the actors that the round completes, 8 bytes each; null: all. */
  readonly actors: Uint8Array | null;
}

/** Of the dots in `scope`, the sender still holds `held`. */
export interface Alive {
  readonly type: 'alive';
  readonly shard: number;
  readonly scope: Uint8Array;
  readonly held: Uint8Array;
}

/** All that the round's target holds has been sent. `floors`: by how much the sender's floors have grown, as of now. */
export interface Complete {
  readonly type: 'complete';
  readonly shard: number;
  readonly floors: Uint8Array;
}

/** All messages up to number `upTo` are durable here; their dots and targets are implied. */
export interface Ack {
  readonly type: 'ack';
  readonly shard: number;
  readonly upTo: number;
  readonly told: Uint8Array;
  /** Something among them was refused: the open round, if any, cannot complete. */
  readonly refused: boolean;
}

/** The complete cannot take effect: these dots are held here, and were neither sent nor in a scope. */
export interface Named {
  readonly type: 'named';
  readonly shard: number;
  readonly dots: Uint8Array;
}

/** Are we in sync? `fingerprint` is empty while the sender has residue or an open round. */
export interface Check {
  readonly type: 'check';
  readonly shard: number;
  readonly clockHash: Uint8Array;
  readonly fingerprint: Uint8Array;
}

/** Of these marks (dots), the actors named have been heard, as of the sender's clock as told with this. */
export interface Heard {
  readonly type: 'heard';
  readonly shard: number;
  readonly told: Uint8Array;
  readonly heard: Uint8Array;
}

/** A leaf asks which of its ghosts every member knows. */
export interface AskStable {
  readonly type: 'ask-stable';
  readonly shard: number;
  readonly dots: Uint8Array;
}

export interface Stable {
  readonly type: 'stable';
  readonly shard: number;
  readonly dots: Uint8Array;
}

/** After a guard alarm, with both sides consistent in themselves: fingerprints of 256 buckets of paths, 16 bytes each. */
export interface Buckets {
  readonly type: 'buckets';
  readonly shard: number;
  readonly sums: Uint8Array;
  /** True in answer to the peer's buckets: it needs no further answer. */
  readonly isAnswer: boolean;
}

/** Records of a bucket that differs: what the receiver lacks is copied, whatever the clocks say. */
export interface Copies {
  readonly type: 'copies';
  readonly shard: number;
  readonly records: Uint8Array;
}

export interface Beat {
  readonly type: 'beat';
  readonly wallMs: number;
  /** The number of the last message that was sent before this: where another was the last to arrive, one was lost. */
  readonly sent: number;
}

/** A part of a message over `FRAME_BYTES_MAX`; the last one completes it. */
export interface Part {
  readonly type: 'part';
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
}

/** A part has arrived: its bytes no longer count as under way. */
export interface PartAck {
  readonly type: 'part-ack';
  readonly byteCount: number;
}

/** The sender closes the link, and why: a code of docs/PROTOCOL.md. */
export interface Bye {
  readonly type: 'bye';
  readonly code: string;
  readonly reason: string;
}

export type Message =
  | Hello
  | Ask
  | Entries
  | Told
  | Records
  | Begin
  | Alive
  | Complete
  | Ack
  | Named
  | Check
  | Heard
  | AskStable
  | Stable
  | Buckets
  | Copies
  | Beat
  | Part
  | PartAck
  | Bye;
