import { formatBytes } from "../libtorch/disk.js";
import { type InstallPhase, installLibtorch } from "../libtorch/install.js";
import {
  LIBTORCH_MINOR,
  LIBTORCH_VARIANTS,
  LIBTORCH_VERSION,
  type LibtorchVariant,
} from "../libtorch/release.js";
import { resolveLibtorch } from "../native/resolve-libtorch.js";
import { readSettings } from "../options.js";
import { defineCommand, type Io, usage } from "./command.js";
import { ProgressBar } from "./progress.js";

const DOING: Readonly<Record<InstallPhase, string>> = {
  find: "looking for",
  download: "downloading",
  check: "checking",
  unpack: "unpacking",
};

/** `sam3 libtorch install` and `sam3 libtorch where`. */
export const libtorchCommand = defineCommand({
  name: "libtorch",
  summary: `Installs libtorch ${LIBTORCH_VERSION}, which the models run on, or says where it is.`,
  usage: ["sam3 libtorch install [options]", "sam3 libtorch where"],
  options: {
    variant: {
      type: "string",
      value: "<cpu|cu130>",
      help: "build to install; cu130 is CUDA 13.0 (default cpu)",
    },
    from: {
      type: "string",
      value: "<source>",
      help: "pip, a URL, or an archive or folder of libtorch (default pip, without Python the official archive)",
    },
    sha256: { type: "string", value: "<hex>", help: "expected SHA-256 of the archive named in --from" },
    to: { type: "string", value: "<folder>", help: "folder to install into (default a cache folder)" },
    force: { type: "boolean", help: "install again what is there already" },
  },
  notes: [
    "A download that was interrupted goes on where it stopped when the command is run again.",
    "The cache folder is ~/.cache/sam3-node, or what XDG_CACHE_HOME or SAM3_HOME say.",
  ],
  run: async ([action, ...rest], options, io) => {
    if (rest.length > 0)
      throw usage(`too many words after ${action}: ${rest.join(" ")}`, { name: "libtorch" });
    if (action === "install") return install(options, io);
    if (action === "where") return where(io);
    throw usage(action === undefined ? "say install or where" : `there is no sam3 libtorch ${action}`, {
      name: "libtorch",
    });
  },
});

async function install(
  options: { variant?: string; from?: string; sha256?: string; to?: string; force?: boolean },
  io: Io,
): Promise<number> {
  const { variant = "cpu", from, sha256, to, force = false } = options;
  if (!isVariant(variant)) {
    throw usage(`--variant ${variant} is not one of ${LIBTORCH_VARIANTS.join(", ")}`, { name: "libtorch" });
  }
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) {
    throw usage("--sha256 must be 64 hex digits", { name: "libtorch" });
  }
  if (sha256 !== undefined && (from === undefined || from === "pip")) {
    throw usage("--sha256 needs an archive or URL in --from; pip's files have their own pinned hashes", {
      name: "libtorch",
    });
  }
  for (const [name, value] of Object.entries({ from, to })) {
    if (value === "") throw usage(`--${name} is empty`, { name: "libtorch" });
  }
  const bar = new ProgressBar(io.interactive ? io.err : undefined, process.stderr.columns);
  let phase: string | undefined;
  try {
    const installed = await installLibtorch({
      variant,
      from,
      sha256: sha256?.toLowerCase(),
      to,
      force,
      signal: io.signal,
      env: io.env,
      onProgress: (progress) => {
        const label = `${DOING[progress.phase]} ${progress.what}`;
        if (io.interactive) bar.update(label, progress.doneBytes, progress.totalBytes);
        else if (phase !== label) {
          const size = progress.totalBytes === undefined ? "" : ` (${formatBytes(progress.totalBytes)})`;
          io.err(`${label}${progress.phase === "check" ? "" : size}\n`);
        }
        phase = label;
      },
    });
    bar.clear();
    const { path, version } = installed;
    io.out(
      `libtorch ${version} (${variant}) ${installed.already ? "is already in" : "installed in"} ${path}\n`,
    );
    if (!installed.already && sha256 === undefined && from !== undefined && from !== "pip") {
      for (const [file, hash] of Object.entries(installed.sha256)) {
        io.err(
          `note: ${file} was not checked against a known hash (its SHA-256 is ${hash}); --sha256 does\n`,
        );
      }
    }
    if (to !== undefined) io.out(`to use it, set SAM3_LIBTORCH=${path}\n`);
    return 0;
  } finally {
    bar.clear();
  }
}

function where(io: Io): number {
  const { home } = readSettings({}, io.env);
  io.out(`${resolveLibtorch({ home, env: io.env, minor: LIBTORCH_MINOR }).path}\n`);
  return 0;
}

function isVariant(value: string): value is LibtorchVariant {
  return (LIBTORCH_VARIANTS as readonly string[]).includes(value);
}
