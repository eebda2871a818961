import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface FileServer {
  readonly url: string;
  /** What every request asked for, in order: its Range header or "all". */
  readonly asked: string[];
  close(): Promise<void>;
}

export interface FileServerOptions {
  /** Bytes after which the connection is cut, for each request in turn; undefined sends everything. */
  readonly cuts?: readonly (number | undefined)[];
  /** Sends this many bytes, then nothing more, and keeps the line open. */
  readonly stallAt?: number;
  readonly ranges?: boolean;
  readonly status?: number;
  readonly etag?: () => string;
}

/** Serves one file on this machine, with ranges, and can cut the line. */
export async function serveFile(content: Buffer, options: FileServerOptions = {}): Promise<FileServer> {
  const { cuts = [], stallAt, ranges = true, status = 200, etag = () => '"one"' } = options;
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const range = request.headers.range;
    const cut = cuts[asked.length];
    asked.push(range ?? "all");
    if (status !== 200) {
      response.writeHead(status).end("no");
      return;
    }
    const resumes = ranges && range !== undefined && request.headers["if-range"] === etag();
    const start = resumes ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    if (start >= content.length) {
      response.writeHead(416).end();
      return;
    }
    const body = content.subarray(start);
    const headers = { "content-length": body.length, etag: etag() };
    if (resumes) {
      response.writeHead(206, {
        ...headers,
        "content-range": `bytes ${start}-${content.length - 1}/${content.length}`,
      });
    } else {
      response.writeHead(200, headers);
    }
    if (stallAt !== undefined) response.write(body.subarray(0, stallAt));
    else if (cut === undefined) response.end(body);
    else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/libtorch.zip`,
    asked,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
