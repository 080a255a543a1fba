#!/usr/bin/env node
/**
 * The command `hearsay`: what there is to type, and its help. What a command does is in commands/, loaded when it runs, so
 * that `hearsay get` does not wait for a database and a logger to load.
 *
 * Exit codes: 0 done; 1 not found, refused or failed; 2 the command line makes no sense; 3 no node answers.
 */
import { createRequire } from 'node:module';
import { Command, CommanderError, Option } from 'commander';
import { collect, parseCount, parseDuration } from './arguments.ts';
import { PORT_DEFAULT, URL_DEFAULT } from './client.ts';
import type { GetOptions, ListOptions, NodeOptions, PlaceOptions, WriteOptions } from './commands/data.ts';
import type { SimulateOptions } from './commands/simulate.ts';
import type { StartOptions } from './commands/start.ts';
import type { WatchOptions } from './commands/watch.ts';
import { EXIT, failureOf } from './failure.ts';
import { insides, note, paint } from './output.ts';

const { version } = createRequire(import.meta.url)('hearsay/package.json') as { version: string };

const TYPES = ['register', 'counter', 'flag', 'flag-disable-wins', 'set', 'set-remove-wins', 'map'];

const EXIT_CODES = `
Exit codes:
  0  done
  1  not found, refused by the node, or failed
  2  the command line makes no sense
  3  no node answers at the URL`;

const VALUES = `
What is JSON is stored as such ('{"a":1}', 12, true, null), all else as text;
--string takes everything for text. What JSON cannot say has a tag:
  '{"$bigint":"12"}'  '{"$date":"2030-01-01T00:00:00Z"}'  '{"$bytes":"aGk="}'
Write -- before a value that begins with a dash.`;

/** Scripts that ask for JSON get errors as JSON too, on standard error. */
const isJson = process.argv.includes('--json');

const jsonError = (code: string, message: string, hint?: string): string =>
  `${JSON.stringify({ error: { code, message, ...(hint !== undefined && { hint }) } })}\n`;

