"""Train mini from nothing on drawn scenes, on a CPU, within a given time.

    python train.py --out FOLDER --hours 6 [--seed 1] [--resume] [--init CHECKPOINT] [--resolution 288]

The learning rate follows the clock (warm-up, level, then down), so that a run ends well settled however busy the
machine is. FOLDER gets checkpoint.pt (everything needed to go on with --resume; SIGTERM writes one before it ends), export/ (the weights in the
transformers layout, refreshed with every checkpoint) and log/ (losses and validations, one JSON per line).
"""
import argparse
import json
import math
import os
import signal
import time
from pathlib import Path

import torch

from batches import batch_stream
from model import build_model, save_transformers
from optimizers import build_optimizers, rate_share, set_rate
from pack_checkpoint import unpacked
from step import WEIGHTS, Step, tensors
from tokenizer import special_ids

PICTURES, PROMPTS = 8, 4
# Of a run that sharpens object prompts: what they get of every step, and how much more their losses count.
SHARPEN = {"pictures": 4, "objects": 20, "corrections": 1.5, "gradient": 1.0}
SHARPEN_WEIGHT = 3.0


class Average:
    """Exponential average of the exported weights."""

    def __init__(self, weights, decay=0.995):
        self.decay, self.steps = decay, 0
        self.state = {k: v.detach().clone() for k, v in weights.items()}

    @torch.no_grad()
    def update(self, weights):
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = [], []
        for k, v in weights.items():
            if v.dtype.is_floating_point:
                mine.append(self.state[k])
                theirs.append(v)
        torch._foreach_lerp_(mine, theirs, 1 - keep)


class Threads:
    """One thread or two, whichever is faster now: on a busy machine two wait for each other."""

    def __init__(self, most, every=60, probe=4):
        self.choices = sorted({1, most})
        self.best, self.every, self.probe = most, every, probe
        self.count, self.times = 0, {}

    def before(self):
        """Set the number of threads for the coming step."""
        at = self.count % self.every
        if at == 0:
            self.times = {n: [] for n in self.choices}
        if at < self.probe * len(self.choices):
            self.now = self.choices[at // self.probe]
        else:
            if at == self.probe * len(self.choices):
                self.best = min(self.choices, key=lambda n: sum(sorted(self.times[n])[: self.probe - 1]))
            self.now = self.best
        torch.set_num_threads(self.now)
        self.count += 1
        self.began = time.time()

    def after(self):
        """Note how long the step took."""
        self.times[self.now].append(time.time() - self.began)


def save_atomic(content, path):
    """torch.save, then rename, so that there is always one whole file."""
    torch.save(content, str(path) + ".new")
    os.replace(str(path) + ".new", path)


def save_objects(saved, model, step, folder, memory_trained=False):
    """Write FOLDER/checkpoint.pt and export/ again after parts beside the picture side have learned; saved is what
    the checkpoint held."""
    saved["step"], saved["memory_trained"] = step.state_dict(), memory_trained
    saved["average"].update(step.objects.state_dict())
    save_atomic(saved, folder / "checkpoint.pt")
    save_transformers(model, step.exported(), folder / "export", memory_trained=memory_trained)


def stop_requests():
    """A list that is empty until SIGTERM asks the run to end."""
    requests = []
    signal.signal(signal.SIGTERM, lambda *_: requests.append(True))
    return requests


def joint_every(done, progress, vision_steps):
    """Every how manyth step trains everything; the others train the picture side alone.

    Those cost a third and show several times as many objects: shapes are what takes longest.
    """
    if done < vision_steps:
        return 0
    return 4 if progress < 0.5 else 2 if progress < 0.65 else 1


class Run:
    """A training run: its weights, its place in the schedule, its files."""

    def __init__(self, options):
        self.options = options
        (options.out / "log").mkdir(parents=True, exist_ok=True)
        self.log = open(options.out / "log" / "train.jsonl", "a", buffering=1)
        self.path = options.out / "checkpoint.pt"
        self.model = build_model(options.resolution, options.seed)
        self.step = Step(self.model)
        self.step.train()
        self.object_weight = 1.0
        if options.sharpen:
            self.step.object_share, self.object_weight = SHARPEN, SHARPEN_WEIGHT
        if options.detector:
            self.step.keep_shared()
        learning = [(name, p) for name, p in self.step.named_parameters() if p.requires_grad]
        self.optimizers = build_optimizers(learning, options.rate)
        self.memory_trained = False
        self.done, self.spent, self.warm = 0, 0.0, 0
        kinds = ["detector"] if options.detector else ["vision", "joint"]
        self.drawn = {kind: 0 for kind in kinds}  # batches used so far, of each stream
        self.average = Average(self.step.exported())
        if options.resume and self.path.exists():
            self.restore()
        elif options.init:
            saved = unpacked(options.init)
            self.step.load_state_dict(saved["step"], strict=False)
            self.keep_memory(saved)
            self.done = saved["done"]
            self.drawn = {kind: self.done for kind in self.drawn}
            self.average = Average(self.step.exported())
        self.began = time.time() - self.spent

    def restore(self):
        """Go on from the last checkpoint; parts of the model that it lacks keep their starting weights."""
        saved = torch.load(self.path, weights_only=True)
        self.step.load_state_dict(saved["step"], strict=False)
        optimizers = saved.get("optimizers", [])
        if [_sizes(o.state_dict()) for o in self.optimizers] == [_sizes(state) for state in optimizers]:
            for optimizer, state in zip(self.optimizers, optimizers):
                peaks = [group["peak"] for group in optimizer.param_groups]
                optimizer.load_state_dict(state)
                for group, peak in zip(optimizer.param_groups, peaks):
                    group["peak"] = peak
            self.warm = 10**6
        self.average = Average(self.step.exported())
        self.average.state.update(saved["average"])
        self.average.steps = saved["average_steps"]
        self.done, self.spent = saved["done"], saved["spent"]
        self.drawn = {kind: saved.get("drawn", {}).get(kind, self.done) for kind in self.drawn}
        self.keep_memory(saved)

    def keep_memory(self, saved):
        """A trained memory stays one only while the features it was trained on stay what they are."""
        self.memory_trained = self.options.detector and saved.get("memory_trained", False)

    def minutes(self):
        """Time spent, of all parts of the run together."""
        return (time.time() - self.began) / 60

    def progress(self):
        """Place in the schedule, 0 to 1."""
        start = self.options.start_progress
        return start + (1 - start) * self.minutes() / (60 * self.options.hours)

    def weights(self):
        """Those to export."""
        return self.average.state if self.options.weights == "average" else self.step.exported()

    def checkpoint(self):
        """Write checkpoint.pt and export/."""
        save_atomic({
            "step": self.step.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
            "average": self.average.state, "average_steps": self.average.steps, "done": self.done,
            "drawn": self.drawn, "spent": time.time() - self.began,
            "seed": self.options.seed, "resolution": self.options.resolution,
            "memory_trained": self.memory_trained,
        }, self.path)
        save_transformers(self.model, self.weights(), self.options.out / "export", memory_trained=self.memory_trained)

    def validate(self, pictures):
        """Log the table of the weights that would be exported."""
        from evaluate import quick_validation

        torch.set_num_threads(1)
        self.say("validation", quick_validation(self.model, self.step.objects, self.weights(), pictures))

    def say(self, name, content):
        """One line in the log and on the screen."""
        line = {"step": self.done, "minutes": round(self.minutes(), 1), name: content}
        self.log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def streams(self):
        """Batches for both kinds of steps, drawn ahead."""
        return {
            kind: batch_stream(
                self.drawn[kind], kind=kind, seed=self.options.seed, pictures=PICTURES, prompts_each=PROMPTS,
                resolution=self.options.resolution,
            )
            for kind in self.drawn
        }

    def advance(self, batch, index, vision_only, pad):
        """One step; its losses, or None when the gradient was not finite."""
        share = rate_share(self.progress(), self.warm)
        set_rate(self.optimizers, share)
        self.warm += 1
        generator = torch.Generator().manual_seed(self.options.seed * 1000003 + index)
        losses = self.step(tensors(batch, pad), self.progress(), generator, vision_only=vision_only)
        loss = sum(WEIGHTS[k] * (self.object_weight if k.startswith("object_") else 1.0) * v for k, v in losses.items())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.step.parameters(), 1.0 if self.done > 500 else 5.0, foreach=True)
        if not math.isfinite(norm.item()):
            return None
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(self.step.exported())
        self.done += 1
        return {**losses, "norm": norm, "total": loss, "share": torch.tensor(share)}


