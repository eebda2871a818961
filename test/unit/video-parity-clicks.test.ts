import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Mask, type PropagateOptions, type VideoPrompt } from "../../lib/index.js";
import { expectSame, HEIGHT, Parity, parityOf, type Shown, WIDTH } from "./video-parity.js";

/** What video_parity_clicks.py writes of one clip. */
interface Case {
  name: string;
  seed: number;
  steps: { frame: number; reverse: boolean; prompts: ClickPrompt[] }[];
  shown: Shown[];
}
interface ClickPrompt {
  object: number;
  points?: [x: number, y: number, label: number][];
  mask?: [x1: number, y1: number, x2: number, y2: number];
}

const setUp = parityOf("videos by clicks");

describe.skipIf("reason" in setUp)("objects of points, boxes and masks equal transformers'", () => {
  let parity: Parity<Case[]>;

  beforeAll(async () => {
    parity = await Parity.make((setUp as { python: string }).python, "video_parity_clicks.py");
  }, 1_200_000);
  afterAll(() => parity?.close());

  it("on every frame, forward and backward, before and after a correction", async () => {
    let [objects, pixels] = [0, 0];
    for (const { name, seed, steps, shown } of parity.reference) {
      const rules = { hotstartDelay: 0, hotstartUnmatched: 0, hotstartDuplicate: 0 };
      await using session = await parity.open(name, seed, rules, { correctionsCondition: false });
      const ids = new Map<number, number>();
      for (let at = 0; at < steps.length; ) {
        const { frame, prompts, reverse } = steps[at] as Case["steps"][number];
        for (const prompt of prompts) {
          const known = ids.get(prompt.object);
          const { object } = await session.addPrompt({
            frame,
            ...shownBy(prompt),
            object: known,
            replace: true,
          });
          ids.set(prompt.object, object as number);
        }
        // Frames up to the next prompt or turn, as one pass.
        let end = at + 1;
        while (end < steps.length && steps[end]?.prompts.length === 0 && steps[end]?.reverse === reverse)
          end++;
        const pass: PropagateOptions = {
          startFrame: frame,
          maxFrames: end - at,
          direction: reverse ? "backward" : "forward",
          outputs: { empty: true },
        };
        for await (const { index, objects: found } of session.propagate(pass)) {
          const expected = shown[at] as Shown;
          expect(index).toBe(expected.frame);
          const where = `${name}, call ${at}, frame ${index}`;
          const expectedIds = expected.objects.map(({ id }) => ids.get(id));
          expect(
            found.map(({ id }) => id),
            where,
          ).toEqual(expectedIds);
          expected.objects.forEach((object, k) => {
            pixels += expectSame(found[k]?.mask as Mask, object, `${where}, object ${object.id}`);
            objects++;
          });
          at++;
        }
        expect(at).toBe(end);
      }
    }
    console.log(`equal but for ${pixels} pixels: ${objects} masks of objects that were shown`);
    expect(objects).toBeGreaterThan(100);
  }, 600_000);
});

function shownBy({ points, mask }: ClickPrompt): VideoPrompt {
  if (mask) {
    const [x1, y1, x2, y2] = mask;
    const bitmap = new Uint8Array(WIDTH * HEIGHT);
    for (let y = y1; y < y2; y++) bitmap.fill(1, y * WIDTH + x1, y * WIDTH + x2);
    return { mask: Mask.fromBitmap(bitmap, WIDTH, HEIGHT) };
  }
  const corner = (label: number) => points?.find((point) => point[2] === label);
  const [upper, lower] = [corner(2), corner(3)];
  const clicks = (points ?? [])
    .filter(([, , label]) => label < 2)
    .map(([x, y, label]) => ({ x, y, label: label === 1 ? ("positive" as const) : ("negative" as const) }));
  return {
    ...(clicks.length > 0 ? { points: clicks } : {}),
    ...(upper && lower ? { box: [upper[0], upper[1], lower[0], lower[1]] as const } : {}),
  };
}
