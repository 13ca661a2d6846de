#!/usr/bin/env python3
"""How fast `hpd` searches vectors beside its peers: same vectors, same threads, same run, every answer checked.

    python bench/search_peers.py --hpd target/release/hpd --vectors documents.npy --queries queries.npy --output results.json

See README.md beside this file for what each time holds and why it is fair.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import encode_peers
from encode_peers import PeerFailed, cpu_name, in_a_process, now, versions
from peers import limit_threads

HITS = 10
# Queries whose answers are compared, as many as `hpd bench retrieval` compares.
COMPARED = 500
# A sample lasts at least so long, with at least so many single queries.
LEAST_SECONDS, LEAST_SINGLES = 0.25, 10
# Queries whose exact scores are in memory at once.
CHECKED = 16
# What exact search must reach: equal scores may come in another order.
EXACT = 0.999
# Bits of which the best are scored again by floats, as in the modes `fast` and `high` of hpd.
SHORTLISTS = {"faiss binary, 200": 200, "faiss binary, 2000": 2000}
PACKAGES = ["numpy", "faiss-cpu", "usearch", "sqlite-vec"]


class Numpy:
    """One product and a partial sort."""

    exact = True

    def __init__(self, documents, threads):
        import numpy

        self.numpy, self.documents = numpy, numpy.array(documents)

    def search(self, queries):
        scores = queries @ self.documents.T
        best = self.numpy.argpartition(scores, -HITS, axis=1)[:, -HITS:]
        order = self.numpy.argsort(-self.numpy.take_along_axis(scores, best, axis=1), axis=1)
        return self.numpy.take_along_axis(best, order, axis=1)


class Faiss:
    """An index that faiss makes of a width."""

    def __init__(self, documents, threads, make, exact=False):
        import faiss

        faiss.omp_set_num_threads(threads)
        self.exact, self.index = exact, make(faiss, documents.shape[1])
        self.index.train(documents)
        self.index.add(documents)

    def search(self, queries):
        return self.index.search(queries, HITS)[1]


class FaissBinary:
    """Signs by their Hamming distance, the best scored again by floats. The vectors are turned, as signs want it."""

    exact = False

    def __init__(self, documents, threads, shortlist):
        import faiss
        import numpy

        faiss.omp_set_num_threads(threads)
        self.numpy, self.shortlist, self.documents = numpy, shortlist, numpy.array(documents)
        dim = documents.shape[1]
        self.turn = numpy.linalg.qr(numpy.random.default_rng(0).standard_normal((dim, dim)))[0].astype(numpy.float32)
        self.index = faiss.IndexBinaryFlat((dim + 7) // 8 * 8)
        for start in range(0, len(documents), 100_000):
            self.index.add(self.signs(documents[start : start + 100_000]))

    def signs(self, rows):
        return self.numpy.packbits(rows @ self.turn > 0, axis=1)

    def search(self, queries):
        _, lists = self.index.search(self.signs(queries), self.shortlist)
        found = []
        for query, listed in zip(queries, lists):
            best = self.numpy.argsort(-(self.documents[listed] @ query), kind="stable")[:HITS]
            found.append(listed[best])
        return self.numpy.array(found)


class UsearchExact:
    exact = True

    def __init__(self, documents, threads):
        import numpy

        self.documents, self.threads = numpy.array(documents), threads

    def search(self, queries):
        from usearch.index import MetricKind, search

        found = search(self.documents, queries, HITS, MetricKind.IP, exact=True, threads=self.threads)
        return found.keys.reshape(len(queries), -1)


class UsearchGraph:
    """HNSW over 8 bits, with the library's own settings."""

    exact = False

    def __init__(self, documents, threads):
        import numpy
        from usearch.index import Index

        self.threads = threads
        self.index = Index(ndim=documents.shape[1], metric="cos", dtype="i8")
        # Several threads at once may lose vectors (usearch issue 735).
        self.index.add(numpy.arange(len(documents)), documents, threads=1)

    def search(self, queries):
        return self.index.search(queries, HITS, threads=self.threads).keys.reshape(len(queries), -1)


class SqliteVec:
    """The extension's table, which reads all vectors. It has one thread and no batches."""

    exact = True

    def __init__(self, documents, threads):
        import numpy
        import sqlite_vec

        self.numpy, self.database = numpy, sqlite3.connect(":memory:")
        self.database.enable_load_extension(True)
        sqlite_vec.load(self.database)
        self.database.execute(f"CREATE VIRTUAL TABLE v USING vec0(e float[{documents.shape[1]}] distance_metric=cosine)")
        rows = ((i, row.tobytes()) for i, row in enumerate(documents))
        self.database.executemany("INSERT INTO v (rowid, e) VALUES (?, ?)", rows)

    def search(self, queries):
        sql = f"SELECT rowid FROM v WHERE e MATCH ? AND k = {HITS} ORDER BY distance"
        one = lambda query: [row for (row,) in self.database.execute(sql, (query.tobytes(),))]
        return self.numpy.array([one(query) for query in queries])


