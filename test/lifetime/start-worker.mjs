import { Worker } from "node:worker_threads";

/** Starts a scenario's script as a worker that does `task`: its first message, and the code it ends with. */
export function startWorker(script, task) {
  const worker = new Worker(new URL(script), { workerData: task });
  const said = new Promise((done) => worker.once("message", done));
  const ended = new Promise((done) => {
    worker.once("error", (error) => console.log(`worker failed: ${error}`));
    worker.once("exit", done);
  });
  return { worker, said, ended };
}
