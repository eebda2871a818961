import { type Caller, toSam3Error } from "../caller.js";
import type { Settled } from "../devices/requests.js";

/** What a function gives or throws, as a value. */
export function settle<T>(work: () => T): Settled<T> {
  try {
    return { status: "fulfilled", value: work() };
  } catch (reason) {
    return { status: "rejected", reason };
  }
}

/** The values of a list in which nothing may have failed; throws the first reason otherwise. */
export function allFulfilled<T>(list: readonly Settled<T>[]): T[] {
  return list.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}

/** Whether nothing in a list is good. */
export function allRejected<T>(list: readonly Settled<T>[]): list is Settled<never>[] {
  return list.every(({ status }) => status === "rejected");
}

/**
 * Runs one batch for those of a list that are good; the others keep their reason, and the order stays.
 *
 * @param work answers every value it is given, in order
 */
export async function batchOfFulfilled<T, R>(
  list: readonly Settled<T>[],
  work: (values: readonly T[]) => Promise<readonly Settled<R>[]>,
): Promise<Settled<R>[]> {
  const good = list.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const answers = good.length === 0 ? [] : await work(good);
  let next = 0;
  return list.map((one) => (one.status === "rejected" ? one : (answers[next++] as Settled<R>)));
}

/** The reason of a failure as a `Sam3Error` with the stack of the caller. */
export function withCoded<T>(answer: Settled<T>, caller: Caller): Settled<T> {
  return answer.status === "fulfilled"
    ? answer
    : { status: "rejected", reason: toSam3Error(answer.reason, caller) };
}
