"""A sentence encoder."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpd import _native
from hpd._arrays import Texts, texts_of, unit_rows
from hpd._progress import Bar
from hpd.quantization import Precision, quantize_embeddings

if TYPE_CHECKING:
    from typing_extensions import Unpack

Arithmetic = Literal["float32", "bfloat16", "int8"]
Side = Literal["query", "document"]

_log = logging.getLogger("hpd")

# Texts between two movements of a bar.
_BATCH = 1024


class ShippedModel(NamedTuple):
    """A model that comes with hpd: what ``Model`` opens it by, and what it is best at."""

    name: str
    role: str
    is_default: bool


def shipped_models() -> list[ShippedModel]:
    """The models that come with hpd."""
    return [ShippedModel(*model) for model in _native.shipped_models()]


class Model:
    """A sentence encoder, opened.

    ``name`` is a sentence-transformers folder, a model that comes with hpd, or a Hugging Face id (cached where
    ``huggingface_hub`` caches); without it the one that ``HPD_MODEL`` names, or the default of ``shipped_models()``.

    ``max_seq_length`` cuts texts at so many tokens instead of what the folder says. ``arithmetic`` is what its matrix products
    are computed in, by default what the folder stores. ``side``, of a folder with a model for queries and another for
    documents, is the one that plain ``encode`` takes.

    One model serves many threads at once. It can be pickled, and is opened anew where it arrives.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        max_seq_length: int | None = None,
        arithmetic: Arithmetic | None = None,
        side: Side | None = None,
    ) -> None:
        name = None if name is None else os.fspath(name)
        self._native = _native.Encoder(name, revision, max_seq_length, arithmetic, side)
        self._options = (revision, max_seq_length, arithmetic, side)

    def encode(
        self,
        sentences: str | Texts,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: Side | None = None,
        batch_size: int = _BATCH,
        show_progress_bar: bool = False,
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> NDArray[Any]:
        """Vectors of texts, ``[n, dim]``, or of one text, ``[dim]``: those that sentence-transformers gives.

        A text has the same vector alone and in company; ``batch_size`` only says how often a bar moves. ``prompt`` goes in
        front of each text, or the folder's prompt of ``prompt_name``. ``truncate_dim`` keeps the first so many numbers, of
        length 1 again where the model's vectors are. ``precision`` is that of ``quantize_embeddings``. ``task``, ``query`` or
        ``document``, chooses between the models of a folder that has one for each. A text that is too long loses its end,
        which is logged.
        """
        options = EncodeOptions(
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            precision=precision,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )
        return self._encode(sentences, task, False, options)

    def encode_query(self, sentences: str | Texts, **options: Unpack[EncodeOptions]) -> NDArray[Any]:
        """``encode`` for what is searched with: the folder's prompt for queries, and its model for them, where it has those."""
        return self._encode(sentences, "query", True, options)

    def encode_document(self, sentences: str | Texts, **options: Unpack[EncodeOptions]) -> NDArray[Any]:
        """``encode`` for what is searched for: the folder's prompt for documents, and its model for them, where it has those."""
        return self._encode(sentences, "document", True, options)

    def _encode(
        self, sentences: str | Texts, side: Side | None, prompt_of_side: bool, options: EncodeOptions
    ) -> NDArray[Any]:
        unknown = options.keys() - EncodeOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"unexpected keyword argument '{min(unknown)}'")
        batch = options.get("batch_size", _BATCH)
        if batch < 1:
            raise ValueError(f"`batch_size` is {batch}, expected at least 1")
        texts = [sentences] if isinstance(sentences, str) else texts_of(sentences)
        blocks, truncated = [], 0
        with Bar(len(texts), "texts", show=options.get("show_progress_bar", False)) as bar:
            # Once even without texts, which finds a prompt that is not there.
            for start in range(0, max(len(texts), 1), batch):
                part = texts[start : start + batch]
                rows, cut = self._native.encode(
                    part,
                    options.get("prompt"),
                    options.get("prompt_name"),
                    side,
                    prompt_of_side,
                    options.get("normalize_embeddings", False),
                    options.get("truncate_dim"),
                )
                blocks.append(rows)
                truncated += cut
                bar.advance(len(part))
        if truncated:
            limit = self.max_seq_length
            _log.warning("%d texts are longer than %d tokens and lost their end", truncated, limit)
        result: NDArray[Any] = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        precision = options.get("precision", "float32")
        if precision != "float32":
            result = quantize_embeddings(result, precision)
        return result[0] if isinstance(sentences, str) else result

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[Any]:
        """Cosines of all embeddings with all others, ``[n1, n2]``."""
        cosines: NDArray[Any] = unit_rows(embeddings1) @ unit_rows(embeddings2).T
        return cosines

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[Any]:
        """Cosines of embeddings with those at the same place, ``[n]``."""
        one, other = unit_rows(embeddings1), unit_rows(embeddings2)
        if one.shape != other.shape:
            raise ValueError(f"expected two arrays of one shape, found {one.shape} and {other.shape}")
        cosines: NDArray[Any] = np.einsum("ij,ij->i", one, other)
        return cosines

    def tokenize(self, texts: str | Texts) -> list[list[int]]:
        """Ids of the tokens of each text, special ones included, cut where it is too long."""
        return self._native.tokenize([texts] if isinstance(texts, str) else texts_of(texts))

    @property
    def name(self) -> str:
        """What it can be opened by from anywhere on this machine: a whole path, a shipped model's name, or an id."""
        return self._native.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return Path(self._native.path)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._native.dim

    def get_sentence_embedding_dimension(self) -> int:
        """``dim``, as sentence-transformers calls it."""
        return self.dim

    @property
    def max_seq_length(self) -> int:
        """Longest text in tokens, special ones included."""
        return self._native.max_seq_length

    @property
    def arithmetic(self) -> str:
        """What its matrix products are computed in."""
        return self._native.arithmetic

    @property
    def parameters(self) -> int:
        """How many numbers its tensors have."""
        return self._native.parameters

    @property
    def prompts(self) -> dict[str, str]:
        """Its folder's prompts by name."""
        return self._native.prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt that ``encode`` takes."""
        return self._native.default_prompt_name

    @property
    def weights(self) -> str:
        """Fingerprint of its tensors."""
        return self._native.weights

    @property
    def space(self) -> str:
        """Names what its vectors may be compared with: those of any model with the same ``space``."""
        return self._native.space

    def __repr__(self) -> str:
        return f"hpd.Model({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (type(self), self.name, self._options)


class EncodeOptions(TypedDict, total=False):
    """The keywords of ``Model.encode``."""

    prompt_name: str | None
    prompt: str | None
    batch_size: int
    show_progress_bar: bool
    precision: Precision
    normalize_embeddings: bool
    truncate_dim: int | None


def _opened(cls: type[Model], name: str, options: tuple[Any, ...]) -> Model:
    revision, max_seq_length, arithmetic, side = options
    return cls(name, revision=revision, max_seq_length=max_seq_length, arithmetic=arithmetic, side=side)
