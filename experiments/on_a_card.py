#!/usr/bin/env python3
"""Trains students on a graphics card in PyTorch, by the loss and the batches of `hpd distill`, for when minutes on one are at hand.

    on_a_card.py --teacher all-MiniLM-L6-v2 --projection RUN/pca.safetensors --texts FILE[@SHARE]... --development DIR --output DIR \\
        'name=minilm-3x128 layers=3 epochs=8 rate=8e-4 relational=0.3' ...

Each run is one student. `--projection` is what `hpd distill --set projection.kind=neighbours --set center=mean` left in its run folder, so that the
student lies in the space of hpd's others. What comes out is the tensors of a model folder in half precision, student.safetensors beside a
line of results.jsonl; `adopt.sh` beside this makes a folder of it that `hpd distill --student` goes on with.

Sentences stand padded in groups of like length one behind the other, as in `fused/padded.rs` of `distill`: products, norms and
activations run over all places at once, attention group by group.
"""

import argparse
import gzip
import json
import lzma
import math
import random
import re
import time
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional

CLASSES = (16, 24, 32, 48, 64, 96, 128, 192, 256)
SEPARATOR, STUDENT_TOKENS, TEACHER_TOKENS = 102, 128, 256
TOPICS, TOPIC_GROUP = 4096, 16
NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


# ---- Texts ----


