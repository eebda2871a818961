import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeAddon, NativeConceptItem, NativePixels, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import {
  codes,
  DEVICE,
  EIGHT,
  encodeOne,
  encodeText,
  failure,
  noise,
  nth,
  only,
  openTiny,
  PLAIN,
  TEXT,
  tinyBundle,
  values,
  withTokens,
} from "./support.js";

let addon: NativeAddon;
let replica: NativeReplica;
const token = () => new addon.CancelToken();
const encode = (...pictures: NativePixels[]) =>
  replica.encodeImages(
    withTokens(
      addon,
      pictures.map((pixels) => ({ pixels })),
    ),
    EIGHT,
  );
const find = (...items: Omit<NativeConceptItem, "token">[]) =>
  replica.segmentConcepts(withTokens(addon, items), EIGHT);

beforeAll(async () => {
  addon = loadAddon();
  replica = await openTiny(addon);
});
afterAll(() => replica?.close());

describe("devices", () => {
  it("names the processor first, with its memory", () => {
    const [cpu] = addon.devices();
    expect(cpu).toMatchObject({ id: "cpu", name: expect.stringMatching(/\S/), uuid: null });
    expect(cpu?.totalBytes).toBeGreaterThan(2 ** 28);
    expect(cpu?.freeBytes).toBeGreaterThan(0);
    expect(cpu?.freeBytes).toBeLessThanOrEqual(cpu?.totalBytes as number);
  });

  it.each(["cuda:99", "cuda", "gpu", "", "cuda:-1", "cuda:0x"])(
    "refuses %j, naming those there are",
    (device) => {
      expect(() => new addon.Replica({ device, threads: 1 })).toThrow(
        expect.objectContaining({
          code: "DEVICE_UNKNOWN",
          message: expect.stringContaining("Use one of: cpu"),
        }),
      );
    },
  );
});

describe("load", () => {
  it("reports every part in order, then bytes and time", async () => {
    const fresh = new addon.Replica({ device: DEVICE, threads: 1 });
    const seen: unknown[] = [];
    const report = await fresh.load(tinyBundle(), token(), (...part) => seen.push(part));
    const names = Object.keys(tinyBundle().parts);
    expect(seen).toEqual(names.map((name, i) => [name, i + 1, names.length]));
    expect(report.modelBytes).toBe(fresh.stats().modelBytes);
    expect(report.modelBytes).toBeGreaterThan(100_000);
    expect(report.loadMs).toBeGreaterThan(0);
    await fresh.close();
  });

  it("names a part that is damaged or missing, and can be called again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sam3-replica-"));
    const good = tinyBundle();
    const fresh = new addon.Replica({ device: DEVICE, threads: 1 });
    const cut = join(folder, "cut.pt");
    const whole = readFileSync(good.parts.text_encoder as string);
    for (const bytes of [Buffer.alloc(0), Buffer.from("no archive"), whole.subarray(0, whole.length >> 1)]) {
      writeFileSync(cut, bytes);
      const bad = { ...good, parts: { ...good.parts, text_encoder: cut } };
      const { code, message } = await failure(fresh.load(bad, token(), () => {}));
      expect(code).toBe("BUNDLE_INVALID");
      expect(message).toContain("text_encoder");
      expect(message).not.toContain("\n");
      expect(fresh.stats().modelBytes).toBe(0);
    }
    rmSync(folder, { recursive: true });
    const gone = { ...good, parts: { ...good.parts, text_encoder: cut } };
    expect(await failure(fresh.load(gone, token(), () => {}))).toMatchObject({ code: "BUNDLE_PART_MISSING" });
    await fresh.load(good, token(), () => {});
    await fresh.close();
  });

  it("stops between parts when cancelled", async () => {
    const fresh = new addon.Replica({ device: DEVICE, threads: 1 });
    const cancelled = token();
    cancelled.cancel();
    expect(await failure(fresh.load(tinyBundle(), cancelled, () => {}))).toMatchObject({ code: "ABORTED" });
    expect(fresh.stats().modelBytes).toBe(0);
    await fresh.close();
  });

  it("survives a callback that throws", async () => {
    const fresh = new addon.Replica({ device: DEVICE, threads: 1 });
    await fresh.load(tinyBundle(), token(), () => {
      throw new Error("from the callback");
    });
    expect(fresh.stats().modelBytes).toBeGreaterThan(0);
    await fresh.close();
  });
});

