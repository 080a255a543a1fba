/**
 * Testing what you build: a seat can be booked by one guest only. Or can it?
 *
 * Each replica checks that the seat is free before it books it. That holds on one replica. Two that do not see each other
 * both find it free, and after they meet the set of guests has two. `testConvergence` finds it, and tells how it came about.
 */
import { testConvergence } from 'hearsay/testing';

const guests = ['ann', 'bob', 'eve'];

try {
  testConvergence({
    actions: {
      book: (store, random) => {
        const seat = store.set<string>('seat 12');
        if (seat.size === 0) seat.add(random.pick(guests));
      },
    },
    read: (store) => [...store.set<string>('seat 12')],
    invariant: (seated) => seated.length <= 1 || `${seated.join(' and ')} sit on one seat`,
    seed: 1,
  });
  console.log('nothing found');
} catch (error) {
  // The story: who did what, who saw whom, and the seed that repeats it.
  console.log((error as Error).message.split('\n')[0]);
}

// A register keeps one winner, and names the losers: the app can tell them.
const { runs } = testConvergence({
  actions: {
    book: (store, random) => {
      const seat = store.register<string>('seat 12');
      if (seat.get() === undefined) seat.set(random.pick(guests));
    },
  },
  read: (store) => store.register<string>('seat 12').get() ?? null,
  seed: 1,
});
console.log(`one guest on the seat, in each of ${runs} histories`);
