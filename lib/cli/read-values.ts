const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A number as people write it; undefined for anything else, `0x10` and `Infinity` too. */
export function readNumber(given: string): number | undefined {
  const text = given.trim();
  return NUMBER.test(text) ? Number(text) : undefined;
}

/** A whole number from 0 on; undefined for anything else. */
export function readWhole(given: string): number | undefined {
  return /^\d{1,15}$/.test(given.trim()) ? Number(given) : undefined;
}

/** So many numbers with a comma between them; undefined for anything else. */
export function readNumbers(given: string, count: number): number[] | undefined {
  const values = given.split(",").map(readNumber);
  if (values.length !== count || values.includes(undefined)) return undefined;
  return values as number[];
}
