#!/usr/bin/env python3
"""How fast a model encodes from Python, and how fast the ONNX that hpd writes of it is in ONNX Runtime: same texts, same threads.

    pip install target/wheels/hpd-*.whl onnxruntime onnx tokenizers
    python bench/python_speed.py --model minilm-3x128 --texts stsb.txt --threads 2

Rounds alternate between all of them; medians of texts a second are printed, text in and vectors out, with the mean and the least cosine to hpd's
vectors in f32. ONNX Runtime gets batches of texts of like length, padded to the longest, and in 8 bits what its own `quantize_dynamic` makes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import hpd

BATCHES = (16, 32, 64)
# An answer below is not the model's: 8 bits are rounded, ONNX Runtime's without looking at any text.
LEAST_MEAN = {"f32": 0.99999, "int8": 0.97}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model", default=None, help="folder, shipped model or id [default: hpd's own]"
    )
    parser.add_argument("--texts", type=Path, required=True, help="one text a line")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    texts = arguments.texts.read_text(encoding="utf-8").splitlines()[: arguments.limit]
    hpd.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        ways = contenders(arguments.model, Path(folder), arguments.threads)
        expected = unit(ways["hpd, f32"](texts))
        seconds = {name: [] for name in ways}
        vectors = {}
        for _ in range(arguments.rounds):
            for name, encode in ways.items():
                began = time.perf_counter()
                vectors[name] = encode(texts)
                seconds[name].append(time.perf_counter() - began)
    print(
        f"{len(texts)} texts, {arguments.threads} threads, {arguments.rounds} rounds, Python {platform.python_version()}"
    )
    print("texts/s  mean cosine   least  way")
    wrong = []
    for name in ways:
        cosines = (unit(vectors[name]) * expected).sum(axis=1)
        print(
            f"{len(texts) / statistics.median(seconds[name]):7.0f}  {cosines.mean():11.6f}  {cosines.min():.4f}  {name}"
        )
        if cosines.mean() < LEAST_MEAN["int8" if "int8" in name else "f32"]:
            wrong.append(name)
    if wrong:
        sys.exit(f"wrong answers: {', '.join(wrong)}")


def contenders(name: str | None, folder: Path, threads: int) -> dict:
    """What turns texts into vectors, by what it is."""
    floats, in_8_bits = (
        hpd.Model(name, arithmetic=kind) for kind in ("float32", "int8")
    )
    ways = {
        "hpd, f32": floats.encode,
        "hpd, int8": in_8_bits.encode,
        "hpd, int8, a text a call": lambda texts: np.stack(
            [in_8_bits.encode(text) for text in texts]
        ),
    }
    exported = folder / "onnx"
    hpd.run("export", floats.path, onnx=True, output=exported, quiet=True)
    in_floats = exported / "onnx" / "model.onnx"
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(in_floats, folder / "int8.onnx")
    for precision, path in (("f32", in_floats), ("int8", folder / "int8.onnx")):
        for batch in BATCHES:
            ways[f"ONNX Runtime, {precision}, batches of {batch}"] = onnx_runtime(
                exported, path, threads, batch
            )
    return ways


def onnx_runtime(folder: Path, path: Path, threads: int, batch: int):
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.enable_truncation(config["model_max_length"])
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows: list = [None] * len(texts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            encoded = tokenizer.encode_batch([texts[i] for i in chosen])
            inputs = {
                "input_ids": np.array([text.ids for text in encoded], dtype=np.int64),
                "attention_mask": np.array(
                    [text.attention_mask for text in encoded], dtype=np.int64
                ),
            }
            for i, row in zip(
                chosen, session.run(["sentence_embedding"], inputs)[0], strict=True
            ):
                rows[i] = row
        return np.stack(rows)

    return encode


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
