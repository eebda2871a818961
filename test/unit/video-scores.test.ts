import { describe, expect, it } from "vitest";
import { type FrameResult, Mask } from "../../lib/index.js";
import { emptyTally, follow, type Tally, watch } from "../mini/video-scores.js";

const WIDTH = 64;

/** A mask of one row: every letter is four pixels, those of `letter` are in the mask. */
function strip(row: string, letter: string): Mask | null {
  const bits = Array.from({ length: WIDTH }, (_, x) => (row[Math.floor(x / 4)] === letter ? 1 : 0));
  return bits.includes(1) ? Mask.fromBitmap(bits, WIDTH, 1) : null;
}

/**
 * A clip: per frame a drawn row, on which capitals are objects of the name "disc" and small letters of the name "star",
 * and a row of what was found, whose digits are ids; those from 5 on were found as "star".
 */
function score(rows: readonly (readonly [gold: string, found: string])[]): Tally {
  const letters = [...new Set(rows.flatMap(([gold]) => [...gold.replaceAll(/[^a-z]/gi, "")]))].sort();
  const objects = letters.map((letter) => ({
    name: letter < "a" ? "disc" : "star",
    masks: rows.map(([gold]) => strip(gold, letter)),
  }));
  const frames = rows.map(([, found], index) => ({
    index,
    objects: [...new Set(found.replaceAll(/\D/g, ""))].map((digit) => ({
      id: Number(digit),
      text: Number(digit) < 5 ? "disc" : "star",
      mask: strip(found, digit) as Mask,
    })),
  }));
  const tally = emptyTally();
  watch(frames as unknown as FrameResult[], objects, tally);
  return tally;
}

const times = (count: number, gold: string, found: string) =>
  Array.from({ length: count }, () => [gold, found] as const);

describe("scores of objects asked for by name", () => {
  it("finds nothing to complain about where all is found", () => {
    const rows = [...times(10, "AA..bb", "11..55"), ...times(20, "AA..bbCC", "11..5522")];
    expect(score(rows)).toEqual({
      ...{ iou: 80, frames: 80, switches: 0, left: 0, gone: 0, held: 0, late: 1, found: 1, surplus: 0 },
    });
  });

  it("counts a change of ids, once, and none where an id comes back after nothing was found", () => {
    expect(score([...times(4, "AA", "11"), ...times(4, "AA", "22")])).toMatchObject({
      switches: 1,
      surplus: 0,
    });
    expect(score([...times(4, "AA", "11"), ...times(4, "AA", ""), ...times(4, "AA", "11")])).toMatchObject({
      switches: 0,
      iou: 8,
      frames: 12,
    });
  });

  it("lets an object that left be found for two frames more", () => {
    const rows = [...times(4, "AA", "11"), ...times(2, "", "11"), ...times(10, "", "")];
    expect(score(rows)).toMatchObject({ iou: 4, frames: 4, left: 1, gone: 1, surplus: 0, switches: 0 });
  });

  it("counts every frame more as one of no overlap, and the object as not gone", () => {
    const rows = [...times(4, "AA", "11"), ...times(5, "", "11"), ...times(10, "", "")];
    expect(score(rows)).toMatchObject({ iou: 4, frames: 7, left: 1, gone: 0, surplus: 3, switches: 0 });
  });

  it("counts an id that comes back long after its object left", () => {
    const rows = [...times(4, "AA", "11"), ...times(20, "", ""), ...times(3, "", "11")];
    expect(score(rows)).toMatchObject({ iou: 4, frames: 7, surplus: 3 });
  });

  it("counts an id that went over to another object as one switch for the absence", () => {
    // To one of another name, which has its own id as well: the mask is then one of no disc, too.
    const other = [...times(4, "AA..bb", "11..55"), ...times(12, "....bb", "....15")];
    expect(score(other)).toMatchObject({ switches: 1, left: 1, gone: 1, frames: 20, surplus: 12 });
    // To one of its own name that was never found before: only the absence shows it.
    const same = [...times(4, "AA..BB", "11"), ...times(12, "....BB", "....11")];
    expect(score(same)).toMatchObject({ switches: 1, left: 1, gone: 1, surplus: 0 });
    // Away twice: two switches.
    const twice = [...same, ...times(4, "AA..BB", "11"), ...times(12, "....BB", "....11")];
    expect(score(twice).switches).toBe(2);
  });

  it("says of an id that only touches another object that it is still found", () => {
    const rows = [...times(4, "AA.bb", "11.55"), ...times(12, "...bb", ".1155")];
    expect(score(rows)).toMatchObject({ switches: 0, left: 1, gone: 0, frames: 4 + 16 + 10 });
  });

  it("counts masks of nothing, doubles and those under another's name", () => {
    expect(score(times(5, "AA....", "11..22"))).toMatchObject({ surplus: 5, iou: 5, frames: 5 });
    expect(score(times(5, "AAAA", "1112"))).toMatchObject({ surplus: 5, switches: 0 });
    expect(score(times(5, "AA..bb", "11..22"))).toMatchObject({ surplus: 5, iou: 5, frames: 10 });
  });

  it("takes an object that appears late for found only where it is met, and within 16 frames", () => {
    const late = (...found: (readonly [string, string])[]) => score([...times(6, "", ""), ...found]);
    expect(late(...times(15, "AAAA", ""), ...times(15, "AAAA", "1111"))).toMatchObject({ late: 1, found: 1 });
    expect(late(...times(16, "AAAA", ""), ...times(15, "AAAA", "1111"))).toMatchObject({ late: 1, found: 0 });
    expect(late(...times(30, "AAAA", "1"))).toMatchObject({ late: 1, found: 0 });
    expect(late(...times(15, "AAAA", "1111"))).toMatchObject({ late: 0, found: 0 });
    expect(score(times(30, "AAAA", "1111"))).toMatchObject({ late: 0 });
  });
});

