#!/usr/bin/env python3
"""How fast `hpd` encodes beside its peers: same texts, same threads, same run, every answer checked.

    python bench/encode_peers.py --hpd target/release/hpd --model TEACHER --output results.json

See README.md beside this file for what each time holds and why it is fair.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import model_files
import peers

SINGLES = 256
# Below these cosines to the f32 reference an answer is not the model's: (least of all texts, mean) by precision.
# They are wide for int8, so that they find mistakes and not quality, which the table shows.
BOUNDS = {"f32": (0.99999, 0.99999), "bf16": (0.99, 0.999), "int8": (0.6, 0.97)}
# What hpd calls a precision.
ARITHMETIC = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}
PACKAGES = ["torch", "transformers", "sentence-transformers", "tokenizers", "onnxruntime", "openvino", "nncf", "optimum",
            "optimum-onnx", "optimum-intel", "fastembed", "model2vec", "numpy"]


def main():
    arguments = parse()
    started = now()
    if arguments.work is None:
        folder = tempfile.TemporaryDirectory(prefix="encode-peers-")
        arguments.work = Path(folder.name)
    arguments.work.mkdir(parents=True, exist_ok=True)
    sets = read_sets(arguments)
    peers.limit_threads(os.cpu_count() or 1)
    missing = in_a_process(model_files.make, arguments.model, arguments.work, calibration(arguments, sets), wanted(arguments))
    names, left_out = contenders(arguments, missing)
    results = {
        "started": started, "command": sys.argv, "cpu": cpu_name(), "cores": os.cpu_count(),
        "cpu_flags_of_interest": sorted(model_files.cpu_flags() & {"avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}),
        "system": platform.platform(), "python": platform.python_version(), "versions": versions(arguments.hpd, PACKAGES),
        "rounds": arguments.rounds, "left_out": left_out, "load_before": os.getloadavg(), "tables": [],
    }
    for label, path, texts in sets:
        folder = arguments.work / "folder"
        reference = arguments.work / f"{label}.reference.{fingerprint(folder, texts)}.npy"
        if not reference.exists():
            in_a_process(write_reference, folder, texts, reference)
        for threads in arguments.threads:
            table = measure(arguments, names, label, path, texts, reference, threads)
            results["tables"].append(table)
            results["load_after"], results["ended"] = os.getloadavg(), now()
            print(words(table), flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    wrong = [f"{row['name']} on {table['texts']}" for table in results["tables"] for row in table["rows"] if not row["right"]]
    if wrong:
        sys.exit("wrong answers: " + ", ".join(wrong))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hpd", type=Path, required=True, help="the binary")
    parser.add_argument("--model", type=Path, required=True, help="a sentence-transformers folder of a BERT model")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="files with one text a line, instead of --data")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with sts/stsb_test.tsv.gz and retrieval/quora")
    parser.add_argument("--sets", default="stsb,quora", help="which of the two")
    parser.add_argument("--limit", type=int, help="only so many texts of each set, spread over it")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="these peers, comma-separated; see peers.py")
    parser.add_argument("--hpd-precisions", default="f32", help="f32, or f32,bf16,int8")
    parser.add_argument("--work", type=Path, help="keeps the peers' model files here for the next run")
    parser.add_argument("--output", type=Path, help="JSON with all that was measured")
    arguments = parser.parse_args()
    arguments.hpd, arguments.model = arguments.hpd.resolve(), arguments.model.resolve()
    return arguments


def read_sets(arguments):
    """(label, file with one text a line, texts) of each set."""
    if arguments.texts:
        sets = [(path.stem, path.read_text(encoding="utf-8").splitlines()) for path in arguments.texts]
    elif arguments.data.is_dir():
        read = {"stsb": model_files.sts_sentences, "quora": model_files.quora_questions}
        sets = [(name, read[name](arguments.data)) for name in arguments.sets.split(",")]
    else:
        print(f"skipped: there is no `{arguments.data}`; name a folder with --data or files with --texts")
        sys.exit(0)
    written = []
    for label, texts in sets:
        if arguments.limit and arguments.limit < len(texts):
            texts = [texts[i * len(texts) // arguments.limit] for i in range(arguments.limit)]
        path = arguments.work / f"{label}.txt"
        model_files.write_lines(path, texts)
        written.append((label, path, texts))
    return written


def calibration(arguments, sets):
    """Sentences for the static quantisation: not those that are measured, where there are others."""
    other = arguments.data / "sts/stsb_dev.tsv.gz"
    if arguments.texts or not other.exists():
        return sets[0][2]
    import gzip

    with gzip.open(other, "rt", encoding="utf-8") as lines:
        return [line.split("\t")[2] for line in lines][1:]


def wanted(arguments):
    """The peers that are asked for."""
    names = arguments.only.split(",") if arguments.only else list(peers.CONTENDERS)
    if unknown := set(names) - set(peers.CONTENDERS):
        sys.exit(f"unknown peers {sorted(unknown)}; there are {', '.join(peers.CONTENDERS)}")
    return names


def contenders(arguments, missing):
    names, left_out = [], {f"{name} files": reason for name, reason in missing.items()}
    for name in wanted(arguments):
        precision, *_, file = peers.CONTENDERS[name]
        if precision == "bf16" and not peers.has_bf16():
            left_out[name] = "this processor has no bf16 products"
        elif file and not (arguments.work / file).exists():
            left_out[name] = f"`{file}` could not be made"
        else:
            names.append(name)
    return names, left_out


def fingerprint(folder, texts):
    """Tells whether a reference of an earlier run is still one."""
    digest = hashlib.sha256("\n".join(texts).encode())
    digest.update((folder / "model.safetensors").read_bytes())
    return digest.hexdigest()[:12]


def write_reference(folder, texts, path):
    """What sentence-transformers gives in f32."""
    import numpy
    from sentence_transformers import SentenceTransformer

    vectors = SentenceTransformer(str(folder), device="cpu").encode(texts).astype(numpy.float32)
    unfinished = path.with_suffix(".unfinished.npy")
    numpy.save(unfinished, vectors)
    unfinished.replace(path)


def in_a_process(work, *arguments):
    """Runs `work` in a process of its own, so that no library it loads stays."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def measure(arguments, names, label, path, texts, reference, threads):
    """One table: all contenders take turns for so many rounds, in reverse order in every second one."""
    work, field, failed = arguments.work, [], {}
    for precision in arguments.hpd_precisions.split(","):
        field.append(Hpd(arguments, precision, path, reference, threads))
    for name in names:
        try:
            field.append(Peer(name, work, path, reference, threads))
        except PeerFailed as error:
            failed[name] = str(error)
            print(f"  {name} fails: {error}", file=sys.stderr)
    samples = {contender.name: [] for contender in field}
    for round in range(arguments.rounds):
        for contender in field if round % 2 == 0 else reversed(field):
            try:
                samples[contender.name].append(contender.sample())
            except PeerFailed as error:
                failed[contender.name] = str(error)
                print(f"  {contender.name} fails: {error}", file=sys.stderr)
    rows = [summary(contender, samples[contender.name], len(texts)) for contender in field if contender.name not in failed]
    for contender in field:
        contender.close()
    own = {row["precision"]: row for row in rows if row["use"] == "hpd"}
    for row in rows:
        row["hpd_is_faster_by"] = {precision: own[precision]["sentences_per_second"] / row["sentences_per_second"] for precision in own}
    return {"texts": label, "count": len(texts), "threads": threads, "rows": rows, "failed": failed}


