import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { toCoco } from "../../lib/formats/coco.js";
import { toGeoJson } from "../../lib/formats/geojson.js";
import { joinRings } from "../../lib/formats/joined-ring.js";
import { labelMapPng } from "../../lib/formats/label-map.js";
import { toYolo } from "../../lib/formats/yolo.js";
import { Mask } from "../../lib/masks/mask.js";
import { type Ring, ringArea } from "../../lib/masks/polygons.js";
import { drawn, found, pictureOf, variedMasks } from "./found.js";

const ring = drawn(`
  .....
  .###.
  .#.#.
  .###.
  ....#`);
const square = drawn(`
  ##...
  ##...
  .....
  .....
  .....`);
const empty = drawn(`
  .....
  .....
  .....
  .....
  .....`);

/** Which pixels a closed path encloses by the rule, asked at their centres. */
function filled(path: Ring, width: number, height: number, rule: "even-odd" | "non-zero"): number[] {
  return Array.from({ length: width * height }, (_, at) => {
    const [px, py] = [(at % width) + 0.5, Math.floor(at / width) + 0.5];
    let crossings = 0;
    let winding = 0;
    path.forEach((from, i) => {
      const to = path[(i + 1) % path.length] as Ring[number];
      // From the upper end, so that a line walked there and back is rounded alike both times.
      const [[x1, y1], [x2, y2]] = from[1] < to[1] ? [from, to] : [to, from];
      if (y1 > py === y2 > py) return;
      if (x1 + ((py - y1) / (y2 - y1)) * (x2 - x1) <= px) return;
      crossings++;
      winding += from[1] < to[1] ? 1 : -1;
    });
    return (rule === "even-odd" ? crossings % 2 === 1 : winding !== 0) ? 1 : 0;
  });
}

describe("one ring for holes and pieces", () => {
  it("encloses the same pixels, whatever rule fills it", () => {
    for (const mask of variedMasks(3, 120)) {
      const path = joinRings(mask.toPolygons());
      const bitmap = [...mask.toBitmap()];
      expect(filled(path, mask.width, mask.height, "even-odd")).toEqual(bitmap);
      expect(filled(path, mask.width, mask.height, "non-zero")).toEqual(bitmap);
      expect(ringArea(path)).toBe(mask.area);
    }
  });

  it("is nothing for nothing, and the outline itself for one piece", () => {
    expect(joinRings([])).toEqual([]);
    expect(joinRings(square.toPolygons())).toEqual(square.toPolygons()[0]?.outer);
  });
});

