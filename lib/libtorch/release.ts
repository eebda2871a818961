/** The libtorch this package is built for. The C++ interface of libtorch holds for one minor version only. */
export const LIBTORCH_VERSION = "2.13.0";

/** Builds of libtorch that can be installed. */
export const LIBTORCH_VARIANTS = ["cpu", "cu130"] as const;

export type LibtorchVariant = (typeof LIBTORCH_VARIANTS)[number];

/** A wheel from the Python package index, pinned by content. */
export interface PinnedWheel {
  /** Requirement as pip wants it. */
  readonly requirement: string;
  /** Start of the wheel's file name, for finding it after a download. */
  readonly prefix: string;
  readonly sha256: string;
  /** Size of the wheel, for the progress bar and the check for free space. */
  readonly bytes: number;
}

/** What one variant is made of. */
export interface LibtorchRelease {
  readonly wheels: readonly PinnedWheel[];
  /** Bytes on disk once unpacked, for the check before a download. */
  readonly unpackedBytes: number;
  /** Index that carries the variant under its own name, for machines whose usual index does not. */
  readonly index: string;
  /** The official archive, for machines without Python. */
  readonly archive: string;
}

/**
 * Every variant for Linux x64. The wheels of CPython 3.11 are taken whatever Python is there: only their C++ libraries
 * are unpacked, and those are the same in every wheel, so one pinned hash serves everybody.
 */
export const LIBTORCH_RELEASES: Readonly<Record<LibtorchVariant, LibtorchRelease>> = {
  cpu: {
    wheels: [
      {
        // Spelled so on purpose: pip prefers `2.13.0+cpu` for it where it can see that build.
        requirement: "torch==2.13.0",
        prefix: "torch-2.13.0+cpu-cp311-",
        sha256: "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        bytes: 191_794_682,
      },
    ],
    unpackedBytes: 482_000_000,
    index: "https://download.pytorch.org/whl/cpu",
    archive: "https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip",
  },
  cu130: {
    wheels: [
      {
        // `===` leaves out the CPU build, whose version is `2.13.0+cpu`.
        requirement: "torch===2.13.0",
        prefix: "torch-2.13.0-cp311-",
        sha256: "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
        bytes: 0,
      },
    ],
    unpackedBytes: 0,
    index: "https://download.pytorch.org/whl/cu130",
    archive: "https://download.pytorch.org/libtorch/cu130/libtorch-shared-with-deps-2.13.0%2Bcu130.zip",
  },
};
