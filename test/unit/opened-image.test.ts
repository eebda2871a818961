import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { PictureLine } from "../../lib/devices/picture-line.js";
import { contentHash } from "../../lib/image/content-hash.js";
import { ImageOpener, type OpenedImage } from "../../lib/image/opened-image.js";
import { loadEngine } from "../../lib/load-engine.js";
import { Sam3 } from "../../lib/sam3.js";
import { fakeAddon, nativeError } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

const { signal } = new AbortController();
const limits = {
  maxPixels: 1_000_000,
  pictures: new PictureLine({ maxBatch: 1, replicas: 1, maxQueue: 100, queueTimeoutMs: 0 }),
};
const png = (background: string, width = 12, height = 8) =>
  sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();

let path: string;
beforeAll(async () => {
  path = join(await mkdtemp(join(tmpdir(), "sam3-opened-")), "a.png");
});

/** A model on two devices, one of which fails at the next concept when a fault is near. */
async function openTwoDevices() {
  const fault = { isNear: false };
  const { addon, state } = fakeAddon({
    failures: {
      segmentConcepts: () => {
        if (!fault.isNear) return undefined;
        fault.isNear = false;
        return nativeError("DEVICE_FAULT");
      },
    },
  });
  const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const devices = [{ device: "cpu:0" }, { device: "cpu:1" }];
  const model = await writeFakeBundle();
  const sam = Sam3.over(await loadEngine({ model, logger, devices } as never, {}, () => addon));
  return { sam, state, fault };
}

describe("the name of a picture's content", () => {
  const named = (bytes: Uint8Array) =>
    contentHash({ bytes: Buffer.from(bytes), name: "", width: 1, height: 1 });
  const raw = (data: Uint8Array, width: number, height: number, channels: 1 | 2 | 3 | 4) =>
    contentHash({ raw: { data, width, height, channels }, name: "", width, height });

  it("changes with every byte, wherever it is, and with the length", async () => {
    // Several pieces, the last one not full.
    const bytes = new Uint8Array(2.5 * 2 ** 20).map((_, i) => i % 251);
    const names = new Set([await named(bytes)]);
    for (const at of [0, 1, 2 ** 20 - 1, 2 ** 20, 2 ** 21, bytes.length - 1]) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ 1;
      names.add(await named(changed));
    }
    for (const length of [0, 1, 2 ** 20, 2 ** 21, bytes.length - 1])
      names.add(await named(bytes.subarray(0, length)));
    expect(names.size).toBe(12);
    expect(await named(bytes)).toBe(await named(bytes.slice()));
  });

  it("tells files from pixels, and pixels of one shape from another", async () => {
    const data = new Uint8Array(24);
    const names = await Promise.all([
      named(data),
      raw(data, 4, 2, 3),
      raw(data, 2, 4, 3),
      raw(data, 4, 6, 1),
      raw(data, 6, 4, 1),
      raw(data, 3, 2, 4),
    ]);
    expect(new Set(names).size).toBe(6);
  });

  it("is found without holding up the event loop", async () => {
    const bytes = new Uint8Array(96 * 2 ** 20);
    await named(new Uint8Array(10));
    const lags: number[] = [];
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      lags.push(now - last);
      last = now;
    }, 1);
    await named(bytes);
    clearInterval(timer);
    // Hashing it in one go takes over a hundred milliseconds; hence many turns in between.
    expect(lags.length).toBeGreaterThan(20);
  });
});

