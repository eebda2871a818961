import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readBundle } from "../bundle/read-bundle.js";
import { Sam3Error, type Sam3ErrorCode } from "../errors.js";
import { findPython } from "../libtorch/python.js";
import { LIBTORCH_MINOR } from "../libtorch/release.js";
import type { NativeDevice } from "../native/addon.js";
import { checkLibtorch, findAddon } from "../native/load.js";
import { type LibtorchSource, resolveLibtorch } from "../native/resolve-libtorch.js";
import { readSettings } from "../options.js";
import { packageRoot } from "../package-root.js";
import { HERE } from "../video/sources/choose-decoder.js";
import { listDecoders, type VideoDecoders } from "../video/sources/list-decoders.js";
import { toSam3Error } from "./error-line.js";
import { environmentFolder, isEnvironmentReady } from "./python-environment.js";
import { version } from "./version.js";

/** A reason why pictures cannot be segmented here, with its remedy. */
export interface Problem {
  readonly code: string;
  readonly message: string;
}

/** What `sam3 doctor --json` writes. What was not found is null. */
export interface DoctorReport {
  /** True when pictures can be segmented here. */
  readonly usable: boolean;
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly glibc: string | null;
  readonly cpu: { readonly model: string; readonly cores: number; readonly memoryBytes: number };
  readonly libtorch: {
    readonly path: string;
    readonly version: string | null;
    readonly variant: "cpu" | "cuda";
    /** Which rule found it. */
    readonly source: LibtorchSource;
  } | null;
  readonly addon: {
    readonly path: string;
    /** Version of libtorch it was built with. */
    readonly builtFor: string;
    readonly loads: boolean;
  } | null;
  readonly devices: readonly NativeDevice[];
  readonly bundle: {
    readonly name: string;
    readonly path: string;
    readonly resolution: number;
    readonly dtype: string;
  } | null;
  /** Of pictures. */
  readonly decoders: { readonly version: string; readonly formats: readonly string[] } | null;
  /** Decoders of video files. */
  readonly video: VideoDecoders | null;
  readonly python: { readonly path: string; readonly version: string; readonly ready: boolean } | null;
  readonly problems: readonly Problem[];
}

/** Looks at everything there is to look at. Never throws for what it finds: that becomes a problem in the report. */
export async function inspectMachine(options: {
  readonly model: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}): Promise<DoctorReport> {
  const { env, signal } = options;
  const problems: Problem[] = [];
  const attempt = async <T>(look: () => T | Promise<T>): Promise<T | null> => {
    try {
      return await look();
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = toSam3Error(error);
      problems.push({ code, message });
      return null;
    }
  };
  const settings = await attempt(() => readSettings({ model: options.model }, env));
  const addon = await attempt(() => findAddon());
  const libtorch = await attempt(() => resolveLibtorch({ env, minor: LIBTORCH_MINOR }));
  const fits = libtorch && addon && (await attempt(() => checkLibtorch(libtorch, addon) ?? true));
  const probed = fits ? await attempt(() => probeAddon(env, signal)) : null;
  const bundle = await attempt(() => inspectBundle(settings?.model ?? options.model ?? "mini", signal));
  const decoders = await attempt(inspectDecoders);
  const video = await attempt(() =>
    listDecoders({ decoder: settings?.videoDecoder ?? "auto", ffmpeg: settings?.ffmpeg }, signal, {
      ...HERE,
      env,
    }),
  );
  return {
    usable: problems.length === 0 && probed !== null && bundle !== null,
    version: version(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    glibc: glibcVersion(),
    cpu: { model: cpus()[0]?.model.trim() ?? "unknown", cores: cpus().length, memoryBytes: totalmem() },
    libtorch: libtorch && {
      path: libtorch.path,
      version: libtorch.version ?? null,
      variant: libtorch.variant,
      source: libtorch.source,
    },
    addon: addon && { path: addon.addon, builtFor: addon.torch, loads: probed !== null },
    devices: probed?.devices ?? [],
    bundle,
    decoders,
    video,
    python: await inspectPython(env),
    problems,
  };
}

async function inspectBundle(model: string, signal: AbortSignal): Promise<DoctorReport["bundle"]> {
  const { folder, manifest } = await readBundle(model, signal);
  const { name, resolution, dtype, parts } = manifest;
  // Hashes are checked when the model is loaded; here sizes tell enough, at once.
  for (const [part, { file, bytes }] of Object.entries(parts)) {
    const found = await stat(join(folder, file)).catch(() => undefined);
    if (found?.size === bytes) continue;
    const code: Sam3ErrorCode = found ? "BUNDLE_HASH_MISMATCH" : "BUNDLE_PART_MISSING";
    const what = found ? `has ${found.size} bytes instead of ${bytes}` : "is missing";
    throw new Sam3Error(
      code,
      `the part ${part} (${file}) of ${folder} ${what}; copy or export the bundle again`,
    );
  }
  return { name, path: folder, resolution, dtype };
}

async function inspectDecoders(): Promise<DoctorReport["decoders"]> {
  const { default: sharp } = await import("sharp");
  const formats = Object.values(sharp.format)
    .filter(
      ({ id, input }) =>
        input.file && !["raw", "magick", "openslide", "fits", "ppm", "vips", "rad"].includes(id),
    )
    .map(({ id }) => id);
  return { version: sharp.versions.sharp ?? sharp.versions.vips, formats: [...new Set(formats)].sort() };
}

async function inspectPython(env: NodeJS.ProcessEnv): Promise<DoctorReport["python"]> {
  const found = await findPython(env).catch(() => undefined);
  if (found === undefined) return null;
  const folder = await environmentFolder(
    join(packageRoot(), "scripts", "export", "requirements.txt"),
    env,
  ).catch(() => undefined);
  return { ...found, ready: folder !== undefined && (await isEnvironmentReady(folder)) };
}

function glibcVersion(): string | null {
  if (process.platform !== "linux") return null;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime ?? null;
}

/** Hidden word on the command line that makes the CLI answer as the probe. */
export const PROBE = "probe-addon";

/** What the addon says of itself, asked in a child process: a library that crashes takes only that child along. */
export interface Probe {
  readonly torchVersion: string;
  readonly devices: readonly NativeDevice[];
}

function probeAddon(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Probe> {
  const self = fileURLToPath(import.meta.url);
  return new Promise((done, fail) => {
    execFile(process.execPath, [self, PROBE], { env, signal, timeout: 120_000 }, (error, stdout, stderr) => {
      const answer = readAnswer(stdout);
      if (answer && "devices" in answer) return done(answer);
      if (answer) return fail(new Sam3Error(answer.code as Sam3ErrorCode, answer.message));
      const how = error?.signal ? `crashed with ${error.signal}` : `ended with ${error?.code ?? 0}`;
      const last = stderr.trim().split("\n").at(-1) ?? "";
      fail(
        new Sam3Error(
          "ADDON_LOAD_FAILED",
          `loading the addon ${how}${last ? ` (${last})` : ""}; install libtorch again with: sam3 libtorch install --force`,
        ),
      );
    });
  });
}

function readAnswer(stdout: string): Probe | Problem | undefined {
  try {
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Probe | Problem;
  } catch {
    return undefined;
  }
}
