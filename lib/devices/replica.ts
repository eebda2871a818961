import { onAbort, throwIfAborted } from "../abort.js";
import { toSam3Error } from "../caller.js";
import { Sam3Error } from "../errors.js";
import type { Logger } from "../logger.js";
import type { Meter } from "../metrics/meter.js";
import type {
  NativeAddon,
  NativeBatch,
  NativeBundle,
  NativeCancelToken,
  NativeConceptObjects,
  NativeDevice,
  NativeFeatures,
  NativeMemory,
  NativeObjectMasks,
  NativeOutcome,
  NativeReplica,
  NativeTextFeatures,
  NativeTracking,
} from "../native/addon.js";
import { Admission } from "./admission.js";
import { type Asker, type BatchItem, type BatchLimits, BatchQueue } from "./batch-queue.js";
import type { ReplicaPlan } from "./device-list.js";
import type { DeviceMemory, Holder, Room } from "./device-memory.js";
import { sam3Closed } from "./disposed.js";
import { outOfMemory, tooLittleMemory } from "./memory-errors.js";
import type { StageInputs } from "./requests.js";

/** What a replica can be asked, each gathered in batches of its own. */
export type Stage = keyof StageInputs;

/** What a stage makes of one item. */
export interface StageOutputs {
  readonly encodeImages: NativeFeatures;
  readonly encodeTexts: NativeTextFeatures;
  readonly segmentConcepts: NativeConceptObjects;
  readonly segmentObjects: NativeObjectMasks;
}

/** What came of one item, and how long its batch took. */
export interface Done<T> {
  readonly value: T;
  readonly workMs: number;
}

/**
 * `waiting`: not loaded yet; `loading`; `ready`; `failed`: could not be loaded; `faulted`: its device failed while
 * working; `closed`.
 */
export type ReplicaState = "waiting" | "loading" | "ready" | "failed" | "faulted" | "closed";

/** What all replicas of a pool share. */
export interface ReplicaContext {
  readonly addon: NativeAddon;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly limits: Readonly<Record<"encode" | "decode", BatchLimits>>;
  /** Most calls that wait. */
  readonly maxQueue: number;
  /** The verified bundle; the first who asks has it verified. */
  readonly bundle: () => Promise<NativeBundle>;
  /** Bytes the parts take at least. */
  readonly modelBytes: number;
  /** What is left on the devices. */
  readonly memory: DeviceMemory;
  /** Told once when the device of a replica has failed. */
  readonly onFault: (replica: Replica) => void;
  /** Runs after loading, before anything else. */
  readonly warmUp: ((replica: Replica) => Promise<void>) | undefined;
  readonly onPart: (part: string, done: number, total: number) => void;
}

/** Bytes set aside for a session. */
export interface Reservation {
  readonly bytes: number;
  /** Those the session holds by now, which are counted with the features. */
  heldBytes: () => number;
}

/** Most items in one forward when memory was short before. */
const ONE_BY_ONE = 1;

/** One copy of the model on one device: its queue, its state, and what is done when memory or device fail it. */
export class Replica implements Holder {
  readonly name: string;
  readonly device: NativeDevice | undefined;
  readonly threads: number;
  readonly required: boolean;
  /** Gathers batches; `encodeImages` apart from the rest. */
  readonly queue: BatchQueue<Stage>;
  /** Calls on encoded pictures whose features are here: two batches can be at work. */
  readonly calls: Admission;
  /** Sessions that stay here. */
  sessions = 0;
  loadMs = 0;
  modelBytes = 0;
  readonly #context: ReplicaContext;
  #native: NativeReplica | undefined;
  #state: ReplicaState = "waiting";
  #reason: Sam3Error | undefined;
  #loading: Promise<void> | undefined;
  #loadToken: NativeCancelToken | undefined;
  #closing: Promise<void> | undefined;
  /** What is set aside for sessions. */
  readonly #reservations = new Set<Reservation>();
  /** Bytes of the model while it is being loaded. */
  #loadingBytes = 0;
  /** Calls of sessions that wait or run. */
  #tracking = 0;

  constructor(plan: ReplicaPlan, context: ReplicaContext) {
    this.name = plan.name;
    this.device = plan.device;
    this.threads = plan.threads;
    this.required = plan.required;
    this.#context = context;
    this.queue = new BatchQueue<Stage>(
      (stage) => (stage === "encodeImages" ? context.limits.encode : context.limits.decode),
      (stage, items) => this.#run(stage, items as unknown as readonly Item[]),
      ({ stage, items, waitedMs }) => {
        context.meter.observe("batch", stage, items);
        for (const waited of waitedMs) context.meter.observe("wait", stage, waited);
      },
    );
    const { limits, maxQueue, memory } = context;
    this.calls = new Admission({ atWork: 2 * limits.decode.maxBatch, maxQueue });
    memory.add(this);
    if (plan.reason) this.#fail("failed", plan.reason);
  }

