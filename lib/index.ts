export type { CacheControl } from "./cache/cache-control.js";
export type { CacheEntryInfo, CacheKind, CacheStats, Tier } from "./cache/feature-cache.js";
export type { CallOptions } from "./call.js";
export type { Health, ReplicaHealth } from "./devices/device-pool.js";
export type { ReplicaStats, Sam3Stats } from "./devices/engine-stats.js";
export type { ReplicaState } from "./devices/replica.js";
export type { CacheOutcome, Settled } from "./devices/requests.js";
export { ERROR_CODES, type ErrorDetails, Sam3Error, type Sam3ErrorCode } from "./errors.js";
export {
  type CocoAnnotation,
  type CocoDataset,
  type CocoImage,
  type CocoOptions,
  toCoco,
} from "./formats/coco.js";
export type { FoundObject, FoundPicture } from "./formats/found-picture.js";
export {
  type GeoJsonCollection,
  type GeoJsonFeature,
  type GeoJsonOptions,
  type GeoJsonRing,
  toGeoJson,
} from "./formats/geojson.js";
export { toYolo, type YoloLabels, type YoloOptions } from "./formats/yolo.js";
export type { ConceptOptions } from "./image/concept-options.js";
export type { ConceptPrompt, Exemplar } from "./image/concept-prompt.js";
export type {
  ConceptObject,
  ConceptObjectJson,
  ConceptResult,
  ConceptResultJson,
  PromptReport,
  PromptReportJson,
} from "./image/concept-result.js";
export type { EncodedImage } from "./image/encoded-image.js";
export type {
  BatchItem,
  BatchOptions,
  ImageConceptOptions,
  ImagePredictor,
} from "./image/image-predictor.js";
export type { ObjectOptions } from "./image/object-options.js";
export type { ObjectPoint, ObjectPrompt } from "./image/object-prompt.js";
export type { ObjectMask, ObjectMaskJson, ObjectResult, ObjectResultJson } from "./image/object-result.js";
export type { OverlayOptions } from "./image/overlay.js";
export type { PictureResult, Timings } from "./image/picture-result.js";
export type { SingleConceptPrompt } from "./image/prepare-prompts.js";
export type { ImageInput, RawImage } from "./image/take-image.js";
export type { TileOptions } from "./image/tile-layout.js";
export type { ModelFacts } from "./load-engine.js";
export type { Logger } from "./logger.js";
export { type Box, Mask } from "./masks/mask.js";
export type { MaskPolygon, Ring } from "./masks/polygons.js";
export type { CocoRle } from "./masks/rle.js";
export type { HistogramSnapshot } from "./metrics/histogram.js";
export type { CallCounts } from "./metrics/meter.js";
export type { MetricsOptions, MetricsRegistry } from "./metrics/prometheus.js";
export type { DeviceChoice, DeviceName, DeviceOptions, LoadOptions, LoadProgress } from "./options.js";
export type { CallProgress } from "./progress.js";
export { Sam3 } from "./sam3.js";
export type { LogLevel } from "./settings.js";
export type { FrameResult, FrameResultJson, VideoObject, VideoObjectJson } from "./video/frame-result.js";
export type { VideoRules } from "./video/rules/options.js";
export type {
  OutputOptions,
  PropagateOptions,
  PropagateProgress,
  RestoreOptions,
  SessionOptions,
  StreamOptions,
} from "./video/session-options.js";
export type { LiveFrame, VideoInfo, VideoInput } from "./video/sources/video-source.js";
export type { VideoPrompt } from "./video/video-prompt.js";
export type { PromptAnswer, SessionObject, SessionStatus, VideoSession } from "./video/video-session.js";
export type { VideoSessionManager } from "./video/video-session-manager.js";
