import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Mask } from "../../lib/masks/mask.js";

interface Case {
  name: string;
  size: [number, number];
  counts: string;
  area: number;
  bbox: [number, number, number, number];
  bitmap?: string;
  other?: string;
  iou?: number;
}

// Made by pycocotools, see make_coco_rle.py beside it.
const { cases } = JSON.parse(readFileSync(new URL("./fixtures/coco-rle.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

describe("Mask equals pycocotools", () => {
  it("has cases to compare", () => expect(cases.length).toBeGreaterThan(50));

  it.each(cases)("$name", ({ size, counts, area, bbox, bitmap, other, iou }) => {
    const [height, width] = size;
    const mask = Mask.fromRle({ size, counts });
    expect(mask.toRle()).toEqual({ size, counts });
    expect(mask.area).toBe(area);
    const [x1, y1, x2, y2] = mask.box;
    expect([x1, y1, x2 - x1, y2 - y1]).toEqual(bbox);
    const again = Mask.fromBitmap(mask.toBitmap(), width, height);
    expect(again.toRle().counts).toBe(counts);
    if (bitmap !== undefined) expect([...mask.toBitmap()].join("")).toBe(bitmap);
    if (other !== undefined)
      expect(mask.iou(Mask.fromRle({ size, counts: other }))).toBeCloseTo(iou as number, 12);
  });
});
