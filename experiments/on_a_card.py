#!/usr/bin/env python3
"""Trains students on a graphics card in PyTorch, by the loss and the batches of `hpd distill`, for when minutes on one are at hand.

    on_a_card.py --teacher all-MiniLM-L6-v2 --projection RUN/pca.safetensors --tokens tokens/*.xz --development DIR --output DIR \\
        'name=minilm-3x128 layers=3 seconds=120 rate=1e-3 relational=0.3' ...

Each run is one student. `--tokens` is what card_tokens.py packed, `--projection` what `hpd distill --set projection.kind=neighbours` left in
its run folder, so that the student lies in the space of hpd's others. What comes out is the tensors of a model folder in half precision,
student.safetensors beside a line of results.jsonl; adopt.py beside this makes a folder of it that `hpd distill --student` goes on with.

With contrast=… a run learns triplets as well, those of the tables among the tokens that tables=NAME:SHARE,… names; start=NAME goes on from
an earlier run of the same call.

All tokens of a batch stand one behind the other without padding, attention knows where each text ends, and everything is bfloat16 but the
weights that are kept, the pooled vectors and the loss.
"""

import argparse
import gzip
import io
import itertools
import json
import lzma
import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

BEGIN, END = 101, 102
STUDENT_TOKENS, TEACHER_TOKENS = 128, 256
TOPICS = 8192
# Of each document: runs of sentences, crops of a few words, and the share of its sentences that stand alone.
RUNS, CROPS, ALONE = 2, 1, 0.3


# ---- Texts ----


def unpack(path):
    return dict(numpy.load(io.BytesIO(lzma.open(path).read())))


def spans_of(packed, word_begins, draw):
    """(start, length) in tokens of the texts that are made of a file: its texts, and of documents also parts."""
    lengths, counts = packed["lengths"].astype(numpy.int64), packed["sentences"].astype(numpy.int64)
    ends = lengths.cumsum()
    last = counts.cumsum()
    first = last - counts

    def run(first, last):
        start = ends[first] - lengths[first]
        return numpy.stack([start, ends[last - 1] - start], axis=1)

    if "table" in packed:
        return run(numpy.arange(len(lengths)), numpy.arange(len(lengths)) + 1)
    spans = [run(first, last)]
    if counts.max() > 1:
        alone = numpy.flatnonzero((draw.random(len(lengths)) < ALONE) & (lengths > 4))
        spans.append(run(alone, alone + 1))
        for _ in range(RUNS):
            begin = first + (draw.random(len(counts)) * counts).astype(numpy.int64)
            spans.append(run(begin, numpy.minimum(last, begin + draw.integers(2, 7, len(counts)))))
        boundaries = numpy.flatnonzero(word_begins[packed["tokens"]])
        for _ in range(CROPS):
            start, length = spans[0].T
            begin = numpy.searchsorted(boundaries, start + (draw.random(len(start)) * length).astype(numpy.int64))
            end = numpy.minimum(begin + draw.integers(3, 11, len(start)), len(boundaries) - 1)
            begin = numpy.minimum(begin, end - 1)
            begin, end = boundaries[begin], numpy.minimum(boundaries[end], start + length)
            spans.append(numpy.stack([begin, end - begin], axis=1)[end > begin + 2])
    return numpy.concatenate(spans)


class Batch:
    """Texts one behind the other: `ids`, `places` and `texts` a number for each token, `ends` before each text and after the last."""

    def __init__(self, rows, ids, places, texts, ends, lengths, longest):
        self.rows, self.ids, self.places, self.texts, self.ends, self.lengths, self.longest = rows, ids, places, texts, ends, lengths, longest


class Texts:
    """Spans of one array of tokens on the device."""

    def __init__(self, tokens, spans, device):
        self.device = device
        self.tokens = torch.from_numpy(tokens.astype(numpy.int32)).to(device)
        self.starts = torch.from_numpy(spans[:, 0].copy()).to(device)
        self.lengths = spans[:, 1].copy()

    def __len__(self):
        return len(self.lengths)

    def batch(self, rows, most):
        lengths = numpy.minimum(self.lengths[rows], most - 2) + 2
        total = int(lengths.sum())
        rows = torch.from_numpy(rows.astype(numpy.int64)).to(self.device)
        there = torch.from_numpy(lengths).to(self.device)
        ends = functional.pad(there.cumsum(0), (1, 0))
        texts = torch.repeat_interleave(torch.arange(len(rows), device=self.device), there, output_size=total)
        places = torch.arange(total, device=self.device) - ends[texts]
        ids = self.tokens[(self.starts[rows][texts] + places - 1).clamp(0, len(self.tokens) - 1)].long()
        ids = torch.where(places == 0, BEGIN, torch.where(places == there[texts] - 1, END, ids))
        return Batch(rows, ids, places, texts, ends.int(), there, int(lengths.max()))


