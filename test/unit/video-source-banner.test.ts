import { describe, expect, it } from "vitest";
import { BannerReader, readShown } from "../../lib/video/sources/ffmpeg/banner.js";

/** What programs of three ages say of the same files; lines that are the same in all, and builds' own, are left out. */
const TURNED = {
  2018: `
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:turned.mov':
  Metadata:
    encoder         : Lavf58.24.100
  Duration: 00:00:01.02, start: 0.000000, bitrate: 189 kb/s
    Stream #0:0(eng): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709/bt470bg/smpte170m), 98x66 [SAR 1:1 DAR 49:33], 104 kb/s, 25 fps, 25 tbr, 12800 tbn, 50 tbc (default)
    Metadata:
      rotate          : 90
      handler_name    : VideoHandler
    Side data:
      displaymatrix: rotation of -90.00 degrees
    Stream #0:1(eng): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> wrapped_avframe (native))
[Parsed_showinfo_0 @ 0x34a0e040] n:   0 pts:      0 pts_time:0       pos:       36 fmt:yuv420p sar:1/1 s:66x98 i:P iskey:1 type:I checksum:B4AFB77B plane_checksum:[B6C44636 B6FD1428 C4925D1D] mean:[84 125 136 ] stdev:[61.2 58.2 59.5 ]
[Parsed_showinfo_0 @ 0x34a0e040] color_range:tv color_space:bt709 color_primaries:bt470bg color_trc:smpte170m
Output #0, null, to 'pipe:':
    Stream #0:0(eng): Video: wrapped_avframe, yuv420p, 66x98 [SAR 1:1 DAR 33:49], q=2-31, 200 kb/s, 25 fps, 25 tbn, 25 tbc (default)
    Side data:
      displaymatrix: rotation of -0.00 degrees`,
  "7.0.2": `
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:turned.mov':
  Metadata:
    encoder         : Lavf58.24.100
  Duration: 00:00:01.00, start: 0.000000, bitrate: 194 kb/s
  Stream #0:0[0x1](eng): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709/bt470bg/smpte170m, progressive), 98x66 [SAR 1:1 DAR 49:33], 104 kb/s, 25 fps, 25 tbr, 12800 tbn (default)
      Metadata:
        handler_name    : VideoHandler
        vendor_id       : FFMP
      Side data:
        displaymatrix: rotation of -90.00 degrees
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> wrapped_avframe (native))
[Parsed_showinfo_0 @ 0x7fe4d4001ac0] n:   0 pts:      0 pts_time:0       duration:    512 duration_time:0.04    fmt:yuv420p cl:left sar:1/1 s:66x98 i:P iskey:1 type:I checksum:B4AFB77B plane_checksum:[B6C44636 B6FD1428 C4925D1D] mean:[84 125 136] stdev:[61.2 58.2 59.5]
[Parsed_showinfo_0 @ 0x7fe4d4001ac0]   side data - 3x3 displaymatrix: rotation of -90.00 degrees
[Parsed_showinfo_0 @ 0x7fe4d4001ac0] color_range:tv color_space:bt709 color_primaries:bt470bg color_trc:smpte170m
Output #0, null, to 'pipe:':
  Stream #0:0(eng): Video: wrapped_avframe, yuv420p(tv, bt709/bt470bg/smpte170m, progressive), 66x98 [SAR 1:1 DAR 33:49], q=2-31, 200 kb/s, 25 fps, 25 tbn (default)
      Side data:
        displaymatrix: rotation of -0.00 degrees`,
  "9.0.2": `
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:turned.mov':
  Metadata:
    encoder         : Lavf58.24.100
  Duration: 00:00:01.00, start: 0.000000, bitrate: 194 kb/s
  Stream #0:0[0x1](eng): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709/bt470bg/smpte170m, progressive), 98x66 [SAR 1:1 DAR 49:33], 104 kb/s, 25 fps, 25 tbr, 12800 tbn (default)
    Metadata:
      handler_name    : VideoHandler
      vendor_id       : FFMP
    Side data:
      Display Matrix: rotation of -90.00 degrees
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> wrapped_avframe (native))
[Parsed_showinfo_0 @ 0x7f0c28001b80] n:   0 pts:      0 pts_time:0       duration:    512 duration_time:0.04    fmt:yuv420p cl:left sar:1/1 s:66x98 i:P iskey:1 type:I checksum:B4AFB77B plane_checksum:[B6C44636 B6FD1428 C4925D1D] mean:[84 125 136] stdev:[61.2 58.2 59.5]
[Parsed_showinfo_0 @ 0x7f0c28001b80]   side data - H.26[45] User Data Unregistered SEI message: UUID=dc45e9bd-e6d9-48b7-962c-d820d923eeef
Output #0, null, to 'pipe:':
  Stream #0:0(eng): Video: wrapped_avframe, yuv420p(tv, bt709/bt470bg/smpte170m, progressive), 66x98 [SAR 1:1 DAR 33:49], q=2-31, 200 kb/s, 25 fps, 25 tbn (default)`,
};