def summary(contender, samples, count):
    middle = lambda key: statistics.median(sample[key] for sample in samples)
    least, mean = min(sample["least_cosine"] for sample in samples), min(sample["mean_cosine"] for sample in samples)
    bounds = BOUNDS.get(contender.precision)
    return {
        "name": contender.name, "precision": contender.precision, "use": contender.use, "settings": contender.settings,
        "sentences_per_second": count / middle("seconds"), "seconds_of_rounds": [sample["seconds"] for sample in samples],
        "p50_milliseconds": middle("p50"), "p99_milliseconds": middle("p99"),
        "least_cosine": least, "mean_cosine": mean, "right": bounds is None or (least >= bounds[0] and mean >= bounds[1]),
    }


class PeerFailed(Exception):
    """A contender raised an error or its process ended."""


class Peer:
    """A contender in a process of its own, which stays open between rounds and waits there without working."""

    def __init__(self, name, work, path, reference, threads):
        self.name, (self.precision, self.use, *_) = name, peers.CONTENDERS[name]
        self.start(serve, name, work, path, reference, threads)
        self.settings = self.answer()

    def start(self, serve, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, *arguments), daemon=True)
        self.process.start()
        other.close()

    def sample(self):
        self.pipe.send("sample")
        return self.answer()

    def answer(self):
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise PeerFailed("its process ended") from None
        if isinstance(answer, Exception):
            raise PeerFailed(f"{type(answer).__name__}: {answer}")
        return answer

    def close(self):
        self.pipe.close()
        self.process.join(10)
        self.process.kill()


