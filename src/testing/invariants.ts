/**
 * What must always hold (DESIGN §8), checked on a simulated cluster: midway, and after all faults have ended.
 *
 * Everything is read from the disks, not asked of the replicas; where a replica has a word to say as well (its clock, its
 * fingerprint), the two must agree.
 */
import type { Clock } from '../../crdts/clock.ts';
import { type Cluster, clockOn, type SimulatedNode } from './cluster.ts';
import { failure } from './failure.ts';
import { contentsOf, ghostsOf, latestExpiry } from './oracle.ts';

/** Virtual time within which a healed cluster must have come to rest. Its rounds take a few of its round delays. */
const SETTLE_MS_MAX = 20_000;
/** Records that live longer than this from now on are not waited for. */
const EXPIRY_MS_MAX = 2_000;
/** Enough virtual time for a few rounds and checks. */
const QUIET_MS = 1_000;
/** How often connections may turn out to be missing while it settles: each replica may close some, for a reason, once or twice. */
const DIALS_MAX = 40;
/** Virtual time within which what nobody needs any more must be gone, once everybody is connected. */
const FORGET_MS_MAX = 10_000;

const isMember = (node: SimulatedNode): boolean => node.role === 'member';

/** Replicas whose batch is closed, so that their disk says all that they know. */
const isSealed = (node: SimulatedNode): boolean => node.core !== null && !node.core.isDirty;

/** Whenever two members have equal clocks and no residue, their contents agree. */
export function checkMidway(cluster: Cluster): void {
  if (cluster.hasRotted) return;
  const seen: { node: SimulatedNode; clock: Clock }[] = [];
  for (const node of cluster.nodes) {
    if (!isMember(node) || !isSealed(node)) continue;
    const clock = clockOn(node.disk);
    const twin = seen.find((other) => other.clock.equals(clock));
    if (twin === undefined) seen.push({ node, clock });
    else checkTwins(cluster, twin.node, node);
  }
}

function checkTwins(cluster: Cluster, a: SimulatedNode, b: SimulatedNode): void {
  if (cluster.statusOf(a).hasResidue || cluster.statusOf(b).hasResidue) return;
  if (contentsOf(a.disk) === contentsOf(b.disk)) return;
  failure('EqualClocks', `${a.name} and ${b.name} have equal clocks, no residue, and different contents`);
}

/** Ends all faults, connects everybody, and lets time pass until nobody has anything to say. */
export function settle(cluster: Cluster): void {
  cluster.tell?.('All faults end, everybody is connected.');
  cluster.healNetwork(true);
  for (const node of cluster.nodes) {
    node.isDiskHeld = false;
    node.skewMs = 0;
    cluster.syncAll(node);
    cluster.start(node);
  }
  rest(cluster);
}

/** Lets time pass until nobody has anything to say. */
function rest(cluster: Cluster): void {
  const endMs = cluster.nowMs + SETTLE_MS_MAX;
  for (let dials = 0; ; ) {
    if (cluster.isCalm) {
      if (connectAll(cluster) && ++dials > DIALS_MAX) failure('NotSettled', describeUnsettled(cluster));
      if (cluster.isCalm && isSettled(cluster)) {
        // Where links need not be equal, a leaf may still have something to bring.
        if (cluster.hasGoneBack) cluster.run(QUIET_MS);
        if (!cluster.hasRotted || isHealed(cluster)) return;
      }
    }
    if (cluster.nowMs > endMs || !cluster.runToNext()) failure('NotSettled', describeUnsettled(cluster));
  }
}

/** A full mesh of members; each leaf keeps the members it has, or gets one. True when a connection was missing. */
function connectAll(cluster: Cluster): boolean {
  const { nodes, network } = cluster;
  let isAnyMissing = false;
  const connect = (a: SimulatedNode, b: SimulatedNode): void => {
    isAnyMissing = true;
    cluster.connect(a, b);
  };
  const members = nodes.filter(isMember);
  for (const a of members) {
    for (const b of members) if (a.index < b.index && network.between(a.index, b.index).length === 0) connect(a, b);
  }
  for (const leaf of nodes) {
    if (isMember(leaf) || members.some((member) => network.between(leaf.index, member.index).length > 0)) continue;
    connect(leaf, members[leaf.index % members.length] as SimulatedNode);
  }
  return isAnyMissing;
}

function isSettled(cluster: Cluster): boolean {
  let clock: string | undefined;
  for (const node of cluster.nodes) {
    const status = cluster.statusOf(node);
    for (const { state, role } of status.links) {
      if (state === 'equal') continue;
      // What members lost for good a leaf may still have in its clock, and cannot vouch for.
      const isWithLeaf = role === 'leaf' || node.role === 'leaf';
      if (!(isWithLeaf && state === 'syncing' && cluster.hasGoneBack)) return false;
    }
    if (!isMember(node)) continue;
    clock ??= status.clock;
    if (status.clock !== clock) return false;
  }
  return true;
}

