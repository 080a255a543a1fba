/** The log as it is handed in: four methods. Which level means what: error, a developer should look; info, a change of state. */

/** `message` is constant text; what varies is in `fields`. */
export type Log = (message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface Logger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
}

/** Says nothing: the default of an embedded store. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
