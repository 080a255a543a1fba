/**
 * Binary search, once for all that is kept sorted here.
 */

/** The least index below `count` at which `isReached`, `count` when there is none. Once reached, it must stay so. */
export function firstIndex(count: number, isReached: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isReached(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
