/**
 * A store inside your program, in one directory on your disk: open, write, read, close.
 *
 *     npx tsx examples/01-embed.ts [directory]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'hearsay';

const dir = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'hearsay-'));

const store = await open({ dir });

// A write is done at once, and durable when it was awaited.
await store.register('greeting').set('hello');
const { dots } = await store.counter('visits').add(1);
console.log(`the event ${dots.at(-1)} is on disk`);

// Keys hold typed values; a map's fields are of any type, maps included.
const ann = store.map('user:ann');
ann.set('name', 'Ann');
ann.field('tags').set().add('admin');
ann.field('logins').counter().add(2);

// Several writes as one: all of them, or none.
await store.batch(() => {
  store.set('basket').add('milk');
  store.counter('items').add(1);
});

// Reads are synchronous.
console.log('greeting:', store.register('greeting').get());
console.log('Ann:', ann.toObject());
for (const { key, type, value } of store.scan('', { limit: 10 })) console.log(`${key} (${type}):`, value());

await store.close();

// What is on disk is there again.
const again = await open({ dir });
console.log('visits:', again.counter('visits').get());
await again.close();
if (process.argv[2] === undefined) rmSync(dir, { recursive: true });
