import { Sam3Error } from "../errors.js";
import type { NativeMemory } from "../native/addon.js";

/** The error of something that would not fit a device. */
export function tooLittleMemory(
  replica: string,
  neededBytes: number,
  freeBytes: number,
  byBudget: boolean,
): Sam3Error {
  const limit = byBudget
    ? "deviceMemoryMb (SAM3_DEVICE_MEMORY_MB) leaves"
    : "the device has free, by its own account,";
  return new Sam3Error(
    "DEVICE_MEMORY",
    `${replica} needs at least ${inMegabytes(neededBytes)}, and ${limit} ${inMegabytes(freeBytes)}. Free memory there, use another device or fewer replicas, or a bundle of half the size (sam3 export --dtype bf16).`,
    { details: { replica, neededBytes, freeBytes } },
  );
}

/** The error of work that ran out of memory, and did so again one by one. */
export function outOfMemory(
  replica: string,
  stage: string,
  cause: unknown,
  memory: NativeMemory | undefined,
): Sam3Error {
  const said = cause instanceof Error ? cause.message : String(cause);
  const figures = memory
    ? ` The device has ${inMegabytes(memory.freeBytes)} of ${inMegabytes(memory.totalBytes)} free; the model holds ${inMegabytes(memory.modelBytes)}, features ${inMegabytes(memory.featureBytes)}.`
    : "";
  return new Sam3Error(
    "OUT_OF_MEMORY",
    `${replica} has too little memory for "${stage}", also one by one and with the cache emptied: ${said}.${figures} Dispose encoded images, ask fewer prompts at once, run fewer replicas or other programs on it, or use a bundle of half the size (sam3 export --dtype bf16).`,
    {
      cause,
      details: {
        replica,
        stage,
        ...(memory
          ? {
              freeBytes: memory.freeBytes,
              totalBytes: memory.totalBytes,
              modelBytes: memory.modelBytes,
              featureBytes: memory.featureBytes,
            }
          : {}),
      },
    },
  );
}

function inMegabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MB`;
}