/** After bit rot the guards have work to do, and may close links and begin anew: until all members hold the same. */
function isHealed(cluster: Cluster): boolean {
  const [first, ...others] = cluster.nodes.filter(isMember).map(({ disk }) => contentsOf(disk));
  return others.every((contents) => contents === first) && isSettled(cluster);
}

function describeUnsettled(cluster: Cluster): string {
  const lines = cluster.nodes.map((node) => {
    const { clock, links, hasResidue } = cluster.statusOf(node);
    const described = links.map(
      (link) => `${link.name ?? '?'} ${link.state} (${link.eventsToSend} to send, ${link.eventsToReceive} to come)`,
    );
    return `${node.name}: clock ${clock}${hasResidue ? ', residue' : ''}, ${described.join(', ') || 'no links'}`;
  });
  return `the cluster does not come to rest:\n  ${lines.join('\n  ')}`;
}

/** After `settle`: everybody holds exactly what the surviving events say, and goes on doing so when ghosts are forgotten. */
export function checkFinal(cluster: Cluster): void {
  checkContents(cluster);
  expire(cluster);
  forget(cluster);
  rest(cluster);
  checkContents(cluster);
  checkCounts(cluster);
}

function checkContents(cluster: Cluster): void {
  const { oracle, nodes } = cluster;
  const members = nodes.filter(isMember);
  const first = members[0] as SimulatedNode;
  const clock = clockOn(first.disk);
  const expected = oracle.expect(clock);
  let fingerprint: string | undefined;
  for (const node of members) {
    const own = clockOn(node.disk);
    if (!own.equals(clock))
      failure('ClocksDiffer', `the clocks of ${first.name} and ${node.name} differ after all is done`);
    const status = cluster.statusOf(node);
    oracle.checkContents(node.disk, expected, node.name);
    fingerprint ??= status.fingerprint;
    if (status.fingerprint !== fingerprint)
      failure('Fingerprints', `${first.name} and ${node.name} hold the same and have other fingerprints`);
    if (status.hasResidue && !oracle.hasExcuses) failure('ResidueLeft', `${node.name} has residue after all is done`);
  }
  oracle.checkSurvivors(clock, first.name);
  // A member may have told a leaf of records before it noticed that it had lost them, and leaves have no guard.
  if (cluster.hasRotted) return;
  for (const node of nodes) {
    if (!isMember(node)) oracle.checkContents(node.disk, expected, node.name, node.interests);
  }
}

/** Nothing is kept for good of what was deleted, once every member has heard of it. */
function forget(cluster: Cluster): void {
  // A node that was wiped is a member that never comes back, and one whose disk went back may never melt its residue.
  if (cluster.hasGoneBack || cluster.nodes.some(({ isClone }) => isClone)) return cluster.run(100);
  const endMs = cluster.nowMs + FORGET_MS_MAX;
  // Of a leaf that came back and has written nothing since, only the member it is connected to knows that its last run ended.
  const withMarks = !cluster.nodes.some(({ role, runCount }) => role === 'leaf' && runCount > 1);
  const left = (): number =>
    cluster.nodes.reduce((sum, { disk, role }) => sum + (role === 'member' ? ghostsOf(disk, withMarks) : 0), 0);
  while (left() > 0) {
    if (cluster.nowMs > endMs || !cluster.runToNext())
      failure('GhostsLeft', `${left()} ghosts stay although every member has them`);
    while (!cluster.isCalm) cluster.runToNext();
  }
}

/** What has expired is removed some time after its grace, by whichever member has its turn. */
function expire(cluster: Cluster): void {
  const { nodes } = cluster;
  const members = nodes.filter(isMember);
  const wallMs = cluster.wallMs(members[0] as SimulatedNode);
  // With a wall clock of tomorrow somebody may have written what expires the day after.
  const latestMs = latestExpiry((members[0] as SimulatedNode).disk, wallMs + EXPIRY_MS_MAX);
  if (latestMs === 0) return;
  cluster.run(Math.max(0, latestMs - wallMs));
  const { expiryGraceMs, sweepMs, heartbeatMs } = cluster.pace;
  // Members take turns; and how wrong a wall clock was is known until the next heartbeat says that it is right again.
  const endMs = cluster.nowMs + (members.length + 1) * expiryGraceMs + 4 * sweepMs + 2 * heartbeatMs;
  for (const node of members) {
    while (latestExpiry(node.disk, latestMs) > 0) {
      if (cluster.nowMs > endMs || !cluster.runToNext())
        failure('ExpiredLeft', `${node.name} keeps a record long after it has expired`);
    }
  }
}

/** Alarms that only a disk which lost something may set off. */
function checkCounts(cluster: Cluster): void {
  if (cluster.hasGoneBack) return;
  for (const node of cluster.nodes) {
    const { counts, wentBack } = cluster.statusOf(node);
    if (wentBack && !node.isClone)
      failure('WentBack', `${node.name} says that its store went back in time, which it did not`);
    for (const name in counts) {
      if (name.startsWith('guard'))
        failure('GuardAlarm', `${node.name} counted "${name}", and no disk had lost anything`);
    }
  }
}
