"""The contenders: each opens a model once, then turns texts into vectors as often as asked.

`Called` ones do what their documentation shows. `Best` ones do what somebody would who wants speed and knows how:
tokenise all texts at once, sort them by length, pad to the longest of a small batch, and choose the batch and the
way of running it by trying.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model_files import INPUTS, cpu_flags, max_tokens

BATCHES = [8, 16, 32, 64, 128]
TRIAL_TEXTS = 1024


class Best:
    """Tokenising, sorting and padding around a `run(arrays) -> vectors` of a library."""

    def __init__(self, files, threads):
        from tokenizers import Tokenizer

        self.files, self.threads = files, threads
        self.tokenizer = Tokenizer.from_file(str(files / "folder/tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens(files / "folder"))
        self.ways = self.open()
        self.way, self.batch = next(iter(self.ways)), 32

    def settings(self):
        return f"{self.way}, batches of {self.batch}" if len(self.ways) > 1 else f"batches of {self.batch}"

    def tune(self, texts):
        """The fastest way and batch on some of the texts, each the better of two."""
        step = max(1, len(texts) // TRIAL_TEXTS)
        trial, best = texts[::step][:TRIAL_TEXTS], None
        for self.way in self.ways:
            for self.batch in BATCHES:
                for _ in range(2):
                    start = time.perf_counter()
                    self.encode(trial)
                    seconds = time.perf_counter() - start
                    if best is None or seconds < best[0]:
                        best = (seconds, self.way, self.batch)
        _, self.way, self.batch = best

    def encode(self, texts):
        import numpy

        encodings = self.tokenizer.encode_batch_fast(texts)
        lengths = numpy.array([len(encoding) for encoding in encodings])
        order = numpy.argsort(-lengths, kind="stable")
        batches = [order[i : i + self.batch] for i in range(0, len(texts), self.batch)]
        rows = None
        for batch, vectors in zip(batches, self.ways[self.way](self.padded(encodings, batch, lengths) for batch in batches)):
            if rows is None:
                rows = numpy.empty((len(texts), vectors.shape[1]), numpy.float32)
            rows[batch] = vectors
        return rows

    def single(self, text):
        return next(iter(self.ways[self.single_way]([self.padded(self.tokenizer.encode_batch_fast([text]), [0], [0])])))

    def padded(self, encodings, batch, lengths):
        import numpy

        width = max(len(encodings[i]) for i in batch)
        ids = numpy.zeros((len(batch), width), numpy.int64)
        mask = numpy.zeros((len(batch), width), numpy.int64)
        for row, i in enumerate(batch):
            ids[row, : len(encodings[i])] = encodings[i].ids
            mask[row, : len(encodings[i])] = 1
        return dict(zip(INPUTS, (ids, mask, numpy.zeros_like(ids))))


class BestTorch(Best):
    single_way = "torch"

    def __init__(self, files, threads, dtype="float32"):
        self.dtype = dtype
        super().__init__(files, threads)

    def open(self):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(self.threads)
        dtype = getattr(torch, self.dtype)
        model = SentenceTransformer(str(self.files / "folder"), device="cpu", model_kwargs={"dtype": dtype}).eval()

        def run(batches):
            with torch.inference_mode():
                for arrays in batches:
                    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
                    yield model(inputs)["sentence_embedding"].float().numpy()

        return {"torch": run}


class BestOnnx(Best):
    """Threads inside each product, or one batch a thread; the graph as exported, or fused by ONNX Runtime's tool."""

    def __init__(self, files, threads, names=("model.onnx", "fused.onnx")):
        self.names = [name for name in names if (files / "sentence" / name).exists()]
        super().__init__(files, threads)

    def open(self):
        ways = {}
        for name in self.names:
            ways[name] = self.inside(name)
            if self.threads > 1:
                ways[f"{name}, one batch a thread"] = self.side_by_side(name)
        self.single_way = self.names[-1]
        return ways

    def session(self, name, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        path = str(self.files / "sentence" / name)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        taken = {value.name for value in session.get_inputs()}
        return lambda arrays: session.run(None, {k: v for k, v in arrays.items() if k in taken})[0]

    def inside(self, name):
        session = self.session(name, self.threads)
        return lambda batches: map(session, batches)

    def side_by_side(self, name):
        session, pool = self.session(name, 1), ThreadPoolExecutor(self.threads)
        return lambda batches: pool.map(session, batches)


class BestOpenvino(Best):
    """One request at a time on all threads, or a stream a thread."""

    def __init__(self, files, threads, name="model.xml", precision="f32"):
        self.name, self.precision = name, precision
        super().__init__(files, threads)

    def open(self):
        self.single_way = "one request"
        ways = {"one request": self.one_request()}
        if self.threads > 1:
            ways["a stream a thread"] = self.streams()
        return ways

    def compiled(self, streams):
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": self.precision}
        model = core.compile_model(str(self.files / "sentence" / self.name), "CPU", settings)
        taken = {name for value in model.inputs for name in value.names}
        return model, lambda arrays: {k: v for k, v in arrays.items() if k in taken}

    def one_request(self):
        model, fitting = self.compiled(1)
        request = model.create_infer_request()
        return lambda batches: (request.infer(fitting(arrays))[0] for arrays in batches)

    def streams(self):
        import openvino

        model, fitting = self.compiled(self.threads)

        def run(batches):
            found = {}
            queue = openvino.AsyncInferQueue(model, self.threads)
            queue.set_callback(lambda request, i: found.__setitem__(i, request.get_output_tensor(0).data.copy()))
            for i, arrays in enumerate(batches):
                queue.start_async(fitting(arrays), i)
            queue.wait_all()
            return (found[i] for i in range(len(found)))

        return run


class Called:
    """As its documentation calls it, batches as the library has them by default."""

    def settings(self):
        return "as called"

    def tune(self, texts):
        pass

    def single(self, text):
        return self.encode([text])


class SentenceTransformers(Called):
    def __init__(self, files, threads, backend="torch", file_name=None):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        settings = {}
        if backend == "onnx":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            settings = {"provider": "CPUExecutionProvider", "session_options": options}
        elif backend == "openvino":
            settings = {"ov_config": {"INFERENCE_NUM_THREADS": threads}, "device": "CPU"}
        if file_name:
            settings["file_name"] = file_name
        self.model = SentenceTransformer(str(files / "folder"), device="cpu", backend=backend, model_kwargs=settings)

    def encode(self, texts):
        return self.model.encode(texts)


class Fastembed(Called):
    def __init__(self, files, threads):
        import json

        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        dim = json.loads((files / "fastembed/config.json").read_text())["hidden_size"]
        TextEmbedding.add_custom_model(model="local/teacher", pooling=PoolingType.MEAN, normalization=True,
                                       sources=ModelSource(hf="local/teacher"), dim=dim, model_file="model.onnx")
        self.model = TextEmbedding("local/teacher", threads=threads, specific_model_path=str(files / "fastembed"))

    def encode(self, texts):
        import numpy

        return numpy.array(list(self.model.embed(texts)))


class Model2vec(Called):
    def __init__(self, files, threads):
        from model2vec import StaticModel

        self.model = StaticModel.from_pretrained(str(files / "model2vec"))

    def encode(self, texts):
        return self.model.encode(texts)


def has_bf16():
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


# Name: precision, how it is used, what opens it, and the file that must be there.
CONTENDERS = {
    "sentence-transformers torch": ("f32", "called", SentenceTransformers, {}, None),
    "sentence-transformers onnx": ("f32", "called", SentenceTransformers, {"backend": "onnx", "file_name": "onnx/model.onnx"}, "folder/onnx/model.onnx"),
    "sentence-transformers openvino": ("f32", "called", SentenceTransformers, {"backend": "openvino", "file_name": "openvino/openvino_model.xml"}, "folder/openvino/openvino_model.xml"),
    "sentence-transformers onnx int8": ("int8", "called", SentenceTransformers, {"backend": "onnx", "file_name": "onnx/model_int8.onnx"}, "folder/onnx/model_int8.onnx"),
    "sentence-transformers openvino int8": ("int8", "called", SentenceTransformers, {"backend": "openvino", "file_name": "openvino/openvino_model_int8.xml"}, "folder/openvino/openvino_model_int8.xml"),
    "fastembed": ("f32", "called", Fastembed, {}, "fastembed/model.onnx"),
    "torch": ("f32", "best", BestTorch, {}, None),
    "torch bf16": ("bf16", "best", BestTorch, {"dtype": "bfloat16"}, None),
    "ONNX Runtime": ("f32", "best", BestOnnx, {}, "sentence/model.onnx"),
    "ONNX Runtime int8": ("int8", "best", BestOnnx, {"names": ("int8.onnx", "int8_fused.onnx")}, "sentence/int8.onnx"),
    "OpenVINO": ("f32", "best", BestOpenvino, {}, "sentence/model.xml"),
    "OpenVINO bf16": ("bf16", "best", BestOpenvino, {"precision": "bf16"}, "sentence/model.xml"),
    "OpenVINO int8": ("int8", "best", BestOpenvino, {"name": "int8.xml"}, "sentence/int8.xml"),
    "model2vec": ("static", "another model", Model2vec, {}, "model2vec/model.safetensors"),
}


def limit_threads(threads):
    """Before any library is loaded, for most read these once."""
    for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
        os.environ[name] = str(threads)
    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")


def open_contender(name, work, threads):
    *_, kind, settings, _ = CONTENDERS[name]
    return kind(Path(work), threads, **settings)
