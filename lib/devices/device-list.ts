import { Sam3Error } from "../errors.js";
import type { NativeDevice } from "../native/addon.js";
import type { DeviceRequest } from "../settings.js";

/** One replica that is to be made. */
export interface ReplicaPlan {
  /** `cpu`, `cpu:1`, `cuda:0`, or `cuda:0/1` for the second of several on one device. */
  readonly name: string;
  /** Undefined for an optional one whose device is not there. */
  readonly device: NativeDevice | undefined;
  readonly threads: number;
  /** False: that it cannot be loaded is reported and nothing more. */
  readonly required: boolean;
  /** Why there is no device. */
  readonly reason?: Sam3Error;
}

/**
 * The replicas a list of devices asks for.
 *
 * @throws {Sam3Error} `DEVICE_UNKNOWN` naming the devices there are, `INVALID_SETTING` for one that is named twice
 */
export function planReplicas(
  requests: readonly DeviceRequest[],
  devices: readonly NativeDevice[],
  threads: number,
): ReplicaPlan[] {
  const plans: ReplicaPlan[] = [];
  const taken = new Map<string, string>();
  for (const request of requests) {
    const found = findDevice(request.device, devices);
    const device = found instanceof Error ? undefined : found;
    if (found instanceof Error && request.required) throw found;
    for (const { name, place } of namesOf(request, device?.id ?? request.device)) {
      const before = taken.get(place);
      if (before !== undefined) throw twice(request.device, before, device?.id ?? request.device);
      taken.set(place, request.device);
      plans.push({
        name,
        device,
        threads: request.threads ?? threads,
        required: request.required,
        ...(found instanceof Error ? { reason: found } : {}),
      });
    }
  }
  return plans;
}

/** Names of a request's replicas, and the places they take: a place is taken once. */
function namesOf({ device, replicas }: DeviceRequest, id: string): { name: string; place: string }[] {
  if (id !== "cpu") {
    if (replicas === 1) return [{ name: id, place: id }];
    return Array.from({ length: replicas }, (_, i) => ({
      name: `${id}/${i}`,
      place: i === 0 ? id : `${id}/${i}`,
    }));
  }
  if (/^cpu:\d+$/.test(device)) {
    if (replicas === 1) return [{ name: device, place: device }];
    throw new Sam3Error(
      "INVALID_SETTING",
      `The option "devices" asks for ${replicas} replicas of "${device}", which is the name of one. Write { device: "cpu", replicas: ${replicas} }.`,
    );
  }
  if (replicas === 1) return [{ name: "cpu", place: "cpu:0" }];
  return Array.from({ length: replicas }, (_, i) => ({ name: `cpu:${i}`, place: `cpu:${i}` }));
}

function findDevice(name: string, devices: readonly NativeDevice[]): NativeDevice | Sam3Error {
  const isCuda = ({ id }: NativeDevice) => id.startsWith("cuda:");
  const cpu = devices.find(({ id }) => id === "cpu");
  let found: NativeDevice | undefined;
  if (name === "auto") found = devices.find(isCuda) ?? cpu;
  else if (name === "cuda") found = devices.find(isCuda);
  else if (name === "cpu" || name.startsWith("cpu:")) found = cpu;
  else if (/^(gpu|mig)-/i.test(name)) {
    found = devices.find(({ uuid }) => uuid?.toLowerCase() === name.toLowerCase());
    if (!found) return invisible(name, devices);
  } else found = devices.find(({ id }) => id === name);
  if (found) return found;
  return new Sam3Error("DEVICE_UNKNOWN", `There is no device "${name}" here. Available: ${listOf(devices)}.`);
}

function invisible(name: string, devices: readonly NativeDevice[]): Sam3Error {
  return new Sam3Error(
    "DEVICE_UNKNOWN",
    `No device with the id "${name}" is visible to this process. Start it with CUDA_VISIBLE_DEVICES=${name} ("nvidia-smi -L" lists the ids; a process sees one MIG device at most). Visible: ${listOf(devices)}.`,
  );
}

function listOf(devices: readonly NativeDevice[]): string {
  const list = devices.map(({ id, name, uuid }) => `${id} (${name}${uuid === null ? "" : `, ${uuid}`})`);
  return list.join(", ") || "none";
}

function twice(name: string, before: string, id: string): Sam3Error {
  const same = name === before ? `"${name}" twice` : `"${before}" and "${name}", which are the same`;
  return new Sam3Error(
    "INVALID_SETTING",
    `The option "devices" names ${same}. For several replicas on a device write { device: "${id}", replicas: 2 }.`,
  );
}
