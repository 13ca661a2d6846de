"""Vectors are those of sentence-transformers, whoever asks and from wherever."""

import json
import logging
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES, fixture

import hpd

MODELS = sorted(path.parent.name for path in FIXTURES.glob("encoder/*/golden.json"))


def goldens(name: str) -> Any:
    return json.loads((fixture(name) / "golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_sentence_transformers(name: str) -> None:
    golden = goldens(name)
    model = hpd.Model(fixture(name))
    for case in golden["cases"]:
        options = case["options"]
        expected = np.array(case["vectors"], dtype=np.float32)
        if "truncate_dim" in options:
            # sentence-transformers leaves what it has cut as it is; here unit vectors are unit vectors again.
            expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
        found = model.encode(golden["texts"], **options)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=f"{name} {case['options']}")


def test_one_text_gives_one_vector_and_the_same_in_any_company() -> None:
    model = hpd.Model(fixture("bert_mean"))
    texts = goldens("bert_mean")["texts"]
    together = model.encode(texts)
    assert together.shape == (len(texts), model.dim)
    for batch_size in (1, 7):
        assert np.array_equal(model.encode(texts, batch_size=batch_size), together)
    for text, row in zip(texts, together, strict=True):
        alone = model.encode(text)
        assert alone.shape == (model.dim,) and np.array_equal(alone, row)
    assert model.encode([]).shape == (0, model.dim)
    for column in (tuple(texts), np.array(texts), np.array(texts, dtype=object)):
        assert np.array_equal(model.encode(column), together)


def test_a_bar_is_drawn_for_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    hpd.Model(fixture("bert_mean")).encode(["a"] * 9, show_progress_bar=True, batch_size=3)
    assert "9/9" in capsys.readouterr().err


def test_what_it_is_is_told() -> None:
    model = hpd.Model(fixture("bert_heads"))
    assert model.dim == model.get_sentence_embedding_dimension() == model.encode("a").shape[0]
    assert model.path == fixture("bert_heads") and model.name == str(fixture("bert_heads"))
    assert "query" in model.prompts and model.arithmetic == "float32" and model.parameters > 1000
    assert len(model.space) == len(model.weights) == 32
    short = hpd.Model(fixture("bert_heads"), max_seq_length=5)
    assert short.max_seq_length == 5 and [len(ids) for ids in short.tokenize(["a", "a " * 50])] == [3, 5]
    assert repr(model) == f"hpd.Model({str(fixture('bert_heads'))!r})"


def test_arithmetic_is_a_choice() -> None:
    texts = goldens("bert_mean")["texts"]
    as_floats = hpd.Model(fixture("bert_mean")).encode(texts)
    in_8_bits = hpd.Model(fixture("bert_mean"), arithmetic="int8").encode(texts)
    cosines = hpd.Model(fixture("bert_mean")).similarity_pairwise(as_floats, in_8_bits)
    assert not np.array_equal(as_floats, in_8_bits) and cosines.min() > 0.95


def test_queries_and_documents_have_prompts_and_models_of_their_own() -> None:
    model = hpd.Model(fixture("bert_heads"))
    assert np.array_equal(model.encode_query("a"), model.encode("a", prompt_name="query"))
    without = hpd.Model(fixture("bert_mean"))
    assert np.array_equal(without.encode("a"), without.encode("a", prompt_name="query"))
    assert np.array_equal(model.encode_query("a", prompt=""), model.encode("a", prompt=""))
    router = hpd.Model(fixture("router"))
    query, document = router.encode_query("the bridge"), router.encode_document("the bridge")
    assert not np.allclose(query, document)
    assert np.array_equal(query, router.encode("the bridge", task="query", prompt_name="query"))
    assert np.array_equal(hpd.Model(fixture("router"), side="query").encode_document("the bridge"), document)
    with pytest.raises(hpd.InputError, match="no side"):
        router.encode("a", task="passage")  # type: ignore[arg-type]


def test_similarity_is_the_cosine() -> None:
    model = hpd.Model(fixture("bert_mean"))
    vectors = model.encode(["bread", "butter", "storm"]) * 3
    cosines = model.similarity(vectors, vectors)
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-6)
    assert model.similarity(vectors[0], vectors).shape == (1, 3)
    np.testing.assert_allclose(model.similarity_pairwise(vectors, vectors), 1, atol=1e-6)
    assert not model.similarity(np.zeros(model.dim), vectors).any()
    with pytest.raises(ValueError, match="one shape"):
        model.similarity_pairwise(vectors, vectors[:2])


