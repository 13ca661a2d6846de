#!/usr/bin/env python3
"""Makes a sentence-transformers folder of what on_a_card.py left, for `hpd distill --student` and everything else that takes folders.

    adopt.py OUT/minilm-3x128/student.safetensors --teacher all-MiniLM-L6-v2 --output minilm-3x128

With --average FOLDER it is the mean of that and of another student cut from the same layers of the same teacher, whose own head is
replaced by the projection (--projection RUN/pca.safetensors): both began as the same weights, and between them all is as good or better.
"""

import argparse
import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

COPIED = ("1_Pooling", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "sentence_bert_config.json", "config_sentence_transformers.json")
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("student", type=Path)
    parser.add_argument("--teacher", type=Path, required=True, help="its teacher's folder, for the tokenizer and the shape")
    parser.add_argument("--average", type=Path, help="folder of another student, in floats")
    parser.add_argument("--projection", type=Path, help="what becomes of its head")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    tensors = {name: tensor.astype("float32") for name, tensor in load_file(arguments.student).items()}
    head = tensors.pop("head.weight")
    if arguments.average:
        other = load_file(arguments.average / "model.safetensors")
        tensors = {name: (tensor + other[name]) / 2 for name, tensor in tensors.items()}
        head = (head + load_file(arguments.projection)["components"].astype("float32")) / 2
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))

    output = arguments.output
    output.mkdir(parents=True)
    for name in COPIED:
        source = arguments.teacher / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, output / name)
    config = json.loads((arguments.teacher / "config.json").read_text()) | {"num_hidden_layers": layers}
    write(output / "config.json", config)
    write(output / "modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(MODULES)])
    dense = {"in_features": head.shape[1], "out_features": head.shape[0], "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    (output / "2_Dense").mkdir()
    (output / "3_Normalize").mkdir()
    write(output / "2_Dense/config.json", dense)
    save_file({"linear.weight": head}, output / "2_Dense/model.safetensors", metadata={"format": "pt"})
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})


def write(path, contents):
    path.write_text(json.dumps(contents, indent=2) + "\n")


if __name__ == "__main__":
    main()
