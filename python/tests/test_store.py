"""What is added is found, and what cannot be is said."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import fixture

import hpd

TEXTS = ["the fear of spiders", "a storm at sea", "bread and butter", "a fear of heights"]
DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{i}", "text": text, "number": i, "tags": ["a", {"b": None}]} for i, text in enumerate(TEXTS)
]


@pytest.fixture
def store(tmp_path: Path) -> hpd.Store:
    store = hpd.Store.create(tmp_path / "notes.store", fixture("bert_mean"))
    store.add(DOCUMENTS)
    return store


def ids(hits: list[hpd.Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_a_text_finds_itself(store: hpd.Store) -> None:
    assert len(store) == 4
    for document, hits in zip(DOCUMENTS, store.search(TEXTS), strict=True):
        assert hits[0].id == document["id"] and hits[0].text == document["text"]
        assert hits[0].metadata == {"number": document["number"], "tags": ["a", {"b": None}]}
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    one = store.search(TEXTS[1])
    assert ids(one)[0] == "d1"
    assert ids(store.search(TEXTS[0], filter="number > 0")) == ids(store.search(TEXTS[0]))[1:]
    assert len(store.search("fear", limit=2)) == 2 and store.search("fear", min_score=1.1) == []
    assert set(ids(store.search("storm", hybrid=True, limit=1))) == {"d1"}
    assert store.search([]) == []
    for exactness in ("exact", "high", "fast"):
        assert ids(store.search(TEXTS[2], exactness=exactness))[0] == "d2"


def test_vectors_are_those_of_the_model(store: hpd.Store) -> None:
    model = hpd.Model(fixture("bert_mean"))
    expected = model.encode_document(TEXTS, normalize_embeddings=True)
    names, vectors = store.vectors()
    assert names == ["d0", "d1", "d2", "d3"] and np.array_equal(vectors, expected)
    assert np.array_equal(store.vector("d2"), expected[2])
    hits = store.search_vectors(expected)
    assert [found[0].id for found in hits] == names
    assert ids(store.search_vectors(expected[3])[0])[0] == "d3"


def test_documents_come_back_as_they_went_in(store: hpd.Store) -> None:
    document = store["d3"]
    assert document == hpd.Document("d3", TEXTS[3], {"number": 3, "tags": ["a", {"b": None}]})
    assert store.get("d9") is None and "d3" in store and "d9" not in store and 3 not in store
    for ask in (store.__getitem__, store.similar, store.vector):
        with pytest.raises(KeyError, match="d9"):
            ask("d9")
    assert sorted(ids(store.similar("d0"))) == ["d1", "d2", "d3"]
    assert len(store.similar("d0", limit=1, filter="number = 2")) == 1
    with pytest.raises(TypeError):
        iter(store)  # type: ignore[call-overload]


def test_adding_again_says_what_became_of_it(store: hpd.Store) -> None:
    assert store.add(DOCUMENTS) == hpd.Added(0, 0, 0, 4, 0)
    assert store.add(hpd.Document(str(i), f"text {i}") for i in range(1200)).added == 1200
    changed = [
        {"id": "d0", "text": "another text"},
        {"id": "d1", "text": TEXTS[1], "number": 7},
        {"id": "long", "text": "word " * 1000},
    ]
    assert store.add(changed) == hpd.Added(1, 1, 1, 0, 1)
    assert store["d1"].metadata == {"number": 7} and len(store) == 1205
    assert store.add(["a text alone", "a text alone"]) == hpd.Added(1, 0, 0, 0, 0)
    assert store.add(["a text alone"]).unchanged == 1
    assert store.add("a text alone").unchanged == 1
    assert store.add({"id": "one", "text": "one document"}).added == 1
    assert store.add(store["one"]).unchanged == 1
    store.add([{"_id": "of BEIR", "text": "a"}, {"id": "both", "_id": "kept", "text": "b"}])
    assert store["of BEIR"].metadata == {}
    assert store["both"].metadata == {"_id": "kept"}
    assert store.add([]) == hpd.Added(0, 0, 0, 0, 0)


def test_documents_are_deleted(store: hpd.Store) -> None:
    assert store.delete(["d0", "d9"]) == 1 and store.delete("d1") == 1 and len(store) == 2
    assert store.delete(filter="number >= 3") == 1
    assert ids(store.search("anything")) == ["d2"]
    with pytest.raises(TypeError, match="either"):
        store.delete()
    with pytest.raises(TypeError, match="either"):
        store.delete("d2", filter="number = 2")
    before, after = store.compact()
    assert before >= after > 0 and store.verify() == []


def test_near_duplicates_are_found(store: hpd.Store) -> None:
    store.add([{"id": "twin", "text": TEXTS[0]}])
    groups = store.near_duplicates(0.9999)
    assert [sorted(ids(group)) for group in groups] == [["d0", "twin"]]


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({"id": "x"}, hpd.InputError, "document 1 has no `text`"),
        ({"text": 7}, TypeError, "the text of document 1 is of type int"),
        ({"id": 7, "text": "a"}, TypeError, "the id of document 1 is of type int"),
        ({"id": "", "text": "a"}, hpd.InputError, "empty id"),
        ({"id": "x", "text": "a", "when": object()}, hpd.InputError, "document 1 cannot be written as JSON"),
        ({"id": "x", "text": "a", "n": float("nan")}, hpd.InputError, "document 1 cannot be written as JSON"),
        (7, TypeError, "document 1 is of type int"),
    ],
)
def test_what_is_no_document_is_said_and_nothing_of_its_step_is_added(
    store: hpd.Store, document: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        store.add([{"id": "before", "text": "a"}, document])
    assert len(store) == 4 and "before" not in store


def test_an_error_of_the_documents_themselves_comes_out(store: hpd.Store) -> None:
    def documents() -> Iterator[str]:
        yield from (f"text {i}" for i in range(600))
        raise RuntimeError("the source has dried up")

    with pytest.raises(RuntimeError, match="dried up"):
        store.add(documents())
    assert len(store) == 4 + 512


def test_what_cannot_be_searched_is_said(store: hpd.Store) -> None:
    for query, options, words in [
        (" ", {}, "a query is empty"),
        ("a", {"limit": 0}, "`limit` is 0"),
        ("a", {"filter": "number >"}, "filter"),
        ("a", {"exactness": "rough"}, "rough"),
    ]:
        with pytest.raises(hpd.InputError, match=words):
            store.search(query, **options)  # type: ignore[arg-type]
    with pytest.raises(hpd.MismatchError, match="dimensions"):
        store.search_vectors(np.zeros((1, 3)))
    with pytest.raises(hpd.InputError, match="not finite"):
        store.search_vectors(np.full(36, np.nan))


def test_a_store_is_opened_again(store: hpd.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    again = hpd.Store("notes.store", read_only=True)
    monkeypatch.chdir("/")
    assert again.path == tmp_path / "notes.store" and ids(again.search(TEXTS[0]))[0] == "d0"
    with pytest.raises(hpd.InputError, match="for reading only"):
        again.add(["a"])
    info = again.info()
    assert info["documents"] == 4 and info["model"]["dim"] == 36
    assert info["model"]["space"] == hpd.Model(fixture("bert_mean")).space
    pickled = pickle.loads(pickle.dumps(again))
    assert ids(pickled.search(TEXTS[3]))[0] == "d3"
    monkeypatch.chdir(fixture("bert_mean").parent)
    elsewhere = pickle.dumps(hpd.Store(again.path, model="bert_mean", read_only=True))
    monkeypatch.chdir("/")
    assert ids(pickle.loads(elsewhere).search(TEXTS[3]))[0] == "d3"
    with pytest.raises(hpd.InputError, match="there already"):
        hpd.Store.create(tmp_path / "notes.store", fixture("bert_mean"))
    with pytest.raises(hpd.Error, match="missing"):
        hpd.Store(tmp_path / "missing")
    other = hpd.Store(store.path, fixture("bert_heads"))
    with pytest.raises(hpd.MismatchError, match="hint: "):
        other.search("a")


def test_prompts_and_length_hold_for_all_texts_of_a_store(tmp_path: Path) -> None:
    store = hpd.Store.create(
        tmp_path / "s", fixture("bert_mean"), query_prompt="q: ", document_prompt="d: ", max_seq_length=9
    )
    store.add([{"id": "a", "text": "bread"}])
    model = hpd.Model(fixture("bert_mean"), max_seq_length=9)
    assert np.array_equal(store.vector("a"), model.encode("d: bread", normalize_embeddings=True))
    asked = model.encode("q: bread", normalize_embeddings=True)
    again = hpd.Store(tmp_path / "s")
    assert again.search("bread")[0].score == pytest.approx(float(asked @ store.vector("a")), abs=1e-6)


def test_embedding_anew_changes_the_model(store: hpd.Store) -> None:
    bystander = hpd.Store(store.path)
    bystander.search("a")
    assert store.re_embed(fixture("bert_heads")) == 4
    assert store.info()["model"]["name"] == str(fixture("bert_heads"))
    model = hpd.Model(fixture("bert_heads"))
    assert np.array_equal(store.vector("d1"), model.encode_document(TEXTS[1], normalize_embeddings=True))
    query = model.encode_query(TEXTS[1], normalize_embeddings=True)
    expected = [hits.id for hits in store.search_vectors(query)[0]]
    assert ids(store.search(TEXTS[1])) == expected
    assert ids(pickle.loads(pickle.dumps(store)).search(TEXTS[1])) == expected
    for _ in range(2):
        with pytest.raises(hpd.MismatchError, match="another model"):
            bystander.search("a")


def test_everything_is_exported(store: hpd.Store, tmp_path: Path) -> None:
    assert store.export(tmp_path / "out.jsonl") == 4
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["d0", "d1", "d2", "d3"]
    assert np.array_equal(np.array(lines[1]["embedding"], dtype=np.float32), store.vector("d1"))
    with pytest.raises(hpd.InputError, match="no place for texts"):
        store.export(tmp_path / "out.npy")


def test_many_threads_search_while_one_adds(store: hpd.Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(store.search, TEXTS[i % 4]) for i in range(100)]
        for i in range(20):
            store.add([{"id": f"new {i}", "text": f"text number {i}"}])
        for i, search in enumerate(searches):
            assert ids(search.result())[0] == f"d{i % 4}"
    assert len(store) == 24


def test_many_threads_change_a_store(store: hpd.Store) -> None:
    def change(thread: int) -> None:
        for i in range(10):
            store.add([{"id": f"{thread}.{i}.{j}", "text": f"text {thread} {i} {j}"} for j in range(40)])
            store.delete(f"{thread}.{i}.{j}" for j in range(20))

    before = hpd.get_num_threads()
    try:
        hpd.set_num_threads(4)
        threads = [threading.Thread(target=change, args=(i,), daemon=True) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "it waits for ever"
    finally:
        hpd.set_num_threads(before)
    assert len(store) == 4 + 4 * 10 * 20


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_its_own(store: hpd.Store) -> None:
    def work(pipe: Any) -> None:
        try:
            store.search("a")
            pipe.send("searched")
        except RuntimeError as error:
            own = hpd.Store(store.path, read_only=True)
            pipe.send((str(error), ids(own.search(TEXTS[2]))[0]))

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs,))
    child.start()
    assert ours.poll(60)
    message, found = ours.recv()
    assert "open it again here" in message and found == "d2"
    child.join()


INTERRUPTED = """
import os, signal, sys, threading
import hpd

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

store = hpd.Store(sys.argv[1])
threading.Timer(0.5, interrupt).start()
try:
    if sys.argv[2] == "add":
        store.add(f"text number {i} " + "word " * 50 for i in range(10_000_000))
    else:
        store.near_duplicates(-1.0)
        while True:
            store.near_duplicates(2.0)
except KeyboardInterrupt:
    print("interrupted with", len(store), hpd.Model(sys.argv[3]).encode("a").shape)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent otherwise there")
@pytest.mark.parametrize("work", ["add", "compare"])
def test_ctrl_c_ends_work_and_the_program_goes_on(store: hpd.Store, work: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(store.path), work, str(fixture("bert_mean"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0 and ended.stdout.startswith("interrupted with"), ended.stderr
    documents = int(ended.stdout.split()[2])
    assert len(store) == documents and (documents - 4) % 512 == 0
    assert store.verify() == []