def test_who_loses_an_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = hpd.Model(fixture("bert_mean"))
    with caplog.at_level(logging.WARNING, "hpd"):
        model.encode(["short", "word " * 1000])
    assert f"1 texts are longer than {model.max_seq_length} tokens" in caplog.text


@pytest.mark.parametrize(
    ("texts", "options", "error", "words"),
    [
        (["a", 7], {}, TypeError, "text 1 is of type int"),
        (["a", None], {}, TypeError, "text 1 is of type NoneType"),
        ([float("nan")], {}, TypeError, "text 0 is of type float"),
        (7, {}, TypeError, "not iterable"),
        (["a"], {"prompt_name": "no such"}, hpd.InputError, "no such"),
        ([], {"prompt_name": "no such"}, hpd.InputError, "no such"),
        (["a"], {"truncate_dim": 0}, hpd.InputError, "0 dimensions"),
        (["a"], {"truncate_dim": 999}, hpd.InputError, "999 dimensions"),
        (["a"], {"truncate_dim": -1}, OverflowError, "negative"),
        (["a"], {"batch_size": 0}, ValueError, "batch_size"),
        (["a"], {"precision": "int4"}, hpd.InputError, "int4"),
        (["a"], {"bach_size": 1}, TypeError, "bach_size"),
        (["\ud800"], {}, UnicodeEncodeError, "surrogates"),
    ],
)
def test_what_cannot_be_encoded_is_said(
    texts: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    model = hpd.Model(fixture("bert_mean"))
    with pytest.raises(error, match=words):
        model.encode(texts, **options)
    with pytest.raises(error, match=words):
        model.encode_query(texts, **options)


def test_errors_are_those_that_programs_catch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder") as caught:
        hpd.Model(tmp_path / "missing")
    assert isinstance(caught.value, hpd.InputError) and isinstance(caught.value, hpd.Error)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(hpd.ModelError):
        hpd.Model(tmp_path)
    with pytest.raises(ConnectionError, match="hint: ") as caught_network:
        hpd.Model("somebody/something")
    assert isinstance(caught_network.value, hpd.NetworkError) and caught_network.value.hint
    with pytest.raises(hpd.InputError, match="int4"):
        hpd.Model(fixture("bert_mean"), arithmetic="int4")  # type: ignore[arg-type]


def test_models_that_come_with_hpd_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "small").symlink_to(fixture("bert_mean"))
    registry = {"default": "small", "models": {"small": "quality"}}
    (tmp_path / "hpd-models.json").write_text(json.dumps(registry))
    monkeypatch.setenv("HPD_MODELS", str(tmp_path))
    assert hpd.ShippedModel("small", "quality", True) in hpd.shipped_models()
    assert hpd.Model().name == "small"
    monkeypatch.setenv("HPD_MODEL", str(fixture("bert_heads")))
    assert hpd.Model().name == str(fixture("bert_heads"))


def test_a_pickled_model_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = hpd.Model(fixture("router"), side="query", max_seq_length=16)
    pickled = pickle.dumps(model)
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickled)
    assert np.array_equal(again.encode("the bridge"), model.encode("the bridge"))
    assert again.max_seq_length == 16


def test_many_threads_share_a_model() -> None:
    model = hpd.Model(fixture("bert_mean"))
    texts = goldens("bert_mean")["texts"]
    alone = [model.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(model.encode, texts))
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on() -> None:
    model = hpd.Model(fixture("bert_mean"))
    expected = model.encode("the bridge")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(model.encode("the bridge")))
    child.start()
    assert ours.poll(60), "the child waits for threads that it has not"
    assert np.array_equal(ours.recv(), expected)
    child.join()


def test_threads_are_counted() -> None:
    before = hpd.get_num_threads()
    try:
        hpd.set_num_threads(3)
        assert hpd.get_num_threads() == 3
        model = hpd.Model(fixture("bert_mean"))
        many = model.encode(["bread rises"] * 50)
        hpd.set_num_threads(1)
        assert np.array_equal(model.encode(["bread rises"] * 50), many)
        with pytest.raises(ValueError, match="at least 1"):
            hpd.set_num_threads(0)
    finally:
        hpd.set_num_threads(before)


def test_other_threads_of_python_run_meanwhile() -> None:
    model = hpd.Model(fixture("bert_mean"))
    done, counted = threading.Event(), [0]

    def count() -> None:
        while not done.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    model.encode(["word " * 100] * 3000)
    done.set()
    counter.join()
    assert counted[0] > 1000