def serve(pipe, name, work, path, reference, threads):
    """The process of a contender: opens, tunes, warms up, then answers each request with a sample."""
    peers.limit_threads(threads)
    try:
        import numpy

        texts, reference = path.read_text(encoding="utf-8").splitlines(), numpy.load(reference)
        contender = peers.open_contender(name, work, threads)
        contender.tune(texts)
        contender.encode(texts[:SINGLES])
        contender.single(texts[0])
        pipe.send(contender.settings())
        while True:
            pipe.recv()
            pipe.send(take_sample(contender, texts, reference))
    except EOFError:
        pass
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def take_sample(contender, texts, reference):
    start = time.perf_counter()
    vectors = contender.encode(texts)
    seconds = time.perf_counter() - start
    singles = []
    for i in range(SINGLES):
        text = texts[i * len(texts) // SINGLES]
        start = time.perf_counter()
        contender.single(text)
        singles.append(time.perf_counter() - start)
    singles.sort()
    least, mean = agreement(vectors, reference)
    return {"seconds": seconds, "p50": 1e3 * singles[SINGLES // 2], "p99": 1e3 * singles[SINGLES * 99 // 100],
            "least_cosine": least, "mean_cosine": mean}


def agreement(vectors, reference):
    """Least and mean cosine; nothing to compare where the width is another model's."""
    import numpy

    if vectors.shape != reference.shape:
        return 0.0, 0.0
    product = (vectors.astype(numpy.float64) * reference).sum(axis=1)
    cosines = product / (numpy.linalg.norm(vectors.astype(numpy.float64), axis=1) * numpy.linalg.norm(reference.astype(numpy.float64), axis=1))
    return float(numpy.nan_to_num(cosines).min()), float(numpy.nan_to_num(cosines).mean())


class Hpd:
    """`hpd bench encode`, one round a call: it opens the model and warms up before it looks at the clock."""

    use = "hpd"

    def __init__(self, arguments, precision, path, reference, threads):
        self.name, self.precision, self.settings = f"hpd {precision}", precision, "as called"
        self.base = [arguments.hpd, "--threads", str(threads), "--quiet"]
        self.model = ["--model", arguments.model]
        self.path, self.vectors = path, None
        self.least, self.mean = self.check(arguments.work, reference)

    def check(self, work, reference):
        """The bench tells only that its vectors are always the same, so they are looked at once."""
        import numpy

        output = work / f"{self.path.stem}.{self.name.replace(' ', '.')}.npy"
        call = self.base + ["embed", *self.model, "--input", self.path, "--format", "text", "--output", output, "--overwrite"]
        call += ["--arithmetic", ARITHMETIC[self.precision]]
        subprocess.run(call, check=True)
        return agreement(numpy.load(output), numpy.load(reference))

    def sample(self):
        call = self.base + ["--json", "bench", "encode", *self.model, "--texts", self.path, "--format", "text", "--rounds", "1",
                            "--arithmetic", ARITHMETIC[self.precision]]
        found = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout)
        case = found["cases"][0]
        self.vectors = self.vectors or case["vectors"]
        if self.vectors != case["vectors"]:
            sys.exit(f"{self.name} gave other vectors than the round before")
        return {"seconds": found["texts"] / case["sentences_per_second"], "p50": case["p50_milliseconds"], "p99": case["p99_milliseconds"],
                "least_cosine": self.least, "mean_cosine": self.mean}

    def close(self):
        pass


def words(table):
    """The table for people; ratios say how many times as fast `hpd` is."""
    own = [row["precision"] for row in table["rows"] if row["use"] == "hpd"]
    lines = [["", "use", "sentences/s", *(f"hpd {precision} is" for precision in own), "p50 ms", "p99 ms", "cosine least", "mean", "how"]]
    for row in table["rows"]:
        ratios = [f"{row['hpd_is_faster_by'][precision]:.2f} x" for precision in own]
        compared = row["use"] != "another model"
        cosines = [f"{row[key]:.6f}" if compared else "-" for key in ("least_cosine", "mean_cosine")]
        lines.append([row["name"] + ("" if row["right"] else " WRONG"), row["use"], f"{row['sentences_per_second']:.0f}", *ratios,
                      f"{row['p50_milliseconds']:.2f}", f"{row['p99_milliseconds']:.2f}", *cosines, row["settings"]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    pad = lambda i, cell: cell.ljust(widths[i]) if i in (0, 1, len(widths) - 1) else cell.rjust(widths[i])
    body = "\n".join("  ".join(pad(i, cell) for i, cell in enumerate(line)).rstrip() for line in lines)
    failed = "".join(f"\nfailed: {name}: {reason}" for name, reason in table["failed"].items())
    return f"\n{table['texts']}: {table['count']} texts, {table['threads']} threads\n{body}{failed}"


def versions(hpd, packages):
    found = {"hpd": subprocess.run([hpd, "--version"], check=True, capture_output=True, text=True).stdout.strip()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
