#!/usr/bin/env python3
"""Makes triplets of premise, what follows from it and what contradicts it, of the pairs of inference whose licence allows to ship what learns from them.

    inference_triplets.py --clones DIR --output triplets.tsv.gz --exclude sts/*.tsv.gz

DIR holds a clone of e-SNLI: the development and test pairs of SNLI (CC BY-SA 4.0) and the labels people gave them. A premise has about one
hypothesis of each label; every one that follows is put beside every one that contradicts. A triplet with a text of a file behind --exclude, an
evaluation set, is left out: compared are lower-cased letters and digits.
"""

import argparse
import gzip
import random
import sys
from collections import defaultdict
from pathlib import Path

from passages import clean, letters_and_digits, texts_of
from short_texts import lines_of, sentence

PARTS = ("dev", "test")


def hypotheses(clones):
    """For each premise, its hypotheses by label."""
    by_premise = defaultdict(lambda: defaultdict(set))
    for part in PARTS:
        premises, texts, labels = (lines_of(clones, f"e-SNLI:dataset/eSNLI/{name}.{part}") for name in ("s1", "s2", "labels"))
        for premise, text, label in zip(premises, texts, labels, strict=True):
            by_premise[clean(sentence(premise))][label].add(clean(sentence(text)))
    return by_premise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".tsv.gz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], metavar="FILE")
    options = parser.parse_args()
    excluded = {letters_and_digits(text) for path in options.exclude for text in texts_of(path)}
    triplets = [
        triplet
        for premise, texts in hypotheses(options.clones).items()
        for positive in sorted(texts["entailment"])
        for negative in sorted(texts["contradiction"])
        for triplet in [(premise, positive, negative)]
        if len({letters_and_digits(text) for text in triplet} - excluded) == len(triplet)
    ]
    random.Random(options.seed).shuffle(triplets)
    with gzip.open(options.output, "wt", encoding="utf-8") as output:
        output.writelines("\t".join(row) + "\n" for row in [("anchor", "positive", "negative"), *triplets])
    print(f"{len(triplets)} triplets", file=sys.stderr)


if __name__ == "__main__":
    main()
