#!/usr/bin/env python3
"""Makes pairs of what one searches with and what one wants to find: titles with their abstracts, questions with their answers.

    search_pairs.py --clones DIR --output pairs.tsv.gz --exclude sts/*.tsv.gz retrieval/*/*.jsonl.gz

DIR holds a clone of arxiv_archive (titles and abstracts of arXiv, CC0 1.0) and of MedQuAD (CC BY 4.0). Of an abstract or
answer some sentences are taken that follow each other, the first among them or not. A pair that holds a text of a file behind --exclude, an
evaluation set, is left out, as by passages.py.
"""

import argparse
import gzip
import random
import re
import sys
from pathlib import Path

from passages import Excluded, clean, documents_of, files_of, is_prose, sentences_of

TABLES = "HEAD:processed_data/20200101/per_category"


def titles_and_abstracts(clones):
    for _, text in documents_of(clones / "arxiv_archive", TABLES):
        title, _, abstract = text.partition(". ")
        yield clean(title), sentences_of(clean(abstract))


def questions_and_answers(clones):
    for path, content in files_of(clones / "MedQuAD", "HEAD"):
        text = content.decode("utf-8", "replace")
        for match in re.finditer(r"<Question[^>]*>(.*?)</Question>\s*<Answer>(.*?)</Answer>", text, re.S):
            paragraphs = [clean(part) for part in re.split(r"\n\s*\n", match.group(2))]
            yield clean(match.group(1)), [sentence for part in paragraphs if is_prose(part) for sentence in sentences_of(part)]


def some_of(sentences, draw, options):
    """A run of sentences with about a drawn number of words."""
    length = draw.randint(options.min_words, options.max_words)
    first = draw.randrange(len(sentences)) if draw.random() < 0.5 else 0
    words, last = 0, first
    while last < len(sentences) and words < length:
        words += len(sentences[last].split())
        last += 1
    return " ".join(sentences[first:last]), words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".tsv.gz")
    parser.add_argument("--min-words", type=int, default=12)
    parser.add_argument("--max-words", type=int, default=70)
    parser.add_argument("--limit", type=int, default=20000, help="pairs of a source at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], metavar="FILE")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    excluded = Excluded(options.exclude)
    rows = []
    for source in (titles_and_abstracts, questions_and_answers):
        found = [(query, sentences) for query, sentences in source(options.clones) if len(query.split()) > 2 and sentences]
        draw.shuffle(found)
        kept = []
        for query, sentences in found:
            document, words = some_of(sentences, draw, options)
            if words >= options.min_words and not excluded.occur_in(f"{query} {document}"):
                kept.append((query, document))
            if len(kept) == options.limit:
                break
        print(f"{source.__name__}: {len(kept)} pairs of {len(found)}", file=sys.stderr)
        rows += kept
    draw.shuffle(rows)
    with gzip.open(options.output, "wt", encoding="utf-8") as output:
        output.writelines(f"{query}\t{document}\n" for query, document in [("query", "document"), *rows])


if __name__ == "__main__":
    main()
