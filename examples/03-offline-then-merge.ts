/**
 * Two copies that are written to while they cannot reach each other, and what becomes of it when they can.
 *
 *     npx tsx examples/03-offline-then-merge.ts
 */
import { open } from 'hearsay';

const desk = await open({ storage: 'memory', name: 'desk', listen: { port: 0 } });
const laptop = await open({ storage: 'memory', name: 'laptop' });

// Not connected yet: each has only its own copy, and takes reads and writes all the same.
desk.map('note').set('title', 'Shopping list');
desk.set('items').add('milk');
desk.set('items').add('bread');
desk.counter('edits').add(3);

laptop.map('note').set('title', 'Groceries');
laptop.set('items').add('apples');
laptop.counter('edits').add(2);

// Now they meet.
laptop.join(desk.address as string);
await Promise.all([desk.synced(), laptop.synced()]);

for (const store of [desk, laptop]) {
  console.log(`${store.status().name}:`, {
    items: [...store.set('items').values()],
    edits: store.counter('edits').get(),
    title: store.map('note').get('title'),
    // Both titles are kept until somebody chooses.
    titles: store.map('note').field('title').register().conflicts(),
  });
}

// Whoever has seen both decides; that is later than both, whatever the clocks of the machines say.
await desk.map('note').set('title', 'Groceries and shopping');
await Promise.all([desk.synced(), laptop.synced()]);
console.log('laptop now:', laptop.map('note').field('title').register().conflicts());

await laptop.close();
await desk.close();
