import { randomBytes } from "node:crypto";
import type { Call } from "../call.js";
import { describe } from "../describe.js";
import type { Engine } from "../devices/engine.js";
import { Sam3Error } from "../errors.js";
import { INSPECT } from "../inspect.js";
import { readPath } from "./read-path.js";
import { readSavedSession } from "./saved-session.js";
import { checkSaved, restoreSession } from "./session/keep.js";
import { SessionCore } from "./session/session-core.js";
import { leastSessionBytes } from "./session-bytes.js";
import {
  type RestoreOptions,
  readRestoreOptions,
  readSessionOptions,
  type SessionOptions,
  type SessionSettings,
} from "./session-options.js";
import { openVideo, readVideoOptions } from "./sources/open-video.js";
import { takeVideo } from "./sources/video-input.js";
import type { VideoInput, VideoSource } from "./sources/video-source.js";
import { type SessionStatus, VideoSession } from "./video-session.js";

const MB = 2 ** 20;

/**
 * Opens videos and keeps their sessions; `sam.video`. A session that nobody uses for `sessionTimeoutSeconds` is closed by
 * itself.
 */
export class VideoSessionManager {
  readonly #engine: Engine;
  readonly #sessions = new Map<string, VideoSession>();
  /** Ids of sessions that are being opened: they count, and their ids are taken. */
  readonly #opening = new Set<string>();
  #sweeper: NodeJS.Timeout | undefined;

