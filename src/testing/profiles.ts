/**
 * Random schedules, biased: each profile makes some rare interleaving likely. Uniform chance needs up to a million tries for
 * some rules of DESIGN §4; a tiny key space, slow links and few kinds of steps need thousands.
 *
 * A schedule is drawn from its seed and nothing else, so that a seed (and a profile) is all it takes to see it again.
 */
import type { Pace } from '../replica/contract.ts';
import type { Operation } from './operations.ts';
import { Random } from './random.ts';
import type { Schedule, Setup, Step, StepName } from './schedule.ts';

type Weights<K extends string> = Readonly<Partial<Record<K, number>>>;
type OperationName = Operation['op'];

interface Profile {
  readonly members: readonly [number, number];
  readonly leaves: readonly [number, number];
  readonly steps: readonly [number, number];
  /** At least this many writes and faults, whatever the dice say. */
  readonly writesMin?: number;
  readonly faultsMin?: number;
  /** The first letter of a key is what leaves' prefixes are about. */
  readonly keys: readonly string[];
  /** Keys of one node each, by chance. */
  readonly privateKeys?: boolean;
  readonly fields?: readonly string[];
  readonly latencies: readonly number[];
  readonly operations: Weights<OperationName>;
  readonly does: Weights<StepName>;
  /** Chances of 0–1: a value lives for a while; an operation is one of several in a batch. */
  readonly ttl?: number;
  readonly batch?: number;
  /** Elements of a set at once, at most; for rounds that need several messages. */
  readonly bulk?: number;
  /** Values are this long: a handful of them fill the window of a link, so that rounds stop and go. */
  readonly bytes?: number;
  /** Steps that come first. */
  readonly opening?: readonly Step[];
  readonly waits?: readonly number[];
}

/** Everything paced so that a second of virtual time holds many rounds, sweeps and checks. */
const PACE: Pace = {
  roundDelayMs: 10,
  checkMs: 400,
  heartbeatMs: 5_000,
  silenceMs: 60_000,
  sweepMs: 25,
  expiryGraceMs: 30,
};

/** Rounds and sweeps at every turn; rounds so slow that much happens in them. */
const PACES: readonly Pace[] = [
  PACE,
  { ...PACE, roundDelayMs: 6, sweepMs: 5 },
  { ...PACE, roundDelayMs: 50, sweepMs: 8 },
];

const EVERYTHING: Weights<OperationName> = {
  set: 4,
  unset: 2,
  add: 3,
  reset: 1,
  enable: 2,
  disable: 2,
  insert: 3,
  remove: 2,
  clear: 1,
  delete: 2,
};

const NETWORK: Weights<StepName> = {
  write: 40,
  wait: 30,
  connect: 6,
  break: 5,
  hold: 4,
  release: 4,
  deliver: 6,
  partition: 1,
  heal: 2,
};
const MESSAGES: Weights<StepName> = { lose: 1, repeat: 1, garble: 1, refuse: 2, latency: 1 };
const DISKS: Weights<StepName> = { 'hold-disk': 2, 'sync-disk': 2, crash: 3, start: 5, stop: 1 };

const WAITS = [0, 1, 2, 5, 10, 20, 40, 100];

