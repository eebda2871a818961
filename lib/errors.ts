/**
 * Every failure this package reports, with what it means. The table in the README is generated from here.
 */
export const ERROR_CODES = {
  INVALID_ARGUMENT: "A value given to a function has the wrong type or range.",
  INVALID_SETTING: "An option or environment variable cannot be read.",
  INVALID_PROMPT: "A prompt is empty, too long to be meant, or of the wrong type.",
  INVALID_BOX: "A box is not four finite numbers x1 < x2, y1 < y2 that touch the picture.",
  INVALID_POINT: "A point is not two finite numbers inside the picture, or its label is missing.",
  INVALID_MASK: "A mask given as a prompt has the wrong size or holds what is not a number.",
  UNSUPPORTED: "This bundle, device or installation cannot do what was asked.",
  IMAGE_NOT_FOUND: "The picture file does not exist or is not a file.",
  IMAGE_INVALID: "The bytes are not a picture, or the picture is damaged.",
  IMAGE_TOO_LARGE: "The picture has more pixels than the limit.",
  VIDEO_NOT_FOUND: "The video file or folder does not exist or cannot be read.",
  VIDEO_INVALID: "The file is not a video, or is damaged.",
  VIDEO_NO_STREAM: "The file has no video in it, only sound for example.",
  VIDEO_EMPTY: "The video has no frame.",
  VIDEO_TRUNCATED: "The video breaks off; the frames before the break were delivered.",
  VIDEO_TOO_LARGE: "The stream has more bytes than may be kept in a temporary file.",
  VIDEO_STALLED: "The source gave nothing for longer than it was allowed to.",
  VIDEO_NOT_SEEKABLE: "A live source has no random access: its frames come once, in order.",
  VIDEO_UNSUPPORTED: "The decoder that is installed cannot decode this; the message says what to install.",
  DECODER_NOT_FOUND: "Neither node-av nor ffmpeg is installed, so videos cannot be decoded.",
  FRAME_OUT_OF_RANGE: "The video has no frame of this index.",
  FRAME_SIZE: "A frame has another size than the first one.",
  OBJECT_NOT_FOUND: "The session has no object of this id.",
  SESSION_NOT_FOUND: "There is no session of this id.",
  SESSION_LIMIT: "As many sessions are open as there may be; nothing was allocated.",
  SESSION_BUSY: "Another pass over the session stands still: its caller neither goes on nor ends it.",
  SESSION_CLOSED: "The session was closed, by you or because nobody used it.",
  SESSION_INVALID: "A saved session is damaged, of another version, or of another model or video.",
  BUNDLE_NOT_FOUND: "The bundle folder or its manifest does not exist.",
  BUNDLE_INVALID: "The manifest cannot be read, or a part does not hold what it should.",
  BUNDLE_PART_MISSING: "A part named in the manifest is not in the folder.",
  BUNDLE_HASH_MISMATCH: "A part is not the file the manifest describes.",
  BUNDLE_TOO_NEW: "The bundle was written for a newer version of this package.",
  LIBTORCH_NOT_FOUND: "No libtorch was found in any of the places looked at.",
  LIBTORCH_VERSION: "The libtorch found is not the minor version the addon was built for.",
  LIBTORCH_INSTALL_FAILED: "libtorch could not be downloaded, checked or unpacked.",
  ADDON_NOT_FOUND: "No compiled addon exists for this platform.",
  ADDON_LOAD_FAILED: "The compiled addon could not be loaded.",
  DEVICE_UNKNOWN: "The device named does not exist here.",
  DEVICE_FAULT: "The device failed while working.",
  OUT_OF_MEMORY: "The device or the process has too little memory for this.",
  DEVICE_MEMORY: "The device has less memory free than a load needs; nothing was loaded.",
  QUEUE_FULL: "More calls are waiting than the queue may hold; try again later.",
  TIMEOUT: "A call took longer, or waited longer, than it was allowed to.",
  MODEL_FAILED: "A part of the model failed while running.",
  DISPOSED: "The object was disposed before it was used.",
  PYTHON_NOT_FOUND: "Exporting needs Python 3.10 or newer with pip and venv.",
  CHECKPOINT_NOT_FOUND: "The checkpoint does not exist.",
  CHECKPOINT_INVALID: "The checkpoint is not a SAM 3 checkpoint, or is damaged.",
  EXPORT_FAILED: "The export stopped with an error.",
  OUTPUT_FAILED: "A result could not be written.",
  DISK_FULL: "The disk is full.",
  USAGE: "The command line cannot be understood.",
  INTERNAL: "A defect in this package; please report it.",
} as const;

export type Sam3ErrorCode = keyof typeof ERROR_CODES;

const BRAND = Symbol.for("sam3-node.Sam3Error");

/** Further facts about a failure, shown by `util.inspect` and written by loggers. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/**
 * The only error class this package throws on purpose. `code` is stable, `message` says what happened and what to do.
 *
 * @example
 * ```ts
 * try {
 *   await sam.image.segmentConcept("missing.jpg", { text: "cat" });
 * } catch (error) {
 *   if (Sam3Error.is(error, "IMAGE_NOT_FOUND")) console.log(error.message);
 * }
 * ```
 */
export class Sam3Error extends Error {
  override readonly name = "Sam3Error";
  readonly code: Sam3ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: Sam3ErrorCode,
    message: string,
    options: { cause?: unknown; details?: ErrorDetails } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** True for a Sam3Error from any copy of this package (ESM, CJS, another realm), of the given code if one is given. */
  static is<C extends Sam3ErrorCode>(error: unknown, code?: C): error is Sam3Error & { readonly code: C } {
    return (
      typeof error === "object" &&
      error !== null &&
      (error as Record<symbol, unknown>)[BRAND] === true &&
      (code === undefined || (error as Sam3Error).code === code)
    );
  }
}
