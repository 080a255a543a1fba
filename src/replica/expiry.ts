/**
 * Removing records whose time to live has ended. They are absent from every read the moment it ends; this only frees their
 * space, by ordinary deletes of the dots seen, so a concurrent extension survives.
 *
 * It suffices that one member does it. Members take turns by rank, the first after a grace, the others later each, and only
 * a member whose wall clock agrees with most of those it is connected to: a clock a day ahead must not delete for all.
 */
import type { Edit } from '../../crdts/engine.ts';
import { SYSTEM } from '../../crdts/path.ts';
import { isExpired } from '../../crdts/record.ts';
import { removeRecord } from '../../crdts/types/register.ts';
import type { Core, Now } from './core.ts';

const RECORDS_A_SWEEP = 500;
/** Wall clocks that are this close agree. */
const SKEW_MAX_MS = 10_000;

export class Expiry {
  readonly #core: Core;
  readonly #write: (edits: readonly Edit[]) => void;

  constructor(core: Core, write: (edits: readonly Edit[]) => void) {
    this.#core = core;
    this.#write = write;
  }

  sweep({ wallMs }: Now): void {
    const { engine, role, pace } = this.#core;
    if (role !== 'member') return;
    const due = Math.floor(wallMs - pace.expiryGraceMs * (1 + this.#rank()));
    if (due < 0) return;
    const paths = engine.expired(due, RECORDS_A_SWEEP);
    if (paths.length === 0) return;
    if (!this.#agreesWithMost()) return this.#core.count('expiry: put off, clocks disagree');
    const edits = paths
      .filter((path) => !path.startsWith(SYSTEM) && isExpired(engine.read(path).entries, wallMs))
      .map(removeRecord);
    if (edits.length > 0) this.#write(edits);
    this.#core.count('expiry: records removed');
  }

  /** My place among the members that are connected now, by id. */
  #rank(): number {
    let rank = 0;
    for (const { info, isReady } of this.#core.links.values()) {
      if (isReady && info?.role === 'member' && info.node < this.#core.identity.node) rank++;
    }
    return rank;
  }

  #agreesWithMost(): boolean {
    let agreeing = 0;
    let all = 0;
    for (const { info, skewMs } of this.#core.links.values()) {
      if (info?.role !== 'member' || skewMs === null) continue;
      all++;
      if (Math.abs(skewMs) <= SKEW_MAX_MS) agreeing++;
    }
    return 2 * agreeing >= all;
  }
}
