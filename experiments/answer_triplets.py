#!/usr/bin/env python3
"""Makes triplets of a question, a sentence that answers it and one from the same page or search that does not.

    answer_triplets.py --clones DIR --output answer_triplets.tsv.gz --exclude sts/*.tsv.gz retrieval/*/*.jsonl.gz

DIR holds a clone of FreedomIntelligence/qnn, which has the training parts of WikiQA (Microsoft research licence) and of TrecQA (research), so
nothing that learns from it may be shipped. Each answer comes with a few sentences drawn from those that people found to be none. A triplet with
a text of a file behind --exclude, an evaluation set, is left out, as by passages.py.
"""

import argparse
import gzip
import random
import sys
from collections import defaultdict
from pathlib import Path

from passages import Excluded
from short_texts import lines_of

# And of how many sentences an answer is told apart.
FILES = {"qnn:data/QA/wiki/train.txt": 4, "qnn:data/QA/trec/train.txt": 1}


def judged(lines, excluded):
    """For each question, sentences that are no answer to it and sentences that are."""
    by_question = defaultdict(lambda: ([], []))
    for line in lines:
        question, sentence, answers = line.split("\t")
        if not (excluded.occur_in(question) or excluded.occur_in(sentence)):
            by_question[question][int(answers)].append(sentence)
    return by_question


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".tsv.gz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], metavar="FILE")
    options = parser.parse_args()
    draw, excluded = random.Random(options.seed), Excluded(options.exclude)
    triplets = [
        (question, answer, other)
        for name, negatives in FILES.items()
        for question, (others, answers) in judged(lines_of(options.clones, name), excluded).items()
        for answer in answers
        for other in draw.sample(others, min(negatives, len(others)))
    ]
    draw.shuffle(triplets)
    with gzip.open(options.output, "wt", encoding="utf-8") as output:
        output.writelines("\t".join(row) + "\n" for row in [("anchor", "positive", "negative"), *triplets])
    print(f"{len(triplets)} triplets", file=sys.stderr)


if __name__ == "__main__":
    main()
