import type { Call } from "../call.js";
import type { Engine } from "../devices/engine.js";
import type { Lease } from "../devices/lease.js";
import type { Settled } from "../devices/requests.js";
import { type AskedText, askConcepts, withoutDuplicates } from "./ask-concepts.js";
import { ConceptResult, type FoundText } from "./concept-result.js";
import type { CheckedObjectPrompt } from "./object-prompt.js";
import { ObjectResult } from "./object-result.js";
import type { OpenedImage } from "./opened-image.js";
import type { ResultFacts } from "./picture-result.js";
import { allFulfilled, batchOfFulfilled } from "./settle.js";

/** What concept calls do beyond finding objects. */
interface ConceptExtras {
  readonly suppressDuplicates: number | undefined;
  readonly semantic: boolean;
}

/** A picture whose features are held: checked prompts go in, results come out. */
export class LeasedPicture {
  readonly lease: Lease;
  readonly #engine: Engine;
  readonly #opened: OpenedImage;

  constructor(engine: Engine, lease: Lease, opened: OpenedImage) {
    this.#engine = engine;
    this.lease = lease;
    this.#opened = opened;
  }

  get contentHash(): string {
    return this.#opened.source.contentHash;
  }

  /** Milliseconds spent reading, hashing and decoding. */
  get decodeMs(): number {
    return this.#opened.readMs + this.lease.decodeMs;
  }

  /** One prompt of one or more texts; what fails for one of them fails the call. */
  async concept(asked: readonly AskedText[], extras: ConceptExtras, call: Call): Promise<ConceptResult> {
    const start = performance.now();
    const answers = await askConcepts(this.#engine, this.lease, asked, extras.semantic, call);
    const found = await withoutDuplicates(allFulfilled(answers), extras.suppressDuplicates, call.signal);
    return new ConceptResult(this.#facts(start), found);
  }

  /** Many prompts of one text each; every one fails alone. */
  async concepts(
    asked: readonly Settled<AskedText>[],
    extras: ConceptExtras,
    call: Call,
  ): Promise<Settled<ConceptResult>[]> {
    const start = performance.now();
    const answers = await batchOfFulfilled(asked, (texts) =>
      askConcepts(this.#engine, this.lease, texts, extras.semantic, call),
    );
    const kept = await batchOfFulfilled(answers, async (found) => {
      const remaining = await withoutDuplicates(found, extras.suppressDuplicates, call.signal);
      return remaining.map((value): Settled<FoundText> => ({ status: "fulfilled", value }));
    });
    const facts = this.#facts(start);
    return kept.map((one) =>
      one.status === "rejected" ? one : { status: "fulfilled", value: new ConceptResult(facts, [one.value]) },
    );
  }

  /** Object prompts as one batch; every one fails alone. */
  async objects(
    prompts: readonly Settled<CheckedObjectPrompt>[],
    call: Call,
  ): Promise<Settled<ObjectResult>[]> {
    const start = performance.now();
    return batchOfFulfilled(prompts, async (checked) => {
      const requests = checked.map(({ request }) => request);
      const answers = await this.#engine.segmentObjects(this.lease, requests, call);
      const facts = this.#facts(start);
      return answers.map((one, i): Settled<ObjectResult> => {
        if (one.status === "rejected") return one;
        return {
          status: "fulfilled",
          value: new ObjectResult(facts, checked[i] as CheckedObjectPrompt, one.value),
        };
      });
    });
  }

  #facts(start: number): ResultFacts {
    const { width, height, encodeMs, cache } = this.lease;
    return {
      image: { width, height },
      timings: { decodeMs: this.decodeMs, encodeMs, segmentMs: performance.now() - start },
      cache,
      source: this.#opened.source,
      maxPixels: this.#engine.maxPixels,
    };
  }
}
