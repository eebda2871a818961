import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeAddon, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import {
  codes,
  DEVICE,
  EIGHT,
  encodeOne,
  encodeText,
  failure,
  noise,
  only,
  openTiny,
  PLAIN,
  withTokens,
} from "./support.js";

let addon: NativeAddon;
let replica: NativeReplica;
const token = () => new addon.CancelToken();

beforeAll(async () => {
  addon = loadAddon();
  replica = await openTiny(addon, 1);
});
afterAll(() => replica?.close());

describe("moveFeatures", () => {
  it("copies to the host and back; the old handle stays, and answers are the same", async () => {
    const features = await encodeOne(addon, replica, noise(40, 30));
    const text = await encodeText(addon, replica);
    const find = (on: typeof features) =>
      replica.segmentConcepts(withTokens(addon, [{ features: on, text, ...PLAIN, threshold: 0 }]), EIGHT);
    const counted = replica.stats().featureBytes;
    const host = await replica.moveFeatures(features, "host", token());
    expect(host).toMatchObject({ tier: "host", width: 40, height: 30, bytes: features.bytes });
    expect(replica.stats().featureBytes).toBe(counted);
    expect(codes(await find(host))).toEqual(["INVALID_ARGUMENT"]);
    const back = await replica.moveFeatures(host, "device", token());
    expect(back.tier).toBe("device");
    expect(replica.stats().featureBytes).toBe(counted + features.bytes);
    const before = only(await find(features));
    features.dispose();
    host.dispose();
    expect(only(await find(back))).toEqual(before);
    back.dispose();
  });

  it("refuses what cannot be moved", async () => {
    const features = await encodeOne(addon, replica, noise(40, 30));
    const other = await openTiny(addon, 1);
    expect(await failure(other.moveFeatures(features, "host", token()))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await other.close();
    for (const to of ["moon", undefined, 7]) {
      expect(await failure(replica.moveFeatures(features, to as never, token()))).toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    const stopped = token();
    stopped.cancel();
    expect(await failure(replica.moveFeatures(features, "host", stopped))).toMatchObject({ code: "ABORTED" });
    features.dispose();
    expect(await failure(replica.moveFeatures(features, "host", token()))).toMatchObject({
      code: "DISPOSED",
    });
    expect(await failure(replica.moveFeatures({} as never, "host", token()))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("memory", () => {
  it("tells the device's memory and what is ours, and grows with features", async () => {
    const before = replica.memory();
    expect(before.totalBytes).toBeGreaterThan(2 ** 28);
    expect(before.freeBytes).toBeGreaterThan(0);
    expect(before.freeBytes).toBeLessThanOrEqual(before.totalBytes);
    expect(before.modelBytes).toBe(replica.stats().modelBytes);
    if (DEVICE === "cpu") {
      expect(before.peakBytes).toBeNull();
      expect(before.allocatedBytes).toBe(before.modelBytes + before.featureBytes);
    } else {
      expect(before.peakBytes).toBeGreaterThanOrEqual(before.allocatedBytes);
    }
    const features = await encodeOne(addon, replica, noise(40, 30));
    expect(replica.memory().featureBytes).toBe(before.featureBytes + features.bytes);
    features.dispose();
    expect(replica.memory().featureBytes).toBe(before.featureBytes);
  });

  it("can be trimmed at any time", async () => {
    expect(await replica.trim()).toBeUndefined();
    (await encodeOne(addon, replica, noise(40, 30))).dispose();
    await Promise.all([replica.trim(), encodeOne(addon, replica, noise(40, 30)), replica.trim()]);
  });
});
