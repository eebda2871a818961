/** Where drawn frames go, in their order. */
export interface FrameSink {
  /** @param rgb interleaved, 8 bits, of the video's size */
  write(index: number, rgb: Buffer): Promise<void>;
  /** Finishes what was written. */
  close(): Promise<void>;
  /** Gives up and removes what cannot be used. */
  abort(): Promise<void>;
}

/** What a sink must know of its frames. */
export interface FrameFormat {
  readonly width: number;
  readonly height: number;
  /** Frames per second, the average where the rate is variable. */
  readonly fps: number;
}
