import type { Manifest } from "../bundle/manifest.js";
import type { TextTokenizer } from "../bundle/tokenizer.js";
import type { Replica } from "./replica.js";

const SIDE = 64;

/** Runs every part of a loaded model once on a small grey picture, so that the first real call finds it warm. */
export async function warmUp(replica: Replica, manifest: Manifest, tokenizer: TextTokenizer): Promise<void> {
  const pixels = { data: new Uint8Array(SIDE * SIDE * 3).fill(128), width: SIDE, height: SIDE };
  const { ids } = tokenizer.encode(manifest.tokenizer.fallbackText);
  const { value: features } = await replica.submit("encodeImages", { pixels });
  try {
    const { value: text } = await replica.submit("encodeTexts", { ids });
    try {
      const boxes = new Float32Array(0);
      const labels = new Uint8Array(0);
      const prompt = { features, text, boxes, labels, threshold: 1, semantic: false };
      await replica.submit("segmentConcepts", prompt);
    } finally {
      text.dispose();
    }
    if (!manifest.tracker.trained) return;
    const click = {
      features,
      points: Float32Array.of(SIDE / 2, SIDE / 2),
      labels: Int32Array.of(1),
      mask: null,
      multimask: false,
      maskThreshold: manifest.thresholds.mask,
      maxHoleArea: 0,
      maxSprinkleArea: 0,
    };
    await replica.submit("segmentObjects", click);
  } finally {
    features.dispose();
  }
}
