#!/usr/bin/env python3
"""How fast `hpd distill` trains beside PyTorch: same start, same batches, same loss, same optimiser, every answer checked.

    python bench/train_peers.py --hpd target/release/hpd --model TEACHER --texts FILE… --output results.json

With --device cuda both are on a graphics card; hpd must have been built with `--features cuda`.

See README.md beside this file for what each time holds and why it is fair.
"""

import argparse
import gzip
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import model_files
import peers
from encode_peers import ARITHMETIC, cpu_name, in_a_process, now, versions

# Steps between two lines of hpd's metrics; losses and times are compared by these.
LINE = 10
# Batches that hpd's `length_buckets` sorts by length together.
BUCKET_BATCHES = 50
# How far a contender's loss may be from PyTorch's in f32, as a share of it: in the first line, where both have hardly
# moved, and in every later one, where what was rounded differently has been learnt from.
BOUNDS = {"f32": (1e-4, 1e-3), "bf16": (2e-3, 1e-2)}
PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "numpy"]
MASK_64 = (1 << 64) - 1


def main():
    arguments = parse()
    if arguments.work is None:
        folder = tempfile.TemporaryDirectory(prefix="train-peers-")
        arguments.work = Path(folder.name)
    arguments.work.mkdir(parents=True, exist_ok=True)
    write_texts(arguments)
    results = {
        "started": now(), "command": sys.argv, "cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(),
        "python": platform.python_version(), "versions": versions(arguments.hpd, PACKAGES), "device": device_name(arguments.device), "batch_size": arguments.batch_size,
        "steps": arguments.steps, "warm_up": arguments.warm_up, "load_before": os.getloadavg(), "tables": [],
    }
    for threads in arguments.threads:
        for words in arguments.words:
            table = measure(arguments, threads, words)
            results["tables"].append(table)
            results["load_after"], results["ended"] = os.getloadavg(), now()
            print(as_text(table), flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    if wrong := [row["name"] for table in results["tables"] for row in table["rows"] if not row["right"]]:
        sys.exit("wrong losses: " + ", ".join(wrong))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hpd", type=Path, required=True, help="the binary")
    parser.add_argument("--model", type=Path, required=True, help="teacher: a sentence-transformers folder of a BERT model with mean pooling")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="files with one sentence a line, also .gz; as many are drawn from each")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40, help=f"steps that are timed, a multiple of {LINE}")
    parser.add_argument("--warm-up", type=int, default=LINE, help=f"steps before those, a multiple of {LINE}")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[os.cpu_count() or 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", type=lambda text: text.split(","), default=["lazy", "dense"],
                        help="which rows of the word table move in a step: those of the batch (lazy), all (dense), or both, one table each")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where both train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keeps texts, teacher vectors and the last students here")
    parser.add_argument("--output", type=Path, help="JSON with all that was measured")
    arguments = parser.parse_args()
    arguments.hpd, arguments.model = arguments.hpd.resolve(), arguments.model.resolve()
    if not arguments.warm_up or arguments.steps % LINE or arguments.warm_up % LINE:
        parser.error(f"--steps and --warm-up: expected multiples of {LINE}, at least one")
    for path in arguments.texts:
        if not path.exists():
            print(f"skipped: there is no `{path}`; name files with --texts")
            sys.exit(0)
    return arguments


# ---- What both train on ----


def write_texts(arguments):
    """As many distinct sentences as the steps take, mixed from all files, cleaned as hpd cleans them."""
    wanted = (arguments.steps + arguments.warm_up) * arguments.batch_size
    chance, known, texts = random.Random(arguments.seed), set(), []
    for i, path in enumerate(arguments.texts):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            lines = list(lines)
        chance.shuffle(lines)
        end = wanted * (i + 1) // len(arguments.texts)
        for line in lines:
            text = "".join(c for c in " ".join(line.split()) if c.isprintable())
            letters = "".join(c for c in text if c.isalnum()).lower()
            if len(texts) == end:
                break
            if letters and letters not in known and len(text) <= 2000:
                known.add(letters)
                texts.append(text)
    if len(texts) < wanted:
        sys.exit(f"the files have {len(texts)} different sentences where {wanted} are needed; name more, or --steps fewer")
    chance.shuffle(texts)
    model_files.write_lines(arguments.work / "texts.txt", texts)


