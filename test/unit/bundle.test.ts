import { appendFile, mkdtemp, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readBundle, readTokenizer, verifyParts } from "../../lib/bundle/read-bundle.js";
import { writeFakeBundle } from "./fake-bundle.js";

const read = async (folder: string) => {
  const bundle = await readBundle(folder);
  await readTokenizer(bundle);
  return verifyParts(bundle, ["image_encoder", "text_encoder", "concept_decoder"]);
};
const code = (value: string) => expect.objectContaining({ code: value });

describe("reading a bundle", () => {
  it("gives absolute paths of verified parts, in the order asked for", async () => {
    const folder = await writeFakeBundle();
    const paths = await read(folder);
    expect(Object.keys(paths)).toEqual(["image_encoder", "text_encoder", "concept_decoder"]);
    expect(paths.text_encoder).toBe(join(folder, "text_encoder.pt"));
  });

  it("names a missing folder, a file and a folder without manifest", async () => {
    await expect(read("/nowhere/at/all")).rejects.toMatchObject({
      code: "BUNDLE_NOT_FOUND",
      message: expect.stringContaining("/nowhere/at/all"),
    });
    const empty = await mkdtemp(join(tmpdir(), "sam3-empty-"));
    await expect(read(empty)).rejects.toThrow(code("BUNDLE_NOT_FOUND"));
    const file = join(empty, "sam3.pt");
    await writeFile(file, "x");
    await expect(read(file)).rejects.toMatchObject({
      code: "BUNDLE_NOT_FOUND",
      message: expect.stringContaining("sam3 export"),
    });
  });

  it.each([
    ["text", "not json"],
    ["null", "null"],
    ["a list", "[]"],
    ["no format", "{}"],
    ["a format that is text", '{"format":"1"}'],
    ["format 0", '{"format":0}'],
    ["only a format", '{"format":1}'],
  ])("refuses a manifest that is %s", async (_, text) => {
    const folder = await writeFakeBundle();
    await writeFile(join(folder, "manifest.json"), text);
    const error = await read(folder).catch((e: Error) => e);
    expect(error).toMatchObject({ code: "BUNDLE_INVALID" });
    expect((error as Error).message).not.toContain("\n");
  });

  it("says of a newer format that it is newer, whatever else it holds", async () => {
    const folder = await writeFakeBundle(() => ({ format: 2, everything: "else" }));
    await expect(read(folder)).rejects.toMatchObject({
      code: "BUNDLE_TOO_NEW",
      message: expect.stringContaining("format 2"),
    });
  });

  it("names the key that is wrong", async () => {
    const folder = await writeFakeBundle((m) => ({ ...m, resolution: -1 }));
    await expect(read(folder)).rejects.toMatchObject({
      code: "BUNDLE_INVALID",
      message: expect.stringContaining("resolution"),
    });
  });

  it.each(["../outside.pt", "/etc/passwd", "a/b.pt", "..", ".hidden", "a\\b.pt", ""])(
    "refuses the part name %j",
    async (file) => {
      const folder = await writeFakeBundle((m) => ({
        ...m,
        parts: { ...m.parts, image_encoder: { ...m.parts.image_encoder, file } },
      }));
      await expect(read(folder)).rejects.toThrow(code("BUNDLE_INVALID"));
    },
  );

  it("names a missing part", async () => {
    const folder = await writeFakeBundle();
    await unlink(join(folder, "concept_decoder.pt"));
    await expect(read(folder)).rejects.toMatchObject({
      code: "BUNDLE_PART_MISSING",
      message: expect.stringContaining("concept_decoder.pt"),
    });
  });

  it("refuses a part of another length and one of other content", async () => {
    const longer = await writeFakeBundle();
    await appendFile(join(longer, "text_encoder.pt"), "!");
    await expect(read(longer)).rejects.toMatchObject({
      code: "BUNDLE_HASH_MISMATCH",
      message: expect.stringContaining("bytes"),
    });
    const other = await writeFakeBundle();
    await writeFile(join(other, "text_encoder.pt"), "THE PART text_encoder");
    await expect(read(other)).rejects.toMatchObject({
      code: "BUNDLE_HASH_MISMATCH",
      message: expect.stringContaining("sha256"),
    });
    const tokenizer = await writeFakeBundle();
    await appendFile(join(tokenizer, "tokenizer.json"), " ");
    await expect(read(tokenizer)).rejects.toThrow(code("BUNDLE_HASH_MISMATCH"));
  });

  it("follows links inside the folder and refuses links that leave it", async () => {
    const folder = await writeFakeBundle();
    await rename(join(folder, "image_encoder.pt"), join(folder, "real.pt"));
    await symlink("real.pt", join(folder, "image_encoder.pt"));
    expect((await read(folder)).image_encoder).toBe(join(folder, "real.pt"));
    const outside = join(await mkdtemp(join(tmpdir(), "sam3-outside-")), "x.pt");
    await rename(join(folder, "real.pt"), outside);
    await rm(join(folder, "image_encoder.pt"));
    await symlink(outside, join(folder, "image_encoder.pt"));
    await expect(read(folder)).rejects.toMatchObject({
      code: "BUNDLE_INVALID",
      message: expect.stringContaining("link"),
    });
  });

  it("stops with the signal's reason", async () => {
    const bundle = await readBundle(await writeFakeBundle());
    const reason = new Error("enough");
    await expect(verifyParts(bundle, ["image_encoder"], AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const running = verifyParts(bundle, ["image_encoder", "text_encoder"], controller.signal, () =>
      controller.abort(reason),
    );
    await expect(running).rejects.toBe(reason);
  });
});