def faiss_graph(faiss, dim):
    index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 64
    return index


CONTENDERS = {
    "numpy": Numpy,
    "faiss Flat": lambda documents, threads: Faiss(documents, threads, lambda faiss, dim: faiss.IndexFlatIP(dim), exact=True),
    "faiss SQ8": lambda documents, threads: Faiss(
        documents, threads,
        lambda faiss, dim: faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)),
    "faiss HNSW 32, ef 64": lambda documents, threads: Faiss(documents, threads, faiss_graph),
    **{name: lambda documents, threads, shortlist=shortlist: FaissBinary(documents, threads, shortlist)
       for name, shortlist in SHORTLISTS.items()},
    "usearch exact": UsearchExact,
    "usearch HNSW i8": UsearchGraph,
    "sqlite-vec": SqliteVec,
}


def main():
    arguments = parse()
    folder = tempfile.TemporaryDirectory(prefix="search-peers-")
    work = arguments.work or Path(folder.name)
    work.mkdir(parents=True, exist_ok=True)
    documents, queries = work / "documents.npy", work / "queries.npy"
    exact = in_a_process(prepare, arguments.vectors, arguments.queries, arguments.size, documents, queries)
    results = {
        "started": now(), "command": sys.argv, "cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(),
        "python": platform.python_version(), "versions": versions(arguments.hpd, PACKAGES), "rounds": arguments.rounds, "batch": arguments.batch,
        "documents": exact["documents"], "queries": exact["queries"], "dim": exact["dim"], "load_before": os.getloadavg(), "tables": [],
    }
    for threads in arguments.threads:
        table = measure(arguments, documents, queries, exact["places"], threads)
        results["tables"].append(table)
        results["load_after"], results["ended"] = os.getloadavg(), now()
        print(words(table, results), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    wrong = [row["name"] for table in results["tables"] for row in table["rows"] if row["exact"] and row["recall_at_10"] < EXACT]
    if wrong:
        sys.exit("exact, but with other answers than the floats have: " + ", ".join(wrong))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hpd", type=Path, required=True, help="the binary")
    parser.add_argument("--vectors", type=Path, required=True, help=".npy of documents, as `hpd embed` writes it")
    parser.add_argument("--queries", type=Path, required=True, help=".npy of queries")
    parser.add_argument("--size", type=int, help="so many documents: the first ones, or all and made ones as `hpd bench retrieval` makes them")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="queries of a batch")
    parser.add_argument("--only", help="these peers, comma-separated with `;`: " + "; ".join(CONTENDERS))
    parser.add_argument("--work", type=Path, help="keeps the vectors that all are given here")
    parser.add_argument("--output", type=Path, help="JSON with all that was measured")
    arguments = parser.parse_args()
    arguments.hpd = arguments.hpd.resolve()
    arguments.names = [name.strip() for name in arguments.only.split(";")] if arguments.only else list(CONTENDERS)
    if unknown := set(arguments.names) - set(CONTENDERS):
        sys.exit(f"unknown peers {sorted(unknown)}; there are {'; '.join(CONTENDERS)}")
    return arguments


def prepare(vectors, asked, size, documents_file, queries_file):
    """Writes what all contenders are given, of length 1, and finds the exact answers."""
    import numpy

    unit = lambda rows: rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
    documents, queries = unit(numpy.load(vectors).astype(numpy.float32)), unit(numpy.load(asked).astype(numpy.float32))[:COMPARED]
    if size and size > len(documents):
        draws, mean = numpy.random.default_rng(0), documents.mean(axis=0)
        first, second = (draws.integers(0, len(documents), size - len(documents)) for _ in range(2))
        documents = numpy.concatenate([documents, unit(documents[first] + 0.5 * (documents[second] - mean))])
    documents = documents[: size or len(documents)]
    numpy.save(documents_file, documents)
    numpy.save(queries_file, queries)
    places = [place for start in range(0, len(queries), CHECKED) for place in nearest(queries[start : start + CHECKED] @ documents.T)]
    return {"documents": len(documents), "queries": len(queries), "dim": documents.shape[1], "places": places}


def nearest(scores):
    """The places of the highest scores of each row, best first, the first among equals."""
    import numpy

    for row in scores:
        count = min(HITS, len(row))
        some = numpy.sort(numpy.argpartition(row, -count)[-count:])
        yield some[numpy.argsort(-row[some], kind="stable")].tolist()


def measure(arguments, documents, queries, exact, threads):
    field, failed = [], {}
    for name in arguments.names:
        try:
            field.append(Peer(name, documents, queries, threads, arguments.batch))
        except PeerFailed as error:
            failed[name] = str(error)
    field.append(Hpd(arguments, documents, queries, threads))
    samples = {contender: [] for contender in field}
    for turn in range(arguments.rounds):
        for contender in field if turn % 2 == 0 else field[::-1]:
            samples[contender].append(contender.sample())
    rows = [row for contender in field for row in contender.rows(samples[contender], exact)]
    for contender in field:
        contender.close()
    return {"threads": threads, "rows": rows, "failed": failed}


