/** The one place where the simulator meets the real replica. */
import { Replica } from '../replica/replica.ts';
import type { ReplicaMaker } from './cluster.ts';

export const createReplica: ReplicaMaker = (options) => new Replica(options);
