#!/usr/bin/env python3
"""Packs texts for on_a_card.py as token numbers, a third of their size: what travels to a rented card should be small, and ready to be used there.

    card_tokens.py --teacher all-MiniLM-L6-v2 --output tokens nli_sentences.txt.gz@0.5 abstracts.jsonl.gz

Lists hold a text a line (.txt), documents a line of JSON with `text` (.jsonl), tables an anchor, a positive and perhaps a negative a line after
their header (.tsv), all also .gz; a share is drawn by --seed. Of each file comes NAME.xz: numpy's `tokens` (uint16, without [CLS] and [SEP]),
`lengths` of the sentences in tokens and `sentences` of each text. A line of a list is one sentence; documents are cut into theirs, from which
on_a_card.py takes runs; of a table each field is one, and `table` says so. No text of a list and no document comes twice.
"""

import argparse
import gzip
import io
import json
import lzma
import random
import re
from pathlib import Path

import numpy
from passages import sentences_of
from tokenizers import Tokenizer

LONGEST = 254
NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


def is_table(path):
    return ".tsv" in path.name


def texts_of(path, share, known, draw):
    """The sentences of each text."""
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt", encoding="utf-8") as lines:
        if is_table(path):
            next(lines)
            yield from (line.rstrip("\n").split("\t") for line in lines if draw.random() < share)
            return
        for line in lines:
            if draw.random() >= share:
                continue
            documents = ".jsonl" in path.name
            text = " ".join((json.loads(line)["text"] if documents else line).split())
            letters = hash(NEITHER_LETTER_NOR_DIGIT.sub("", text).lower())
            if text and letters not in known:
                known.add(letters)
                yield sentences_of(text) if documents else [text]


def pack(texts, tokenizer, **more):
    texts.sort()
    encoded = tokenizer.encode_batch_fast([sentence for text in texts for sentence in text], add_special_tokens=False)
    ids = [numpy.asarray(one.ids[:LONGEST], numpy.uint16) for one in encoded]
    arrays = {
        "tokens": numpy.concatenate(ids),
        "lengths": numpy.fromiter(map(len, ids), numpy.uint16, len(ids)),
        "sentences": numpy.fromiter(map(len, texts), numpy.uint16, len(texts)),
        **more,
    }
    packed = io.BytesIO()
    numpy.savez(packed, **arrays)
    return arrays, packed.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="folder whose tokenizer.json is taken")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="+", metavar="FILE[@SHARE]")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.teacher / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw, known = random.Random(arguments.seed), set()
    # Of two bytes each, the upper like the upper before it and the lower like the lower.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 1, "pb": 1, "dict_size": 1 << 28}]
    for argument in arguments.files:
        path, _, share = argument.partition("@")
        texts = list(texts_of(Path(path), float(share or 1), known, draw))
        arrays, packed = pack(texts, tokenizer, **({"table": numpy.array(True)} if is_table(Path(path)) else {}))
        name = Path(path).name.split(".")[0]
        compressed = lzma.compress(packed, filters=filters)
        (arguments.output / f"{name}.xz").write_bytes(compressed)
        print(f"{name}: {len(texts)} texts, {len(arrays['lengths'])} sentences, {len(arrays['tokens'])} tokens, {len(compressed) / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
