import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { ConceptResult } from "../../lib/image/concept-result.js";
import type { OverlayOptions } from "../../lib/image/overlay.js";
import { loadEngine } from "../../lib/load-engine.js";
import { countsFromBitmap } from "../../lib/masks/rle.js";
import { Sam3 } from "../../lib/sam3.js";
import { fakeAddon } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

const width = 300;
const height = 200;
let sam: Sam3;
let png: Buffer;

/** A square from 100 to 160 in a grey picture, with a hole from 120 to 140. */
const inside = (x: number, y: number) =>
  x >= 100 && x < 160 && y >= 80 && y < 140 && !(x >= 120 && x < 140 && y >= 100 && y < 120);

beforeAll(async () => {
  png = await sharp({ create: { width, height, channels: 3, background: "#808080" } })
    .png()
    .toBuffer();
  const bitmap = Array.from({ length: width * height }, (_, i) =>
    inside(i % width, Math.floor(i / width)) ? 1 : 0,
  );
  const { addon } = fakeAddon({
    found: () => ({
      presence: 1,
      semantic: null,
      objects: [
        {
          score: 0.9,
          box: Float64Array.of(100, 80, 160, 140),
          counts: countsFromBitmap(bitmap, width, height),
          area: 3200,
        },
      ],
    }),
  });
  sam = Sam3.over(await loadEngine({ model: await writeFakeBundle() }, {}, () => addon));
});

const segment = (image: Parameters<Sam3["image"]["segmentConcept"]>[0], text = 'a <b> & "c" 日本 \u0007') =>
  sam.image.segmentConcept(image, { text });

async function pixels(result: ConceptResult, options: OverlayOptions = {}) {
  const { data, info } = await sharp(await result.overlay(options))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number) => [
    ...data.subarray((y * info.width + x) * 3, (y * info.width + x) * 3 + 3),
  ];
  return { at, width: info.width, height: info.height };
}
const grey = [128, 128, 128];

describe("overlay", () => {
  it("colours the mask and neither its hole nor the rest", async () => {
    const { at, width: w, height: h } = await pixels(await segment(png), { labels: false, boxes: false });
    expect([w, h]).toEqual([width, height]);
    for (const [x, y] of [
      [110, 90],
      [150, 130],
      [110, 130],
    ] as const)
      expect(at(x, y)).not.toEqual(grey);
    for (const [x, y] of [
      [130, 110],
      [20, 20],
      [280, 180],
      [170, 110],
      [130, 60],
    ] as const)
      expect(at(x, y)).toEqual(grey);
  });

  it("draws boxes and labels unless told not to", async () => {
    const result = await segment(png);
    const [all, none] = await Promise.all([pixels(result), pixels(result, { labels: false, boxes: false })]);
    let different = 0;
    for (let y = 60; y < 80; y++)
      for (let x = 100; x < 200; x++) if (`${all.at(x, y)}` !== `${none.at(x, y)}`) different++;
    expect(different).toBeGreaterThan(300);
  });

  it("makes large pictures smaller and small ones no larger", async () => {
    const result = await segment(png);
    expect(await pixels(result, { maxSide: 150 })).toMatchObject({ width: 150, height: 100 });
    expect(await pixels(result, { maxSide: 9000 })).toMatchObject({ width, height });
    expect(await pixels(result, { maxSide: 1 })).toMatchObject({ width: 1, height: 1 });
    const { at } = await pixels(result, { maxSide: 150, labels: false, boxes: false });
    expect(at(55, 45)).not.toEqual(grey);
    expect(at(65, 55)).toEqual(grey);
  });

  it.each(["png", "jpeg", "webp"] as const)("writes %s", async (format) => {
    expect((await sharp(await (await segment(png)).overlay({ format })).metadata()).format).toBe(format);
  });

  it("draws on EXIF-turned pictures as a viewer shows them", async () => {
    const turned = await sharp({
      create: { width: height, height: width, channels: 3, background: "#808080" },
    })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const { at, width: w } = await pixels(await segment(turned), { labels: false, boxes: false });
    expect(w).toBe(width);
    expect(Math.abs((at(110, 90)[0] as number) - 128)).toBeGreaterThan(20);
  });

  it("works for every kind of input", async () => {
    const raw = await sharp(png).raw().toBuffer();
    for (const input of [
      { data: raw, width, height, channels: 3 as const },
      sharp(png),
      new Uint8Array(png),
    ]) {
      expect(await pixels(await segment(input))).toMatchObject({ width, height });
    }
  });

  it("reads a file again, and says what to do when it is gone or another", async () => {
    const path = join(tmpdir(), `sam3-overlay-${process.pid}.png`);
    await writeFile(path, png);
    const result = await segment(path);
    await expect(result.overlay()).resolves.toBeInstanceOf(Buffer);
    await sharp(png).resize(100, 100).toFile(path);
    await expect(result.overlay()).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("100×100"),
    });
    await rm(path);
    await expect(result.overlay()).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    await expect(result.overlay({ image: png })).resolves.toBeInstanceOf(Buffer);
  });

  it.each([
    [{ maxSide: 0 }, "maxSide"],
    [{ maxSide: Number.NaN }, "maxSide"],
    [{ format: "bmp" }, "format"],
    [{ opacity: 2 }, "opacity"],
    [{ lables: false }, 'did you mean "labels"'],
    [null, "null"],
  ])("refuses %j", async (options, words) => {
    const failing = (await segment(png)).overlay(options as never);
    await expect(failing).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(words),
    });
  });

  it("stops with the signal's reason", async () => {
    const result = await segment(png);
    await expect(result.overlay({ signal: AbortSignal.abort("no") })).rejects.toBe("no");
  });
});