  /** @internal */
  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Opens a video for tracking. The session lives on one replica: the one with the fewest sessions, or the one named by
   * `device`.
   *
   * @param video a video file or a folder of pictures (path or `file:` URL), the bytes of a video, a stream of them, or a
   *   list of pictures; left out for frames that come live (`session.stream`)
   * @throws {Sam3Error} `SESSION_LIMIT`, `INVALID_ARGUMENT`, `UNSUPPORTED` (a bundle not trained for video),
   *   `DEVICE_UNKNOWN`, `DEVICE_MEMORY`, `VIDEO_NOT_FOUND`, `VIDEO_INVALID`, `VIDEO_NO_STREAM`, `VIDEO_EMPTY`,
   *   `VIDEO_UNSUPPORTED`, `VIDEO_TOO_LARGE`, `VIDEO_STALLED`, `DECODER_NOT_FOUND`, `IMAGE_NOT_FOUND`, `IMAGE_INVALID`,
   *   `IMAGE_TOO_LARGE`, `TIMEOUT`, `DISPOSED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * await using session = await sam.video.open("clip.mp4", { id: "clip", device: "cuda:1" });
   * ```
   */
  open(video?: VideoInput | null, options: SessionOptions = {}): Promise<VideoSession> {
    return this.#engine.call("openVideo", this.open, options, async (call) => {
      const settings = readSessionOptions("sam.video.open", options, this.#engine);
      return this.#admit(settings, () => this.#open(video ?? undefined, settings, call));
    });
  }

  /**
   * Opens a session that was saved, over the same video and with the same model, on whichever device. It goes on as if
   * nothing had been in between: rules and results are those it was saved with.
   *
   * @param file what `session.save` wrote
   * @param video as for `open`; left out for a session of live frames
   * @throws {Sam3Error} `SESSION_NOT_FOUND` where there is no such file, `SESSION_INVALID` for one that is damaged, cut
   *   off, of another version, model or video, and what `open` throws
   * @example
   * ```ts
   * await using session = await sam.video.restore("clip.session", "clip.mp4");
   * ```
   */
  restore(file: string, video?: VideoInput | null, options: RestoreOptions = {}): Promise<VideoSession> {
    return this.#engine.call("restoreSession", this.restore, options, async (call) => {
      const path = readPath("sam.video.restore", file);
      const settings = readRestoreOptions(options, this.#engine);
      return this.#admit(settings, async () => {
        const saved = await readSavedSession(path, call.signal);
        const { header } = saved;
        const rules = { ...settings.rules, ...header.rules };
        const { correctionsCondition } = header;
        const opened = await this.#open(
          video ?? undefined,
          { ...settings, rules, correctionsCondition },
          call,
        );
        const { bundleId, manifest, tokenizer } = this.#engine;
        try {
          checkSaved(saved, opened.core, { id: bundleId, name: manifest.name });
          await opened.core.line.operate(call.signal, (calls) =>
            restoreSession(opened.core, calls, saved, (text) => tokenizer.encode(text).ids),
          );
        } catch (error) {
          await opened.core.close(error as Sam3Error);
          throw error;
        }
        return opened;
      });
    });
  }

  /**
   * The session of that id.
   *
   * @throws {Sam3Error} `SESSION_NOT_FOUND`
   */
  get(id: string): VideoSession {
    const session = this.#sessions.get(id);
    if (session) return session;
    throw new Sam3Error(
      "SESSION_NOT_FOUND",
      `There is no open session ${describe(id)}; sam.video.list() names those there are.`,
    );
  }

  /** How every open session is doing, in the order they were opened. */
  list(): SessionStatus[] {
    return [...this.#sessions.values()].map((session) => session.status());
  }

  /**
   * Closes the session of that id.
   *
   * @throws {Sam3Error} `SESSION_NOT_FOUND`
   */
  async close(id: string): Promise<void> {
    await this.get(id).close();
  }

  /** Closes every session. */
  async closeAll(): Promise<void> {
    await this.closeAllBecause("All sessions were closed.");
  }

  /**
   * The same, with the reason that callers see.
   *
   * @internal
   */
  async closeAllBecause(why: string): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.closeBecause(why)));
  }

  [INSPECT](): string {
    const { maxSessions } = this.#engine.video;
    return `VideoSessionManager { ${this.#sessions.size} of ${maxSessions} sessions open }`;
  }

  /** Checks that one more may be, before anything is read or allocated, and keeps it from then on. */
  async #admit(
    settings: SessionSettings,
    open: () => Promise<{ readonly core: SessionCore }>,
  ): Promise<VideoSession> {
    const { maxSessions } = this.#engine.video;
    const there = this.#sessions.size + this.#opening.size;
    if (there >= maxSessions) {
      throw new Sam3Error(
        "SESSION_LIMIT",
        `${there} video sessions are open and ${maxSessions} is the limit (maxSessions, MAX_CONCURRENT_SESSIONS). Close one, or allow more.`,
        { details: { sessions: there, maxSessions } },
      );
    }
    this.#assertTrained(settings);
    const id = settings.id ?? this.#newId();
    if (this.#sessions.has(id) || this.#opening.has(id)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `There is a session ${describe(id)} already. Close it, or choose another id.`,
      );
    }
    this.#opening.add(id);
    try {
      const { core } = await open();
      const session = new VideoSession({
        id,
        engine: this.#engine,
        core,
        settings,
        onClose: () => this.#forget(id),
      });
      this.#sessions.set(id, session);
      this.#startSweeper();
      this.#engine.logger.info(`session ${id} is open on ${core.place.replica.name}`);
      return session;
    } finally {
      this.#opening.delete(id);
    }
  }

  async #open(
    video: VideoInput | undefined,
    settings: SessionSettings,
    { signal }: Call,
  ): Promise<{ readonly core: SessionCore }> {
    const engine = this.#engine;
    const { videoDevices } = engine.video;
    const names = settings.device === undefined ? videoDevices : [settings.device];
    const options = this.#sourceOptions(settings, signal);
    // What cannot be is refused before anything is held or waited for.
    readVideoOptions(options);
    if (video !== undefined && takeVideo(video).kind === "live") throw liveInput();
    const bytes = leastSessionBytes(engine.manifest, settings.framesAhead);
    const place = await engine.pin(bytes, names, signal);
    let source: VideoSource | undefined;
    try {
      source = video === undefined ? undefined : await openVideo(video, options);
      signal.throwIfAborted();
      engine.assertOpen();
      const { rules, budgets, correctionsCondition } = settings;
      const core = new SessionCore({ place, source: source ?? null, rules, budgets, correctionsCondition });
      // Weakly: the replica outlives a model that was dropped without being closed, and must not keep its sessions.
      const session = new WeakRef(core);
      place.countHeld(() => session.deref()?.deviceBytes ?? 0);
      return { core };
    } catch (error) {
      place.release();
      await source?.dispose();
      throw error;
    }
  }

  #sourceOptions({ source }: SessionSettings, signal: AbortSignal) {
    const { maxPixels, video } = this.#engine;
    return {
      decoder: source.decoder ?? video.videoDecoder,
      ffmpeg: source.ffmpeg ?? video.ffmpeg,
      fps: source.fps,
      readAhead: video.videoReadAhead,
      stallTimeoutMs: video.videoStallTimeoutMs,
      maxBytes: video.maxVideoMb * MB,
      maxPixels,
      signal,
    };
  }

  #assertTrained({ allowUntrained }: SessionSettings): void {
    const { name, tracker } = this.#engine.manifest;
    if (tracker.memoryTrained || allowUntrained) return;
    throw new Sam3Error(
      "UNSUPPORTED",
      `The model ${name} was made without training for video. Load one with a trained tracker, or see what it does with allowUntrained: true.`,
    );
  }

  #newId(): string {
    for (;;) {
      const id = randomBytes(6).toString("hex");
      if (!this.#sessions.has(id) && !this.#opening.has(id)) return id;
    }
  }

  #forget(id: string): void {
    this.#sessions.delete(id);
    if (this.#sessions.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #startSweeper(): void {
    const { sessionTimeoutSeconds, sessionCleanupIntervalSeconds } = this.#engine.video;
    if (sessionTimeoutSeconds === 0) return;
    this.#sweeper ??= setInterval(() => this.#sweep(), sessionCleanupIntervalSeconds * 1000).unref();
  }

  /** Closes what nobody has used for too long. */
  #sweep(): void {
    const { sessionTimeoutSeconds } = this.#engine.video;
    const { logger } = this.#engine;
    for (const session of this.#sessions.values()) {
      const { id, state, lastUsedAt, hostBytes } = session.status();
      const idleMs = Date.now() - lastUsedAt.getTime();
      if (state === "processing" || idleMs < sessionTimeoutSeconds * 1000) continue;
      const idle = Math.round(idleMs / 1000);
      session
        .closeBecause(
          `The session was closed because nobody used it for ${idle} s (SESSION_TIMEOUT_SECONDS).`,
        )
        .then(
          (deviceBytes) =>
            logger.info(
              `session ${id} was closed after ${idle} s without use; freed ${deviceBytes} bytes on its device and ${hostBytes} in main memory`,
            ),
          (error: unknown) => logger.error(`closing session ${id} failed: ${String(error)}`),
        );
    }
  }
}

function liveInput(): Sam3Error {
  return new Sam3Error(
    "INVALID_ARGUMENT",
    "Frames that come as they come are no video to open. Open a session without one, sam.video.open(), and pass them to session.stream().",
  );
}
