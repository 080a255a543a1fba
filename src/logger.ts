/** The log as it is handed in: four methods, as those of pino. Error: a developer should look; info: a change of state. */

/** `message` is constant text; what varies is in `fields`. */
export type Log = (fields: Readonly<Record<string, unknown>>, message: string) => void;

export interface Logger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
}

/** Says nothing: the default of an embedded store. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
