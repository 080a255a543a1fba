/**
 * The simulator over the real replica (DESIGN §8): kept schedules, the scripts for rare branches, and random schedules from
 * a seed that is new each time. HEARSAY_SIM_SECONDS sets how long chance gets; CI gives it minutes.
 */
import { describe, expect, test } from 'vitest';
import { SimulatedDisk } from '../src/testing/disk.ts';
import {
  formatFailure,
  formatReport,
  formatSchedule,
  missingFrom,
  parseSchedule,
  PROFILE_NAMES,
  randomSchedule,
  runSchedule,
  SCRIPTS,
  shrink,
  simulate,
  testConvergence,
} from '../src/testing/index.ts';
import { KEPT } from './support/schedules.ts';

const seconds = Number(process.env['HEARSAY_SIM_SECONDS'] ?? 20);
/** From here on a run is long enough for every row of the histogram. */
const SECONDS_OF_A_FULL_RUN = 60;

describe('kept schedules', () => {
  test.each(KEPT)('%s', (_file, schedule) => {
    expect(runSchedule(schedule).failure?.message).toBeUndefined();
  });

  test.each(SCRIPTS)('$name', (script) => {
    const { failure, counts } = runSchedule(script);
    expect(failure?.message).toBeUndefined();
    if (script.reaches !== undefined) expect(Object.fromEntries(counts)).toHaveProperty([script.reaches]);
  });
});

describe('random schedules', () => {
  test(`hold everything of DESIGN §8, for ${seconds} s`, { timeout: 1_000 * seconds + 60_000 }, () => {
    const seed = Date.now() % 2 ** 31;
    const report = simulate({ seed, budgetMs: 1_000 * seconds });
    console.log(formatReport(report));
    expect(report.failures.map(formatFailure).join('\n')).toBe('');
    if (seconds >= SECONDS_OF_A_FULL_RUN) expect(missingFrom(report)).toEqual([]);
  });

  test.each(PROFILE_NAMES)('of profile %s are the same for the same seed', (profile) => {
    const schedule = randomSchedule(7, profile);
    expect(randomSchedule(7, profile)).toEqual(schedule);
    const first = runSchedule(schedule);
    const again = runSchedule(parseSchedule(formatSchedule(schedule)));
    expect(again).toEqual(first);
  });
});

describe('the simulator itself', () => {
  const text = (bytes: Uint8Array | undefined): string | undefined => bytes && new TextDecoder().decode(bytes);
  const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

  test('a disk that crashes has what was durable, and of the rest at most the oldest batches', () => {
    for (const kept of [0, 1, 2]) {
      const disk = new SimulatedDisk();
      disk.put('a', bytes('1'));
      disk.put('b', bytes('1'));
      disk.commit();
      disk.sync();
      disk.put('a', bytes('2'));
      disk.delete('b');
      disk.commit();
      disk.put('a', bytes('3'));
      disk.commit();
      disk.put('a', bytes('never closed'));
      const backup = disk.backup();
      disk.crash(kept);
      expect([text(disk.get('a')), text(disk.get('b'))]).toEqual(
        [
          ['1', '1'],
          ['2', undefined],
          ['3', undefined],
        ][kept],
      );
      expect([text(backup.get('a')), text(backup.get('b'))]).toEqual(['1', '1']);
    }
  });

  test('shrinking leaves the steps that matter', () => {
    const schedule = randomSchedule(1, 'mixed');
    const writes = schedule.steps.filter((step) => step.do === 'write').length;
    const shrunk = shrink(schedule, ({ steps }) => steps.filter((step) => step.do === 'write').length === writes);
    expect(shrunk.steps).toHaveLength(writes);
    expect(shrunk.steps.every((step) => step.do === 'write')).toBe(true);
  });

  test('a schedule that is no schedule is refused', () => {
    expect(() => parseSchedule('{"format":2}')).toThrow(expect.objectContaining({ code: 'InvalidSchedule' }));
    expect(() => parseSchedule('nonsense')).toThrow(expect.objectContaining({ code: 'InvalidSchedule' }));
  });
});

describe('testConvergence', () => {
  test('passes what converges and keeps its invariant', () => {
    const { runs } = testConvergence({
      runs: 50,
      actions: {
        add: (store, random) => store.set('tags').add(random.int(3)),
        remove: (store, random) => store.set('tags').remove(random.int(3)),
        count: (store) => store.counter('visits').add(1),
      },
      read: (store) => ({ tags: [...store.set('tags')], visits: store.counter('visits').get() }),
      invariant: ({ visits }) => visits >= 0,
    });
    expect(runs).toBe(50);
  });

  test('finds an invariant that holds at every replica and not when they meet', () => {
    const withdraw = (): unknown =>
      testConvergence({
        seed: 1,
        actions: {
          deposit: (store) => store.counter('account').add(5),
          withdraw: (store) => {
            if (store.counter('account').get() >= 3) store.counter('account').subtract(3);
          },
        },
        read: (store) => store.counter('account').get(),
        invariant: (balance) => balance >= 0 || `the account is overdrawn: ${balance}`,
      });
    expect(withdraw).toThrow(expect.objectContaining({ code: 'NotConverged' }));
    expect(withdraw).toThrow(/the account is overdrawn[^]*again: testConvergence\(\{ seed: /);
  });
});
