import { Sam3Error } from "../errors.js";

/** How many calls may be under way. */
export interface AdmissionLimits {
  /** Calls that can be at work; those beyond them wait. */
  readonly atWork: number;
  /** Most calls that wait; more are refused. */
  readonly maxQueue: number;
}

/**
 * Counts calls from their start to their end, and refuses one that would wait behind a full line. It counts at once: of
 * calls made together, each sees those before it. Who was let in is not refused later.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  #calls = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /**
   * Lets a call in; call what is returned when it has ended.
   *
   * @param stage what it waits for, for the error
   * @throws {Sam3Error} `QUEUE_FULL`
   */
  enter(stage: string): () => void {
    const { atWork, maxQueue } = this.#limits;
    const waiting = this.#calls - atWork;
    if (waiting >= maxQueue) throw queueFull(stage, waiting, maxQueue);
    this.#calls++;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#calls--;
    };
  }
}

function queueFull(stage: string, waiting: number, maxQueue: number): Sam3Error {
  return new Sam3Error(
    "QUEUE_FULL",
    `${waiting} calls are waiting at "${stage}" and ${maxQueue} is the limit. Try again later, send less at once, add devices or replicas, or raise maxQueue (SAM3_MAX_QUEUE).`,
    { details: { stage, waiting, maxQueue } },
  );
}
