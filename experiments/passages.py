#!/usr/bin/env python3
"""Makes passages for training out of the documents in git repositories, since single sentences teach a student nothing of long text.

    passages.py --output passages.jsonl.gz MedQuAD peps osbooks-microbiology@ecf34da ...

A repository is a folder, bare or with a work tree, read at HEAD or at the commit behind `@` (`@HEAD:docs` for a part of it): a
book whose licence changed is taken as it was before. Read are paragraphs of running prose in Markdown, reStructuredText, XHTML (Standard Ebooks), CNXML
(OpenStax), the answers of MedQuAD, and titles with abstracts in tables (`.tsv.xz`, as arxiv_archive has them); short neighbours are joined, long ones divided between sentences. One JSON object
a line, {"text", "source"}, in an order drawn from --seed. How many came of which repository is printed. Passages that hold
a text of the files after --exclude (evaluation sets: .tsv, .jsonl, also .gz) are left out: compared are lower-cased letters
and digits, 40 at least.
"""

import argparse
import csv
import gzip
import html
import io
import json
import lzma
import random
import re
import subprocess
import sys
from pathlib import Path

SHORTEST_EXCLUDED = 40
ENDINGS = (".md", ".rst", ".xhtml", ".xml", ".cnxml", ".tsv.xz")


def files_of(repository, commit):
    """(path, bytes) of all files with documents at a commit."""
    git = ["git", "-C", str(repository)]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", commit], capture_output=True)
    if listed.returncode != 0:
        sys.exit(f"cannot read {repository} at {commit}: {listed.stderr.decode('utf-8', 'replace').strip()}")
    wanted = []
    for line in listed.stdout.decode("utf-8", "replace").split("\0"):
        kind_and_id, _, path = line.partition("\t")
        if path.endswith(ENDINGS) and kind_and_id.split()[1] == "blob":
            wanted.append((kind_and_id.split()[2], path))
    request = "".join(f"{object_id}\n" for object_id, _ in wanted).encode()
    answer = subprocess.run([*git, "cat-file", "--batch"], input=request, check=True, capture_output=True).stdout
    at = 0
    for _, path in wanted:
        end = answer.index(b"\n", at)
        header = answer[at:end].split()
        at = end + 1
        if header[-1] == b"missing":
            continue
        size = int(header[-1])
        yield path, answer[at : at + size]
        at += size + 1


def documents_of(repository, commit):
    """(path, text): a file each, or a row of a table."""
    seen = set()
    for path, content in files_of(repository, commit):
        if not path.endswith(".tsv.xz"):
            yield path, content.decode("utf-8", "replace")
            continue
        table = io.StringIO(lzma.decompress(content).decode("utf-8", "replace"), newline="")
        for row in csv.DictReader(table, delimiter="\t"):
            title, abstract = row["title"] or "", row["abstract"] or ""
            # Formulas in TeX are no running prose; a paper of two fields stands in both tables.
            if abstract and title not in seen and not re.search(r"[$\\{}]", title + abstract):
                seen.add(title)
                yield path, f"{title.rstrip('. ')}. {abstract}"


def paragraphs(path, text):
    """Paragraphs of one file, markup removed."""
    if path.endswith((".xhtml", ".cnxml")):
        for match in re.finditer(r"<(p|para)\b[^>/]*>(.*?)</\1>", text, re.S):
            yield re.sub(r"<[^>]+>", "", match.group(2))
    elif path.endswith(".xml"):
        for match in re.finditer(r"<Answer>(.*?)</Answer>", text, re.S):
            yield from re.split(r"\n\s*\n", match.group(1))
    elif path.endswith(".tsv.xz"):
        yield text
    else:
        text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)
        text = re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.S | re.M)
        for part in re.split(r"\n\s*\n", text):
            # Headings, lists, tables, quotations and code are no running prose.
            if re.match(r"\s{2,}|[#|>:<*+\-=.\d\[!]", part):
                continue
            part = re.sub(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", part)
            part = re.sub(r":[a-z:]+:`([^`<]*)(?:<[^>]*>)?`", r"\1", part)
            yield re.sub(r"[`*_]{1,3}|<[^>]+>", "", part)


def clean(text):
    return re.sub(r"\s+", " ", html.unescape(text)).strip()


def is_prose(text):
    letters = sum(c.isascii() and c.isalpha() or c == " " for c in text)
    return letters >= 0.85 * len(text) and text[-1:] in ".!?\"”"


def sentences_of(text):
    return re.split(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])", text)


def passages(repository, commit, options, draw):
    """Runs of sentences of one file, between --min-words and about --max-words long."""
    for path, text in documents_of(repository, commit):
        run = []
        for part in map(clean, paragraphs(path, text)):
            if not part or not is_prose(part):
                continue
            run += sentences_of(part)
            while sum(len(sentence.split()) for sentence in run) >= options.min_words:
                length, taken, words = draw.randint(options.min_words, options.max_words), 0, 0
                while taken < len(run) and words < length:
                    words += len(run[taken].split())
                    taken += 1
                yield " ".join(run[:taken])
                run = run[taken:]


def letters_and_digits(text):
    return re.sub(r"[^a-z0-9]", "", text.lower())


def texts_of(path):
    """All texts of an evaluation set: .tsv or .jsonl, also .gz."""
    with (gzip.open if path.name.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line).values() if ".jsonl" in path.name else line.split("\t")
            yield from (field for field in fields if isinstance(field, str))


class Excluded:
    """Evaluation texts, found in passages by their beginnings."""

    def __init__(self, paths):
        self.by_beginning = {}
        for path in paths:
            for text in map(letters_and_digits, texts_of(path)):
                if len(text) >= SHORTEST_EXCLUDED:
                    self.by_beginning.setdefault(text[:SHORTEST_EXCLUDED], []).append(text)

    def occur_in(self, passage):
        passage = letters_and_digits(passage)
        for at in range(len(passage) - SHORTEST_EXCLUDED + 1):
            texts = self.by_beginning.get(passage[at : at + SHORTEST_EXCLUDED], ())
            if any(passage.startswith(text, at) for text in texts):
                return True
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repositories", nargs="+", metavar="REPOSITORY[@COMMIT]")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl or .jsonl.gz")
    parser.add_argument("--min-words", type=int, default=25)
    parser.add_argument("--max-words", type=int, default=95)
    parser.add_argument("--limit", type=int, default=10**9, help="passages of a repository at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], metavar="FILE")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    excluded = Excluded(options.exclude)
    rows, seen = [], set()
    for argument in options.repositories:
        folder, _, commit = argument.partition("@")
        name = Path(folder).absolute().name
        found = [p for p in passages(folder, commit or "HEAD", options, draw) if p not in seen]
        found = list(dict.fromkeys(found))
        draw.shuffle(found)
        kept, left_out = [], 0
        for passage in found:
            if len(kept) == options.limit:
                break
            if excluded.occur_in(passage):
                left_out += 1
            else:
                kept.append(passage)
        seen.update(kept)
        rows += [{"text": passage, "source": name} for passage in kept]
        print(f"{name}: {len(kept)} of {len(found)} passages, {left_out} left out for evaluation text", file=sys.stderr)
    draw.shuffle(rows)
    # A file that is there is whole: training_texts.sh does not make it again.
    unfinished = options.output.with_name(f"unfinished.{options.output.name}")
    compressed = options.output.name.endswith(".gz")
    with (gzip.open if compressed else open)(unfinished, "wt", encoding="utf-8") as output:
        output.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    unfinished.replace(options.output)


if __name__ == "__main__":
    main()