describe("COCO", () => {
  it("has pictures, categories and annotations with ids from 1", () => {
    const data = toCoco([
      pictureOf([found(ring, "ring", 0.9), found(square, "square", 0.7)], { fileName: "a.png" }),
      pictureOf([found(square, "square", 0.6)], { fileName: "b.png" }),
    ]);
    expect(data.images).toEqual([
      { id: 1, file_name: "a.png", width: 5, height: 5 },
      { id: 2, file_name: "b.png", width: 5, height: 5 },
    ]);
    expect(data.categories).toEqual([
      { id: 1, name: "ring" },
      { id: 2, name: "square" },
    ]);
    expect(data.annotations).toEqual([
      {
        id: 1,
        image_id: 1,
        category_id: 1,
        segmentation: ring.toRle(),
        area: 9,
        bbox: [1, 1, 4, 4],
        iscrowd: 0,
        score: 0.9,
      },
      expect.objectContaining({ id: 2, image_id: 1, category_id: 2, bbox: [0, 0, 2, 2], area: 4 }),
      expect.objectContaining({ id: 3, image_id: 2, category_id: 2 }),
    ]);
  });

  it("gives results of the same picture one entry", () => {
    const same = { contentHash: "x", fileName: "a.png" };
    const results = [pictureOf([found(ring)], same), pictureOf([found(square)], same)];
    expect(toCoco(results).images).toHaveLength(1);
    expect(toCoco(results).annotations.map(({ image_id }) => image_id)).toEqual([1, 1]);
    const others = [
      pictureOf([], { contentHash: "x", fileName: "a.png" }),
      pictureOf([], { contentHash: "x", fileName: "copy of a.png" }),
      pictureOf([], { contentHash: "y", fileName: "a.png" }),
      pictureOf([]),
      pictureOf([]),
    ];
    expect(toCoco(others).images.map(({ file_name }) => file_name)).toEqual([
      "a.png",
      "copy of a.png",
      "a.png",
      "image-4",
      "image-5",
    ]);
  });

  it("writes polygons, one for each piece, and leaves out what has no pixels", () => {
    const { annotations } = toCoco([pictureOf([found(ring), found(empty), found(square)])], {
      segmentation: "polygons",
    });
    expect(annotations.map(({ id, area }) => [id, area])).toEqual([
      [1, 9],
      [2, 4],
    ]);
    const pieces = annotations[0]?.segmentation as number[][];
    expect(pieces).toHaveLength(2);
    expect(annotations[1]?.segmentation).toEqual([square.toPolygons()[0]?.outer.flat()]);
    expect(toCoco([pictureOf([found(empty)])]).annotations[0]).toMatchObject({ area: 0, bbox: [0, 0, 0, 0] });
  });

  it("keeps the order of the categories given, and refuses what it cannot mean", () => {
    const results = [pictureOf([found(square, "b")])];
    const { categories, annotations } = toCoco(results, { categories: ["a", "b"] });
    expect(categories).toEqual([
      { id: 1, name: "a" },
      { id: 2, name: "b" },
    ]);
    expect(annotations[0]?.category_id).toBe(2);
    const refused = [
      { categories: ["a"] },
      { categories: ["b", "b"] },
      { categories: "b" },
      { segmentation: "mask" },
      { segmentation: "polygons", tolerance: -1 },
      { categorys: ["b"] },
      null,
    ];
    for (const options of refused) {
      expect(() => toCoco(results, options as never)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    }
  });
});

describe("GeoJSON", () => {
  it("has a feature for each object, with holes, pieces and closed rings that run as RFC 7946 wants", () => {
    const { type, features } = toGeoJson([
      pictureOf([found(ring, "ring", 0.9), found(square), found(empty)], { fileName: "a.png" }),
    ]);
    expect(type).toBe("FeatureCollection");
    expect(features.map(({ geometry }) => geometry?.type)).toEqual(["MultiPolygon", "Polygon", undefined]);
    expect(features[0]).toMatchObject({
      type: "Feature",
      bbox: [1, 1, 5, 5],
      properties: { file: "a.png", text: "ring", score: 0.9, area: 9, box: [1, 1, 5, 5] },
    });
    expect(features[1]?.geometry?.coordinates).toHaveLength(1);
  });

  it("encloses exactly the mask", () => {
    for (const mask of variedMasks(5, 60)) {
      const geometry = toGeoJson([pictureOf([found(mask)])]).features[0]?.geometry;
      const pieces =
        geometry == null ? [] : geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
      let area = 0;
      for (const [outer, ...holes] of pieces) {
        for (const closed of [outer, ...holes]) {
          expect(closed?.length).toBeGreaterThanOrEqual(5);
          expect(closed?.at(-1)).toEqual(closed?.[0]);
        }
        const [outside, ...inside] = [outer, ...holes].map((closed) =>
          ringArea((closed?.slice(1) ?? []) as Ring),
        );
        expect(outside).toBeGreaterThan(0); // counter-clockwise where y points up
        for (const hole of inside) expect(hole).toBeLessThan(0);
        area += [outside, ...inside].reduce((sum: number, part) => sum + (part as number), 0);
      }
      expect(area).toBe(mask.area);
    }
  });
});

describe("YOLO-seg", () => {
  it("has one line for each object, as parts of the picture's size", () => {
    const { classes, files } = toYolo([
      pictureOf([found(square, "b"), found(empty, "c"), found(square, "a")], { fileName: "x/street.jpg" }),
      pictureOf([], { fileName: "y/street.png" }),
    ]);
    expect(classes).toEqual(["b", "c", "a"]);
    const corners = (square.toPolygons()[0]?.outer ?? []).flat().map((value) => value / 5);
    expect(files).toEqual([
      { name: "street.txt", content: `0 ${corners.join(" ")}\n2 ${corners.join(" ")}\n` },
      { name: "street-2.txt", content: "" },
    ]);
  });

  it("says the mask back, holes and pieces too", () => {
    for (const mask of variedMasks(7, 80)) {
      const line = toYolo([pictureOf([found(mask)])]).files[0]?.content ?? "";
      const numbers = line.trim().split(" ").slice(1).map(Number);
      const path: Ring = [];
      for (let i = 0; i < numbers.length; i += 2) {
        path.push([(numbers[i] as number) * mask.width, (numbers[i + 1] as number) * mask.height]);
      }
      expect(filled(path, mask.width, mask.height, "even-odd")).toEqual([...mask.toBitmap()]);
    }
  });

  it("numbers classes as given", () => {
    const results = [pictureOf([found(square, "b")])];
    expect(toYolo(results, { classes: ["a", "b"] }).files[0]?.content).toMatch(/^1 /);
    expect(() => toYolo(results, { classes: ["a"] })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining('"b"') }),
    );
  });
});

describe("a label map", () => {
  it("gives each pixel its object, the better score where they overlap", async () => {
    const full = Mask.fromBitmap(new Array(25).fill(1), 5, 5);
    const png = await labelMapPng(
      [found(full, "a", 0.4), found(square, "b", 0.9), found(ring, "c", 0.2)],
      full,
    );
    expect(await sharp(png).metadata()).toMatchObject({ channels: 1, depth: "uchar", width: 5, height: 5 });
    const labels = await sharp(png).toColourspace("b-w").raw().toBuffer();
    expect([...labels]).toEqual([...square.toBitmap()].map((inside) => (inside ? 2 : 1)));
  });

  it("has 16 bits for more than 255 objects", async () => {
    const objects = Array.from({ length: 300 }, (_, i) =>
      found(
        Mask.fromBitmap(
          Array.from({ length: 300 }, (_, at) => (at === i ? 1 : 0)),
          20,
          15,
        ),
        "dot",
        i / 300,
      ),
    );
    const png = await labelMapPng(objects, { width: 20, height: 15 });
    expect(await sharp(png).metadata()).toMatchObject({ channels: 1, depth: "ushort" });
    const data = await sharp(png).toColourspace("grey16").raw({ depth: "ushort" }).toBuffer();
    const labels = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
    expect([...labels]).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
  });
});