/** Help's last part. */
const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`;

const program = new Command('hearsay')
  .description('A replicated key-value store: every node takes reads and writes, and all copies become equal.')
  .version(version)
  // Inherited by the commands: errors are thrown, and the exit code is decided in one place, below.
  .exitOverride()
  .showHelpAfterError(isJson ? false : '(add --help for how it is used)')
  .configureOutput({
    outputError: (text, write) => write(isJson ? jsonError('Usage', text.replace(/^error: /, '').trim()) : text),
  })
  .addHelpText(
    'after',
    `${examples('hearsay start', 'hearsay set greeting hello', 'hearsay get greeting', 'hearsay start --help')}\n${EXIT_CODES}`,
  );

program
  .command('start')
  .description('Run a node, until Ctrl-C or SIGTERM.')
  .option('--dir <directory>', 'where its data lives; made when it is not there', './.hearsay')
  .option('--port <port>', 'what to listen on; 0 takes any free port', parseCount(0, 65_535), PORT_DEFAULT)
  .option('--host <address>', 'where to listen; anything but the loopback opens the node to its network', '127.0.0.1')
  .option('--join <urls...>', 'nodes to sync with, such as http://192.168.1.7:7717; again and again until they answer')
  .option('--name <name>', 'what people call it; by default the name of the machine')
  .addOption(
    new Option('--role <role>', 'leaf: a copy that no member waits for').choices(['member', 'leaf']).default('member'),
  )
  .addOption(
    new Option('--durability <mode>', 'strict: a write is on disk when it is answered; relaxed: soon after')
      .choices(['strict', 'relaxed'])
      .default('strict'),
  )
  .addOption(
    new Option('--log-level <level>', 'how much to tell on standard error')
      .choices(['debug', 'info', 'warn', 'error', 'silent'])
      .default('info'),
  )
  .option('--json', 'say where it listens as one line of JSON')
  .addHelpText(
    'after',
    examples(
      'hearsay start',
      'hearsay start --dir ./second --port 7718 --join http://127.0.0.1:7717',
      'hearsay start --host 192.168.1.7 --join http://192.168.1.8:7717',
    ),
  )
  .action(async (options: StartOptions) => (await import('./commands/start.ts')).start(options, version));

/** A command that talks to a running node. */
function nodeCommand(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(new Option('-u, --url <url>', 'the node to ask').env('HEARSAY_URL').default(URL_DEFAULT))
    .option('--json', 'print JSON, as the HTTP API gives it (docs/HTTP.md)');
}

/** One that reads or writes at a place: a key, or a field of the map under it. */
function placeCommand(name: string, description: string, types: readonly string[] = []): Command {
  const command = nodeCommand(name, description)
    .argument('<key>')
    .option('-f, --field <name>', "a field of the key's map; again for a map within", collect);
  return types.length === 0
    ? command
    : command.addOption(new Option('-t, --type <type>', 'what to take it for').choices(types));
}

const data = () => import('./commands/data.ts');
const SETS = ['set', 'set-remove-wins'];
const FLAGS = ['flag', 'flag-disable-wins'];

placeCommand('get', 'Print what is under a key.', TYPES)
  .option('--has <element>', 'print whether the set has this element; exit code 1 when not')
  .option('--string', 'take the element for text, whatever it looks like')
  .addHelpText(
    'after',
    examples(
      'hearsay get greeting',
      'hearsay get user:1 --field name',
      'hearsay get tags --type set --json',
      'hearsay get tags --has milk',
    ),
  )
  .action(async (key: string, options: GetOptions) => (await data()).get(key, options));

placeCommand('set', 'Set a register.')
  .argument('<value>', 'JSON, or text; - reads standard input')
  .option('--ttl <duration>', 'let it expire: 500ms, 30s, 10m, 2h or 7d', parseDuration)
  .option('--string', 'take the value for text, whatever it looks like')
  .addHelpText(
    'after',
    `${VALUES}\n${examples(
      'hearsay set greeting hello',
      `hearsay set config '{"theme":"dark"}'`,
      'hearsay set user:1 Ann --field name',
      'hearsay set session:9 open --ttl 30m',
      'hearsay set report - < report.json',
    )}`,
  )
  .action(async (key: string, value: string, options: WriteOptions) => (await data()).set(key, value, options));

placeCommand('del', 'Delete what is under a key, of every type or of one.', TYPES)
  .addHelpText(
    'after',
    examples('hearsay del greeting', 'hearsay del user:1 --field name', 'hearsay del visits --type counter'),
  )
  .action(async (key: string, options: PlaceOptions) => (await data()).del(key, options));

placeCommand('incr', 'Add to a counter, and print the sum.')
  .argument(
    '[amount]',
    'a whole number; less than 0 subtracts',
    parseCount(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    1,
  )
  .addHelpText('after', examples('hearsay incr visits', 'hearsay incr visits 10', 'hearsay incr stock -3'))
  .action(async (key: string, amount: number, options: PlaceOptions) => (await data()).incr(key, amount, options));

placeCommand('add', 'Add elements to a set.', SETS)
  .argument('<elements...>', 'each JSON, or text')
  .option('--ttl <duration>', 'let them expire: 500ms, 30s, 10m, 2h or 7d', parseDuration)
  .option('--string', 'take the elements for text, whatever they look like')
  .addHelpText(
    'after',
    `${VALUES}\n${examples(
      'hearsay add tags milk',
      'hearsay add primes 2 3 5 7',
      'hearsay add user:1 admin --field roles',
    )}`,
  )
  .action(async (key: string, elements: string[], options: WriteOptions) =>
    (await data()).changeSet('add', key, elements, options),
  );

placeCommand('remove', 'Remove elements from a set.', SETS)
  .argument('<elements...>', 'each JSON, or text')
  .option('--string', 'take the elements for text, whatever they look like')
  .addHelpText('after', examples('hearsay remove tags milk', 'hearsay remove primes 2 3'))
  .action(async (key: string, elements: string[], options: WriteOptions) =>
    (await data()).changeSet('remove', key, elements, options),
  );

placeCommand('enable', 'Turn a flag on.', FLAGS)
  .option('--ttl <duration>', 'let it go off: 500ms, 30s, 10m, 2h or 7d', parseDuration)
  .addHelpText('after', examples('hearsay enable dark-mode', 'hearsay enable maintenance --ttl 10m'))
  .action(async (key: string, options: WriteOptions) => (await data()).setFlag(true, key, options));

placeCommand('disable', 'Turn a flag off.', FLAGS)
  .addHelpText('after', examples('hearsay disable dark-mode'))
  .action(async (key: string, options: WriteOptions) => (await data()).setFlag(false, key, options));

nodeCommand('ls', 'List the keys that begin with a prefix, with their types and values.')
  .argument('[prefix]', 'default: all keys', '')
  .option('-n, --limit <keys>', 'at most so many keys', parseCount(1, 1_000_000_000), 100)
  .option('--all', 'every key, page by page')
  .option('--after <key>', 'begin behind this key')
  .option('--reverse', 'from the last key backwards')
  .option('--keys', 'only the keys, one a line')
  .addHelpText(
    'after',
    examples('hearsay ls', 'hearsay ls user:', 'hearsay ls --keys --all | wc -l', 'hearsay ls --json'),
  )
  .action(async (prefix: string, options: ListOptions) => (await data()).list(prefix, options));

nodeCommand('watch', 'Print changes under a prefix as they come, until Ctrl-C.')
  .argument('[prefix]', 'default: all keys', '')
  .option(
    '--since <clock>',
    'begin behind the clock of a line that an earlier watch --json printed, or with all: start',
  )
  .option('-n, --count <changes>', 'end after so many changes', parseCount(1, 1_000_000_000))
  .addHelpText(
    'after',
    examples(
      'hearsay watch',
      'hearsay watch user: --json',
      'hearsay watch --since start',
      'hearsay watch --since CLOCK --json',
    ),
  )
  .action(async (prefix: string, options: WatchOptions) =>
    (await import('./commands/watch.ts')).watch(prefix, options),
  );

nodeCommand('status', 'Print how the node is: its peers, and how far each is.')
  .addHelpText('after', examples('hearsay status', 'hearsay status --url http://127.0.0.1:7718 --json'))
  .action(async (options: NodeOptions) => (await import('./commands/status.ts')).status(options));

program
  .command('simulate')
  .description('Run random clusters with faults in virtual time, and check that they converge.')
  .option(
    '--seed <number>',
    'the first seed; each further run takes the next; default: random',
    parseCount(0, 2 ** 31 - 1),
  )
  .option(
    '--runs <number>',
    'how many clusters; default: 1000, or no limit with --seconds',
    parseCount(1, 1_000_000_000),
  )
  .option('--seconds <number>', 'stop after so much time', parseCount(1, 1_000_000))
  .option('--profile <name>', 'one kind of clusters only; default: the seed chooses')
  .option('--schedule <file>', 'run this schedule, as a failure printed it, and nothing else')
  .option('--json', 'print the report as one line of JSON')
  .addHelpText(
    'after',
    examples('hearsay simulate', 'hearsay simulate --seed 42 --runs 1', 'hearsay simulate --seconds 60 --json'),
  )
  .action(async (options: SimulateOptions) => (await import('./commands/simulate.ts')).simulate(options));

/** Who reads our output may stop reading (`hearsay ls | head`): then there is nothing left to do. */
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed),
);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = tell(error);
}

/** Says what went wrong, on stderr. Returns the exit code. */
function tell(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const { code, message, hint, exitCode, cause } = failureOf(error);
  if (isJson) {
    process.stderr.write(jsonError(code, message, hint));
  } else {
    process.stderr.write(
      `${paint('error:', 'red', process.stderr)} ${message} ${paint(`[${code}]`, 'dim', process.stderr)}\n`,
    );
    if (hint !== undefined) note(hint);
  }
  if (program.commands.some((command) => command.opts()['logLevel'] === 'debug'))
    process.stderr.write(`${insides(cause ?? error)}\n`);
  return exitCode;
}
