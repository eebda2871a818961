import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, realpath, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { z } from "zod";
import { throwIfAborted } from "../abort.js";
import { issuesInOneLine } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { packageRoot } from "../package-root.js";
import { BUNDLE_FORMAT, type Manifest, manifestSchema, type PartName } from "./manifest.js";

/** A bundle's folder with its manifest, read and checked; its files are not read yet. */
export interface Bundle {
  /** Absolute path. */
  readonly folder: string;
  readonly manifest: Manifest;
}

/** Small enough that hashing one piece does not hold up the event loop. */
const READ_BYTES = 256 * 1024;

/** Folder of a model by name or path: `mini` comes with the package, anything else is a path. */
function bundleFolder(model: string): string {
  return model === "mini" ? join(packageRoot(), "models", "mini") : resolve(model);
}

/**
 * Reads and checks a bundle's manifest.
 *
 * @param model `"mini"` or a path to the folder
 * @throws {Sam3Error} `BUNDLE_NOT_FOUND`, `BUNDLE_INVALID` or `BUNDLE_TOO_NEW`
 */
export async function readBundle(model: string, signal?: AbortSignal): Promise<Bundle> {
  throwIfAborted(signal);
  const folder = bundleFolder(model);
  const info = await stat(folder).catch(() => undefined);
  if (!info) {
    throw new Sam3Error(
      "BUNDLE_NOT_FOUND",
      model === "mini"
        ? `The mini model that comes with the package is not at ${folder}. Install the package again.`
        : `There is no bundle at ${folder}. Make one with "sam3 export", or use "mini".`,
    );
  }
  if (!info.isDirectory()) {
    throw new Sam3Error(
      "BUNDLE_NOT_FOUND",
      `${folder} is a file, and a bundle is a folder. If it is a checkpoint, run "sam3 export --checkpoint ${folder} --out <folder>" first.`,
    );
  }
  const path = join(folder, "manifest.json");
  let text: string;
  try {
    text = await readFile(path, { encoding: "utf8", ...(signal ? { signal } : {}) });
  } catch (cause) {
    throwIfAborted(signal);
    throw new Sam3Error(
      "BUNDLE_NOT_FOUND",
      `${folder} holds no readable manifest.json, so it is not a bundle. Make one with "sam3 export".`,
      { cause },
    );
  }
  return { folder, manifest: parseManifest(text, path) };
}

/**
 * Checks the text of a manifest.
 *
 * @throws {Sam3Error} `BUNDLE_INVALID` or `BUNDLE_TOO_NEW`
 */
function parseManifest(text: string, path: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Sam3Error(
      "BUNDLE_INVALID",
      `${path} is not JSON: ${(cause as Error).message}. Export the bundle again.`,
      {
        cause,
      },
    );
  }
  // The format first: a newer manifest may look different in every other way.
  const format = z.object({ format: z.int().positive() }).safeParse(json);
  if (format.success && format.data.format > BUNDLE_FORMAT) {
    throw new Sam3Error(
      "BUNDLE_TOO_NEW",
      `${path} has format ${format.data.format}, this version reads up to ${BUNDLE_FORMAT}. Update sam3-node, or export the bundle again with this version.`,
    );
  }
  const manifest = manifestSchema.safeParse(json);
  if (!manifest.success) {
    throw new Sam3Error(
      "BUNDLE_INVALID",
      `${path} is not a manifest: ${issuesInOneLine(manifest.error)}. Export the bundle again.`,
      {
        cause: manifest.error,
      },
    );
  }
  return manifest.data;
}

/**
 * Checks that parts are the files the manifest describes and gives their absolute paths, in the order asked for.
 *
 * @param onPart called after each part with its name
 * @throws {Sam3Error} `BUNDLE_PART_MISSING`, `BUNDLE_HASH_MISMATCH` or `BUNDLE_INVALID`
 */
export async function verifyParts(
  bundle: Bundle,
  names: readonly PartName[],
  signal?: AbortSignal,
  onPart: (name: PartName) => void = () => {},
): Promise<Record<string, string>> {
  const paths: Record<string, string> = {};
  for (const name of names) {
    const part = bundle.manifest.parts[name];
    if (!part) {
      throw new Sam3Error(
        "BUNDLE_PART_MISSING",
        `The manifest in ${bundle.folder} names no part "${name}". Export the bundle again.`,
      );
    }
    paths[name] = await verifyFile(bundle, part, signal);
    onPart(name);
  }
  return paths;
}

/** Reads a bundle's tokenizer.json, checked against the manifest. Throws what `verifyParts` throws. */
export async function readTokenizer(bundle: Bundle, signal?: AbortSignal): Promise<unknown> {
  const path = await verifyFile(bundle, bundle.manifest.tokenizer, signal);
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new Sam3Error("BUNDLE_INVALID", `${path} is not JSON. Export the bundle again.`, { cause });
  }
}

async function verifyFile(
  bundle: Bundle,
  expected: { readonly file: string; readonly sha256: string; readonly bytes: number },
  signal: AbortSignal | undefined,
): Promise<string> {
  throwIfAborted(signal);
  const path = join(bundle.folder, expected.file);
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) {
    throw new Sam3Error(
      "BUNDLE_PART_MISSING",
      `${path} is named in the manifest but is not there. Copy the whole folder, or export the bundle again.`,
    );
  }
  const [folder, target] = await Promise.all([realpath(bundle.folder), realpath(path)]);
  if (!target.startsWith(folder.endsWith(sep) ? folder : folder + sep)) {
    throw new Sam3Error(
      "BUNDLE_INVALID",
      `${path} is a link that leaves the bundle. Put the file itself into the folder.`,
    );
  }
  if (info.size !== expected.bytes) {
    throw new Sam3Error(
      "BUNDLE_HASH_MISMATCH",
      `${path} has ${info.size} bytes, the manifest says ${expected.bytes}. Copy or export the bundle again.`,
    );
  }
  const found = await sha256(target, signal);
  if (found !== expected.sha256) {
    throw new Sam3Error(
      "BUNDLE_HASH_MISMATCH",
      `${path} has the sha256 ${found.slice(0, 12)}…, the manifest says ${expected.sha256.slice(0, 12)}…. Copy or export the bundle again.`,
    );
  }
  return target;
}

async function sha256(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const piece of createReadStream(path, {
      highWaterMark: READ_BYTES,
      ...(signal ? { signal } : {}),
    })) {
      hash.update(piece as Buffer);
    }
  } catch (cause) {
    throwIfAborted(signal);
    throw new Sam3Error("BUNDLE_INVALID", `${path} cannot be read: ${(cause as Error).message}.`, { cause });
  }
  return hash.digest("hex");
}