/** The same of object A, clicked, and what was found of it: ones. */
function clicked(rows: readonly (readonly [gold: string, found: string])[]): Tally {
  const letters = [...new Set(rows.flatMap(([gold]) => [...gold.replaceAll(/[^A-Z]/g, "")]))].sort();
  const objects = letters.map((name) => ({ name, masks: rows.map(([gold]) => strip(gold, name)) }));
  const found = rows.map(([, row]) => strip(row, "1"));
  const tally = emptyTally();
  follow(found, objects[0] as (typeof objects)[0], objects, tally);
  return tally;
}

describe("scores of a clicked object", () => {
  it("finds nothing to complain about where it is followed, and gone within two frames", () => {
    const rows = [...times(10, "AA..BB", "11"), ...times(2, "....BB", "11"), ...times(10, "....BB", "")];
    expect(clicked(rows)).toEqual({ ...emptyTally(), iou: 10, frames: 10, left: 1, gone: 1 });
  });

  it("counts one that goes over to another object as not gone, as a switch, and as held", () => {
    const rows = [...times(10, "AA..BB", "11"), ...times(6, "....BB", "....11")];
    expect(clicked(rows)).toEqual({ ...emptyTally(), iou: 10, frames: 14, switches: 1, left: 1, held: 1 });
  });

  it("counts one that stays where nothing is as not gone, and neither as a switch nor as held", () => {
    const rows = [...times(10, "AA..BB", "11"), ...times(6, "....BB", "11")];
    expect(clicked(rows)).toEqual({ ...emptyTally(), iou: 10, frames: 14, left: 1 });
    // Nor if only a part of the time is spent on another object.
    const moving = [
      ...times(10, "AA..BB", "11"),
      ...times(3, "....BB", "11"),
      ...times(3, "....BB", "....11"),
    ];
    expect(clicked(moving)).toMatchObject({ left: 1, gone: 0, held: 0, switches: 1 });
  });

  it("counts the way there and back while the object is visible, and half of it is not it", () => {
    const rows = [...times(4, "AA..BB", "11"), ...times(4, "AA..BB", "....11"), ...times(4, "AA..BB", "11")];
    expect(clicked(rows)).toMatchObject({ switches: 2, iou: 8, frames: 12, left: 0 });
    expect(clicked([...times(4, "AA..BB", "11"), ...times(4, "AA..BB", "..1111111")])).toMatchObject({
      switches: 0,
    });
  });
});