/** New versions number streams by what the container calls them, and say more of a picture's colours. */
const OTHERS = {
  2018: `
Input #0, mpegts, from 'file:ts.ts':
  Duration: 00:00:01.00, start: 1.400000, bitrate: 463 kb/s
  Program 1 
    Stream #0:0[0x100]: Video: mpeg4 (Simple Profile) ([16][0][0][0] / 0x0010), yuv420p, 98x66 [SAR 1:1 DAR 49:33], 25 fps, 25 tbr, 90k tbn, 25 tbc
Stream mapping:
[Parsed_showinfo_0 @ 0x22658c00] n:   0 pts: 126000 pts_time:1.4     pos:      564 fmt:yuv420p sar:1/1 s:98x66 i:P iskey:1 type:I checksum:34CFED76 plane_checksum:[00B77F25 7A7B0EB1 58965FA0] mean:[86 124 137 ] stdev:[55.6 57.6 58.6 ]`,
  "9.0.2": `
Input #0, mpegts, from 'file:ts.ts':
  Duration: 00:00:01.00, start: 1.400000, bitrate: 463 kb/s
  Program 1 
  Stream #0:0[0x100]: Video: mpeg4 (Simple Profile) ([16][0][0][0] / 0x0010), yuv420p, 98x66 [SAR 1:1 DAR 49:33], 25 fps, 25 tbr, 90k tbn, start 1.400000
Stream mapping:
[Parsed_showinfo_0 @ 0x7f2530001a40] n:   0 pts: 126000 pts_time:1.4     duration:   3600 duration_time:0.04    fmt:yuv420p cl:left sar:1/1 s:98x66 i:P iskey:1 type:I checksum:34CFED76 plane_checksum:[00B77F25 7A7B0EB1 58965FA0] mean:[86 124 137] stdev:[55.6 57.6 58.6]`,
};

/** Without its video, so that only the cover picture could be taken for one. */
const COVER = `
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:cover.mp4':
  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
  Stream #0:2[0x0]: Video: png, rgb24(pc, gbr/unknown/unknown), 64x64 [SAR 1:1 DAR 1:1], 90k tbr, 90k tbn (attached pic)`;

function read(text: string) {
  const reader = new BannerReader();
  const shown = [];
  for (const line of text.split("\n")) {
    reader.read(line);
    const frame = readShown(line);
    if (frame) shown.push(frame);
  }
  return { banner: reader.banner, shown };
}

describe("what ffmpeg says of a file", () => {
  it.each(Object.entries(TURNED))("is read, turned and of mixed colours: FFmpeg %s", (_, text) => {
    expect(read(text)).toEqual({
      banner: {
        container: "mov,mp4,m4a,3gp,3g2,mj2",
        start: 0,
        codec: "h264",
        tag: "avc1",
        format: "yuv420p",
        matrix: "bt709",
        range: "tv",
        rotation: 90,
        hasVideo: true,
        hasAudio: true,
      },
      shown: [{ tick: 0, width: 66, height: 98 }],
    });
  });

  it.each(Object.entries(OTHERS))("is read, of a transport stream that begins late: FFmpeg %s", (_, text) => {
    expect(read(text)).toEqual({
      banner: {
        container: "mpegts",
        start: 1.4,
        codec: "mpeg4",
        tag: "[16][0][0][0]",
        format: "yuv420p",
        matrix: "unknown",
        range: "unknown",
        rotation: 0,
        hasVideo: true,
        hasAudio: false,
      },
      shown: [{ tick: 126_000, width: 98, height: 66 }],
    });
  });

  it("has no video where there is only a cover picture", () => {
    expect(read(COVER).banner).toMatchObject({ hasVideo: false, hasAudio: true });
  });

  it("has frames without checksums, and without a time", () => {
    const line =
      "[Parsed_showinfo_1 @ 0x7fd7e4002240] n:   0 pts:  NOPTS pts_time:NOPTS   duration:  48000 duration_time:0.04    fmt:yuv420p cl:left sar:1/1 s:98x66 i:P iskey:1 type:I ";
    expect(readShown(line)).toEqual({ tick: null, width: 98, height: 66 });
  });
});
