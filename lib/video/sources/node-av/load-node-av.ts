/** The parts of node-av that are used. */
export type NodeAv = typeof import("node-av/lib") & {
  readonly constants: typeof import("node-av/constants");
};

let loading: Promise<NodeAv | undefined> | undefined;

/**
 * Imports node-av; undefined where it is not installed or does not load on this platform. Its messages on standard error
 * are turned off from the first time on, for the whole process: a damaged video would fill the log of a service.
 */
export function loadNodeAv(): Promise<NodeAv | undefined> {
  loading ??= load();
  return loading;
}

async function load(): Promise<NodeAv | undefined> {
  try {
    definePromiseWithResolvers();
    const [lib, constants] = await Promise.all([import("node-av/lib"), import("node-av/constants")]);
    lib.Log.setLevel(constants.AV_LOG_FATAL);
    return { ...lib, constants };
  } catch {
    return undefined;
  }
}

/** Node 20 has none, and node-av then silently yields nothing. */
function definePromiseWithResolvers(): void {
  const holder = Promise as unknown as { withResolvers?: unknown };
  holder.withResolvers ??= function withResolvers<T>(this: PromiseConstructor) {
    let resolve: ((value: T) => void) | undefined;
    let reject: ((reason: unknown) => void) | undefined;
    const promise = new this<T>((done, fail) => {
      resolve = done as (value: T) => void;
      reject = fail;
    });
    return { promise, resolve, reject };
  };
}
