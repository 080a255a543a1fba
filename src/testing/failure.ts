/** What a simulation found wrong. `code` is stable within a run of the shrinker: a smaller schedule must fail alike. */
export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
  readonly code: string;

  /** `code`: what was broken, in UpperCamelCase; `message`: who, where, and what was expected instead. */
  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

export function failure(code: string, message: string): never {
  throw new SimulationFailure(code, message);
}