export const PROFILES = {
  /** The yardstick for speed: 3 replicas, at least 30 operations, at least 8 faults. */
  small: {
    members: [3, 3],
    leaves: [0, 0],
    steps: [70, 80],
    writesMin: 30,
    faultsMin: 8,
    keys: ['ax', 'bx'],
    privateKeys: true,
    fields: ['f'],
    latencies: [0, 1, 3],
    operations: EVERYTHING,
    does: { ...NETWORK, ...MESSAGES, ...DISKS, skew: 1 },
  },
  mixed: {
    members: [2, 4],
    leaves: [0, 2],
    steps: [30, 140],
    keys: ['ax', 'ay', 'bx'],
    privateKeys: true,
    fields: ['f', 'g'],
    latencies: [0, 1, 5, 20],
    operations: EVERYTHING,
    does: { ...NETWORK, ...MESSAGES, ...DISKS, skew: 1, move: 1 },
    ttl: 0.1,
    batch: 0.1,
  },
  /** One record, written and deleted over slow links: the interleavings of rounds. */
  tiny: {
    members: [2, 4],
    leaves: [0, 1],
    steps: [10, 70],
    keys: ['ax'],
    latencies: [0, 2, 8, 20],
    operations: { set: 3, unset: 4 },
    does: { ...NETWORK, break: 8, deliver: 14, hold: 8, release: 4, wait: 40 },
    waits: [0, 1, 5, 10, 15, 30, 60],
  },
  /** Deletes of many records, forgotten as soon as may be, while somebody is away. */
  deletes: {
    members: [2, 4],
    leaves: [0, 2],
    steps: [20, 90],
    keys: ['ax', 'bx'],
    latencies: [0, 2, 10],
    operations: { set: 4, unset: 6, insert: 3, remove: 4, delete: 2 },
    does: { ...NETWORK, wait: 50, partition: 3, heal: 3, refuse: 2, crash: 2, start: 4 },
    waits: [1, 10, 30, 60, 120],
  },
  partitions: {
    members: [3, 5],
    leaves: [0, 2],
    steps: [40, 120],
    keys: ['ax', 'bx'],
    privateKeys: true,
    latencies: [0, 3, 10],
    operations: EVERYTHING,
    does: { ...NETWORK, break: 12, partition: 8, heal: 2, wait: 40 },
    waits: [5, 20, 60, 200, 500],
  },
  /** Rounds of several messages, with writes in the middle of them. */
  bulk: {
    members: [2, 3],
    leaves: [0, 1],
    steps: [15, 50],
    keys: ['ax', 'bx'],
    latencies: [1, 5, 15],
    operations: { insert: 6, remove: 5, clear: 1, set: 1, delete: 1 },
    does: { ...NETWORK, ...MESSAGES, deliver: 15, break: 6, crash: 1, start: 2 },
    bulk: 40,
  },
  /** Connections so slow that several rounds, pushes and old connections are under way at once. */
  slow: {
    members: [2, 4],
    leaves: [0, 2],
    steps: [30, 120],
    keys: ['ax', 'bx'],
    latencies: [20, 60, 150],
    operations: { set: 4, unset: 5, add: 2, reset: 1, insert: 2, remove: 2 },
    does: { ...NETWORK, ...MESSAGES, connect: 10, break: 8, deliver: 20 },
    waits: [1, 5, 20, 50, 120],
  },
  leaves: {
    members: [2, 3],
    leaves: [1, 3],
    steps: [20, 100],
    keys: ['ax', 'bx'],
    latencies: [0, 2, 10, 40],
    operations: { set: 4, unset: 5, add: 2, reset: 1, insert: 1, remove: 1 },
    does: { ...NETWORK, move: 10, crash: 2, stop: 3, start: 6, refuse: 2, wait: 40 },
    waits: [1, 5, 20, 60, 150],
  },
  counters: {
    members: [2, 4],
    leaves: [0, 2],
    steps: [20, 100],
    keys: ['ax'],
    latencies: [0, 2, 10, 40],
    operations: { add: 6, reset: 4, delete: 1 },
    does: { ...NETWORK, ...DISKS, move: 2, refuse: 2, wait: 40 },
    waits: [1, 5, 30, 60, 150],
  },
  crashes: {
    members: [2, 4],
    leaves: [0, 2],
    steps: [30, 110],
    keys: ['ax', 'bx'],
    privateKeys: true,
    latencies: [0, 2, 10],
    operations: EVERYTHING,
    does: { ...NETWORK, 'hold-disk': 8, 'sync-disk': 6, crash: 10, start: 14, stop: 3 },
    batch: 0.2,
  },
  backups: {
    members: [2, 4],
    leaves: [0, 1],
    steps: [30, 110],
    keys: ['ax', 'bx'],
    latencies: [0, 2, 10],
    operations: EVERYTHING,
    does: { ...NETWORK, crash: 3, start: 6, backup: 8, restore: 4, clone: 1, wipe: 1, wait: 40 },
    waits: [1, 10, 30, 100],
  },
  /** Records so large that a window holds five of them: rounds stop for acknowledgements, and are overtaken. */
  windows: {
    members: [2, 3],
    leaves: [0, 1],
    steps: [20, 60],
    keys: ['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 'b1', 'b2', 'b3'],
    latencies: [1, 5, 15],
    operations: { set: 8, unset: 5, delete: 1 },
    does: { ...NETWORK, write: 60, deliver: 20, refuse: 2, crash: 1, start: 2 },
    bytes: 56_000,
  },
  /** Many actors, so that clocks are compared by digest. */
  actors: {
    members: [2, 3],
    leaves: [0, 1],
    steps: [10, 50],
    keys: ['ax', 'bx'],
    latencies: [0, 2, 10],
    operations: EVERYTHING,
    does: { ...NETWORK, break: 10, crash: 4, start: 6, age: 2, backup: 2, restore: 1 },
    opening: [
      { do: 'age', node: 0, runs: 40 },
      { do: 'age', node: 1, runs: 25 },
    ],
  },
  /** Disks that lose records without a trace: work for the guard. */
  rot: {
    members: [2, 4],
    leaves: [0, 1],
    steps: [20, 80],
    keys: ['ax', 'ay', 'bx'],
    latencies: [0, 2, 10],
    operations: EVERYTHING,
    does: { ...NETWORK, crash: 6, rot: 8, start: 5, wait: 40 },
    waits: [5, 20, 100, 500],
  },
  expiry: {
    members: [2, 4],
    leaves: [0, 1],
    steps: [30, 100],
    keys: ['ax', 'bx'],
    latencies: [0, 2, 10],
    operations: { set: 4, unset: 1, enable: 2, insert: 2, delete: 1 },
    does: { ...NETWORK, skew: 4, crash: 2, start: 4, wait: 50 },
    ttl: 0.7,
    waits: [5, 20, 50, 100, 200],
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;

export const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[];

/** How often each profile is drawn when none is asked for. */
const SHARES: Record<ProfileName, number> = {
  small: 2,
  mixed: 3,
  tiny: 3,
  deletes: 2,
  partitions: 1,
  bulk: 1,
  slow: 2,
  leaves: 2,
  counters: 2,
  crashes: 1,
  backups: 1,
  windows: 1,
  actors: 0.3,
  // Only when asked for: what a rotten disk takes along without a trace is noticed by no one before it is read (docs/TESTING.md).
  rot: 0,
  expiry: 1,
};

/** The schedule of a seed; without a profile the seed chooses one. */
export function randomSchedule(seed: number, profile?: ProfileName): Schedule {
  const random = Random.of(seed, 0);
  const name = profile ?? random.weighted(SHARES);
  return new Generator(seed, name, random).schedule();
}

const FAULT_STEPS: readonly StepName[] = [
  'break',
  'hold',
  'partition',
  'lose',
  'repeat',
  'refuse',
  'crash',
  'hold-disk',
  'skew',
];

const DAY_MS = 86_400_000;

class Generator {
  readonly #seed: number;
  readonly #name: ProfileName;
  readonly #profile: Profile;
  readonly #random: Random;
  readonly #setup: Setup;
  readonly #nodeCount: number;
  #values = 0;

  constructor(seed: number, name: ProfileName, random: Random) {
    this.#seed = seed;
    this.#name = name;
    this.#profile = PROFILES[name];
    this.#random = random;
    this.#setup = this.#drawSetup();
    this.#nodeCount = this.#setup.members + this.#setup.leaves.length;
  }

  #drawSetup(): Setup {
    const random = this.#random;
    const { members, leaves, latencies, keys } = this.#profile;
    const prefixes = [...new Set(keys.map((key) => key[0] as string))];
    const latencyMs = random.pick(latencies);
    return {
      members: random.between(...members),
      leaves: Array.from({ length: random.between(...leaves) }, () =>
        random.chance(0.4) ? null : [random.pick(prefixes)],
      ),
      links: random.pick(['mesh', 'mesh', 'line', 'none']),
      latencyMs,
      jitterMs: random.pick([0, latencyMs, 3 * latencyMs]),
      spreadMs: random.pick([0, 0, 5 * latencyMs, 30]),
      sealMs: random.pick([0, 0, 0, 1, 4]),
      syncMs: random.pick([0, 0, 0, 1, 5]),
      redialMs: random.pick([null, 5, 50]),
      pace: random.pick(PACES),
    };
  }

  schedule(): Schedule {
    const { steps, writesMin = 0, faultsMin = 0, does } = this.#profile;
    const count = this.#random.between(...steps);
    const drawn = Array.from({ length: count }, (_, i): StepName => {
      // What has to be there at least is spread evenly over the whole.
      if ((i * writesMin) % count < writesMin) return 'write';
      if (((i + (count >> 4)) * faultsMin) % count < faultsMin) return this.#random.pick(FAULT_STEPS);
      return this.#random.weighted(does);
    });
    return {
      format: 1,
      seed: this.#seed,
      profile: this.#name,
      setup: this.#setup,
      steps: [...(this.#profile.opening ?? []), ...drawn.map((name) => this.#step(name))],
    };
  }

  #node(): number {
    return this.#random.int(this.#nodeCount);
  }

  #member(): number {
    return this.#random.int(this.#setup.members);
  }

  #pair(): { from: number; to: number } {
    const from = this.#node();
    return { from, to: (from + 1 + this.#random.int(Math.max(1, this.#nodeCount - 1))) % this.#nodeCount };
  }

  #step(name: StepName): Step {
    const random = this.#random;
    switch (name) {
      case 'write': {
        const node = this.#node();
        const count = random.chance(this.#profile.batch ?? 0) ? random.between(2, 4) : 1;
        return { do: name, node, ops: Array.from({ length: count }, () => this.#operation(node)) };
      }
      case 'wait':
        return { do: name, ms: random.pick(this.#profile.waits ?? WAITS) };
      case 'connect': {
        const { from: a, to: b } = this.#pair();
        return { do: name, a, b };
      }
      case 'break': {
        const { from: a, to: b } = this.#pair();
        return { do: name, a, b, arrives: random.pick(['all', 'half', 'none']) };
      }
      case 'deliver':
        if (random.chance(0.3))
          return {
            do: name,
            ...this.#pair(),
            until: random.pick(['records', 'complete', 'ack', 'begin', 'alive'] as const),
          };
        return { do: name, ...this.#pair(), count: random.between(1, 4) };
      case 'hold':
      case 'release':
      case 'refuse':
        return { do: name, ...this.#pair() };
      case 'lose':
      case 'repeat':
      case 'garble':
        return { do: name, ...this.#pair(), index: random.int(4) };
      case 'latency':
        return { do: name, ...this.#pair(), ms: random.pick([0, 1, 10, 60, 200]) };
      case 'partition':
        return {
          do: name,
          nodes: [this.#node(), ...(random.chance(0.4) ? [this.#node()] : [])],
          ...(random.chance(0.4) ? { oneWay: true } : {}),
        };
      case 'crash':
        return { do: name, node: this.#node(), kept: random.chance(0.3) ? random.between(1, 3) : 0 };
      case 'skew':
        return { do: name, node: this.#node(), ms: random.pick([-DAY_MS, -50, 0, 0, 50, 3_000, DAY_MS]) };
      case 'move':
        return {
          do: name,
          leaf: this.#setup.members + random.int(Math.max(1, this.#setup.leaves.length)),
          to: this.#member(),
        };
      case 'rot':
        return { do: name, node: this.#member(), index: random.int(8), whole: random.chance(0.5) };
      case 'age':
        return { do: name, node: this.#node(), runs: random.between(1, 40) };
      case 'restore':
      case 'clone':
      case 'wipe':
      case 'backup':
      case 'start':
      case 'stop':
      case 'hold-disk':
      case 'sync-disk':
        return { do: name, node: this.#node() };
      case 'heal':
      case 'check':
        return { do: name };
    }
  }

  #operation(node: number): Operation {
    const random = this.#random;
    const op = random.weighted(this.#profile.operations);
    const at = this.#place(node);
    const ttl = random.chance(this.#profile.ttl ?? 0) ? { ttlMs: random.pick([1, 20, 60, 150, 400]) } : {};
    const bias = random.chance(0.3) ? { wins: 'off' as const } : {};
    const { bulk } = this.#profile;
    const elements =
      bulk === undefined ? { element: random.int(3) } : { element: random.int(bulk), count: 1 + random.int(bulk) };
    switch (op) {
      case 'set':
        return { op, at, value: ++this.#values, ...this.#bytes(), ...ttl };
      case 'unset':
      case 'reset':
      case 'delete':
        return { op, at };
      case 'add':
        return { op, at, amount: random.between(-5, 9) };
      case 'enable':
        return { op, at, ...bias, ...ttl };
      case 'disable':
      case 'clear':
        return { op, at, ...bias };
      case 'insert':
        return { op, at, ...elements, ...bias, ...ttl };
      case 'remove':
        return { op, at, ...elements, ...bias };
    }
  }

  #bytes(): { bytes?: number } {
    const { bytes } = this.#profile;
    return bytes === undefined ? {} : { bytes: this.#random.pick([bytes, bytes, 100, Math.floor(bytes / 3)]) };
  }

  #place(node: number): string {
    const random = this.#random;
    const { keys, privateKeys, fields = [] } = this.#profile;
    const interests = this.#setup.leaves[node - this.#setup.members] ?? null;
    const shared = interests === null ? keys : keys.filter((key) => interests.some((prefix) => key.startsWith(prefix)));
    let at: string = random.pick(shared);
    if (privateKeys === true && random.chance(0.2)) at = `${at[0]}p${node}`;
    if (fields.length > 0 && random.chance(0.25)) at += `/${random.pick(fields)}`;
    if (fields.length > 1 && random.chance(0.1)) at += `/${random.pick(fields)}`;
    return at;
  }
}
