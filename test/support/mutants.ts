/**
 * One mutant for each rule that DESIGN marks ⚑: the rule is left out of the source, and the simulator has to notice.
 *
 * A patch is exact text and what replaces it; one that no longer applies is an error, so that a rule which moved takes its
 * mutant along. Shipped code has no switch for any of this.
 */
import type { ProfileName } from '../../src/testing/index.ts';

export interface Patch {
  /** From the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  /** The rule that is left out. */
  readonly rule: string;
  readonly patches: readonly Patch[];
  /** Where chance finds it soonest, should the kept schedules miss it; absent: anywhere. */
  readonly profile?: ProfileName;
}

const patch = (file: string, find: string, replace: string): Patch => ({ file, find, replace });

export const MUTANTS: readonly Mutant[] = [
  {
    rule: 'join: a ghost of mine is kept, whatever the peer covers',
    patches: [
      patch(
        'crdts/record.ts',
        "(dot) => dot.kind === 'ghost' || holds(theirs, dot) ||",
        '(dot) => holds(theirs, dot) ||',
      ),
    ],
  },
  {
    rule: 'join: a ghost is added when my clock lacks it, though my coverage has it',
    patches: [patch('crdts/record.ts', "!(dot.kind === 'ghost' ? myClock : myCoverage).has", '!myCoverage.has')],
  },
  {
    rule: 'push: the clock gains exactly the dots received',
    patches: [
      patch(
        'crdts/engine.ts',
        "      for (const { kind, actor, n } of entries) if (kind !== 'omitted') this.learn(actor, n, n);\n    }\n  }",
        "      for (const { kind, actor, n } of entries) if (kind !== 'omitted') this.learn(actor, n, n);\n    }\n    ahead.clone().forEach((actor, from, to) => this.learn(actor, from, to));\n  }",
      ),
    ],
  },
  {
    rule: 'push: what else is covered stays as residue',
    patches: [patch('crdts/engine.ts', 'if (!beyond.isEmpty) {', 'if (beyond === null) {')],
  },
  {
    rule: 'residue: what a record covered before is kept when more comes',
    patches: [
      patch(
        'crdts/engine.ts',
        'this.#sum(this.residueOf(before), residue?.minus(this.clock) ?? null)',
        'residue?.minus(this.clock) ?? null',
      ),
    ],
  },
  {
    rule: 'residue: a record is sent with its own',
    patches: [patch('src/replica/sender.ts', 'residue: this.#core.engine.residueOf(row) };', 'residue: null };')],
  },
  {
    rule: 'round: a record that lost a dot ahead of the walk is put on the list',
    patches: [
      patch(
        'src/replica/sender.ts',
        'if (!isLossAhead || !this.#link.wants(path)) return;',
        'if (!isLossAhead || !this.#link.wants(path) || round !== null) return;',
      ),
    ],
  },
  {
    rule: 'round: a full list makes it begin again',
    patches: [
      patch('src/replica/sender.ts', 'const CHANGED_PATHS = 1_000;', 'const CHANGED_PATHS = 1;'),
      patch('src/replica/sender.ts', 'if (round.isListFull) return this.#beginAgain(now);', ''),
    ],
  },
  {
    rule: 'round: a path is skipped only if the peer has all that its record held at the beginning',
    patches: [
      patch(
        'src/replica/sender.ts',
        "if (row.entries.length === 0) this.#core.count('round: empty record sent');",
        'if (row.entries.every((entry) => this.#willHave(entry))) {\n        round.changed.delete(path);\n        continue;\n      }',
      ),
    ],
  },
  {
    rule: 'round: an empty record is sent with its coverage',
    patches: [
      patch(
        'src/replica/sender.ts',
        "if (row.entries.length === 0) this.#core.count('round: empty record sent');",
        'round.changed.delete(path);\n      if (row.entries.length === 0) continue;',
      ),
    ],
  },
  {
    rule: 'round: the clock advances only at complete',
    patches: [
      patch(
        'src/replica/receiver.ts',
        '      isSpoilt: message.acked < this.#refused,\n    };',
        '      isSpoilt: message.acked < this.#refused,\n    };\n    const early = this.#round;\n    this.#intake.from(this.#link, () => this.#core.engine.complete(early.target.clone()));',
      ),
    ],
  },
  {
    rule: 'round: a complete is ignored when a record of the round was refused',
    patches: [patch('src/replica/receiver.ts', 'if (isRefused) round.isSpoilt = true;', '')],
  },
  {
    rule: 'round: a round does not count on a message that was refused before it',
    patches: [patch('src/replica/receiver.ts', 'isSpoilt: message.acked < this.#refused,', 'isSpoilt: false,')],
  },
  {
    rule: 'one instant: records are read when the clock is told',
    patches: [
      patch(
        'src/replica/sender.ts',
        'if (this.#pending.size < PENDING_PATHS_MAX) this.#pending.add(path);',
        'if (this.#pending.size < PENDING_PATHS_MAX) { if (!this.#pending.has(path)) this.stale.set(path, this.#core.engine.read(path)); this.#pending.add(path); }',
      ),
      patch(
        'src/replica/sender.ts',
        '  readonly #pending = new Set<Path>();',
        '  readonly #pending = new Set<Path>();\n  readonly stale = new Map<Path, Row>();',
      ),
      patch(
        'src/replica/sender.ts',
        '      const row = this.#core.engine.read(path);\n      if (!row.entries.some((entry) => !this.#willHave(entry))) continue;',
        '      const row = this.stale.get(path) ?? this.#core.engine.read(path);\n      if (!row.entries.some((entry) => !this.#willHave(entry))) continue;',
      ),
    ],
  },
  {
    rule: 'ghosts: dropped only when every member has them',
    patches: [
      patch(
        'src/replica/ghosts.ts',
        'const stable = page.filter((ghost) => isKnownTo(clocks, ghost));',
        'const stable = page.filter(() => clocks !== undefined);',
      ),
    ],
  },
  {
    rule: 'ghosts: never dropped while the record has residue',
    patches: [
      patch(
        'src/replica/ghosts.ts',
        "if (engine.residueOf(row) !== null) return this.#keep('ghost: kept for residue');",
        '',
      ),
    ],
  },
  {
    rule: 'marks: wait until every actor they name was heard',
    patches: [
      patch(
        'src/replica/ghosts.ts',
        'chains.every(({ actor }) => this.#isHeard(actor, waiting))',
        'chains.length >= 0',
      ),
    ],
  },
  {
    rule: 'marks: stay while a chain that they name is left',
    patches: [patch('src/replica/ghosts.ts', 'if (isChainLeft) return false;', '')],
  },
  {
    rule: 'marks: a clock counts as heard once mine contains it',
    patches: [
      patch('src/replica/ghosts.ts', 'const lacking = link.peer.ahead.clone();', 'const lacking = new Clock();'),
    ],
  },
  {
    rule: 'marks: an ended actor was heard once every member was',
    patches: [
      patch(
        'src/replica/ghosts.ts',
        'for (const node of identity.members()) if (node !== identity.node && !nodes.has(node)) return false;',
        "if (!nodes.has(identity.nodeOf(actor) ?? '')) return false;",
      ),
    ],
  },
  {
    rule: 'leaves: drop nothing but what a member says is stable',
    patches: [
      patch(
        'src/replica/ghosts.ts',
        '      this.#askStable(page);\n      return false;',
        '      for (const ghost of page) this.#dropIfFree(ghost, true);\n      return false;',
      ),
    ],
  },
  {
    rule: 'leaves: complete for their own actors only',
    patches: [
      patch(
        'src/replica/sender.ts',
        "const actors = role === 'leaf' ? [...target.actors()].filter((actor) => identity.isOwn(actor)) : null;",
        'const actors = null as Actor[] | null;',
      ),
      patch(
        'src/replica/sender.ts',
        "if (role === 'member' || identity.isOwn(actor)) peer.told(actor, from, to);",
        "if (role === 'member' || identity !== null) peer.told(actor, from, to);",
      ),
    ],
  },
  {
    rule: 'floors: told as they are when complete is sent',
    patches: [
      patch(
        'src/replica/sender.ts',
        "this.#core.count('round: begun');",
        "this.#core.count('round: begun');\n    this.early = this.#link.takeUntoldFloors();",
      ),
      patch('src/replica/sender.ts', 'floors: this.#link.takeUntoldFloors() }', 'floors: this.early }'),
      patch('src/replica/sender.ts', '  #acked = 0;', '  #acked = 0;\n  early: Uint8Array = new Uint8Array(0);'),
    ],
  },
  {
    rule: 'floors: taken from every complete',
    patches: [
      patch('src/replica/receiver.ts', '    engine.raiseFloors(decodeClock(message.floors));\n', ''),
      patch(
        'src/replica/receiver.ts',
        '    this.#round = null;\n    this.#intake.from',
        '    engine.raiseFloors(decodeClock(message.floors));\n    this.#round = null;\n    this.#intake.from',
      ),
    ],
  },
  {
    rule: 'slow round: tells what is alive',
    patches: [patch('src/replica/sender.ts', 'const isSlow = isBelow(', 'const isSlow = engine === null && isBelow(')],
  },
  {
    rule: 'slow round: alive removes only inside its scope',
    patches: [
      patch(
        'src/replica/receiver.ts',
        'this.#core.engine.removeDead(scope, held);',
        'this.#core.engine.removeDead(this.#core.engine.clock.clone(), held);',
      ),
    ],
  },
  {
    rule: 'slow round: alive is read after the target was noted',
    patches: [
      patch(
        'src/replica/sender.ts',
        '  learned(now: Now): void {',
        '  early = new Clock();\n  learned(now: Now): void {\n    if (this.#round === null && this.#roundMs === Number.POSITIVE_INFINITY) {\n      const { engine } = this.#core;\n      this.early = new Clock();\n      for (const { actor, n } of engine.walk(engine.clock.clone(), Number.POSITIVE_INFINITY)) this.early.add(actor, n);\n    }',
      ),
      patch(
        'src/replica/sender.ts',
        'this.#sayAlive(before.minus(unlisted), held);',
        'this.#sayAlive(before.minus(unlisted), held.intersect(this.early));',
      ),
    ],
  },
  {
    rule: 'slow round: completes only when every dot held was sent or listed',
    patches: [patch('src/replica/receiver.ts', 'if (!unaccounted.isEmpty) {', 'if (unaccounted === null) {')],
  },
  {
    rule: 'identity: a new actor at every start',
    patches: [
      patch(
        'src/replica/identity.ts',
        'const actor = actorFrom(this.#options.randomBytes(8));',
        'const actor = actorFrom(unhex(this.#node).slice(0, 8));',
      ),
      patch('crdts/records.ts', 'if (this.clock.max(actor) !== 0)', 'if (actor === null)'),
    ],
  },
  {
    rule: 'durability: nothing is told before it is durable',
    patches: [patch('src/replica/link.ts', 'if (batch > durable) break;', 'if (batch < 0 || durable < 0) break;')],
  },
  {
    rule: 'durability: an acknowledgement waits for the batch of what it acknowledges',
    patches: [
      patch('src/replica/receiver.ts', 'this.#number, refused, this.#core.batch());', 'this.#number, refused, 0);'),
    ],
  },
  {
    rule: 'links: a lost or repeated message is noticed',
    patches: [
      patch(
        'src/replica/replica.ts',
        'if (!peer.link.isNext(number)) throw',
        'if (!peer.link.isNext(number) && number < 0) throw',
      ),
    ],
  },
  {
    rule: 'counters: a chain is extended only by the actor that began it',
    patches: [
      patch(
        'crdts/types/counter.ts',
        '.filter((entry) => entry.actor === actor)',
        '.filter((entry) => entry.actor !== null)',
      ),
    ],
  },
  {
    rule: 'counters: a mark says "seen up to", not "minus"',
    patches: [
      patch(
        'crdts/types/counter.ts',
        'value += BigInt(Math.max(0, plus - (mark?.plus ?? 0)))',
        'value += BigInt(Math.max(0, plus - (mark === undefined ? 0 : 0)))',
      ),
    ],
  },
  {
    rule: 'guard: never heals by removing',
    patches: [
      patch(
        'src/replica/guard.ts',
        "if (differing.length > 0) this.#copying.push({ link, buckets: new Set(differing), at: '' });",
        `for (const [path, row] of [...this.#core.engine.rows('', PATHS_END)]) {
        if (!differing.includes(this.#bucketOf(path))) continue;
        for (const { actor, n } of row.entries) {
          const dot = new Clock();
          dot.add(actor, n);
          this.#core.engine.removeDead(dot, new Clock());
        }
      }`,
      ),
      patch(
        'src/replica/guard.ts',
        "import type { Core } from './core.ts';",
        "import type { Core } from './core.ts';\nimport { Clock } from '../../crdts/clock.ts';",
      ),
    ],
    profile: 'rot',
  },
  {
    rule: 'guard: a replica that lost events forgets what it does not hold',
    patches: [patch('src/replica/guard.ts', 'return this.#lost(audit.sum);', 'return;')],
    profile: 'rot',
  },
  {
    rule: 'expiry: only what has expired is removed, and only the dots seen',
    patches: [
      patch(
        'src/replica/expiry.ts',
        'const due = Math.floor(wallMs - pace.expiryGraceMs * (1 + this.#rank()));',
        'const due = Math.floor(wallMs - pace.expiryGraceMs * (1 + this.#rank()) + 100);',
      ),
      patch(
        'src/replica/expiry.ts',
        'isExpired(engine.read(path).entries, wallMs)',
        'isExpired(engine.read(path).entries, wallMs + 100)',
      ),
    ],
    profile: 'expiry',
  },
];
