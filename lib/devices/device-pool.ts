import { throwIfAborted, until } from "../abort.js";
import { Sam3Error } from "../errors.js";
import { sam3Closed } from "./disposed.js";
import type { Replica, ReplicaState, Reservation, Stage } from "./replica.js";

/** How a Sam3 is doing. */
export interface Health {
  /** `ready`: everything that was asked for can work; `degraded`: some of it; `unavailable`: nothing. */
  readonly status: "ready" | "degraded" | "unavailable";
  /** Why it is not `ready`, in sentences; empty when it is. */
  readonly reasons: readonly string[];
  readonly replicas: readonly ReplicaHealth[];
}

export interface ReplicaHealth {
  /** `cpu`, `cpu:1`, `cuda:0`, `cuda:0/1`, … */
  readonly name: string;
  readonly state: ReplicaState;
  /** Code of the error that put it out of use. */
  readonly code?: string;
  readonly reason?: string;
}

/** A replica that was chosen, and counted as busier from now on. */
export interface Assignment {
  readonly replica: Replica;
  /** Call it when the work has come to the replica's queue, or will not. */
  readonly arrived: () => void;
}

/** A session's place: the replica stays the same until it is released. */
export interface SessionPlace {
  readonly replica: Replica;
  /** Tells how to learn what the session holds on the device: so much of what it was promised is not counted twice. */
  countHeld(heldBytes: () => number): void;
  release(): void;
}

/** The replicas of one Sam3 and who works where. */
export class DevicePool {
  readonly replicas: readonly Replica[];
  /** Items at which a replica has enough to do that another one is worth loading. */
  readonly #enough: number;
  #closed = false;

  constructor(replicas: readonly Replica[], enough: number) {
    this.replicas = replicas;
    this.#enough = enough;
  }

  /**
   * Loads every replica, one after the other. Those that are not required may fail.
   *
   * @throws {Sam3Error} what loading a required one failed with, or the first failure where none could be loaded
   */
  async load(): Promise<void> {
    const failures: unknown[] = [];
    for (const replica of this.replicas) {
      try {
        await replica.load();
      } catch (error) {
        if (replica.required || this.#closed) throw error;
        failures.push(error);
      }
    }
    if (failures.length === this.replicas.length) throw failures[0];
  }

  /**
   * The least loaded replica, loaded when it is not yet.
   *
   * @throws {Sam3Error} what loading failed with; `DEVICE_FAULT` or what else put the last replica out of use
   */
  async assign(stage: Stage): Promise<Assignment> {
    const avoid = new Set<Replica>();
    for (;;) {
      const replica = this.#choose(avoid);
      // Counted before it is loaded, so that calls made together spread.
      const arrived = replica.queue.expect(stage);
      try {
        await replica.load();
        return { replica, arrived };
      } catch (error) {
        arrived();
        avoid.add(replica);
        if (replica.required || this.#closed || !this.replicas.some((it) => it.usable && !avoid.has(it)))
          throw error;
      }
    }
  }

  /**
   * A place for a session that keeps `bytes` on its device: where the fewest sessions are, of the replicas that are
   * named (by their own names, or all of a device by its id). Where they do not fit, kept features that nobody uses
   * make room.
   *
   * @param signal ends the wait at once; a place that is found afterwards is given back
   * @throws {Sam3Error} `DEVICE_MEMORY` when no replica has so much left, `DEVICE_UNKNOWN` for a name that is none; the
   *   signal's reason when it was aborted
   */
  async pin(bytes: number, names?: readonly string[], signal?: AbortSignal): Promise<SessionPlace> {
    const finding = this.#findPlace(bytes, names, signal);
    try {
      return await until(signal, finding);
    } catch (error) {
      finding.then(
        (place) => place.release(),
        () => {},
      );
      throw error;
    }
  }

  async #findPlace(
    bytes: number,
    names: readonly string[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<SessionPlace> {
    const allowed = names === undefined ? this.replicas : names.flatMap((name) => this.#named(name));
    let refusal: Sam3Error | undefined;
    const avoid = new Set<Replica>();
    for (;;) {
      throwIfAborted(signal);
      const candidates = allowed.filter((it) => it.usable && !avoid.has(it));
      const replica = candidates.sort((a, b) => a.sessions - b.sessions || a.busyness - b.busyness)[0];
      if (!replica) throw refusal ?? this.#noneLeft(allowed);
      // Counted before anything is waited for, so that sessions opened together spread.
      replica.sessions++;
      try {
        await replica.load();
        const reservation: Reservation = { bytes, heldBytes: () => 0 };
        refusal = await replica.reserve(reservation, signal);
        if (!refusal) {
          const release = () => {
            replica.sessions--;
            replica.release(reservation);
          };
          const countHeld = (heldBytes: () => number) => {
            reservation.heldBytes = heldBytes;
          };
          return { replica, countHeld, release: once(release) };
        }
      } catch (error) {
        if (replica.required || this.#closed) {
          replica.sessions--;
          throw error;
        }
      }
      replica.sessions--;
      avoid.add(replica);
    }
  }

  health(): Health {
    const replicas = this.replicas.map(({ name, state, reason }) => ({
      name,
      state,
      ...(reason ? { code: reason.code, reason: reason.message } : {}),
    }));
    const reasons = this.#closed
      ? ["This Sam3 was closed."]
      : replicas.flatMap(({ name, state, reason }) => (reason ? [`${name} is ${state}: ${reason}`] : []));
    const usable = this.#closed ? [] : this.replicas.filter((it) => it.usable);
    const status = usable.length === 0 ? "unavailable" : reasons.length > 0 ? "degraded" : "ready";
    return { status, reasons, replicas };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const ends = await Promise.allSettled(this.replicas.map((replica) => replica.close()));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  #choose(avoid: ReadonlySet<Replica>): Replica {
    const usable = this.replicas.filter((it) => it.usable && !avoid.has(it));
    const loaded = least(usable.filter(({ state }) => state === "ready"));
    // One that failed before is tried again only where there is no other.
    const waiting = usable.filter(({ state }) => state === "waiting");
    const next = waiting.find(({ reason }) => reason === undefined);
    if (loaded) {
      if (next && loaded.queue.load >= this.#enough) {
        // Worth a further replica, though not worth waiting for. That it failed is to be seen in its state.
        next.load().catch(() => {});
      }
      return loaded;
    }
    const coming = least(usable.filter(({ state }) => state === "loading"));
    const chosen =
      coming && !(next && coming.queue.load >= this.#enough) ? coming : (next ?? coming ?? waiting[0]);
    if (!chosen) throw this.#noneLeft();
    return chosen;
  }

  #named(name: string): readonly Replica[] {
    const named = this.replicas.filter((it) => it.name === name || it.device?.id === name);
    if (named.length > 0) return named;
    const known = this.replicas.map((it) => it.name).join(", ");
    throw new Sam3Error(
      "DEVICE_UNKNOWN",
      `There is no replica "${name}" for a video session (option device, or videoDevices / VIDEO_GPU_LIST). This Sam3 has ${known}.`,
    );
  }

  #noneLeft(replicas: readonly Replica[] = this.replicas): Sam3Error {
    const [first] = replicas.flatMap(({ reason }) => reason ?? []);
    return first && !this.#closed ? first : sam3Closed();
  }
}

/** The one with least to do; the one with fewer sessions, then the first, where several have as little. */
function least(replicas: readonly Replica[]): Replica | undefined {
  return [...replicas].sort((a, b) => a.busyness - b.busyness || a.sessions - b.sessions)[0];
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
}
