/**
 * Shrinking: from a schedule that fails to a short one that fails alike, by leaving things out and trying again.
 *
 * Delta debugging (Zeller, Hildebrandt, *Simplifying and isolating failure-inducing input*, 2002) over the steps, then
 * over what is in them: nodes, waits, batches, delays. Every part of a schedule is a schedule (schedule.ts), so there is
 * nothing to repair in between.
 */
import type { Schedule, Setup, Step } from './schedule.ts';

/** True when a schedule fails in the way that is being chased. */
export type StillFails = (schedule: Schedule) => boolean;

/** At most this many tries: a few seconds' worth. */
const TRIES_MAX = 4_000;

export function shrink(schedule: Schedule, stillFails: StillFails): Schedule {
  let tries = 0;
  const fails: StillFails = (candidate) => tries++ < TRIES_MAX && stillFails(candidate);
  let best = schedule;
  for (;;) {
    const before = best;
    best = withFewerSteps(best, fails);
    best = withSimplerSetup(best, fails);
    best = withSimplerSteps(best, fails);
    if (best === before || tries >= TRIES_MAX) return best;
  }
}

/** Leaves out as many steps as it can: halves first, single ones last. */
function withFewerSteps(schedule: Schedule, fails: StillFails): Schedule {
  let best = schedule;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.steps.length; ) {
      const candidate = { ...best, steps: [...best.steps.slice(0, at), ...best.steps.slice(at + size)] };
      if (fails(candidate)) best = candidate;
      else at += size;
    }
  }
  return best;
}

function withSimplerSetup(schedule: Schedule, fails: StillFails): Schedule {
  let best = schedule;
  const attempt = (change: Partial<Setup>): void => {
    const candidate = { ...best, setup: { ...best.setup, ...change } };
    if (JSON.stringify(candidate) !== JSON.stringify(best) && fails(candidate)) best = candidate;
  };
  attempt({ leaves: [] });
  for (let i = best.setup.leaves.length - 1; i >= 0; i--)
    attempt({ leaves: best.setup.leaves.filter((_, k) => k !== i) });
  // Leaving out a member renumbers all nodes behind it: the steps move along.
  for (let i = best.setup.members - 1; i >= 0; i--) {
    const candidate = withoutMember(best, i);
    if (candidate !== null && fails(candidate)) best = candidate;
  }
  attempt({ leaves: best.setup.leaves.map(() => null) });
  attempt({ jitterMs: 0 });
  attempt({ latencyMs: 0 });
  attempt({ latencyMs: 1 });
  attempt({ sealMs: 0 });
  attempt({ syncMs: 0 });
  attempt({ redialMs: null });
  attempt({ links: 'none' });
  attempt({ links: 'mesh' });
  return best;
}

function withoutMember(schedule: Schedule, gone: number): Schedule | null {
  const { setup, steps } = schedule;
  if (setup.members <= 1) return null;
  const count = setup.members + setup.leaves.length;
  const renumbered = (index: number): number => (index % count > gone ? (index % count) - 1 : index % count);
  const isGone = (index: unknown): boolean => typeof index === 'number' && index % count === gone;
  const kept = steps.flatMap((step): Step[] => {
    const named: Record<string, unknown> = { ...step };
    for (const field of ['node', 'a', 'b', 'from', 'to', 'leaf']) {
      if (isGone(named[field])) return [];
      if (typeof named[field] === 'number') named[field] = renumbered(named[field]);
    }
    if (step.do === 'partition') named['nodes'] = step.nodes.filter((index) => !isGone(index)).map(renumbered);
    return [named as unknown as Step];
  });
  return { ...schedule, setup: { ...setup, members: setup.members - 1 }, steps: kept };
}

/** Shorter waits, smaller batches, plainer faults. */
function withSimplerSteps(schedule: Schedule, fails: StillFails): Schedule {
  let best = schedule;
  for (let i = 0; i < best.steps.length; i++) {
    for (const simpler of simplerThan(best.steps[i] as Step)) {
      const candidate = { ...best, steps: best.steps.map((step, k) => (k === i ? simpler : step)) };
      if (!fails(candidate)) continue;
      best = candidate;
      break;
    }
  }
  return best;
}

function simplerThan(step: Step): Step[] {
  switch (step.do) {
    case 'write':
      return [
        ...(step.ops.length > 1
          ? step.ops.map((_, k) => ({ ...step, ops: step.ops.filter((_op, j) => j !== k) }))
          : []),
        ...step.ops.flatMap((op, k) =>
          'count' in op && (op.count ?? 1) > 1 ? [{ ...step, ops: step.ops.with(k, { ...op, count: 1 }) }] : [],
        ),
        ...step.ops.flatMap((op, k) => {
          if (!('ttlMs' in op)) return [];
          const { ttlMs: _, ...rest } = op;
          return [{ ...step, ops: step.ops.with(k, rest) }];
        }),
      ];
    case 'wait':
      return [0, 1, 10, 30, 100].filter((ms) => ms < step.ms).map((ms) => ({ ...step, ms }));
    case 'break':
      return step.arrives === 'none' ? [] : [{ ...step, arrives: 'none' }];
    case 'crash':
      return step.kept === 0 ? [] : [{ ...step, kept: 0 }];
    case 'partition':
      return step.oneWay === true ? [{ do: 'partition', nodes: step.nodes }] : [];
    default:
      return [];
  }
}
