"""The teacher's folder in the forms that the peers read: ONNX, OpenVINO, their 8-bit versions, model2vec.

Everything is made here from the folder, nothing is downloaded. Files that are there already are kept, so that a
second run starts at once; `--work` names where they lie.

    sentence/            inputs -> the sentence's vector, pooling and normalising inside: for peers at their best
      model.onnx, fused.onnx, int8.onnx, int8_fused.onnx, model.xml, int8.xml
    folder/              a sentence-transformers folder with onnx/ and openvino/ beside its weights, for its backends
    fastembed/           tokens' vectors, named as fastembed wants them
    model2vec/           a static model distilled from the folder (another model: its vectors are not compared)
"""

import gzip
import json
import os
import shutil
import sys
from pathlib import Path

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
CALIBRATION_SENTENCES = 300


def cpu_flags():
    try:
        return set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    except (OSError, IndexError):
        return set()


def max_tokens(folder):
    """The length at which sentence-transformers truncates."""
    settings = Path(folder) / "sentence_bert_config.json"
    return json.loads(settings.read_text()).get("max_seq_length") or 512


def make(folder, work, calibration, names):
    """Makes all that is missing for the peers of these names. Returns what could not be made, by name, with the reason."""
    folder, work = Path(folder), Path(work)
    missing = {}
    for name, step in [
        ("onnx", lambda: export(folder, work)),
        ("onnx fused", lambda: fuse(folder, work)),
        ("onnx int8", lambda: quantize_onnx(work)),
        ("openvino", lambda: convert_openvino(work)),
        ("openvino int8", lambda: quantize_openvino(folder, work, calibration)),
        ("fastembed", lambda: fastembed_folder(folder, work)),
        ("model2vec", lambda: distill_model2vec(folder, work)),
    ]:
        if name == "model2vec" and name not in names:
            continue  # The one that takes minutes.
        try:
            step()
        except Exception as error:  # A peer that does not install is left out, by name.
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            print(f"  {name} could not be made: {missing[name]}", file=sys.stderr)
    return missing


def done(path):
    """Whether `path` is there; says what is made if not."""
    if path.exists():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"  making {path.parent.name}/{path.name}", file=sys.stderr)
    return False


def export(folder, work):
    """ONNX with torch's own exporter: the whole sentence encoder, and the Transformer alone."""
    whole, tokens = work / "sentence/model.onnx", work / "folder/onnx/model.onnx"
    if done(whole) and done(tokens):
        return
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}).eval()

    class Sentence(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            inputs = dict(zip(INPUTS, (input_ids, attention_mask, token_type_ids)))
            return self.model(inputs)["sentence_embedding"]

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model[0].auto_model

        def forward(self, input_ids, attention_mask, token_type_ids):
            inputs = dict(zip(INPUTS, (input_ids, attention_mask, token_type_ids)))
            return self.model(**inputs).last_hidden_state

    if not tokens.exists():
        shutil.copytree(folder, work / "folder", dirs_exist_ok=True)
        tokens.parent.mkdir(exist_ok=True)
    example = tuple(torch.tensor(ids) for ids in ([[101, 7, 8, 102]] * 2, [[1, 1, 1, 1], [1, 1, 1, 0]], [[0] * 4] * 2))
    for path, module, output in [(whole, Sentence(), "sentence_embedding"), (tokens, Tokens(), "last_hidden_state")]:
        axes = {name: {0: "batch", 1: "length"} for name in INPUTS}
        axes[output] = {0: "batch"} if module.__class__ is Sentence else {0: "batch", 1: "length"}
        partial = path.with_suffix(".partial")
        # torch's older exporter: its graphs are those that the fusions of ONNX Runtime were written for.
        torch.onnx.export(module, example, str(partial), input_names=INPUTS, output_names=[output], dynamic_axes=axes,
                          opset_version=17, dynamo=False)
        partial.rename(path)


def fuse(folder, work):
    """ONNX Runtime's own fusions for BERT, which `graph_optimization_level` alone does not do."""
    path = work / "sentence/fused.onnx"
    if done(path):
        return
    from onnxruntime.transformers import optimizer

    config = json.loads((folder / "config.json").read_text())
    model = optimizer.optimize_model(str(work / "sentence/model.onnx"), model_type="bert", opt_level=1,
                                     num_heads=config["num_attention_heads"], hidden_size=config["hidden_size"])
    fused = model.get_fused_operator_statistics()
    print(f"    fused: {fused}", file=sys.stderr)
    model.save_model_to_file(str(path))


def quantize_onnx(work):
    """Dynamic int8, one scale a column; 7 bits where the processor's products would overflow (no VNNI)."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    vnni = bool({"avx512_vnni", "avx_vnni"} & cpu_flags())
    for source, target in [("sentence/model.onnx", "sentence/int8.onnx"), ("sentence/fused.onnx", "sentence/int8_fused.onnx"),
                           ("folder/onnx/model.onnx", "folder/onnx/model_int8.onnx")]:
        if (work / source).exists() and not done(work / target):
            quantize_dynamic(str(work / source), str(work / target), per_channel=True, reduce_range=not vnni,
                             weight_type=QuantType.QInt8,
                             # The types of what fused operators give are not told by ONNX's own inference.
                             extra_options={"DefaultTensorType": TensorProto.FLOAT})


def convert_openvino(work):
    for source, target in [("sentence/model.onnx", "sentence/model.xml"),
                           ("folder/onnx/model.onnx", "folder/openvino/openvino_model.xml")]:
        if not done(work / target):
            import openvino

            openvino.save_model(openvino.convert_model(str(work / source)), str(work / target), compress_to_fp16=False)


def quantize_openvino(folder, work, calibration):
    """Static int8 with NNCF, activations' ranges from the first sentences."""
    import nncf
    import openvino
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens(folder))

    def inputs(text):
        import numpy

        encoding = tokenizer.encode(text)
        rows = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        return {name: numpy.array([row], dtype=numpy.int64) for name, row in zip(INPUTS, rows)}

    for source, target in [("sentence/model.xml", "sentence/int8.xml"),
                           ("folder/openvino/openvino_model.xml", "folder/openvino/openvino_model_int8.xml")]:
        if not done(work / target):
            dataset = nncf.Dataset(calibration[:CALIBRATION_SENTENCES], inputs)
            model = nncf.quantize(openvino.Core().read_model(work / source), dataset, model_type=nncf.ModelType.TRANSFORMER,
                                  subset_size=CALIBRATION_SENTENCES)
            openvino.save_model(model, str(work / target))


def fastembed_folder(folder, work):
    target = work / "fastembed"
    if done(target / "model.onnx"):
        return
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]:
        shutil.copy(folder / name, target / name)
    shutil.copy(work / "folder/onnx/model.onnx", target / "model.onnx")


def distill_model2vec(folder, work):
    target = work / "model2vec"
    if done(target / "model.safetensors"):
        return
    from model2vec.distill import distill

    distill(model_name=str(folder), pca_dims=256, device="cpu").save_pretrained(str(target))


def sts_sentences(data):
    """Both sentences of every pair of the STS-B test set, in order."""
    with gzip.open(Path(data) / "sts/stsb_test.tsv.gz", "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines][1:]
    return [sentence for row in rows for sentence in row[2:4]]


def quora_questions(data):
    with gzip.open(Path(data) / "retrieval/quora/corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def write_lines(path, texts):
    """One text a line, as `hpd` reads them; a line break within a text would make two."""
    if any("\n" in text or "\r" in text for text in texts):
        sys.exit(f"a text of {path.name} has a line break")
    partial = Path(f"{path}.partial")
    partial.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    os.replace(partial, path)
