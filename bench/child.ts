/** A child process of harness.ts: imports the module it is given, and calls its exported functions one by one. */

interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
}

type Task = (...args: readonly unknown[]) => unknown;

const module = (await import(process.argv[2] as string)) as Readonly<Record<string, Task>>;

process.on('message', ({ name, args }: Call) => {
  void (async () => {
    try {
      process.send?.({ result: await (module[name] as Task)(...args) });
    } catch (error) {
      process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  })();
});
