/**
 * Two nodes that keep each other up to date. Here they live in one program; on two machines each would have its own, and
 * `join` would name the other one's address.
 *
 *     npx tsx examples/02-two-nodes.ts
 */
import { open } from 'hearsay';

const kitchen = await open({ storage: 'memory', name: 'kitchen', listen: { port: 0 } });
const office = await open({ storage: 'memory', name: 'office', join: [kitchen.address as string] });

// What changes anywhere is told here.
const seen = (async () => {
  for await (const item of office.watch('shopping')) {
    if (item.type !== 'set') continue;
    console.log('office hears:', item.element, item.isPresent ? 'was added' : 'was removed');
    if (item.element === 'tea' && !item.isPresent) return;
  }
})();

await kitchen.set('shopping').add('milk');
await kitchen.set('shopping').add('tea');
// The one who writes knows what others lack: it is in sync when they have it.
await kitchen.synced();
console.log('office reads:', [...office.set('shopping').values()]);

await office.counter('visits').add(1);
await kitchen.counter('visits').add(1);
await kitchen.set('shopping').remove('tea');
await seen;

await Promise.all([kitchen.synced(), office.synced()]);
console.log('visits, counted on both:', kitchen.counter('visits').get(), office.counter('visits').get());

await office.close();
await kitchen.close();