def _sizes(state):
    return [len(group["params"]) for group in state["param_groups"]]


def train(run):
    """Steps until the time is up."""
    options = run.options
    pad = special_ids()["pad"]
    streams = run.streams()
    stop = stop_requests()
    threads = {kind: Threads(options.threads) for kind in streams}
    sums, mark, saved_at = {}, time.time(), time.time()
    while run.progress() < 1 and run.done < options.steps and not stop:
        every = joint_every(run.done, run.progress(), options.vision_steps)
        kind = "detector" if options.detector else "joint" if every and run.done % every == 0 else "vision"
        index, batch = next(streams[kind])
        run.drawn[kind] = index + 1
        threads[kind].before()
        losses = run.advance(batch, index, kind == "vision", pad)
        threads[kind].after()
        if losses is None:
            run.done += 1
            run.say("skipped", "gradient not finite")
            continue
        for k, v in losses.items():
            sums.setdefault(k, []).append(float(v.detach()))
        if run.done % 60 == 0:
            means = {k: round(sum(v) / len(v), 4) for k, v in sums.items()}
            run.say("losses", {"seconds": round((time.time() - mark) / 60, 3), "threads": threads[kind].best, **means})
            sums, mark = {}, time.time()
        if run.done % options.validate_every == 0:
            run.validate(options.validate_pictures)
        if time.time() - saved_at > 300:
            run.checkpoint()
            saved_at = time.time()
    run.checkpoint()
    if not stop:
        run.validate(100)
    run.say("stopped" if stop else "finished", run.done)


def main():
    """Command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--hours", type=float, default=6, help="time for the whole run, earlier parts of a resumed run included")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    arguments.add_argument("--init", type=Path, help="start from the weights of another run, packed by pack_checkpoint.py")
    arguments.add_argument("--start-progress", type=float, default=0.0, help="begin the schedule here (with --init)")
    arguments.add_argument("--sharpen", action="store_true", help="object prompts count as much as concepts, on the picture side too")
    arguments.add_argument("--detector", action="store_true", help="only what finds concepts learns; object prompts and video stay as they are")
    arguments.add_argument("--resolution", type=int, default=288)
    arguments.add_argument("--rate", type=float, default=6e-4, help="AdamW's; Muon's follows")
    arguments.add_argument("--steps", type=int, default=10**9, help="stop after so many steps (for trying things)")
    arguments.add_argument("--vision-steps", type=int, default=2500, help="steps on the picture side alone at first")
    arguments.add_argument("--weights", choices=["average", "end"], default="end", help="which weights to export and validate")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--validate-every", type=int, default=600)
    arguments.add_argument("--validate-pictures", type=int, default=24)
    options = arguments.parse_args()
    train(Run(options))
    os._exit(0)  # the drawing processes wait for nothing


if __name__ == "__main__":
    main()
