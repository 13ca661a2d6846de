"""Small sentence encoders and semantic search on the CPU.

    import hpd

    model = hpd.Model()                              # the one that comes with hpd
    vectors = model.encode(["the fear of spiders", "a storm at sea"])

    store = hpd.Store.create("notes.store")
    store.add([{"id": "a", "text": "the fear of spiders", "lang": "en"}])
    store.search("arachnophobia", filter="lang = 'en'")

Computing happens in Rust, on all cores (``HPD_THREADS`` or ``set_num_threads``) and without Python's lock, so threads gain by
it. Where a model is looked for, and all that ``hpd`` does on the command line, is told in its README.
"""

from hpd._native import __version__, get_num_threads, set_num_threads
from hpd.command_line import run
from hpd.errors import Error, FileError, InputError, MismatchError, ModelError, NetworkError
from hpd.model import Model, ShippedModel, shipped_models
from hpd.quantization import quantize_embeddings
from hpd.store import Added, Document, Hit, Store

__all__ = [
    "Added",
    "Document",
    "Error",
    "FileError",
    "Hit",
    "InputError",
    "MismatchError",
    "Model",
    "ModelError",
    "NetworkError",
    "ShippedModel",
    "Store",
    "__version__",
    "get_num_threads",
    "quantize_embeddings",
    "run",
    "set_num_threads",
    "shipped_models",
]
