// What lifetime.test.ts runs in processes of its own: node scenario.mjs <name>, set up by SAM3_TEST_SETUP.
import { createRequire } from "node:module";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { startWorker } from "../lifetime/start-worker.mjs";

const setup = JSON.parse(process.env.SAM3_TEST_SETUP);
const require = createRequire(import.meta.url);

function load() {
  require(setup.loader).open(setup.libraries);
  return require(setup.addon);
}

const pictures = (addon, count, width, height) =>
  Array.from({ length: count }, () => ({
    pixels: { data: new Uint8Array(width * height * 3), width, height },
    token: new addon.CancelToken(),
  }));

/** A replica with twenty pictures in its queue, in batches of four of which the second is being worked on. */
async function busy() {
  const addon = load();
  const replica = new addon.Replica({ device: setup.device, threads: 2 });
  await replica.load(setup.bundle, new addon.CancelToken(), () => {});
  const calls = Array.from({ length: 5 }, () =>
    replica.encodeImages(pictures(addon, 4, 640, 480), { atOnce: 4 }),
  );
  const settled = Promise.allSettled(calls).then((batches) =>
    batches.flatMap(({ value }) => value?.items ?? []).filter((item) => "value" in item),
  );
  await calls[0];
  return { addon, replica, settled };
}

const worker = (task) => startWorker(import.meta.url, task);

const scenarios = {
  /** process.exit() while a picture is being encoded. */
  async exit() {
    await busy();
    process.exit(3);
  },
  /** An error nobody catches, likewise. */
  async throw() {
    await busy();
    setImmediate(() => {
      throw new Error("nobody catches this");
    });
  },
  /** Nothing is closed; the process ends by itself when the calls are answered. */
  async end() {
    const { settled } = await busy();
    console.log((await settled).length);
  },
  /** Handles are dropped and collected without a word. */
  async drop() {
    const drop = async () => {
      const { addon, replica, settled } = await busy();
      await settled;
      await replica.encodeImages(pictures(addon, 5, 10, 10), { atOnce: 2 });
      return replica.stats().featureBytes;
    };
    const before = await drop();
    const addon = load();
    const replica = new addon.Replica({ device: setup.device, threads: 1 });
    await replica.load(setup.bundle, new addon.CancelToken(), () => {});
    const encode = async () => {
      await replica.encodeImages(pictures(addon, 2, 10, 10), { atOnce: 2 });
    };
    for (let i = 0; i < 5; i++) await encode();
    for (let i = 0; i < 10; i++) {
      globalThis.gc();
      await new Promise((done) => setTimeout(done, 10));
    }
    console.log(
      before > 0 && replica.stats().featureBytes === 0 ? "freed" : `kept ${replica.stats().featureBytes}`,
    );
  },
  /** Four workers, two at a time, work and close. */
  async workers() {
    for (let round = 0; round < 2; round++) {
      const workers = [worker("work"), worker("work")];
      console.log(...(await Promise.all(workers.map(({ said }) => said))));
      console.log(...(await Promise.all(workers.map(({ ended }) => ended))));
    }
  },
  /** Workers are terminated in the middle of work while the main thread works on. */
  async terminate() {
    const { replica, settled } = await busy();
    const workers = [worker("be busy"), worker("be busy")];
    await Promise.all(workers.map(({ said }) => said));
    await Promise.all(workers.map(({ worker }) => worker.terminate()));
    console.log((await settled).length === 20);
    await replica.close();
  },
  /** Workers are ended again and again while their calls are answered one upon the other, at last by process.exit(). */
  async "end-answering"() {
    for (let round = 0; ; round++) {
      const workers = [worker("answer"), worker("answer")];
      await Promise.all(workers.map(({ said }) => said));
      await new Promise((done) => setTimeout(done, 3 * round));
      if (round === 12) process.exit(7);
      await Promise.all(workers.map(({ worker }) => worker.terminate()));
    }
  },
  /** process.exit() on the main thread while workers are busy. */
  async "exit-with-workers"() {
    await Promise.all([worker("be busy"), worker("be busy")].map(({ said }) => said));
    process.exit(5);
  },
};

if (isMainThread) {
  await scenarios[process.argv[2]]();
} else if (workerData === "answer") {
  const addon = load();
  const replica = new addon.Replica({ device: setup.device, threads: 1 });
  await replica.load(setup.bundle, new addon.CancelToken(), () => {});
  const encode = () => replica.encodeImages(pictures(addon, 1, 10, 10), { atOnce: 1 }).then(encode, encode);
  const trim = () => replica.trim().then(trim, trim);
  encode();
  for (let i = 0; i < 200; i++) trim();
  parentPort.postMessage("answering");
} else {
  const { replica, settled } = await busy();
  if (workerData === "be busy") {
    parentPort.postMessage("busy");
  } else {
    const results = await settled;
    await replica.close();
    parentPort.postMessage(results.length);
  }
}
