"""Fewer bits are the bits of sentence-transformers."""

import json

import numpy as np
import pytest
from conftest import FIXTURES, fixture

import hpd

CASES = json.loads((FIXTURES / "precision" / "goldens.json").read_text())


@pytest.mark.filterwarnings("ignore:the ranges come from")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_bits_are_those_of_sentence_transformers(case: dict) -> None:  # type: ignore[type-arg]
    vectors = np.array(case["vectors"], dtype=np.float32)
    for precision, expected in case["expected"].items():
        calibration = np.array(case["calibration"], dtype=np.float32)
        found = hpd.quantize_embeddings(vectors, precision, calibration_embeddings=calibration)
        assert np.array_equal(found, expected), precision
        kind = {"float32": "float32", "int8": "int8", "binary": "int8"}.get(precision, "uint8")
        assert found.dtype == kind


def test_ranges_come_from_where_they_are_said_to() -> None:
    model = hpd.Model(fixture("bert_mean"))
    vectors = model.encode([f"text number {i}" for i in range(200)])
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    of_themselves = hpd.quantize_embeddings(vectors, "int8")
    assert np.array_equal(of_themselves, hpd.quantize_embeddings(vectors, "int8", ranges))
    assert of_themselves.min() == -128 and of_themselves.max() == 127
    texts = [f"text number {i}" for i in range(200)]
    assert np.array_equal(model.encode(texts, precision="int8"), of_themselves)
    assert model.encode("one text", precision="ubinary").shape == (5,)
    with pytest.warns(UserWarning, match="come from 1 embeddings"):
        hpd.quantize_embeddings(vectors[:1], "uint8")


def test_unfit_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        hpd.quantize_embeddings([1.0, 2.0], "int8")
    with pytest.raises(hpd.MismatchError, match=r"expected \[2, 2\]"):
        hpd.quantize_embeddings([[1.0, 2.0]], "int8", ranges=[[0.0], [1.0]])
    with pytest.raises(ValueError, match="at least one"):
        hpd.quantize_embeddings(np.empty((0, 4)), "int8")
    with pytest.raises(hpd.InputError, match="no precision"):
        hpd.quantize_embeddings([[1.0]], "int4")  # type: ignore[arg-type]