class HpdRandom:
    """hpd's numbers (splitmix64), so that both sides draw the same batches; see `random.rs` and `batches.rs` of `distill`."""

    def __init__(self, seed, *path):
        self.state = seed
        for number in path:
            self.state = self.next() ^ (number * 0x9E3779B97F4A7C15 & MASK_64)

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK_64
        x = self.state
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK_64
        return x ^ (x >> 31)

    def shuffle(self, items):
        for end in range(len(items), 1, -1):
            other = self.next() * end >> 64
            items[end - 1], items[other] = items[other], items[end - 1]


def batches_of(lengths, size, seed):
    """Rows of each batch of the first epoch in the order `length_buckets`."""
    chance, rows, bucket = HpdRandom(seed, 0xBA, 0), list(range(len(lengths))), size * BUCKET_BATCHES
    chance.shuffle(rows)
    rows = [row for start in range(0, len(rows), bucket) for row in sorted(rows[start : start + bucket], key=lambda row: lengths[row])]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    chance.shuffle(batches)
    return batches


# ---- The contenders: each sample is a process of its own ----


def hpd_sample(arguments, threads, words, precision):
    """`hpd distill` over all steps. Its metrics say how long ten steps took and what their mean loss was."""
    output = arguments.work / f"student.{precision}"
    call = [arguments.hpd, "--threads", str(threads), "--quiet", "distill", "--teacher", arguments.model, "--sentences", arguments.work / "texts.txt",
            "--teacher-cache", arguments.work / "teacher", "--output", output, "--overwrite", "--held-back", "0", "--layers", str(arguments.layers),
            "--device", arguments.device, "--batch-size", str(arguments.batch_size), "--seed", str(arguments.seed), "--epochs", "1", "--recipe", "hpd"]
    for setting in ["order=length_buckets", f"arithmetic={ARITHMETIC[precision]}", f"optimizer.lazy_embeddings={str(words == 'lazy').lower()}"]:
        call += ["--set", setting]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in Path(f"{output}.run/metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    if [line["step"] for line in lines] != list(range(LINE, arguments.steps + arguments.warm_up + 1, LINE)):
        sys.exit(f"hpd took {lines[-1]['step']} steps: it kept other sentences than were written for it")
    seconds = [LINE * arguments.batch_size / line["sentences_per_second"] for line in lines]
    return {"seconds": seconds[arguments.warm_up // LINE :], "losses": [line["loss"] for line in lines]}


def torch_sample(arguments, threads, words, precision):
    """The same steps in PyTorch, from the files that hpd's run left: its start, its projection, its teacher vectors."""
    import torch

    torch.set_num_threads(threads)
    device = torch.device(arguments.device)
    run = Path(f"{arguments.work / 'student.f32'}.run")
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    lesson = Lesson(arguments, run, recipe)
    student = Student(arguments.model, json.loads((run / "run.json").read_text())["binding"]["start"]["layers"], lesson.components).to(device)
    optimizer = Optimizer(student, recipe, words, len(lesson.batches))

    def loss_on(rows):
        ids, mask, target, teacher = (part.to(device) for part in lesson.batch(rows))
        with torch.autocast(arguments.device, torch.bfloat16, enabled=precision == "bf16"):
            output = student(ids, mask)
        return loss_of(output.float(), target, teacher, recipe["loss"])

    # oneDNN compiles its products for each new shape; a long training has seen them all.
    for rows in {len(lesson.ids[rows[-1]]): rows for rows in lesson.batches}.values():
        loss_on(rows).backward()
    student.zero_grad(set_to_none=True)
    seconds, losses = [], []
    for step, rows in enumerate(lesson.batches):
        start = time.perf_counter()
        loss = loss_on(rows)
        loss.backward()
        optimizer.step(step)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    lines = range(0, len(seconds), LINE)
    return {"seconds": [sum(seconds[i : i + LINE]) for i in lines][arguments.warm_up // LINE :],
            "losses": [statistics.mean(losses[i : i + LINE]) for i in lines], "tokens": lesson.tokens(), "padded": lesson.padded()}


class Lesson:
    """Token ids, teacher vectors and targets, all in memory before the clock starts."""

    def __init__(self, arguments, run, recipe):
        import numpy
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(recipe["max_tokens"])
        texts = (arguments.work / "texts.txt").read_text(encoding="utf-8").splitlines()
        self.ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        self.batches = batches_of([len(ids) for ids in self.ids], arguments.batch_size, arguments.seed)
        self.timed = self.batches[arguments.warm_up :]
        self.components = load_file(run / "pca.safetensors")["components"].float()
        self.teacher = torch.from_numpy(teacher_vectors(arguments.work / "teacher", len(texts)).astype(numpy.float32))
        self.targets = torch.nn.functional.normalize(self.teacher @ self.components.T)

    def batch(self, rows):
        import torch

        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(self.ids[row]) for row in rows], batch_first=True)
        lengths = torch.tensor([len(self.ids[row]) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return ids, mask, self.targets[rows], self.teacher[rows]

    def tokens(self):
        return sum(len(self.ids[row]) for rows in self.timed for row in rows)

    def padded(self):
        return sum(len(rows) * max(len(self.ids[row]) for row in rows) for rows in self.timed)


def teacher_vectors(cache, rows):
    """What hpd keeps of the teacher: shards of bare f16 and a manifest that says how wide they are."""
    import numpy

    for manifest in cache.glob("*/manifest.json"):
        found = json.loads(manifest.read_text())
        if found["rows"] == rows and found["shards"] and None not in found["shards"]:
            shards = sorted(manifest.parent.glob("*.f16"))
            return numpy.concatenate([numpy.fromfile(shard, numpy.float16) for shard in shards]).reshape(rows, found["dim"])
    sys.exit(f"`{cache}` has no teacher vectors of {rows} sentences: hpd left some out as doubles; choose another --seed")


def Student(folder, layers, components):
    """Some layers of the teacher, mean pooling, and a head that starts as the projection."""
    import torch
    from transformers import BertModel

    if not json.loads((folder / "1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"]:
        sys.exit(f"`{folder}` does not pool by the mean, which is all that this script knows")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = BertModel.from_pretrained(folder, add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
            self.body.encoder.layer = torch.nn.ModuleList(self.body.encoder.layer[i] for i in layers)
            self.body.config.num_hidden_layers = len(layers)
            self.head = torch.nn.Linear(components.shape[1], components.shape[0], bias=False)
            self.head.weight.data.copy_(components)

        def forward(self, ids, mask):
            hidden = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(2).to(hidden.dtype)
            return self.head((hidden * weights).sum(1) / weights.sum(1))

    return Module().train()


def loss_of(output, target, teacher, weights):
    """Cosine to the target, and the divergence of the neighbours; see `loss.rs` of `distill`."""
    import torch
    from torch.nn.functional import kl_div, log_softmax, normalize

    output, itself = normalize(output), torch.eye(len(output), device=output.device) * -1e4

    def neighbours(x):
        return log_softmax(x @ x.T / weights["temperature"] + itself, dim=1)

    relational = kl_div(neighbours(output), neighbours(normalize(teacher)), reduction="batchmean", log_target=True)
    return weights["cosine"] * (1 - (output * target).sum(1).mean()) + weights["relational"] * relational


class Optimizer:
    """AdamW in one fused pass, the gradient's length cut, the rate up and down in lines. Lazy words: SparseAdam, which
    leaves alone what is not in the batch, as hpd does."""

    def __init__(self, student, recipe, words, steps):
        import torch

        settings, self.recipe, self.steps = recipe["optimizer"], recipe, steps
        self.clip = settings["clip_norm"]
        common = {"betas": (settings["beta1"], settings["beta2"]), "eps": settings["epsilon"]}
        table = student.body.embeddings.word_embeddings
        self.sparse = table.weight if words == "lazy" else None
        table.sparse = words == "lazy"
        decays = {id(m.weight) for m in student.modules() if isinstance(m, torch.nn.Linear)}
        self.dense = [p for p in student.parameters() if p is not self.sparse]
        groups = [{"params": [p for p in self.dense if (id(p) in decays) == decay], "weight_decay": settings["weight_decay"] * decay} for decay in (True, False)]
        self.optimizers = [torch.optim.AdamW(groups, fused=True, **common)]
        if self.sparse is not None:
            self.optimizers.append(torch.optim.SparseAdam([self.sparse], **common))

    def step(self, step):
        import torch

        if self.sparse is not None:
            self.sparse.grad = self.sparse.grad.coalesce()
        sparse = [] if self.sparse is None else [self.sparse.grad._values()]
        gradients = [p.grad for p in self.dense if p.grad is not None] + sparse
        norm = torch.nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(self.clip / norm, max=1.0))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def rate(self, step):
        schedule = self.recipe["schedule"]
        warm_up = schedule["warmup_steps"] or math.ceil(schedule["warmup_ratio"] * self.steps)
        if step < warm_up:
            return schedule["learning_rate"] * step / warm_up
        return schedule["learning_rate"] * (self.steps - step) / max(1, self.steps - warm_up)


def device_name(device):
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else cpu_name()


# ---- The table ----


def measure(arguments, threads, words):
    """All contenders take turns for so many rounds, in reverse order in every second one."""
    field = {f"hpd {p}": (hpd_sample, p) for p in ("f32", "bf16")} | {f"PyTorch {p}": (torch_process, p) for p in ("f32", "bf16")}
    if arguments.device == "cpu" and not peers.has_bf16():
        print("  this processor has no bf16 products: both sides only round to it", file=sys.stderr)
    hpd_sample(arguments, threads, words, "f32")  # The teacher's vectors and the start, which PyTorch reads too.
    samples = {name: [] for name in field}
    for round in range(arguments.rounds):
        for name in field if round % 2 == 0 else reversed(field):
            sample, precision = field[name]
            samples[name].append(sample(arguments, threads, words, precision))
    reference = samples["PyTorch f32"][0]
    rows = [summary(arguments, name, precision, samples[name], reference) for name, (_, precision) in field.items()]
    speed = {row["name"]: row["sentences_per_second"] for row in rows}
    for row in rows:
        row["hpd_is_faster_by"] = {name: speed[name] / row["sentences_per_second"] for name in ("hpd f32", "hpd bf16")}
    return {"threads": threads, "words": words, "sentences": arguments.steps * arguments.batch_size, "tokens": reference["tokens"],
            "padded": reference["padded"], "rows": rows}


def torch_process(arguments, threads, words, precision):
    peers.limit_threads(threads)
    # What `hpd distill` tells glibc for itself: freed memory is kept and not given back to the system after each step.
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="-1", MALLOC_TOP_PAD_=str(64 << 20))
    return in_a_process(torch_sample, arguments, threads, words, precision)


def summary(arguments, name, precision, samples, reference):
    seconds = [sum(sample["seconds"]) for sample in samples]
    sentences, middle = arguments.steps * arguments.batch_size, statistics.median(seconds)
    off = [max(abs(sample["losses"][i] / right - 1) for sample in samples) for i, right in enumerate(reference["losses"])]
    first, later = BOUNDS[precision]
    return {"name": name, "sentences_per_second": sentences / middle, "tokens_per_second": reference["tokens"] / middle, "seconds_of_rounds": seconds,
            "losses": samples[0]["losses"], "loss_off_first": off[0], "loss_off_later": max(off[1:]), "right": off[0] <= first and max(off[1:]) <= later}


def as_text(table):
    """The table for people; ratios say how many times as fast `hpd` is."""
    own = ["hpd f32", "hpd bf16"]
    lines = [["", "sentences/s", "tokens/s", *(f"{name} is" for name in own), f"loss of steps 1-{LINE}", "last", "off first", "later"]]
    for row in table["rows"]:
        lines.append([row["name"] + ("" if row["right"] else " WRONG"), f"{row['sentences_per_second']:.0f}", f"{row['tokens_per_second']:.0f}",
                      *(f"{row['hpd_is_faster_by'][name]:.2f} x" for name in own), f"{row['losses'][0]:.5f}", f"{row['losses'][-1]:.5f}",
                      f"{row['loss_off_first']:.1e}", f"{row['loss_off_later']:.1e}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = "\n".join("  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)
    padding = 100 * (table["padded"] / table["tokens"] - 1)
    return (f"\n{table['threads']} threads, {table['words']} words: {table['sentences']} sentences, {table['tokens']} tokens; PyTorch pads {padding:.1f} % more\n{body}")


if __name__ == "__main__":
    main()