describe("encodeImages", () => {
  it("gives features of each picture's size, in order", async () => {
    const batch = await encode(noise(123, 45), noise(7, 9));
    expect(batch.workMs).toBeGreaterThan(0);
    expect(batch.queueMs).toBeGreaterThanOrEqual(0);
    const [features, other] = values(batch);
    expect(features).toMatchObject({ width: 123, height: 45, tier: "device", disposed: false });
    expect(other).toMatchObject({ width: 7, height: 9, tier: "device", disposed: false });
  });

  it("frees features when they are disposed of", async () => {
    const features = await encodeOne(addon, replica, noise(123, 45));
    expect(features.bytes).toBeGreaterThan(0);
    const held = replica.stats().featureBytes;
    features.dispose();
    features.dispose();
    expect(features).toMatchObject({ width: 123, height: 45, disposed: true });
    expect(replica.stats().featureBytes).toBe(held - features.bytes);
  });

  it.each([
    [1, 1],
    [1, 500],
    [500, 1],
    [64, 64],
    [2000, 3],
  ])("takes a picture of %i × %i", async (width, height) => {
    const features = await encodeOne(addon, replica, noise(width, height));
    expect(features).toMatchObject({ width, height });
    features.dispose();
  });

  it("refuses sizes that the bytes do not fill, alone", async () => {
    const sizes = [
      [0, 4],
      [4, 0],
      [-1, 4],
      [5, 4],
      [2 ** 31, 2 ** 31],
      [2 ** 53, 3],
      [Number.NaN, 4],
      [4, 4],
    ];
    const data = new Uint8Array(48);
    const batch = await encode(...sizes.map(([width, height]) => ({ data, width, height }) as NativePixels));
    expect(codes(batch)).toEqual([...Array(7).fill("INVALID_ARGUMENT"), "ok"]);
  });

  it("reads views into a larger buffer from where they begin", async () => {
    const picture = noise(40, 30);
    const shifted = new Uint8Array(picture.data.length + 7);
    shifted.set(picture.data, 7);
    const text = await encodeText(addon, replica);
    const scores = [];
    for (const data of [picture.data, shifted.subarray(7), Buffer.from(picture.data)]) {
      const features = await encodeOne(addon, replica, { ...picture, data });
      const { objects } = only(await find({ features, text, ...PLAIN, threshold: 0 }));
      scores.push(objects.map(({ score }) => score));
    }
    expect(scores[1]).toEqual(scores[0]);
    expect(scores[2]).toEqual(scores[0]);
  });
});

