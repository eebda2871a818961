import { Gate } from "../gate.js";
import type { NativeDevice } from "../native/addon.js";

/** Memory that is left, and whether it is the budget that leaves so little. */
export interface Room {
  readonly freeBytes: number;
  readonly byBudget: boolean;
}

/** Frees features on a device that nobody uses, as many bytes as are needed where that is said; gives the bytes. */
export type Evict = (deviceId: string, neededBytes?: number) => number;

/** Who holds memory on a device: a replica. */
export interface Holder {
  readonly device: NativeDevice | undefined;
  /** Bytes of its model and of features. */
  readonly heldBytes: number;
  /** Bytes that are taken already though not held yet: a model that is being loaded, what sessions may still take. */
  readonly promisedBytes: number;
  /** Has the allocator give back what it keeps for later; false where nothing is loaded that could. */
  trim(): Promise<boolean>;
}

/** What is left on each device, of its own memory and of the budget, with everything that replicas hold there together. */
export class DeviceMemory {
  readonly #budgetBytes: number | undefined;
  readonly #evict: Evict;
  readonly #holders: Holder[] = [];
  readonly #turns = new Map<string, Gate>();

  /**
   * @param budgetBytes most that replicas may hold on one device; undefined = what is free
   */
  constructor(budgetBytes: number | undefined, evict: Evict) {
    this.#budgetBytes = budgetBytes;
    this.#evict = evict;
  }

  add(holder: Holder): void {
    this.#holders.push(holder);
  }

  /** What may still be taken on a device that has so much free by its own account. */
  roomOn({ id, freeBytes }: Pick<NativeDevice, "id" | "freeBytes">): Room {
    const sum = (bytesOf: (holder: Holder) => number) =>
      this.#on(id).reduce((total, holder) => total + bytesOf(holder), 0);
    const held = sum(({ heldBytes }) => heldBytes);
    const promised = sum(({ promisedBytes }) => promisedBytes);
    const allowed = (this.#budgetBytes ?? Number.POSITIVE_INFINITY) - held;
    return { freeBytes: Math.max(0, Math.min(freeBytes, allowed) - promised), byBudget: allowed < freeBytes };
  }

  /**
   * Frees what it takes on the device of a replica until so many bytes may be taken: what the allocator keeps, then
   * features that nobody uses, whichever replica made them. Where all of it is too little, all of it is freed.
   */
  async makeRoom(on: Holder, bytes: number, look: () => Room): Promise<void> {
    const id = on.device?.id;
    let room = look();
    // What the allocator keeps counts for nothing in the budget.
    if (bytes > room.freeBytes && !room.byBudget) {
      await this.#trim(on);
      room = look();
    }
    while (id !== undefined && bytes > room.freeBytes) {
      if (this.#evict(id, bytes - room.freeBytes) === 0) return;
      await this.#trim(on);
      room = look();
    }
  }

  /** Frees everything that can be spared on the device of a replica; gives the bytes of the features. */
  async freeAll(on: Holder): Promise<number> {
    const freed = on.device === undefined ? 0 : this.#evict(on.device.id);
    await this.#trim(on);
    return freed;
  }

  /**
   * Runs loads onto one device one after the other: only what has been loaded shows what is left for the next. Rejects
   * with the signal's reason when it is aborted before its turn.
   */
  inTurn<T>({ device }: Holder, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const id = device?.id ?? "";
    let turns = this.#turns.get(id);
    if (!turns) {
      turns = new Gate({ atOnce: 1 });
      this.#turns.set(id, turns);
    }
    return turns.pass(signal, work);
  }

  /** The allocator is the device's: one who asks is enough, best the one that is at work itself. */
  async #trim(on: Holder): Promise<void> {
    const others = on.device === undefined ? [] : this.#on(on.device.id);
    for (const holder of [on, ...others]) if (await holder.trim()) break;
  }

  #on(deviceId: string): Holder[] {
    return this.#holders.filter(({ device }) => device?.id === deviceId);
  }
}
