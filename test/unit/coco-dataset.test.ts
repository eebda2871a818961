import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type CocoDataset, toCoco } from "../../lib/formats/coco.js";
import { found, pictureOf, variedMasks } from "./found.js";
import { pythonWith } from "./python.js";

interface Understood {
  images: string[];
  categories: string[];
  annotations: { bitmap: string; area: number; bbox: number[]; image: string; category: string }[];
  detections: number;
}

const setUp = pythonWith(["pycocotools"]);
if ("reason" in setUp) {
  console.log(`not run: COCO data sets read by pycocotools: ${setUp.reason}`);
  it.skip(`pycocotools reads our COCO data sets (not run: ${setUp.reason})`, () => {});
}

function read(dataset: CocoDataset): Understood {
  const script = fileURLToPath(new URL("coco_reader.py", import.meta.url));
  const input = `${JSON.stringify(dataset)}\n`;
  const maxBuffer = 2 ** 28;
  return JSON.parse(
    execFileSync((setUp as { python: string }).python, [script], { input, maxBuffer }).toString(),
  ) as Understood;
}

describe.skipIf("reason" in setUp)("pycocotools reads", () => {
  // No empty masks: the polygon form leaves them out.
  const masks = variedMasks(9, 200).filter(({ area }) => area > 0);
  const results = masks.map((mask, i) =>
    pictureOf([found(mask, i % 2 === 0 ? "even" : "odd", i / 1000)], { fileName: `${i}.png` }),
  );

  it.each(["rle", "polygons"] as const)("the same masks from our data set with %s", (segmentation) => {
    const dataset = toCoco(results, { segmentation });
    const understood = read(dataset);
    expect(understood.images).toEqual(masks.map((_, i) => `${i}.png`));
    expect(understood.categories).toEqual(["even", "odd"]);
    expect(understood.detections).toBe(masks.length);
    expect(understood.annotations).toHaveLength(masks.length);
    understood.annotations.forEach(({ bitmap, area, bbox, image, category }, i) => {
      expect(bitmap).toBe([...(masks[i]?.toBitmap() ?? [])].join(""));
      expect(area).toBe(dataset.annotations[i]?.area);
      expect(bbox).toEqual(dataset.annotations[i]?.bbox);
      expect([image, category]).toEqual([`${i}.png`, i % 2 === 0 ? "even" : "odd"]);
    });
  });
});
