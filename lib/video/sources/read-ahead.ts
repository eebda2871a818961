import { onAbort } from "../../abort.js";
import { Sam3Error } from "../../errors.js";

/** How far a producer may be ahead, and how long it may take. */
export interface ReadAheadOptions {
  /** Most items that wait to be taken. */
  readonly most: number;
  /** Most milliseconds until the next item; 0 = as long as it takes. */
  readonly stallTimeoutMs: number;
  /** How the source is called in the message. */
  readonly name: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lets a producer work ahead of its consumer by a bounded number of items. The producer gets a signal that is aborted
 * when the consumer is gone, whatever the reason; it must heed it.
 *
 * @throws {Sam3Error} `VIDEO_STALLED`; what the producer throws, after its last item; the signal's reason at once
 */
export async function* readAhead<T>(
  produce: (signal: AbortSignal) => AsyncIterable<T>,
  { most, stallTimeoutMs, name, signal }: ReadAheadOptions,
): AsyncGenerator<T, void, void> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const items: T[] = [];
  let end: { readonly error?: unknown } | undefined;
  // One of each at most: the producer waits for room, the consumer for an item.
  let wakeProducer = () => {};
  let wakeConsumer = () => {};
  const forget = onAbort(signal, () => {
    end = { error: signal?.reason };
    items.length = 0;
    stop.abort(signal?.reason);
    wakeConsumer();
    wakeProducer();
  });
  const work = async () => {
    for await (const item of produce(stop.signal)) {
      items.push(item);
      wakeConsumer();
      while (items.length >= most && !stop.signal.aborted) {
        await new Promise<void>((done) => {
          wakeProducer = done;
        });
      }
      if (stop.signal.aborted) return;
    }
  };
  const finish = (result: { readonly error?: unknown }) => {
    end ??= result;
    wakeConsumer();
  };
  work().then(
    () => finish({}),
    (error: unknown) => finish({ error }),
  );
  try {
    for (;;) {
      const item = items.shift();
      if (item !== undefined) {
        wakeProducer();
        yield item;
      } else if (end !== undefined) {
        if ("error" in end) throw end.error;
        return;
      } else {
        const inTime = await new Promise<boolean>((done) => {
          const timer = stallTimeoutMs > 0 ? setTimeout(() => done(false), stallTimeoutMs) : undefined;
          wakeConsumer = () => {
            clearTimeout(timer);
            done(true);
          };
        });
        if (!inTime) throw stalled(name, stallTimeoutMs);
      }
    }
  } finally {
    forget();
    stop.abort(new Error("nobody waits for this any more"));
    wakeProducer();
  }
}

/** A source gave nothing for too long. */
export function stalled(name: string, stallTimeoutMs: number): Sam3Error {
  return new Sam3Error(
    "VIDEO_STALLED",
    `${name} gave nothing for ${stallTimeoutMs} ms. Raise stallTimeoutMs, or 0 to wait as long as it takes.`,
    { details: { stallTimeoutMs } },
  );
}
