export { ERROR_CODES, type ErrorDetails, Sam3Error, type Sam3ErrorCode } from "./errors.js";
export type { ConceptPrompt, Exemplar } from "./image/concept-prompt.js";
export type {
  ConceptObject,
  ConceptObjectJson,
  ConceptResult,
  ConceptResultJson,
  ConceptTimings,
  PromptReport,
} from "./image/concept-result.js";
export type { CallOptions, EncodedImage } from "./image/encoded-image.js";
export type { ImagePredictor } from "./image/image-predictor.js";
export type { OverlayOptions } from "./image/overlay.js";
export type { ImageInput, RawImage } from "./image/take-image.js";
export type { ModelFacts } from "./load-engine.js";
export type { Logger } from "./logger.js";
export { type Box, Mask } from "./masks/mask.js";
export type { MaskPolygon, Ring } from "./masks/polygons.js";
export type { CocoRle } from "./masks/rle.js";
export type { DeviceChoice, LoadOptions, LoadProgress } from "./options.js";
export { Sam3 } from "./sam3.js";
export type { LogLevel } from "./settings.js";