describe("segmentConcepts", () => {
  it("gives objects by score with boxes in the picture and runs that sum to it", async () => {
    const [width, height] = [150, 90];
    const features = await encodeOne(addon, replica, noise(width, height));
    const text = await encodeText(addon, replica);
    const other = await encodeText(addon, replica, Int32Array.from([1, 9, 2]));
    const boxes = { boxes: Float32Array.from([0.5, 0.5, 0.2, 0.3]), labels: Uint8Array.from([1]) };
    const batch = await find(
      { features, text, ...PLAIN, threshold: 0, semantic: true },
      { features, text: other, ...PLAIN, ...boxes, threshold: 0.3 },
      { features, text, ...PLAIN, threshold: 0.9999 },
    );
    expect(batch.workMs).toBeGreaterThan(0);
    const found = values(batch);
    const [all, some, none] = [nth(found, 0), nth(found, 1), nth(found, 2)];
    expect(all.objects.length).toBeGreaterThan(0);
    expect(none.objects).toEqual([]);
    const expectMask = ({ counts, area }: { counts: Uint32Array; area: number }) => {
      expect(counts.reduce((sum, run) => sum + run, 0)).toBe(width * height);
      expect(counts.filter((_, i) => i % 2 === 1).reduce((sum, run) => sum + run, 0)).toBe(area);
    };
    for (const { presence, objects } of found) {
      expect(presence).toBeGreaterThan(0);
      expect(presence).toBeLessThan(1);
      expect(objects.map(({ score }) => score)).toEqual(
        objects.map(({ score }) => score).sort((a, b) => b - a),
      );
      for (const { score, box, ...mask } of objects) {
        expect(score).toBeLessThanOrEqual(presence);
        expect(box).toBeInstanceOf(Float64Array);
        const [x1, y1, x2, y2] = box as unknown as [number, number, number, number];
        for (const x of [x1, x2]) expect(x >= 0 && x <= width).toBe(true);
        for (const y of [y1, y2]) expect(y >= 0 && y <= height).toBe(true);
        expectMask(mask);
      }
    }
    expect(some.objects.every(({ score }) => score > 0.3)).toBe(true);
    expectMask(all.semantic as NonNullable<typeof all.semantic>);
    expect([some.semantic, none.semantic]).toEqual([null, null]);
  });

  it("answers prompts on several pictures as it answers each alone", async () => {
    const pictures = values(await encode(noise(64, 48), noise(90, 120, 7), noise(33, 21, 99)));
    const text = await encodeText(addon, replica);
    const items = [0, 1, 2, 0].map((i) => ({ features: nth(pictures, i), text, ...PLAIN, threshold: 0.2 }));
    const together = values(await find(...items));
    for (const [i, item] of items.entries()) {
      const alone = only(await find(item));
      const found = nth(together, i);
      expect(found.objects.length).toBe(alone.objects.length);
      // A batch may sum in another order.
      expect(Math.abs(found.presence - alone.presence)).toBeLessThan(1e-5);
      found.objects.forEach(({ score }, k) => {
        expect(Math.abs(score - nth(alone.objects, k).score)).toBeLessThan(1e-5);
      });
    }
  });

  it("answers empty lists with empty lists", async () => {
    for (const batch of [
      await encode(),
      await replica.encodeTexts([], EIGHT),
      await find(),
      await replica.segmentObjects([], EIGHT),
    ]) {
      expect(batch.items).toEqual([]);
    }
  });

  it("refuses what was disposed, and what is of another replica; the rest is answered", async () => {
    const features = await encodeOne(addon, replica, noise(20, 20));
    const released = await encodeOne(addon, replica, noise(20, 20));
    const text = await encodeText(addon, replica);
    const gone = await encodeText(addon, replica);
    gone.dispose();
    released.dispose();
    expect([gone.disposed, released.disposed]).toEqual([true, true]);
    const other = await openTiny(addon, 1);
    const foreign = await encodeOne(addon, other, noise(20, 20));
    const stranger = await encodeText(addon, other);
    const rest = { ...PLAIN, threshold: 0.5 };
    const batch = await find(
      { features, text: gone, ...rest },
      { features: released, text, ...rest },
      { features: foreign, text, ...rest },
      { features, text: stranger, ...rest },
      { features, text, ...rest },
    );
    expect(codes(batch)).toEqual(["DISPOSED", "DISPOSED", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "ok"]);
    await other.close();
  });

  it("works on features that are disposed while it runs", async () => {
    const features = await encodeOne(addon, replica, noise(20, 20));
    const text = await encodeText(addon, replica);
    const call = find({ features, text, ...PLAIN, threshold: 0 });
    features.dispose();
    text.dispose();
    expect(only(await call).objects.length).toBeGreaterThan(0);
  });

  it("does not take other objects for handles", async () => {
    const features = await encodeOne(addon, replica, noise(20, 20));
    const text = await encodeText(addon, replica);
    const impostors = [{}, null, 7, replica, token(), Object.create(features), text];
    const batch = await find(
      ...impostors.map((impostor) => ({ features: impostor as never, text, ...PLAIN, threshold: 0.5 })),
    );
    expect(codes(batch)).toEqual(impostors.map(() => "INVALID_ARGUMENT"));
    expect(() => new (features.constructor as never as new (x: unknown) => unknown)({})).toThrow(
      /made by a replica/,
    );
  });
});

