const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Orders names as people do: `frame-2` before `frame-10`. Names that are alike then go by their characters. */
export function naturalOrder(a: string, b: string): number {
  return COLLATOR.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}
