import { Tokenizer } from "@huggingface/tokenizers";
import { Sam3Error } from "../errors.js";
import { cleanText } from "./clean-text.js";
import type { Manifest } from "./manifest.js";

/** Longest text taken as a prompt, in characters; anything longer was not meant as one. */
const MAX_TEXT_LENGTH = 20_000;

/** Letters read beyond those the context can hold, so that where a text is cut has no say in the tokens before it. */
const SPARE_LETTERS = 256;

/** A text as the model reads it. */
export interface TokenizedText {
  /** Start and end token included, at most the bundle's context length. */
  readonly ids: Int32Array;
  /** Whether the text was longer than the model can read and its end was cut off. */
  readonly truncated: boolean;
}

/** Turns words into the token ids of one bundle. Pure and synchronous; the longest text takes milliseconds. */
export class TextTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #contextLength: number;
  readonly #endToken: number;
  /** A text of more letters than this has more tokens than the context, whatever the letters are. */
  readonly #maxLetters: number;

  /**
   * @param json content of the bundle's `tokenizer.json`, parsed
   * @throws {Sam3Error} `BUNDLE_INVALID` when it is not a tokenizer or does not fit the manifest
   */
  constructor(
    json: unknown,
    facts: Pick<Manifest["tokenizer"], "contextLength" | "startToken" | "endToken">,
  ) {
    try {
      this.#tokenizer = new Tokenizer(json as object, {});
      this.#contextLength = facts.contextLength;
      this.#endToken = facts.endToken;
      const { vocab } = (json as { model: { vocab: Record<string, number> } }).model;
      const longest = Object.keys(vocab).reduce((most, token) => Math.max(most, token.length), 1);
      this.#maxLetters = facts.contextLength * longest + SPARE_LETTERS;
      const probe = this.#tokenizer.encode("a").ids;
      if (
        probe.length < 3 ||
        !probe.every(Number.isInteger) ||
        probe[0] !== facts.startToken ||
        probe.at(-1) !== facts.endToken
      ) {
        throw new Error(
          `"a" becomes [${probe.join(", ")}], which does not start and end as the manifest says`,
        );
      }
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Sam3Error(
        "BUNDLE_INVALID",
        `The bundle's tokenizer.json cannot be used: ${why}. Export it again.`,
        {
          cause,
        },
      );
    }
  }

  /**
   * Cleans a prompt and cuts it into tokens; too long a text is cut with the end token kept, as the model does. Of a text
   * that cannot fit the context only the beginning is looked at: words are cut into tokens one by one, so those before
   * the last one looked at are what they are in the whole text; a single word of over a thousand letters is cut well
   * behind the last token that is kept.
   *
   * @throws {Sam3Error} `INVALID_PROMPT` when nothing is left to look for, or the text is over 20,000 characters
   */
  encode(text: string): TokenizedText {
    if (text.length > MAX_TEXT_LENGTH) {
      throw new Sam3Error(
        "INVALID_PROMPT",
        `The text has ${text.length} characters; a prompt is a few words, and ${MAX_TEXT_LENGTH} is the limit.`,
      );
    }
    const ids = this.tokenize(this.#beginning(cleanText(text)));
    if (ids.length <= 2) {
      throw new Sam3Error(
        "INVALID_PROMPT",
        'The text is empty. Say what to look for, for example "red car".',
      );
    }
    if (ids.length <= this.#contextLength) return { ids: Int32Array.from(ids), truncated: false };
    const cut = Int32Array.from(ids.slice(0, this.#contextLength));
    cut[cut.length - 1] = this.#endToken;
    return { ids: cut, truncated: true };
  }

  /** As much of a clean text as can have a say in the tokens that are kept. */
  #beginning(text: string): string {
    if (text.length <= this.#maxLetters) return text;
    let letters = 0;
    let end = 0;
    for (const character of text) {
      if (character !== " " && ++letters > this.#maxLetters) break;
      end += character.length;
    }
    return text.slice(0, end);
  }

  /** Token ids of a text that is already clean, whole, start and end token included; equal to transformers' CLIPTokenizer. */
  tokenize(text: string): number[] {
    // Two places where @huggingface/tokenizers 0.2 differs from the Rust original: JavaScript lowers a sigma at a word's
    // end to ς, Rust always to σ; and a whole text that becomes a special token by lowering is taken for that token. A
    // leading space, which is no token, prevents it.
    return this.#tokenizer.encode(` ${text.replaceAll("Σ", "σ")}`).ids;
  }
}