def lines_of(path):
    opening = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opening(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"] if ".jsonl" in path.name else line


def read_texts(arguments):
    """Distinct texts of all files, of each the share that was asked for."""
    chance, known, texts = random.Random(arguments.seed), set(), []
    for argument in arguments.texts:
        path, _, share = argument.partition("@")
        for text in lines_of(Path(path)):
            if share and chance.random() >= float(share):
                continue
            text = " ".join(text.split())[:2000]
            letters = hash(NEITHER_LETTER_NOR_DIGIT.sub("", text).lower())
            if text and letters not in known:
                known.add(letters)
                texts.append(text)
    return texts


class Texts:
    """Token ids of many texts, flat on the device, and the length of each on both sides."""

    def __init__(self, tokenizer, texts, device):
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        lengths = numpy.fromiter((len(e.ids) for e in encoded), numpy.int64, len(texts))
        flat = numpy.concatenate([numpy.asarray(e.ids, numpy.int32) for e in encoded])
        self.lengths, self.device = lengths, device
        self.flat = torch.from_numpy(flat).to(device)
        self.starts = torch.from_numpy(numpy.concatenate([[0], lengths.cumsum()[:-1]])).to(device)
        self.lengths_there = torch.from_numpy(lengths).to(device)

    def batch(self, rows, most):
        """Groups of `rows`, sorted by length class: (rows, ids, valid), ids being `[sentences, length]`."""
        lengths = numpy.minimum(self.lengths[rows], most)
        classes = numpy.searchsorted(CLASSES, lengths)
        groups = []
        for number in numpy.unique(classes):
            chosen = torch.from_numpy(rows[classes == number].astype(numpy.int64)).to(self.device, non_blocking=True)
            places = torch.arange(CLASSES[number], device=self.device)
            length = self.lengths_there[chosen].clamp(max=most)[:, None]
            valid = places < length
            ids = self.flat[(self.starts[chosen][:, None] + places).clamp(max=len(self.flat) - 1)].long()
            ids = torch.where(places == length - 1, SEPARATOR, ids) * valid
            groups.append((chosen, ids, valid))
        return groups


# ---- The network ----


class Body(torch.nn.Module):
    """Layers of a BERT by Hugging Face's names, a mean over tokens, and a head."""

    def __init__(self, tensors, layers, head, heads):
        super().__init__()
        self.names, self.heads, self.layers = {}, heads, len(layers)
        prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
        for name, tensor in tensors.items():
            name = name.removeprefix(prefix)
            part = name.split(".")
            if part[0] == "encoder":
                if int(part[2]) not in layers:
                    continue
                part[2] = str(layers.index(int(part[2])))
            elif part[0] != "embeddings" or part[1] == "position_ids":
                continue
            self.keep(".".join(part), tensor)
        self.keep("head", head)

    def keep(self, name, tensor):
        attribute = name.replace(".", "_")
        self.names[name] = attribute
        self.register_parameter(attribute, torch.nn.Parameter(tensor.float().clone()))

    def of(self, name):
        return getattr(self, self.names[name])

    def dense(self, x, name):
        return functional.linear(x, self.of(f"{name}.weight"), self.of(f"{name}.bias"))

    def norm(self, x, name):
        weight = self.of(f"{name}.LayerNorm.weight")
        return functional.layer_norm(x, weight.shape, weight, self.of(f"{name}.LayerNorm.bias"), 1e-12)

    def forward(self, groups):
        """`[sentences, dim]`, in the order of the groups."""
        words, positions = self.of("embeddings.word_embeddings.weight"), self.of("embeddings.position_embeddings.weight")
        kind, width = self.of("embeddings.token_type_embeddings.weight")[0], words.shape[1]
        parts = [functional.embedding(ids, words) + positions[: ids.shape[1]] + kind for _, ids, _ in groups]
        x = self.norm(torch.cat([part.reshape(-1, width) for part in parts]), "embeddings")
        ends = numpy.cumsum([ids.numel() for _, ids, _ in groups])
        spans = [(slice(end - ids.numel(), end), *ids.shape, valid[:, None, None]) for end, (_, ids, valid) in zip(ends.tolist(), groups)]
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            weight, bias = (torch.cat([self.of(f"{name}.attention.self.{p}.{kind_of}") for p in ("query", "key", "value")]) for kind_of in ("weight", "bias"))
            qkv = functional.linear(x, weight, bias)
            context = []
            for span, count, length, valid in spans:
                q, k, v = qkv[span].view(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
                mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=valid)
                context.append(mixed.transpose(1, 2).reshape(-1, width))
            x = self.norm(x + self.dense(torch.cat(context), f"{name}.attention.output.dense"), f"{name}.attention.output")
            inner = functional.gelu(self.dense(x, f"{name}.intermediate.dense"))
            x = self.norm(x + self.dense(inner, f"{name}.output.dense"), f"{name}.output")
        pooled = []
        for span, count, length, valid in spans:
            valid = valid[:, 0, 0, :, None]
            pooled.append((x[span].view(count, length, width) * valid).sum(1) / valid.sum(1))
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat(pooled).float() @ self.head.T


def embed(body, texts, most, size=4096):
    """Vectors of all texts, of length 1, in half precision."""
    out = None
    order = numpy.argsort(texts.lengths, kind="stable")
    with torch.no_grad():
        for start in range(0, len(order), size):
            groups = texts.batch(order[start : start + size], most)
            with torch.autocast(texts.device.type, torch.float16 if texts.device.type == "cuda" else torch.bfloat16):
                vectors = functional.normalize(body(groups)).half()
            if out is None:
                out = torch.empty(len(order), vectors.shape[1], dtype=torch.float16, device=texts.device)
            out[torch.cat([rows for rows, _, _ in groups])] = vectors
    return out


# ---- What is learnt ----


class Lesson:
    def __init__(self, arguments, device):
        began = time.time()
        self.device, self.arguments = device, arguments
        self.tensors = load_file(arguments.teacher / "model.safetensors")
        self.heads = json.loads((arguments.teacher / "config.json").read_text())["num_attention_heads"]
        tokenizer = Tokenizer.from_file(str(arguments.teacher / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(TEACHER_TOKENS)
        projection = load_file(arguments.projection)
        self.components, self.mean = (projection[name].float().to(device) for name in ("components", "mean"))
        texts = read_texts(arguments)
        print(f"{len(texts)} texts, {time.time() - began:.0f} s", flush=True)
        self.texts = Texts(tokenizer, texts, device)
        print(f"{len(self.texts.flat)} tokens, {time.time() - began:.0f} s", flush=True)
        layers = range(1 + max(int(name.split("layer.")[1].split(".")[0]) for name in self.tensors if "layer." in name))
        self.teacher_layers = list(layers)
        teacher = self.body(self.teacher_layers, torch.eye(self.mean.numel())).to(device)
        self.teacher = embed(teacher, self.texts, TEACHER_TOKENS)
        self.topics = self.sort_by_topic()
        self.development = [Development(path, tokenizer, device) for path in sorted(arguments.development.iterdir())] if arguments.development else []
        print(f"taught, {time.time() - began:.0f} s", flush=True)
        print("teacher", self.measure(teacher), flush=True)

    def body(self, layers, head):
        return Body(self.tensors, layers, head, self.heads)

    def targets(self, rows):
        """Of the centred teacher: projected, and whole; both of length 1."""
        vectors = self.teacher[rows].float() - self.mean
        return functional.normalize(vectors @ self.components.T), functional.normalize(vectors)

    def sort_by_topic(self):
        """The number of the nearest of some texts drawn at random, for each text."""
        count = len(self.teacher)
        generator = torch.Generator().manual_seed(self.arguments.seed)
        drawn = torch.randperm(count, generator=generator)[: min(TOPICS, max(1, count // 64))].to(self.device)
        middles = self.targets(drawn)[0].T
        rows = torch.arange(count, device=self.device)
        return torch.cat([(self.targets(part)[0] @ middles).argmax(1) for part in rows.split(65536)]).cpu().numpy()

    def batches(self, size, chance):
        """Groups of one topic, several of them a batch; the last, smaller one is left out."""
        rows = chance.permutation(len(self.topics))
        rows = rows[numpy.argsort(self.topics[rows], kind="stable")]
        rows = rows[: len(rows) // TOPIC_GROUP * TOPIC_GROUP].reshape(-1, TOPIC_GROUP)
        rows = rows[chance.permutation(len(rows))].reshape(-1)
        return rows[: len(rows) // size * size].reshape(-1, size)

    def measure(self, body):
        """Spearman of the development pairs, and nDCG@10 of each set and their mean."""
        found = {d.name: round(d.score(body), 2) for d in self.development}
        sets = [score for name, score in found.items() if name != "sts"]
        return found | ({"mean": round(sum(sets) / len(sets), 2)} if sets else {})


class Development:
    """`sts.tsv.gz` with scored pairs, or a folder as BEIR has them."""

    def __init__(self, path, tokenizer, device):
        self.name = path.name.split(".")[0]
        if path.is_file():
            rows = [line.rstrip("\n").split("\t") for line in lines_of(path)][1:]
            self.gold = numpy.array([float(row[1]) for row in rows])
            self.sides = [Texts(tokenizer, [row[i] for row in rows], device) for i in (2, 3)]
            return
        corpus, queries = ([json.loads(line) for line in gzip.open(path / f"{part}.jsonl.gz", "rt")] for part in ("corpus", "queries"))
        place = {str(document["_id"]): i for i, document in enumerate(corpus)}
        self.relevant = {}
        for line in (path / "qrels/test.tsv").read_text().splitlines()[1:]:
            query, document, score = line.split("\t")
            if int(score) > 0 and document in place:
                self.relevant.setdefault(query, {})[place[document]] = int(score)
        queries = [query for query in queries if str(query["_id"]) in self.relevant]
        self.ids = [str(query["_id"]) for query in queries]
        documents = [f"{d.get('title') or ''} {d['text']}".strip() or " " for d in corpus]
        self.sides = [Texts(tokenizer, texts, device) for texts in ([query["text"] for query in queries], documents)]
        self.gold = None

    def score(self, body):
        a, b = (embed(body, side, STUDENT_TOKENS).float() for side in self.sides)
        if self.gold is not None:
            rank = lambda x: numpy.argsort(numpy.argsort(x, kind="stable"), kind="stable")
            found = (a * b).sum(1).cpu().numpy()
            gold = numpy.array([numpy.mean(rank(self.gold)[self.gold == value]) for value in self.gold])
            return 100 * float(numpy.corrcoef(rank(found), gold)[0, 1])
        best = (a @ b.T).topk(min(10, len(b))).indices.cpu().numpy()
        discounts = 1 / numpy.log2(numpy.arange(2, 12))
        scores = []
        for query, hits in zip(self.ids, best):
            relevant = self.relevant[query]
            gain = sum((2 ** relevant.get(int(hit), 0) - 1) * d for hit, d in zip(hits, discounts))
            ideal = sum((2**score - 1) * d for score, d in zip(sorted(relevant.values(), reverse=True), discounts))
            scores.append(gain / ideal)
        return 100 * float(numpy.mean(scores))


def divergence(output, teacher, temperature):
    itself = torch.eye(len(output), device=output.device) * -1e4
    neighbours = lambda x: functional.log_softmax(x @ x.T / temperature + itself, dim=1)
    return functional.kl_div(neighbours(functional.normalize(output)), neighbours(teacher), reduction="batchmean", log_target=True)


def train(lesson, run):
    """One student; `run` says how."""
    layers = [(i + 1) * len(lesson.teacher_layers) // run["layers"] - 1 for i in range(run["layers"])]
    torch.manual_seed(run["seed"])
    body = lesson.body(layers, lesson.components.cpu()).to(lesson.device)
    matrices = [p for name, p in body.named_parameters() if p.dim() == 2 and "embeddings" not in name]
    others = [p for name, p in body.named_parameters() if p.dim() != 2 or "embeddings" in name]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), fused=lesson.device.type == "cuda")
    chance, size, began = numpy.random.default_rng(run["seed"]), run["batch"], time.time()
    steps = int(run["epochs"] * (len(lesson.topics) // TOPIC_GROUP * TOPIC_GROUP // size))
    warm_up, step, told = max(1, steps // 20), 0, []
    while step < steps:
        for rows in lesson.batches(size, chance):
            if step == steps:
                break
            batch = lesson.texts.batch(rows, STUDENT_TOKENS)
            target, teacher = lesson.targets(torch.cat([rows for rows, _, _ in batch]))
            with torch.autocast(lesson.device.type, torch.bfloat16):
                output = body(batch)
            loss = 0.0
            for width in (*run["prefixes"], output.shape[1]):
                part = functional.normalize(output[:, :width])
                loss = loss + run["cosine"] * (1 - (part * functional.normalize(target[:, :width])).sum(1).mean())
                loss = loss + run["relational"] * divergence(part, teacher, run["temperature"])
            loss = loss / (len(run["prefixes"]) + 1)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(body.parameters(), 1.0, foreach=True)
            rate = run["rate"] * min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 500 == 0 or step == steps:
                told.append((step, round(loss.item(), 4), round(step * size / (time.time() - began))))
    seconds = time.time() - began
    result = run | {"kept": layers, "steps": steps, "texts": len(lesson.topics), "seconds": round(seconds, 1),
                    "sentences_per_second": round(steps * size / seconds), "losses": told, "development": lesson.measure(body)}
    print(json.dumps(result), flush=True)
    return body, result


def keep(body, result, output):
    folder = output / result["name"]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name if name != "head" else "head.weight": body.of(name).detach().half().cpu().contiguous() for name in body.names}
    save_file(tensors, folder / "student.safetensors", metadata={"format": "pt"})
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


def plan(text):
    run = {"layers": 3, "epochs": 1.0, "rate": 6e-4, "batch": 512, "cosine": 1.0, "relational": 0.3, "temperature": 0.05, "prefixes": (), "seed": 1}
    for part in text.split():
        name, _, value = part.partition("=")
        if name == "prefixes":
            run[name] = tuple(int(width) for width in value.split(","))
        else:
            run[name] = type(run.get(name, ""))(value)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a BERT with mean pooling")
    parser.add_argument("--projection", type=Path, required=True, help="pca.safetensors of a run of hpd")
    parser.add_argument("--texts", nargs="+", required=True, metavar="FILE[@SHARE]")
    parser.add_argument("--development", type=Path, help="folder of sts.tsv.gz and BEIR folders that are measured after each run")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=float, default=math.inf, help="seconds after which no further run is begun")
    parser.add_argument("runs", nargs="+", help="'name=… layers=… epochs=… rate=… relational=… prefixes=32,64 batch=…'")
    arguments = parser.parse_intermixed_args()
    began = time.time()
    torch.backends.cuda.matmul.allow_tf32 = True
    arguments.output.mkdir(parents=True, exist_ok=True)
    lesson = Lesson(arguments, torch.device(arguments.device))
    for text in arguments.runs:
        if time.time() - began > arguments.until:
            print(f"no time for {text}", flush=True)
            continue
        body, result = train(lesson, plan(text))
        keep(body, result, arguments.output)
        with open(arguments.output / "results.jsonl", "a") as lines:
            lines.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