# ---- The network ----


def attend(q, k, v, batch):
    if q.device.type == "cuda":
        return varlen_attn(q, k, v, batch.ends, batch.ends, batch.longest, batch.longest)
    parts = []
    for start, end in zip(batch.ends[:-1].tolist(), batch.ends[1:].tolist()):
        one = [x[start:end].transpose(0, 1)[None] for x in (q, k, v)]
        parts.append(functional.scaled_dot_product_attention(*one)[0].transpose(0, 1))
    return torch.cat(parts)


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

    def tensors(self):
        return {name: getattr(self, attribute) for name, attribute in self.names.items()}

    def forward(self, batch, dtype=torch.bfloat16):
        """`[texts, dim]`"""
        of = {name: tensor if name == "head" else tensor.to(dtype) for name, tensor in self.tensors().items()}
        width = of["head"].shape[1]
        dense = lambda x, name: functional.linear(x, of[f"{name}.weight"], of[f"{name}.bias"])
        norm = lambda x, name: functional.layer_norm(x, (width,), of[f"{name}.LayerNorm.weight"], of[f"{name}.LayerNorm.bias"], 1e-12)
        positions = of["embeddings.position_embeddings.weight"] + of["embeddings.token_type_embeddings.weight"][0]
        x = functional.embedding(batch.ids, of["embeddings.word_embeddings.weight"]) + functional.embedding(batch.places, positions)
        x = norm(x, "embeddings")
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            weight, bias = (torch.cat([of[f"{name}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")]) for kind in ("weight", "bias"))
            q, k, v = functional.linear(x, weight, bias).view(len(x), 3, self.heads, width // self.heads).unbind(1)
            context = attend(q, k, v, batch).reshape(len(x), width)
            x = norm(x + dense(context, f"{name}.attention.output.dense"), f"{name}.attention.output")
            inner = functional.gelu(dense(x, f"{name}.intermediate.dense"))
            x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output")
        pooled = torch.zeros(len(batch.rows), width, device=x.device).index_add(0, batch.texts, x.float())
        return pooled / batch.lengths[:, None] @ of["head"].T


def embed(body, texts, most, tokens=400_000):
    """Vectors of all texts, of length 1, in half precision."""
    dtype = torch.float16 if texts.device.type == "cuda" else torch.float32
    order = numpy.argsort(texts.lengths, kind="stable")
    # Each as 16 tokens at least, for attention takes at most 65535 texts.
    sizes = numpy.clip(texts.lengths[order] + 2, 16, most).cumsum()
    parts = numpy.searchsorted(sizes, numpy.arange(tokens, sizes[-1], tokens))
    out = torch.empty(len(order), body.head.shape[0], dtype=torch.float16, device=texts.device)
    with torch.no_grad():
        for part in numpy.split(order, numpy.unique(parts)):
            if len(part):
                batch = texts.batch(part, most)
                out[batch.rows] = functional.normalize(body(batch, dtype)).half()
    return out


# ---- What is learnt ----


class Lesson:
    def __init__(self, arguments, device):
        began = time.time()
        self.device, self.seed = device, arguments.seed
        self.tensors = load_file(arguments.teacher / "model.safetensors")
        self.heads = json.loads((arguments.teacher / "config.json").read_text())["num_attention_heads"]
        self.layers = 1 + max(int(name.split("layer.")[1].split(".")[0]) for name in self.tensors if "layer." in name)
        projection = load_file(arguments.projection)
        self.components, self.mean = (projection[name].float().to(device) for name in ("components", "mean"))
        self.read(arguments)
        print(f"{len(self.texts)} texts, {self.texts.lengths.sum()} tokens, {time.time() - began:.0f} s", flush=True)
        teacher = self.body(list(range(self.layers)), torch.eye(self.mean.numel()))
        self.teacher = embed(teacher, self.texts, TEACHER_TOKENS)
        print(f"taught, {time.time() - began:.0f} s", flush=True)
        self.topics = self.sort_by_topic()
        topics = self.topics.cpu().numpy()
        self.tables = {name: rows[numpy.argsort(topics[rows[:, 0]], kind="stable")] for name, rows in self.tables.items()}
        tokenizer = Tokenizer.from_file(str(arguments.teacher / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.development = [Development(path, tokenizer, teacher) for path in sorted(arguments.development.iterdir())] if arguments.development else []
        print(f"ready, {time.time() - began:.0f} s: teacher", self.measure(teacher), flush=True)

    def read(self, arguments):
        vocabulary = json.loads((arguments.teacher / "tokenizer.json").read_text())["model"]["vocab"]
        word_begins = numpy.ones(len(vocabulary), bool)
        word_begins[[number for token, number in vocabulary.items() if token.startswith("##")]] = False
        draw, tokens, spans, self.sources, self.tables, at = numpy.random.default_rng(self.seed), [], [], {}, {}, 0
        with ProcessPoolExecutor() as pool:
            for path, packed in zip(arguments.tokens, pool.map(unpack, arguments.tokens)):
                found = spans_of(packed, word_begins, draw) + [sum(map(len, tokens)), 0]
                name = path.name.split(".")[0]
                self.sources[name] = slice(at, at + len(found))
                if "table" in packed:
                    counts = packed["sentences"].astype(numpy.int64)
                    columns = numpy.arange(3)
                    places = at + counts.cumsum()[:, None] - counts[:, None] + columns
                    self.tables[name] = numpy.where(columns < counts[:, None], places, -1)
                at += len(found)
                tokens.append(packed["tokens"])
                spans.append(found)
        self.texts = Texts(numpy.concatenate(tokens), numpy.concatenate(spans), self.device)

    def body(self, layers, head):
        return Body(self.tensors, layers, head, self.heads).to(self.device)

    def targets(self, rows, center):
        """Of the teacher: projected, and whole; both of length 1."""
        vectors = self.teacher[rows].float() - center * self.mean
        return functional.normalize(vectors @ self.components.T), functional.normalize(vectors)

    def sort_by_topic(self):
        """The number of the nearest of some texts drawn at random, for each text."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(len(self.texts), generator=generator)[: min(TOPICS, max(1, len(self.texts) // 64))].to(self.device)
        middles = self.targets(drawn, 1)[0].T
        rows = torch.arange(len(self.texts), device=self.device)
        return torch.cat([(self.targets(part, 1)[0] @ middles).argmax(1) for part in rows.split(65536)])

    def chosen(self, of):
        """How likely each text comes in an epoch, by 'SOURCE:SHARE,SOURCE,…'; the last says what holds for a source."""
        shares = torch.zeros(len(self.texts), device=self.device)
        for part in of.split(","):
            name, _, share = part.partition(":")
            shares[slice(None) if name == "all" else self.sources[name]] = float(share or 1)
        return shares

    def batches(self, shares, size, group):
        """Groups of one topic, several of them a batch; the last, smaller one is left out."""
        rows = torch.randperm(len(shares), device=self.device)
        rows = rows[torch.rand(len(rows), device=self.device) < shares[rows]]
        rows = rows[torch.sort(self.topics[rows], stable=True).indices]
        rows = rows[: len(rows) // group * group].view(-1, group)
        rows = rows[torch.randperm(len(rows), device=self.device)].reshape(-1).cpu().numpy()
        return rows[: len(rows) // size * size].reshape(-1, size)

    def triplets(self, run, draw):
        """Rows of one table, drawn by 'TABLE:SHARE,…': anchors, positives and, where there are any, negatives; groups of one topic."""
        tables = [part.partition(":") for part in run["tables"].split(",")]
        shares = numpy.array([float(share or 1) for _, _, share in tables])
        rows = self.tables[tables[draw.choice(len(tables), p=shares / shares.sum())][0]]
        group = run["group"]
        first = draw.integers(0, len(rows) - group, run["triplets"] // group)
        columns = rows[(first[:, None] + numpy.arange(group)).reshape(-1)].T
        return numpy.concatenate([column[column >= 0] for column in columns])

    def measure(self, body):
        """Spearman of the development pairs; of each set nDCG@10, and how many of the teacher's first 10 are found; means."""
        found = {}
        for development in self.development:
            found |= development.score(body)
        for kind in ("ndcg", "agree"):
            scores = [score for name, score in found.items() if name.endswith(kind)]
            if scores:
                found[f"mean_{kind}"] = sum(scores) / len(scores)
        return {name: round(score, 2) for name, score in found.items()}


class Development:
    """`sts.tsv.gz` with scored pairs, or a folder as BEIR has them."""

    def __init__(self, path, tokenizer, teacher):
        self.name = path.name.split(".")[0]
        device = teacher.head.device

        def side(texts):
            encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            lengths = numpy.array([len(e.ids) for e in encoded])
            spans = numpy.stack([lengths.cumsum() - lengths, lengths], axis=1)
            return Texts(numpy.concatenate([numpy.asarray(e.ids, numpy.int64) for e in encoded]), spans, device)

        if path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                rows = [line.rstrip("\n").split("\t") for line in lines][1:]
            self.gold = numpy.array([float(row[1]) for row in rows])
            self.sides = [side([row[i] for row in rows]) for i in (2, 3)]
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
        self.sides = [side(texts) for texts in ([query["text"] for query in queries], documents)]
        self.gold = None
        self.of_teacher = self.best(teacher)

    def best(self, body):
        queries, documents = (embed(body, side, STUDENT_TOKENS).float() for side in self.sides)
        return (queries @ documents.T).topk(10).indices.cpu().numpy()

    def score(self, body):
        if self.gold is not None:
            a, b = (embed(body, side, STUDENT_TOKENS).float() for side in self.sides)
            rank = lambda x: numpy.argsort(numpy.argsort(x, kind="stable"), kind="stable")
            found = (a * b).sum(1).cpu().numpy()
            gold = numpy.array([numpy.mean(rank(self.gold)[self.gold == value]) for value in self.gold])
            return {self.name: 100 * float(numpy.corrcoef(rank(found), gold)[0, 1])}
        best = self.best(body)
        discounts = 1 / numpy.log2(numpy.arange(2, 12))
        scores = []
        for query, hits in zip(self.ids, best):
            relevant = self.relevant[query]
            gain = sum((2 ** relevant.get(int(hit), 0) - 1) * d for hit, d in zip(hits, discounts))
            ideal = sum((2**score - 1) * d for score, d in zip(sorted(relevant.values(), reverse=True), discounts))
            scores.append(gain / ideal)
        agree = numpy.mean([len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), self.of_teacher.tolist())])
        return {f"{self.name}_ndcg": 100 * float(numpy.mean(scores)), f"{self.name}_agree": 100 * float(agree)}


def divergence(output, teacher, temperature):
    itself = torch.eye(len(output), device=output.device) * -1e4
    neighbours = lambda x: functional.log_softmax(x @ x.T / temperature + itself, dim=1)
    return functional.kl_div(neighbours(output), neighbours(teacher), reduction="batchmean", log_target=True)


def contrast(output, teacher, count, temperature):
    """As in hpd: each of `count` anchors must find its positive among all positives and negatives that the teacher finds less near to it."""
    anchors, candidates = functional.normalize(output[:count]), functional.normalize(output[count:])
    guide = teacher[:count] @ teacher[count:].T
    own = torch.arange(count, device=output.device)
    left_out = guide >= guide[own, own][:, None]
    left_out[own, own] = False
    if len(candidates) == 2 * count:
        left_out[own, count + own] = False
    return functional.cross_entropy((anchors @ candidates.T / temperature).masked_fill(left_out, -1e4), own)


def loss_of(output, target, teacher, run):
    """The first `batch` rows are texts, the others triplets, if there are any."""
    loss, weights = 0.0, 0.0
    for width in (*run["prefixes"], output.shape[1]):
        part = functional.normalize(output[:, :width])
        one = run["cosine"] * (1 - (part * functional.normalize(target[:, :width])).sum(1).mean())
        one = one + run["relational"] * divergence(part, teacher, run["temperature"])
        if run["contrast"]:
            one = one + run["contrast"] * contrast(part[run["batch"] :], teacher[run["batch"] :], run["triplets"], run["temperature"])
        weight = 1.0 if width == output.shape[1] else run["prefix_weight"]
        loss, weights = loss + weight * one, weights + weight
    return loss / weights


def train(lesson, run, others):
    """One student; `run` says how. `others` are those that were trained before it."""
    torch.manual_seed(run["seed"])
    if run["start"]:
        tensors = {name: tensor for name, tensor in others[run["start"]].tensors().items() if name != "head"}
        start = others[run["start"]]
        body = Body(tensors, run["keep"] or tuple(range(start.layers)), start.head, lesson.heads).to(lesson.device)
    else:
        run["keep"] = run["keep"] or tuple((i + 1) * lesson.layers // run["layers"] - 1 for i in range(run["layers"]))
        body = lesson.body(run["keep"], lesson.components.cpu())
    run["layers"] = body.layers
    matrices = [p for name, p in body.named_parameters() if p.dim() == 2 and "embeddings" not in name]
    rest = [p for name, p in body.named_parameters() if p.dim() != 2 or "embeddings" in name]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), fused=lesson.device.type == "cuda")
    mean, draw = [p.detach().clone() for p in body.parameters()], numpy.random.default_rng(run["seed"])
    shares, began, step, told, epochs, done = lesson.chosen(run["of"]), time.time(), 0, [], 0, 0.0
    while done < 1:
        epochs += 1
        for rows in lesson.batches(shares, run["batch"], run["group"]):
            done = (time.time() - began) / run["seconds"]
            if done >= 1:
                break
            if run["contrast"]:
                rows = numpy.concatenate([rows, lesson.triplets(run, draw)])
            batch = lesson.texts.batch(rows, STUDENT_TOKENS)
            target, teacher = lesson.targets(batch.rows, run["center"])
            loss = loss_of(body(batch), target, teacher, run)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(body.parameters(), 1.0, foreach=True)
            rate = run["rate"] * min((step + 1) / run["warm_up"], 1 - done)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if run["average"]:
                torch._foreach_lerp_(mean, [p.detach() for p in body.parameters()], 1 - min(run["average"], step / (step + 1)))
            # Reading the loss also keeps the clock, by which the rate falls, with the card.
            if step % 20 == 0:
                told.append((step, round(loss.item(), 4)))
    seconds = time.time() - began
    if run["average"]:
        for parameter, averaged in zip(body.parameters(), mean):
            parameter.data.copy_(averaged)
    result = run | {"steps": step, "epochs": epochs, "seconds": round(seconds, 1), "texts_per_second": round(step * run["batch"] / seconds),
                    "losses": told[:: max(1, len(told) // 20)], "development": lesson.measure(body)}
    print(json.dumps({name: value for name, value in result.items() if name != "losses"}), told[-1:], flush=True)
    return body, result


def keep(body, result, output):
    folder = output / result["name"]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name if name != "head" else "head.weight": tensor.detach().half().cpu().contiguous() for name, tensor in body.tensors().items()}
    save_file(tensors, folder / "student.safetensors", metadata={"format": "pt"})
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


def plan(text):
    run = {"layers": 3, "keep": (), "start": "", "seconds": 60.0, "rate": 1e-3, "warm_up": 200, "batch": 2048, "group": 16, "cosine": 1.0, "relational": 0.3,
           "temperature": 0.05, "center": 1.0, "prefixes": (), "prefix_weight": 0.25, "of": "all", "seed": 1,
           "average": 0.0, "contrast": 0.0, "triplets": 512, "tables": ""}
    for part in text.split():
        name, _, value = part.partition("=")
        known = run.get(name, "")
        run[name] = tuple(int(number) for number in value.split(",")) if isinstance(known, tuple) else type(known)(value)
    if run["triplets"] % run["group"]:
        raise SystemExit(f"triplets={run['triplets']}, expected a multiple of group={run['group']}: {text}")
    return run


def added_to(path):
    """Lines of a file as they are added, until one says 'end'."""
    told = 0
    while path:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        for line in lines[told:]:
            if line.strip() == "end":
                return
            if not line.endswith("\n"):
                break
            told += 1
            yield line.strip()
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a BERT with mean pooling")
    parser.add_argument("--projection", type=Path, required=True, help="pca.safetensors of a run of hpd")
    parser.add_argument("--tokens", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--development", type=Path, help="folder of sts.tsv.gz and BEIR folders that are measured after each run")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=float, default=math.inf, help="seconds after which no run is begun that would take longer")
    parser.add_argument("--do-not-keep", action="store_true", help="only measure")
    parser.add_argument("--more", type=Path, help="a file that further runs are read from, as lines are added to it, until one says 'end'")
    parser.add_argument("runs", nargs="*", help="'name=… layers=… seconds=… rate=… relational=… of=SOURCE:SHARE,…'")
    arguments = parser.parse_intermixed_args()
    began, others = time.time(), {}
    arguments.output.mkdir(parents=True, exist_ok=True)
    lesson = Lesson(arguments, torch.device(arguments.device))
    for text in itertools.chain(arguments.runs, added_to(arguments.more)):
        run = plan(text)
        if time.time() - began + run["seconds"] > arguments.until:
            print(f"no time for {text}", flush=True)
            continue
        body, result = train(lesson, run, others)
        others[run["name"]] = body
        if not arguments.do_not_keep:
            keep(body, result, arguments.output)
        with open(arguments.output / "results.jsonl", "a") as lines:
            lines.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
