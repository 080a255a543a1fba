/**
 * `hearsay start`: opens a store that listens, says where, and ends it well.
 *
 * The first signal finishes what is under way, commits, says goodbye to the peers and exits with 0; the second one exits
 * at once, and loses nothing that was acknowledged: that is on disk. When the disk fails, the node cannot go on; it exits
 * with 1, for whoever supervises it to start it again.
 */
import { resolve } from 'node:path';
import { open, type OpenOptions, type Store } from '../../src/index.ts';
import { parseNodeUrl, PORT_DEFAULT } from '../client.ts';
import { EXIT } from '../failure.ts';
import { createLogger, type LogLevel, type Logger } from '../logging.ts';
import { note, paint, print, printJson } from '../output.ts';
import { isLoopbackHost, ownCommand, reachableHosts, stopSignals, urlOf } from '../platform.ts';

export interface StartOptions {
  readonly dir: string;
  readonly port: number;
  readonly host: string;
  readonly join?: readonly string[];
  readonly name?: string;
  readonly role: 'member' | 'leaf';
  readonly durability: 'strict' | 'relaxed';
  readonly logLevel: LogLevel;
  readonly json?: boolean;
}

export async function start(given: StartOptions, version: string): Promise<void> {
  // In full, for whoever reads it elsewhere: in `hearsay status`, in a log.
  const options = { ...given, dir: resolve(given.dir) };
  const logger = createLogger(options.logLevel);
  const store = await open(storeOptions(options, logger));
  stopOnSignal(store, logger);
  store.on('error', (error) => {
    // The store has logged it. Closing releases the directory, for the next process to take it.
    const leave = (): never => process.exit(EXIT.failed);
    store.close().then(leave, leave);
    process.stderr.write(`${paint('error:', 'red', process.stderr)} ${error.message} [${error.code}]\n`);
  });
  if (!isLoopbackHost(options.host)) {
    note(
      `warning: whoever can reach port ${store.port} of ${options.host} can read and change everything here: peers do ` +
        'not prove who they are yet. Open it to networks that you trust, and to no others.',
    );
  }
  await (options.json ? printJson(introduction(store, options, version)) : introduce(store, options, version));
}

function storeOptions(
  { dir, port, host, join = [], name, role, durability }: StartOptions,
  logger: Logger,
): OpenOptions {
  return { dir, name, role, durability, logger, listen: { host, port }, join: join.map(peerUrl) };
}

/** `192.168.1.7:7717` will do as well. */
const peerUrl = (text: string): string => (/^[a-z]+:\/\//i.test(text) ? text : parseNodeUrl(text).href);

function stopOnSignal(store: Store, logger: Logger): void {
  let isStopping = false;
  for (const signal of stopSignals()) {
    process.on(signal, () => {
      if (isStopping) process.exit(EXIT.failed);
      isStopping = true;
      logger.info({ signal }, 'stopping: finishing what is under way; once more to stop at once');
      store.close().then(
        () => {
          logger.info({}, 'stopped');
          process.exit(EXIT.ok);
        },
        (error: unknown) => {
          logger.error({ error }, 'stopped, and the last writes could not be kept');
          process.exit(EXIT.failed);
        },
      );
    });
  }
}

const urlsOf = (store: Store, { host }: StartOptions): string[] =>
  reachableHosts(host).map((each) => urlOf(each, store.port ?? 0));

/** What `--json` prints: one line, once it listens. */
function introduction(store: Store, options: StartOptions, version: string): object {
  const { node, name, role, cluster } = store.status();
  const { host, dir } = options;
  const urls = urlsOf(store, options);
  return {
    event: 'listening',
    version,
    urls,
    host,
    port: store.port,
    node,
    name,
    role,
    cluster,
    dir,
    pid: process.pid,
  };
}

async function introduce(store: Store, options: StartOptions, version: string): Promise<void> {
  const { node, name, role, cluster } = store.status();
  const [url = ''] = urlsOf(store, options);
  const command = ownCommand();
  const port = store.port ?? 0;
  const isFoundByDefault = port === PORT_DEFAULT && ['127.0.0.1', '0.0.0.0', '::'].includes(options.host);
  const where = isFoundByDefault ? '' : ` --url ${url}`;
  const elsewhere = isLoopbackHost(options.host) ? ` --dir ./second --port ${nextPort(port)}` : '';
  const rows = [
    ['node', `${name} (${node})${role === 'leaf' ? ', a leaf' : ''}`],
    ['data', options.dir],
    ['cluster', cluster ?? 'none yet: it will be that of the first node it meets'],
    ['listening', urlsOf(store, options).join(', ')],
    ['try', `${command.client} set greeting hello${where}`],
    ['join it', `${command.start}${elsewhere} --join ${url}`],
  ];
  await print(paint(`hearsay ${version}`, 'bold'));
  for (const [label = '', text = ''] of rows) await print(`  ${paint(label.padEnd(10), 'dim')} ${text}`);
}

const nextPort = (port: number): number => (port < 65_535 ? port + 1 : 0);
