import { stat } from "node:fs/promises";
import { extname, join, parse, resolve } from "node:path";
import { usage } from "./command.js";

const NAME = { name: "segment" };
const FORMATS: Readonly<Record<string, "png" | "jpeg" | "webp">> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** The format an overlay's name asks for. */
export function overlayFormat(path: string): "png" | "jpeg" | "webp" {
  return FORMATS[extname(path).toLowerCase()] ?? "png";
}

/** Where each overlay goes: the file named, or `<name>.overlay.png` in a folder. Never over a picture that is read. */
export async function planOverlays(files: readonly string[], out: string): Promise<Map<string, string>> {
  if (out === "") throw usage("--out is empty; name a file or folder", NAME);
  const isFolder = await stat(out).then(
    (it) => it.isDirectory(),
    () => false,
  );
  const plan = new Map<string, string>();
  if (!isFolder && !/[/\\]$/.test(out) && extname(out) !== "") {
    if (FORMATS[extname(out).toLowerCase()] === undefined) {
      throw usage(`--out ${out} must end in ${Object.keys(FORMATS).join(", ")} or be a folder`, NAME);
    }
    if (new Set(files).size > 1)
      throw usage(`--out ${out} is one file for ${files.length} pictures; name a folder`, NAME);
    plan.set(files[0] as string, out);
  } else {
    for (const [file, stem] of stemsOf(files)) plan.set(file, join(out, `${stem}.overlay.png`));
  }
  assertNotRead(files, plan.values(), `--out ${out}`);
  return plan;
}

/** A name for each picture that no other one has: that of its file, numbered where it is taken. */
export function stemsOf(files: readonly string[]): Map<string, string> {
  const stems = new Map<string, string>();
  const taken = new Set<string>();
  for (const file of files) {
    if (stems.has(file)) continue;
    const { name } = parse(file);
    let stem = name;
    for (let i = 2; taken.has(stem); i++) stem = `${name}-${i}`;
    taken.add(stem);
    stems.set(file, stem);
  }
  return stems;
}

/** Refuses to write over a picture that is read. Throws `USAGE`. */
export function assertNotRead(files: readonly string[], written: Iterable<string>, option: string): void {
  const read = new Set(files.map((file) => resolve(file)));
  for (const path of written) {
    if (read.has(resolve(path))) throw usage(`${option} would overwrite the picture ${path}`, NAME);
  }
}