describe("cancelling", () => {
  it("refuses a waiting call at once while another runs", async () => {
    const picture = noise(4000, 3000);
    const running = encode(picture);
    const stopped = token();
    const order: string[] = [];
    const waiting = replica
      .encodeImages([{ pixels: picture, token: stopped }], EIGHT)
      .then((batch) => order.push(...codes(batch)));
    const first = running.then((batch) => {
      order.push("done");
      only(batch).dispose();
    });
    stopped.cancel();
    await Promise.all([waiting, first]);
    expect(order).toEqual(["ABORTED", "done"]);
  });

  it("stops a running call before its next stage", async () => {
    const stopped = token();
    const call = replica.encodeImages([{ pixels: noise(4000, 3000), token: stopped }], EIGHT);
    while (!replica.stats().running) await new Promise((done) => setImmediate(done));
    stopped.cancel();
    expect(codes(await call)).toEqual(["ABORTED"]);
    expect(replica.stats()).toMatchObject({ queued: 0, running: false });
  });

  it("drops a cancelled item of a batch and answers the others", async () => {
    const stopped = token();
    stopped.cancel();
    const pixels = noise(20, 20);
    const batch = await replica.encodeImages(
      [
        { pixels, token: token() },
        { pixels, token: stopped },
        { pixels, token: token() },
      ],
      EIGHT,
    );
    expect(codes(batch)).toEqual(["ok", "ABORTED", "ok"]);
  });

  it("does not touch calls with other tokens, and a used token stays cancelled", async () => {
    const stopped = token();
    stopped.cancel();
    stopped.cancel();
    (await encodeOne(addon, replica, noise(20, 20))).dispose();
    expect(codes(await replica.encodeTexts([{ ids: TEXT, token: stopped }], EIGHT))).toEqual(["ABORTED"]);
  });
});

describe("close", () => {
  it("lets what runs end, refuses what waits and what comes later, and can be called again", async () => {
    const closing = await openTiny(addon, 1);
    const items = () => withTokens(addon, [{ pixels: noise(3000, 2000) }]);
    // Made before: drawing one takes longer than encoding the other.
    const [first, second] = [items(), items()];
    const running = closing.encodeImages(first, EIGHT);
    while (!closing.stats().running) await new Promise((done) => setImmediate(done));
    const waiting = failure(closing.encodeImages(second, EIGHT));
    expect(closing.stats().queued).toBe(1);
    const closed = closing.close();
    expect(await waiting).toMatchObject({ code: "DISPOSED" });
    const features = only(await running);
    await closed;
    expect(closing.stats()).toMatchObject({ queued: 0, running: false, modelBytes: 0 });
    expect(closing.stats().featureBytes).toBe(features.bytes);
    features.dispose();
    expect(closing.stats().featureBytes).toBe(0);
    expect(await failure(closing.encodeImages(first, EIGHT))).toMatchObject({ code: "DISPOSED" });
    expect(await failure(closing.trim())).toMatchObject({ code: "DISPOSED" });
    await closing.close();
  });

  it("frees a replica that nothing was loaded into", async () => {
    const empty = new addon.Replica({ device: DEVICE, threads: 1 });
    const call = empty.encodeImages(withTokens(addon, [{ pixels: noise(4, 4) }]), EIGHT);
    expect(await failure(call)).toMatchObject({ code: "INTERNAL" });
    await empty.close();
  });
});