def recall(found, exact):
    return statistics.mean(len(set(a[:HITS]) & set(b)) / len(b) for a, b in zip(found, exact))


class Peer(encode_peers.Peer):
    """A contender in a process of its own, which stays open between rounds and waits there without working."""

    def __init__(self, name, documents, queries, threads, batch):
        self.name = name
        self.start(serve, name, documents, queries, threads, batch)
        self.facts = self.answer()

    def rows(self, samples, exact):
        middle = lambda key: statistics.median(sample[key] for sample in samples)
        yield {
            "name": self.name, "exact": self.facts["exact"], "recall_at_10": recall(self.facts["found"], exact),
            "milliseconds": middle("single"), "milliseconds_of_rounds": [sample["single"] for sample in samples],
            "milliseconds_batched": middle("batched"), "bytes_per_vector": self.facts["bytes"] / self.facts["documents"],
            "build_seconds": self.facts["build_seconds"],
        }


def serve(pipe, name, documents, queries, threads, batch):
    """The process of a contender: builds, answers all queries once, then gives a sample for each request."""
    limit_threads(threads)
    try:
        import numpy

        # Mapped, so that the memory that grows is the contender's own.
        documents, queries = numpy.load(documents, mmap_mode="r"), numpy.load(queries)
        before, start = own_memory(), time.perf_counter()
        contender = CONTENDERS[name](documents, threads)
        seconds, grown = time.perf_counter() - start, own_memory() - before
        found = [numpy.asarray(contender.search(queries[i : i + 1]))[0].tolist() for i in range(len(queries))]
        pipe.send({"exact": contender.exact, "found": found, "bytes": grown, "documents": len(documents), "build_seconds": seconds})
        while True:
            pipe.recv()
            pipe.send({"single": milliseconds(contender, queries, 1, LEAST_SINGLES), "batched": milliseconds(contender, queries, batch, 1)})
    except EOFError:
        pass
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def milliseconds(contender, queries, batch, least):
    """A query, `batch` at a time, after a first search that does not count."""
    import numpy

    place = lambda turn: numpy.arange(turn * batch, (turn + 1) * batch) % len(queries)
    contender.search(queries[place(0)])
    spent, searches = 0.0, 0
    while spent < LEAST_SECONDS or searches < least:
        asked = queries[place(searches + 1)]
        start = time.perf_counter()
        contender.search(asked)
        spent += time.perf_counter() - start
        searches += 1
    return 1e3 * spent / searches / batch


def own_memory():
    """Bytes this process holds that are not those of files."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


class Hpd:
    """`hpd bench retrieval`, one round a call: it reads the same file, and times its searches by itself."""

    def __init__(self, arguments, documents, queries, threads):
        self.call = [arguments.hpd, "--threads", str(threads), "--quiet", "--json", "bench", "retrieval", "--vectors", documents,
                     "--queries", queries, "--rounds", "1", "--batch", str(arguments.batch), "--answers"]

    def sample(self):
        found = json.loads(subprocess.run(self.call, check=True, stdout=subprocess.PIPE).stdout)
        return {row["form"]: row for row in found["rows"]}

    def rows(self, samples, exact):
        for form in samples[0]:
            middle = lambda key: statistics.median(sample[form][key] for sample in samples)
            yield {
                "name": f"hpd {form}", "exact": form == "float32", "recall_at_10": recall(samples[0][form]["answers"], exact),
                "milliseconds": middle("milliseconds"), "milliseconds_of_rounds": [sample[form]["milliseconds"] for sample in samples],
                "milliseconds_batched": middle("milliseconds_batched"), "bytes_per_vector": samples[0][form]["bytes_per_vector"],
                "build_seconds": middle("build_seconds"),
            }

    def close(self):
        pass


def words(table, results):
    lines = [["", "recall@10", "ms a query", f"ms of {results['batch']}", "bytes a vector", "built s"]]
    for row in table["rows"]:
        wrong = " WRONG" if row["exact"] and row["recall_at_10"] < EXACT else ""
        lines.append([row["name"] + wrong, f"{row['recall_at_10']:.4f}", f"{row['milliseconds']:.3f}", f"{row['milliseconds_batched']:.3f}",
                      f"{row['bytes_per_vector']:.0f}", f"{row['build_seconds']:.1f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    pad = lambda i, cell: cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i])
    body = "\n".join("  ".join(pad(i, cell) for i, cell in enumerate(line)).rstrip() for line in lines)
    failed = "".join(f"\nfailed: {name}: {reason}" for name, reason in table["failed"].items())
    count, dim, threads = results["documents"], results["dim"], table["threads"]
    return f"\n{count} vectors of {dim} numbers, {threads} thread{'s' if threads > 1 else ''}\n{body}{failed}"


if __name__ == "__main__":
    main()
