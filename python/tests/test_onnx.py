"""Models written as ONNX give the vectors of hpd in ONNX Runtime, by the tokenizer that lies beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import fixture
from test_command_line import _program  # noqa: F401

import hpd

ort = pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")

MODELS = ["bert_heads", "bert_mean", "distilbert_cls", "roberta_new", "static_embedding", "xlm_roberta_max"]


def exported(name: str, folder: Path) -> Path:
    output = folder / name
    hpd.run("export", fixture(name), onnx=True, output=output, quiet=True)
    return output


def outputs(folder: Path, texts: list[str]) -> dict[str, Any]:
    """What the graph gives for texts padded to the longest of them."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    longest = json.loads((folder / "tokenizer_config.json").read_text()).get("model_max_length")
    if longest is not None:
        tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=config.get("pad_token_id") or 0)
    encoded = tokenizer.encode_batch(texts)
    session = ort.InferenceSession(str(folder / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = {
        "input_ids": np.array([text.ids for text in encoded], dtype=np.int64),
        "attention_mask": np.array([text.attention_mask for text in encoded], dtype=np.int64),
    }
    names = [output.name for output in session.get_outputs()]
    return {**inputs, **dict(zip(names, session.run(names, inputs), strict=True))}


@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_hpd(name: str, tmp_path: Path) -> None:
    texts = json.loads((fixture(name) / "golden.json").read_text(encoding="utf-8"))["texts"]
    model = hpd.Model(fixture(name))
    expected = model.encode(texts, prompt="")
    folder = exported(name, tmp_path)
    found = outputs(folder, texts)
    assert list(found)[2] == "token_embeddings"
    np.testing.assert_allclose(found["sentence_embedding"], expected, atol=2e-5)
    about = json.loads((folder / "hpd.json").read_text())
    assert about["space"] == model.space
    assert about["dim"] == model.dim
    assert not (folder / "modules.json").exists()


def test_who_knows_only_the_mean_of_tokens_gets_the_vector(tmp_path: Path) -> None:
    found = outputs(exported("bert_mean", tmp_path), ["bread rises", "the longer of the two texts is not padded"])
    mask = found["attention_mask"][:, :, None]
    mean = (found["token_embeddings"] * mask).sum(axis=1) / mask.sum(axis=1)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, found["sentence_embedding"], atol=1e-6)


def test_models_in_8_bits_are_written_in_floats(tmp_path: Path) -> None:
    hpd.run("export", fixture("bert_mean"), int8=True, output=tmp_path / "int8", quiet=True)
    hpd.run("export", tmp_path / "int8", onnx=True, output=tmp_path / "onnx", quiet=True)
    texts = ["bread rises", "a storm at sea"]
    expected = hpd.Model(tmp_path / "int8", arithmetic="float32").encode(texts)
    np.testing.assert_allclose(outputs(tmp_path / "onnx", texts)["sentence_embedding"], expected, atol=2e-5)


@pytest.mark.parametrize("name", ["mpnet_cls", "modernbert_new", "router", "model2vec_plain"])
def test_what_has_no_graph_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(hpd.Error, match=r"not written|model for queries"):
        hpd.run("export", fixture(name), onnx=True, output=tmp_path / "x", quiet=True)
    assert not (tmp_path / "x").exists()
