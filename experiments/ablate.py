#!/usr/bin/env python3
"""Trains a table of recipes on equal terms and measures them on development sets.

    ablate.py experiments/one-layer.toml --hpd target/release/hpd --teacher DIR --work DIR --dev DIR

The table (TOML) says what all runs have in common and what each changes, as flags of `hpd distill`; files may name
folders as ${train} and so on, given by --folder train=DIR. A run with `seeds = [1, 2]` is one run for each of them, and
its line in the table is their mean and standard deviation (of a sample: n - 1). A run that has a result is not done again, an interrupted one
is resumed. Results go to the table's name with .results.jsonl, a line a run with the command, the losses at the end
and every development figure; the Markdown table on stdout is made of that file alone (--only-table makes no runs).

--dev holds sts/ (files for `hpd evaluate --sts`) and retrieval/ (sets in BEIR's shape). Nothing here may be a test set.
"""

import argparse
import json
import statistics
import string
import subprocess
import sys
import tomllib
from pathlib import Path


def run(command):
    print("$ " + " ".join(map(str, command)), file=sys.stderr)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def scores(hpd, model, dev, arguments):
    """Main scores of `hpd evaluate`, times 100: similarity by task, retrieval by task."""
    base = [hpd, "evaluate", "--quiet", "--json", "--model", model, *arguments]
    parts = {"sts": ["--sts", dev / "sts", "--split", "dev"], "retrieval": ["--retrieval", dev / "retrieval"]}
    found = {}
    for part, flags in parts.items():
        tasks = json.loads(run([*base, *flags]))["models"][0]["tasks"]
        found[part] = {task["task_name"]: 100 * next(iter(task["scores"].values()))[0]["main_score"] for task in tasks}
    return found


def train(hpd, teacher, work, common, changes):
    """Trains one student and gives its folder and the last line of its metrics."""
    output = work / changes["name"]
    command = [hpd, "distill", "--teacher", teacher, "--teacher-cache", work / "teacher", "--output", output, "--resume"]
    run([*command, *common, *changes.get("flags", [])])
    lines = [json.loads(line) for line in (work / f"{output.name}.run" / "metrics.jsonl").read_text().splitlines()]
    last = {}
    for line in lines:
        last |= line
    return output, last


def per_seed(runs):
    """The runs, those with several seeds once for each."""
    for changes in runs:
        for seed in changes.get("seeds", [None]):
            flags = changes.get("flags", [])
            if seed is None:
                yield changes
            else:
                yield changes | {"name": f"{changes['name']}-{seed}", "flags": [*flags, "--seed", str(seed)]}


def cell(values, digits):
    """A value, or the mean of several and their standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(results):
    """Prints the results as Markdown, a line for all runs that say the same; the retrieval mean is over the sets."""
    sets = [(part, name) for part in ("sts", "retrieval") for name in results[0]["dev"][part]]
    header = ["run", *(name for _, name in sets), "retrieval mean", "cosine to target"]
    print(f"| {' | '.join(header)} |")
    print("|---" * len(header) + "|")
    for says in dict.fromkeys(row["says"] for row in results):
        rows = [row for row in results if row["says"] == says]
        cells = [cell([row["dev"][part][name] for row in rows], 2) for part, name in sets]
        cells.append(cell([statistics.mean(row["dev"]["retrieval"].values()) for row in rows], 2))
        cells.append(cell([row["dev_cosine"] for row in rows], 4))
        print(f"| {says} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--hpd", default="target/release/hpd")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    text = string.Template(options.table.read_text()).safe_substitute(dict(f.split("=", 1) for f in options.folder))
    plan = tomllib.loads(text)
    file = options.table.with_suffix(".results.jsonl")
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {row["name"] for row in results}
    for changes in [] if options.only_table else per_seed(plan["run"]):
        if changes["name"] in done:
            continue
        model, last = train(options.hpd, options.teacher, options.work, plan["common"], changes)
        dev = scores(options.hpd, model, options.dev, plan.get("evaluate", []))
        row = {"name": changes["name"], "says": changes["says"], "flags": changes.get("flags", []), "dev": dev}
        row |= {name: last.get(name) for name in ("loss", "dev_cosine", "sentences_per_second", "step")}
        results.append(row)
        with open(file, "a", encoding="utf-8") as output:
            output.write(json.dumps(row) + "\n")
    table(results)


if __name__ == "__main__":
    main()
