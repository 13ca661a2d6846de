#!/usr/bin/env python3
"""Collects short texts for training whose licences allow to ship what learns from them: image captions, pairs of inference, questions.

    short_texts.py --clones DIR --output short_texts.txt.gz --exclude sts/*.tsv.gz retrieval/*/*.jsonl.gz

DIR holds clones by their names: Texygen (10,000 and 10,000 captions of MS-COCO, CC BY 4.0), e-SNLI (both sentences of the development and
test pairs of SNLI, CC BY-SA 4.0), anserini-tools (questions of Natural Questions, Apache-2.0, and of SQuAD, CC BY-SA 4.0). A text that
occurs in a file behind --exclude, an evaluation set, is left out: compared are lower-cased letters and digits. One text a line, in an
order drawn from --seed.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

from passages import clean, letters_and_digits, texts_of

CAPTIONS = ["Texygen:data/image_coco.txt", "Texygen:data/testdata/test_coco.txt"]
INFERENCE = [f"e-SNLI:dataset/eSNLI/{name}" for name in ("s1.dev", "s1.test", "s2.dev", "s2.test")]
NATURAL_QUESTIONS = ["anserini-tools:topics/topics.nq.dev.txt", "anserini-tools:topics/topics.nq.test.txt"]
SQUAD = ["anserini-tools:topics/topics.dpr.squad.test.txt"]


def sentence(line):
    """Without the spaces that a tokeniser put before full stops and commas."""
    return re.sub(r"\s+([.,;:!?]|n't\b|'\w)", r"\1", line)


READERS = [
    (CAPTIONS, sentence),
    (INFERENCE, sentence),
    (NATURAL_QUESTIONS, lambda line: line.split("\t")[0]),
    (SQUAD, lambda line: json.loads(line)["question"]),
]


def lines_of(clones, name):
    repository, path = name.split(":")
    shown = subprocess.run(["git", "-C", str(clones / repository), "show", f"HEAD:{path}"], capture_output=True)
    if shown.returncode != 0:
        sys.exit(f"cannot read {path} of {clones / repository}: {shown.stderr.decode('utf-8', 'replace').strip()}")
    return shown.stdout.decode("utf-8", "replace").splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".txt.gz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], metavar="FILE")
    options = parser.parse_args()
    seen = {letters_and_digits(text) for path in options.exclude for text in texts_of(path)}
    texts = []
    for names, read in READERS:
        for name in names:
            before = len(texts)
            for text in map(clean, map(read, filter(str.strip, lines_of(options.clones, name)))):
                key = letters_and_digits(text)
                if key not in seen and len(text.split()) >= 3:
                    seen.add(key)
                    texts.append(text)
            print(f"{name}: {len(texts) - before} texts", file=sys.stderr)
    random.Random(options.seed).shuffle(texts)
    # A file that is there is whole: training_texts.sh does not make it again.
    unfinished = options.output.with_name(f"unfinished.{options.output.name}")
    with gzip.open(unfinished, "wt", encoding="utf-8") as output:
        output.writelines(f"{text}\n" for text in texts)
    unfinished.replace(options.output)


if __name__ == "__main__":
    main()