  get state(): ReplicaState {
    return this.#state;
  }

  /** Why it is `failed` or `faulted`. */
  get reason(): Sam3Error | undefined {
    return this.#reason;
  }

  /** Whether work may be given to it: it is loaded, or can be. */
  get usable(): boolean {
    return this.#state === "ready" || this.#state === "loading" || this.#state === "waiting";
  }

  /** Loads the model; however many ask, once. */
  load(): Promise<void> {
    if (this.#state === "ready") return Promise.resolve();
    if (this.#reason && !this.usable) return Promise.reject(this.#reason);
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  /** Gives an item to a stage. Settles when the work on it has really ended. */
  submit<S extends Stage>(stage: S, input: StageInputs[S], asker?: Asker): Promise<Done<StageOutputs[S]>> {
    return this.queue.submit<StageInputs[S], Done<StageOutputs[S]>>(stage, input, asker);
  }

  /**
   * One call of the tracker's half, of a session that lives here. Settles when the work on it has really ended. Where
   * memory is short, what can be spared is freed and the call is made once more.
   *
   * @param label what the call is called in the statistics
   * @throws {Sam3Error} `OUT_OF_MEMORY`, `DEVICE_FAULT`, `DISPOSED`; the signal's reason when it was aborted; what the
   *   addon fails with
   */
  async track<T>(
    label: string,
    work: (native: NativeTracking, token: NativeCancelToken) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const { addon, meter } = this.#context;
    for (let again = false; ; again = true) {
      throwIfAborted(signal);
      const native = this.#native;
      if (!native || this.#state !== "ready") throw this.#reason ?? sam3Closed();
      const token = new addon.CancelToken();
      const forget = onAbort(signal, () => token.cancel());
      const start = performance.now();
      this.#tracking++;
      try {
        const answer = await work(native, token);
        meter.observe("work", label, performance.now() - start);
        return answer;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        const code = (error as { code?: unknown } | null)?.code;
        if (code === "DEVICE_FAULT") this.#fault(error);
        if (this.#state !== "ready") throw this.#reason ?? error;
        if (code !== "OUT_OF_MEMORY") throw error;
        if (again) throw outOfMemory(this.name, label, error, native.memory());
        await this.#recover(`"${label}"`, "");
      } finally {
        this.#tracking--;
        forget();
      }
    }
  }

  /** Items and calls that wait, run or are on their way: how busy it is. */
  get busyness(): number {
    return this.queue.load + this.#tracking;
  }

  /** Copies features to the host's memory or back. */
  async move(features: NativeFeatures, to: "host" | "device", signal: AbortSignal): Promise<NativeFeatures> {
    const native = this.#native;
    if (!native || this.#state !== "ready") throw this.#reason ?? sam3Closed();
    const token = new this.#context.addon.CancelToken();
    const forget = onAbort(signal, () => token.cancel());
    try {
      const moved = await native.moveFeatures(features, to, token);
      if (this.#state === "ready") return moved;
      moved.dispose();
      throw this.#reason ?? sam3Closed();
    } finally {
      forget();
    }
  }

  /** The device's memory; undefined while nothing is loaded. */
  memory(): NativeMemory | undefined {
    if (this.#state !== "ready") return undefined;
    return this.#native?.memory();
  }

  /** Bytes that may still be taken on its device; throws why where nothing is loaded. */
  room(): Room {
    const memory = this.memory();
    if (!memory || !this.device) throw this.#reason ?? sam3Closed();
    return this.#context.memory.roomOn({ id: this.device.id, freeBytes: memory.freeBytes });
  }

  /**
   * Sets bytes aside for a session. Where too little is left, what can be spared is freed and looked at once more; gives
   * the refusal when that is too little, too. Rejects with the signal's reason when it is aborted while a load is under way.
   */
  async reserve(reservation: Reservation, signal?: AbortSignal): Promise<Sam3Error | undefined> {
    const { memory } = this.#context;
    const { bytes } = reservation;
    // Looked at and taken in one go: nobody can come between.
    const taken = () => {
      const fits = bytes <= this.room().freeBytes;
      if (fits) this.#reservations.add(reservation);
      return fits;
    };
    if (taken()) return undefined;
    // Not during a load: half of a model counts as promised and as taken.
    const inTurn = async () => {
      if (taken()) return undefined;
      await memory.makeRoom(this, bytes, () => this.room());
      if (taken()) return undefined;
      const { freeBytes, byBudget } = this.room();
      return tooLittleMemory(`A session on ${this.name}`, bytes, freeBytes, byBudget);
    };
    return memory.inTurn(this, inTurn, signal);
  }

  /** Gives back what was set aside. */
  release(reservation: Reservation): void {
    this.#reservations.delete(reservation);
  }

  async trim(): Promise<boolean> {
    const native = this.#native;
    if (!native || this.#state !== "ready") return false;
    try {
      await native.trim();
    } catch (error) {
      this.#context.logger.warn(`trimming failed: ${String(error)}`);
    }
    return true;
  }

  /** Bytes of the model and of features on the device. */
  get heldBytes(): number {
    if (!this.#native) return 0;
    const { modelBytes, featureBytes } = this.#native.stats();
    return modelBytes + featureBytes;
  }

  get promisedBytes(): number {
    let bytes = this.#loadingBytes;
    for (const one of this.#reservations) bytes += Math.max(0, one.bytes - one.heldBytes());
    return bytes;
  }

  /** Bytes set aside for sessions, those they hold already among them. */
  get reservedBytes(): number {
    let bytes = 0;
    for (const one of this.#reservations) bytes += one.bytes;
    return bytes;
  }

  /** Bytes of features on the device, the kept ones among them. */
  get featureBytes(): number {
    return this.#native?.stats().featureBytes ?? 0;
  }

  /** Ends what runs, refuses what waits, frees the model. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#state !== "faulted") this.#state = "closed";
    this.queue.close(sam3Closed());
    this.#loadToken?.cancel();
    // A load that is under way must not leave a model behind.
    await this.#loading?.catch(() => {});
    await this.#native?.close();
  }

  async #load(): Promise<void> {
    const { bundle, logger, memory, warmUp } = this.#context;
    this.#state = "loading";
    try {
      const parts = await bundle();
      await memory.inTurn(this, () => this.#loadParts(parts));
      await warmUp?.(this);
      logger.info(
        `${this.name} is ready on ${this.device?.id} (${this.device?.name}) after ${Math.round(this.loadMs)} ms`,
      );
    } catch (error) {
      await this.#giveUp();
      if (this.#closing || this.state === "closed") throw sam3Closed();
      const reason = toSam3Error(error);
      // What is too little now may be enough later; the rest will not change by itself.
      const passing = reason.code === "DEVICE_MEMORY" || reason.code === "OUT_OF_MEMORY";
      this.#reason = reason;
      this.#state = passing ? "waiting" : "failed";
      throw reason;
    }
    this.#reason = undefined;
  }

  /** Moves the parts to the device, where they fit. */
  async #loadParts(parts: NativeBundle): Promise<void> {
    const { addon, memory, modelBytes, onPart } = this.#context;
    this.#assertNotClosed();
    // Before anything is read. What others left lying there is worth less than a replica.
    await memory.makeRoom(this, modelBytes, () => this.#roomForModel());
    this.#assertNotClosed();
    const { id, freeBytes, byBudget } = this.#roomForModel();
    if (modelBytes > freeBytes) throw tooLittleMemory(this.name, modelBytes, freeBytes, byBudget);
    // Looked at and taken in one go: what others want meanwhile finds it taken.
    this.#loadingBytes = modelBytes;
    try {
      const native = new addon.Replica({ device: id, threads: this.threads });
      this.#native = native;
      const token = new addon.CancelToken();
      this.#loadToken = token;
      const report = await native.load(parts, token, onPart);
      this.#assertNotClosed();
      this.#state = "ready";
      this.loadMs = report.loadMs;
      this.modelBytes = report.modelBytes;
    } catch (error) {
      // Before the turn is passed on: who is next must find the memory free.
      await this.#giveUp();
      throw error;
    } finally {
      this.#loadToken = undefined;
      this.#loadingBytes = 0;
    }
  }

  /** Frees what a load that failed has left. */
  async #giveUp(): Promise<void> {
    const native = this.#native;
    this.#native = undefined;
    await native
      ?.close()
      .catch((error: unknown) => this.#context.logger.error(`closing ${this.name} failed: ${String(error)}`));
  }

  #roomForModel(): Room & Pick<NativeDevice, "id"> {
    const { addon, memory } = this.#context;
    const id = this.device?.id;
    const device = addon.devices().find((it) => it.id === id);
    if (!device)
      throw new Sam3Error("DEVICE_UNKNOWN", `The device ${id} of ${this.name} is no longer there.`);
    return { id: device.id, ...memory.roomOn(device) };
  }

  #assertNotClosed(): void {
    if (this.#closing) throw sam3Closed();
  }

  #fail(state: "failed" | "faulted", reason: Sam3Error): void {
    this.#state = state;
    this.#reason = reason;
  }

  /** Runs one batch and settles its items. Never rejects. */
  async #run(stage: Stage, items: readonly Item[]): Promise<void> {
    try {
      const short = await this.#ask(stage, items, false);
      if (short.length > 0) await this.#askAgain(stage, short);
    } catch (error) {
      for (const item of items) item.reject(this.#reason ?? error);
    }
  }

  /** Asks the addon and settles what it answers; gives the items that memory was too short for. */
  async #ask(stage: Stage, items: readonly Item[], again: boolean): Promise<Item[]> {
    const { addon, meter, limits } = this.#context;
    const native = this.#native;
    if (!native) throw sam3Closed();
    const asked = items.map((item) => {
      const token = new addon.CancelToken();
      item.cancel = () => token.cancel();
      return { ...item.input, token };
    });
    const { maxBatch } = stage === "encodeImages" ? limits.encode : limits.decode;
    const options = { atOnce: again ? ONE_BY_ONE : maxBatch };
    const ask = native[stage] as (items: never, options: object) => Promise<NativeBatch<unknown>>;
    const { items: outcomes, workMs } = await ask.call(native, asked as never, options);
    meter.observe("work", stage, workMs);
    const short: Item[] = [];
    const fault = outcomes.find((it) => "error" in it && it.error?.code === "DEVICE_FAULT");
    if (fault && "error" in fault) this.#fault(fault.error);
    items.forEach((item, i) => {
      const outcome = outcomes[i] as NativeOutcome<unknown> | undefined;
      if (outcome === undefined) {
        item.reject(
          new Sam3Error("INTERNAL", `The addon answered ${outcomes.length} of ${items.length} items.`),
        );
      } else if (!("error" in outcome)) this.#deliver(item, stage, outcome.value, workMs);
      else if (outcome.error?.code === "OUT_OF_MEMORY" && !again) short.push(item);
      else item.reject(this.#failed(outcome.error, stage));
    });
    return short;
  }

  #deliver(item: Item, stage: Stage, value: unknown, workMs: number): void {
    if (this.#state === "faulted" && (stage === "encodeImages" || stage === "encodeTexts")) {
      // Made before the device failed, and of no use on it any more.
      (value as NativeFeatures | NativeTextFeatures).dispose();
      item.reject(this.#reason);
    } else item.resolve({ value, workMs });
  }

  /** Once more one by one, after everything that can be spared was freed. */
  async #askAgain(stage: Stage, items: readonly Item[]): Promise<void> {
    await this.#recover(`"${stage}" of ${items.length}`, " one by one");
    await this.#ask(stage, items, true);
  }

  /** Frees everything that can be spared. */
  async #recover(what: string, how: string): Promise<void> {
    const { logger, meter, memory } = this.#context;
    meter.memoryRecoveries++;
    const freed = await memory.freeAll(this);
    logger.warn(
      `${this.name} had too little memory for ${what}; freed ${freed} bytes of kept features, trying again${how}`,
    );
  }

  /** The error an item fails with. */
  #failed(error: unknown, stage: Stage): unknown {
    const code = (error as { code?: unknown } | null)?.code;
    if (code === "OUT_OF_MEMORY") return outOfMemory(this.name, stage, error, this.#native?.memory());
    return code === "DEVICE_FAULT" ? this.#reason : error;
  }

  /** Takes the replica out of use: nothing that is on a failed device can be trusted. */
  #fault(error: unknown): void {
    if (this.#state === "faulted") return;
    const { logger, onFault } = this.#context;
    const said = error instanceof Error ? error.message : String(error);
    const reason = new Sam3Error(
      "DEVICE_FAULT",
      `${this.name} failed while working and was taken out of use: ${said}. A process cannot use a CUDA device again after such a failure: restart it.`,
      { cause: error, details: { replica: this.name } },
    );
    this.#fail("faulted", reason);
    logger.error(reason.message);
    this.queue.close(reason);
    onFault(this);
    // What runs on it must end first, and nobody has to wait for that.
    this.#native
      ?.close()
      .catch((closing: unknown) => logger.error(`closing ${this.name} failed: ${String(closing)}`));
  }
}

type Item = BatchItem<object, Done<unknown>>;
