import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** transformers_side.py in a process of its own: asked and answered line by line. */
export class TransformersSide {
  #process;
  #answers;

  constructor(python, checkpoint, threads) {
    const script = fileURLToPath(new URL("transformers_side.py", import.meta.url));
    this.#process = spawn(python, [script, checkpoint, String(threads)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async ask(request) {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("the Python side ended");
    return JSON.parse(value);
  }

  end() {
    this.#process.stdin.end();
  }
}
