/**
 * One writer per directory: a lock that the operating system gives back when its holder dies, however it dies.
 *
 * Two processes writing one store would use the same dots for different events, so a second one must be refused; and a
 * process killed with -9, or a container that ran out of memory, must not leave its store locked. Node has no `flock`.
 * A file with a process id in it can be checked against /proc, but not from another container on the same volume, where
 * every process is number 1; and taking over a stale file is a race. So the lock is a *listening socket* in the
 * directory: the kernel alone knows whether somebody listens, answers across containers (a socket file belongs to the
 * file system, not to a network), and stops answering when the process is gone.
 *
 * Taking the lock: listen under a passing name, rename the socket to `writer-PID-NONCE.lock`, then ask every other entry
 * of that kind. One that answers holds the lock: withdraw. One that refuses is left from a dead process: remove it.
 *  - Never two holders: each is listening under its lasting name before it looks, so of two, the later one sees the other.
 *  - Removing is safe: names are never used twice, and a lasting name has listened from its first moment, so a
 *    refusal means that its holder is gone for good.
 *  - Two that arrive at the same moment may both be refused; nobody is ever wrongly let in.
 * Windows has named pipes, which exist once and die with their process: there the pipe itself is the lock.
 *
 * Weakness: a file system without socket files cannot hold a store, and on one shared by several machines a socket is
 * only heard on its own. LMDB, which maps its file into memory, is not for those either.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, realpath, rename, rm, symlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HearsayError } from '../../../crdts/error.ts';

export interface DirectoryLock {
  /** Gives the lock back. Idempotent. */
  release(): Promise<void>;
}

const LASTING_NAME = /^writer-(\d+)-[0-9a-f]{16}\.lock$/;
const PASSING_NAME = /^writer-\d+-[0-9a-f]{16}\.lock\.new$/;

/**
 * Takes the writer's lock of `dir`, which must exist. Throws `StorageLocked` when this or another process has it,
 * and the file system's own error when nothing can be created there.
 */
export async function lockDirectory(dir: string, platform: NodeJS.Platform = process.platform): Promise<DirectoryLock> {
  const home = await realpath(dir);
  return platform === 'win32' ? lockByPipe(home) : lockBySocket(home);
}

async function lockBySocket(home: string): Promise<DirectoryLock> {
  const name = `writer-${process.pid}-${randomBytes(8).toString('hex')}.lock`;
  // The path of a socket may have 103 bytes at most, a directory more: reach it through a short link.
  const shortcut = await mkdtemp(join(tmpdir(), 'hearsay-'));
  let server: Server | undefined;
  const release = async (): Promise<void> => {
    await rm(join(home, name), { force: true });
    if (server !== undefined) await stop(server);
  };
  try {
    const near = join(shortcut, 'd');
    await symlink(home, near);
    server = await listen(join(near, `${name}.new`));
    await rename(join(home, `${name}.new`), join(home, name));
    await refuseOthers(home, near, name);
  } catch (error) {
    await rm(join(home, `${name}.new`), { force: true });
    await release();
    // The passing name was taken for that of a dead process by one that looked at this very moment: it goes first.
    if ((error as NodeJS.ErrnoException).syscall === 'rename') throw locked(home);
    throw error;
  } finally {
    await rm(shortcut, { recursive: true, force: true });
  }
  return { release };
}

async function refuseOthers(home: string, near: string, own: string): Promise<void> {
  for (const other of await readdir(home)) {
    const holder = LASTING_NAME.exec(other)?.[1];
    if (other === own || (holder === undefined && !PASSING_NAME.test(other))) continue;
    const answers = await isAnswered(join(near, other));
    // A passing name that answers belongs to a process that is still to look, and will see this one.
    if (answers && holder !== undefined) throw locked(home, Number(holder));
    // The owner of a passing name that was not listening yet finds it gone, and is refused.
    if (!answers) await rm(join(home, other), { force: true });
  }
}

async function lockByPipe(home: string): Promise<DirectoryLock> {
  const id = createHash('sha256').update(home.toLowerCase()).digest('hex').slice(0, 32);
  try {
    const server = await listen(`\\\\.\\pipe\\hearsay-${id}`);
    return { release: () => stop(server) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw locked(home);
    throw error;
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    // `exclusive`: a cluster worker would otherwise share the socket of its primary process.
    // `writableAll`: another user must be able to ask, or a dead process of this one would keep it out.
    server.listen({ path, exclusive: true, writableAll: true }, () => {
      server.off('error', reject);
      // What a listening socket may still report (too many files are open) does not loosen the lock.
      server.on('error', () => {});
      server.unref();
      resolve(server);
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // Called with an error when it is closed already; that is what was wanted.
    server.close(() => resolve());
  });
}

/** Whether somebody listens at `path`. Only a clear refusal counts as no: any doubt keeps the lock with its holder. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function locked(dir: string, pid?: number): HearsayError {
  const holder = pid === undefined ? 'a process' : pid === process.pid ? 'this process' : `process ${pid}`;
  const text =
    `The store in ${dir} is open for writing in ${holder}. ` +
    'Close it there, use another directory, or open it with readOnly to look into it.';
  return new HearsayError('StorageLocked', text, pid === undefined ? { dir } : { dir, pid });
}
