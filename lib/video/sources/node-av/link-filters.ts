import type { FilterContext, FilterGraph } from "node-av/lib";
import type { NodeAv } from "./load-node-av.js";

/** Where frames go in, and where they come out. */
export interface FilterChain {
  readonly source: FilterContext;
  readonly sink: FilterContext;
}

/**
 * Makes a chain of FFmpeg's filters in a graph, each given by its name and arguments.
 *
 * @param fail makes what is thrown where they cannot be had
 */
export async function linkFilters(
  av: NodeAv,
  graph: FilterGraph,
  steps: readonly (readonly [name: string, args: string])[],
  fail: (why: string) => Error,
): Promise<FilterChain> {
  const contexts = steps.map(([name, args], i) => {
    const context = createFilter(av, graph, name, args, i);
    if (!context) throw fail(`FFmpeg's filter ${name} cannot be used`);
    return context;
  });
  for (let i = 1; i < contexts.length; i++) contexts[i - 1]?.link(0, contexts[i] as FilterContext, 0);
  if ((await graph.config()) < 0) throw fail("FFmpeg's filters do not fit together");
  return { source: contexts[0] as FilterContext, sink: contexts.at(-1) as FilterContext };
}

/** Undefined where there is no such filter, or it does not take the arguments; node-av throws then. */
function createFilter(
  av: NodeAv,
  graph: FilterGraph,
  name: string,
  args: string,
  place: number,
): FilterContext | undefined {
  const filter = av.Filter.getByName(name as never);
  if (!filter) return undefined;
  try {
    return graph.createFilter(filter, `${name}${place}`, args || null) ?? undefined;
  } catch {
    return undefined;
  }
}
