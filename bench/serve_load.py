#!/usr/bin/env python3
"""How many texts a second `hpd serve` answers, one text a request, beside what `hpd bench encode` does in a single process.

    python bench/serve_load.py --hpd target/release/hpd --texts stsb.txt --model minilm-3x128 minilm-1x128

Needs wrk (Debian: apt-get install wrk), which runs on the same cores, so the server has less than all of them. Every round asks each
model with each number of connections; numbers are medians of the rounds. Fails when a vector is not that of `hpd embed`.
"""

import argparse
import base64
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

LOAD = Path(__file__).with_name("serve_load.lua")


class Server:
    """A running `hpd serve`."""

    def __init__(self, hpd: str, model: str, arithmetic: str):
        command = [hpd, "serve", "--model", model, "--arithmetic", arithmetic, "--port", "0", "--json", "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def vectors(self, texts: list[str]) -> list[tuple[float, ...]]:
        body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/v1/embeddings", body, headers)) as answer:
            rows = [base64.b64decode(item["embedding"]) for item in json.load(answer)["data"]]
        return [struct.unpack(f"<{len(row) // 4}f", row) for row in rows]

    def load(self, texts: Path, connections: int, seconds: int) -> dict:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(LOAD), self.url]
        said = subprocess.run(command, env={**os.environ, "HPD_TEXTS": str(texts)}, capture_output=True, text=True, check=True).stdout
        line = next(line for line in said.splitlines() if line.startswith("RESULT "))
        result = json.loads(line.removeprefix("RESULT "))
        if result["failed"]:
            sys.exit(f"{result['failed']} of {result['requests']} requests failed")
        return result

    def stop(self):
        self.process.terminate()
        self.process.wait()


def check(hpd: str, model: str, arithmetic: str, server: Server, texts: list[str]):
    """Fails unless the server's vectors are those of `hpd embed`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "texts.txt"), Path(folder, "vectors.jsonl")
        source.write_text("\n".join(texts) + "\n")
        command = [hpd, "embed", "--quiet", "--model", model, "--arithmetic", arithmetic, "--input", source, "--output", target]
        subprocess.run(command, check=True)
        expected = [json.loads(line)["embedding"] for line in target.read_text().splitlines()]
    for text, found, wanted in zip(texts, server.vectors(texts), expected, strict=True):
        if any(abs(a - b) > 1e-6 for a, b in zip(found, wanted, strict=True)):
            sys.exit(f"{model}: the vector of {text!r} is not that of `hpd embed`")


def encoding_alone(hpd: str, model: str, arithmetic: str, texts: Path) -> float:
    """Texts a second in one process, in batches."""
    command = [hpd, "bench", "encode", "--model", model, "--arithmetic", arithmetic, "--texts", texts, "--rounds", "1", "--json", "--quiet"]
    cases = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["cases"]
    return max(case["sentences_per_second"] for case in cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hpd", default="target/release/hpd")
    parser.add_argument("--texts", type=Path, required=True, help="one text a line")
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--arithmetic", default="int8", help="numbers the models compute in")
    parser.add_argument("--connections", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sample = arguments.texts.read_text().splitlines()[:100]
    servers = {model: Server(arguments.hpd, model, arguments.arithmetic) for model in arguments.model}
    measured = {(model, n): [] for model in servers for n in arguments.connections}
    alone = {model: [] for model in servers}
    try:
        for model, server in servers.items():
            check(arguments.hpd, model, arguments.arithmetic, server, sample)
        for _ in range(arguments.rounds):
            for model, server in servers.items():
                alone[model].append(encoding_alone(arguments.hpd, model, arguments.arithmetic, arguments.texts))
                for n in arguments.connections:
                    measured[model, n].append(server.load(arguments.texts, n, arguments.seconds))
    finally:
        for server in servers.values():
            server.stop()
    print("| model | connections | texts/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for model in servers:
        for n in arguments.connections:
            rounds = measured[model, n]
            rate = statistics.median(r["requests"] / r["seconds"] for r in rounds)
            middle, high = (statistics.median(r[f"p{p}_ms"] for r in rounds) for p in (50, 99))
            print(f"| `{model}` | {n} | {rate:,.0f} | {middle:.2f} | {high:.2f} |")
        print(f"| `{model}` | `hpd bench encode` | {statistics.median(alone[model]):,.0f} | | |")


if __name__ == "__main__":
    main()
