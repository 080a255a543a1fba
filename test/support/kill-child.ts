/**
 * The process that test/kill.test.ts kills: opens a store and writes for ever. Tells what was acknowledged, a line for
 * each: `ready`, then `KEY VALUE DOT`. What it has told has been durable before; what it has not may be.
 */
import { writeSync } from 'node:fs';
import { open } from '../../src/index.ts';

const [dir, run] = process.argv.slice(2) as [string, string];
const store = await open({ dir });

/** At once, so that nothing is told that the pipe does not have; a killed process takes its buffers along. */
const tell = (line: string): void => void writeSync(1, `${line}\n`);

async function write(writer: number): Promise<never> {
  for (let i = 0; ; i++) {
    const key = `run ${run} writer ${writer} ${i}`.replaceAll(' ', '-');
    const isBatch = i % 7 === 3;
    // Overwriting and removing as well: their dots count too, and their rows are rewritten.
    const receipt = await (isBatch
      ? store.batch(() => {
          store.register(key).set(i);
          store.register(`shared-${writer}`).set(i);
          store.register(`${key}-second`).set(i);
          store.set('all').add(key);
          if (i % 2 === 0) store.set('all').remove(key);
        })
      : store.register(key).set(i));
    tell(`${key} ${i} ${isBatch ? 'batch' : 'single'} ${receipt.dots.join(' ')}`);
  }
}

tell('ready');
await Promise.all(Array.from({ length: 8 }, (_, writer) => write(writer)));
