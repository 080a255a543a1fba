/** The examples are run as a reader would run them, against the built package, and say what they are meant to say. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('..', import.meta.url));

async function outputOf(example: string): Promise<string> {
  const options = { cwd: repository, timeout: 30_000, env: { ...process.env, NO_COLOR: '1' } };
  const { stdout, stderr } = await run(process.execPath, ['--import', 'tsx', `examples/${example}.ts`], options);
  expect(stderr).toBe('');
  return stdout;
}

describe('the examples', () => {
  test('01-embed writes, reads, closes and opens again', async () => {
    const output = await outputOf('01-embed');
    expect(output).toMatch(/the event [0-9a-f]{16}:\d+ is on disk/);
    expect(output).toContain('greeting: hello');
    expect(output).toContain("Ann: { logins: 2, name: 'Ann', tags: [ 'admin' ] }");
    expect(output).toContain('basket (set): [ ');
    expect(output).toContain('visits: 1');
  });

  test('02-two-nodes keeps two nodes in sync', async () => {
    const output = await outputOf('02-two-nodes');
    expect(output).toContain('office hears: milk was added');
    expect(output).toContain('office hears: tea was removed');
    expect(output).toContain("office reads: [ 'milk', 'tea' ]");
    expect(output).toContain('visits, counted on both: 2 2');
  });

  test('03-offline-then-merge merges what was written apart', async () => {
    const output = await outputOf('03-offline-then-merge');
    for (const name of ['desk', 'laptop']) {
      expect(output).toMatch(new RegExp(`${name}: \\{\\s+items: \\[ 'apples', 'bread', 'milk' \\],\\s+edits: 5,`));
    }
    expect(output).toContain("laptop now: [ 'Groceries and shopping' ]");
  });
});
