/** The libtorch this package is built for. The C++ interface of libtorch holds for one minor version only. */
export const LIBTORCH_VERSION = "2.13.0";

/** That minor version. */
export const LIBTORCH_MINOR = LIBTORCH_VERSION.split(".", 2).join(".");

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
        bytes: 526_574_961,
      },
      {
        requirement: "nvidia-cudnn-cu13==9.20.0.48",
        prefix: "nvidia_cudnn_cu13-9.20.0.48-",
        sha256: "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
        bytes: 366_173_588,
      },
      {
        requirement: "nvidia-cusparselt-cu13==0.8.1",
        prefix: "nvidia_cusparselt_cu13-0.8.1-",
        sha256: "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
        bytes: 170_148_586,
      },
      {
        requirement: "nvidia-nccl-cu13==2.29.7",
        prefix: "nvidia_nccl_cu13-2.29.7-",
        sha256: "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
        bytes: 205_976_000,
      },
      {
        requirement: "nvidia-nvshmem-cu13==3.4.5",
        prefix: "nvidia_nvshmem_cu13-3.4.5-",
        sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        bytes: 60_412_546,
      },
      {
        requirement: "nvidia-cublas==13.1.1.3",
        prefix: "nvidia_cublas-13.1.1.3-",
        sha256: "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        bytes: 423_138_758,
      },
      {
        requirement: "nvidia-cuda-cupti==13.0.85",
        prefix: "nvidia_cuda_cupti-13.0.85-",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        bytes: 10_715_597,
      },
      {
        requirement: "nvidia-cuda-nvrtc==13.0.88",
        prefix: "nvidia_cuda_nvrtc-13.0.88-",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        bytes: 90_215_200,
      },
      {
        requirement: "nvidia-cuda-runtime==13.0.96",
        prefix: "nvidia_cuda_runtime-13.0.96-",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        bytes: 2_243_632,
      },
      {
        requirement: "nvidia-cufft==12.0.0.61",
        prefix: "nvidia_cufft-12.0.0.61-",
        sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        bytes: 214_085_489,
      },
      {
        requirement: "nvidia-cufile==1.15.1.6",
        prefix: "nvidia_cufile-1.15.1.6-",
        sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        bytes: 1_223_672,
      },
      {
        requirement: "nvidia-curand==10.4.0.35",
        prefix: "nvidia_curand-10.4.0.35-",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        bytes: 59_544_258,
      },
      {
        requirement: "nvidia-cusolver==12.0.4.66",
        prefix: "nvidia_cusolver-12.0.4.66-",
        sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        bytes: 200_941_980,
      },
      {
        requirement: "nvidia-cusparse==12.6.3.3",
        prefix: "nvidia_cusparse-12.6.3.3-",
        sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        bytes: 145_942_937,
      },
      {
        requirement: "nvidia-nvtx==13.0.85",
        prefix: "nvidia_nvtx-13.0.85-",
        sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        bytes: 148_047,
      },
      {
        requirement: "nvidia-nvjitlink==13.5.37",
        prefix: "nvidia_nvjitlink-13.5.37-",
        sha256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
        bytes: 46_642_491,
      },
    ],
    unpackedBytes: 3_830_000_000,
    index: "https://download.pytorch.org/whl/cu130",
    archive: "https://download.pytorch.org/libtorch/cu130/libtorch-shared-with-deps-2.13.0%2Bcu130.zip",
  },
};