describe("an opened picture", () => {
  it("knows its size as a viewer shows it, and gives its pixels as often as asked", async () => {
    const turned = await sharp(await png("red"))
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const opened = await new ImageOpener(limits).open(turned, signal);
    expect(opened).toMatchObject({ width: 8, height: 12 });
    for (let i = 0; i < 2; i++) {
      expect(await opened.pixels(signal)).toMatchObject({ width: 8, height: 12 });
      opened.drop();
    }
  });

  it("is what it was when it was passed, though bytes and file change before it is decoded", async () => {
    await writeFile(path, await png("red"));
    const bytes = await png("red");
    const opener = new ImageOpener(limits);
    const [fromFile, fromBytes] = await Promise.all([opener.open(path, signal), opener.open(bytes, signal)]);
    expect(fromFile.source.contentHash).toBe(fromBytes.source.contentHash);
    await writeFile(path, await png("blue"));
    bytes.fill(0);
    for (const opened of [fromFile, fromBytes]) {
      expect([...(await opened.pixels(signal)).data.subarray(0, 3)]).toEqual([255, 0, 0]);
    }
  });

  it("that changed since, and is needed once more, is refused", async () => {
    await writeFile(path, await png("red"));
    const opened = await new ImageOpener(limits).open(path, signal);
    opened.drop();
    opened.drop();
    expect([...(await opened.pixels(signal)).data.subarray(0, 3)]).toEqual([255, 0, 0]);
    await writeFile(path, await png("blue"));
    await expect(opened.pixels(signal)).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining("changed"),
    });
  });

  it("that was passed as bytes or pixels is copied while those before it leave room", async () => {
    const opener = new ImageOpener(limits, { maxCopiedBytes: 1000 });
    const raw = (width: number) =>
      ({ data: new Uint8Array(width * 3), width, height: 1, channels: 3 }) as const;
    const red = await png("red");
    const [large, ...refused] = await Promise.allSettled([
      // Alone, as large as it likes.
      opener.open(raw(2000), signal),
      opener.open(raw(1), signal),
      opener.open(red, signal),
    ]);
    for (const it of refused) {
      const details = { heldBytes: 6000, maxBytes: 1000 };
      expect(it).toMatchObject({ reason: { code: "QUEUE_FULL", details } });
    }
    if (large?.status === "fulfilled") large.value.drop();
    const small = await Promise.all([100, 100, 100].map((width) => opener.open(raw(width), signal)));
    expect(opener.heldBytes).toBe(900);
    await expect(opener.open(raw(50), signal)).rejects.toMatchObject({ code: "QUEUE_FULL" });
    for (const opened of small) {
      opened.drop();
      opened.drop();
    }
    await expect(opener.open(Buffer.from("no picture"), signal)).rejects.toMatchObject({
      code: "IMAGE_INVALID",
    });
    const stopped = opener.open(raw(9), AbortSignal.abort("enough"));
    await expect(stopped).rejects.toBe("enough");
    expect(opener.heldBytes).toBe(0);
  });

  it("that came from a file or from sharp is kept while there is room, and read again where there was none", async () => {
    await writeFile(path, await png("blue"));
    const { length } = await png("blue");
    const opener = new ImageOpener(limits, { maxKeptBytes: 2 * 12 * 8 * 3 + length });
    const inputs = [sharp(await png("red")), sharp(await png("lime")), path, path, sharp(await png("red"))];
    // One after the other: what is read first has the room.
    const opened: OpenedImage[] = [];
    for (const input of inputs) opened.push(await opener.open(input, signal));
    expect(opener.heldBytes).toBe(2 * 12 * 8 * 3 + length);
    const colours = [];
    for (const one of opened) {
      colours.push([...(await one.pixels(signal)).data.subarray(0, 3)]);
      one.drop();
    }
    expect(colours).toEqual([
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [0, 0, 255],
      [255, 0, 0],
    ]);
    expect(opener.heldBytes).toBe(0);
  });

  it.each([
    ["no picture", Buffer.from("hello"), "IMAGE_INVALID"],
    ["too large", undefined, "IMAGE_TOO_LARGE"],
    ["missing", "/nowhere.png", "IMAGE_NOT_FOUND"],
  ])("that is %s is refused before anything is decoded", async (_, input, code) => {
    const image = input ?? (await png("red", 2000, 2000));
    await expect(new ImageOpener(limits).open(image, signal)).rejects.toMatchObject({ code });
  });

  it("is encoded again from its source when its device fails, long after it was encoded", async () => {
    const { sam, state, fault } = await openTwoDevices();
    await writeFile(path, await png("red"));
    const picture = await sam.image.encode(path);
    fault.isNear = true;
    await expect(picture.segmentConcept({ text: "cat" })).resolves.toBeDefined();
    expect(state.pixels).toHaveLength(2);
    await sam.close();
  });

  it.each(["drawn over", "transferred"])(
    "is encoded again as it was passed when its device fails during the call, though it is %s since",
    async (how) => {
      const { sam, state, fault } = await openTwoDevices();
      fault.isNear = true;
      const raw = { data: new Uint8Array(12).fill(5), width: 2, height: 2, channels: 3 } as const;
      const found = sam.image.segmentConcept(raw, { text: "cat" });
      if (how === "drawn over") raw.data.fill(9);
      else structuredClone(raw.data.buffer, { transfer: [raw.data.buffer] });
      await expect(found).resolves.toBeDefined();
      expect(state.pixels.map(({ data }) => [...data])).toEqual(Array(2).fill(Array(12).fill(5)));
      await sam.close();
    },
  );
});
