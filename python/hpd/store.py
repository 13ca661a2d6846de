"""Documents that are found by what they mean."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from hpd import _native
from hpd._arrays import Texts, one_or_rows, texts_of
from hpd._progress import Bar
from hpd.errors import InputError
from hpd.model import Arithmetic

Exactness = Literal["exact", "high", "fast"]
Durability = Literal["full", "normal"]

# What it was opened with.
_Options = tuple[str | None, str | None, Arithmetic | None, bool, Durability]

# Documents that are written in one transaction.
_BATCH = 512

# Queries that are answered in one pass over the vectors.
_QUERIES = 256


@dataclass(frozen=True)
class Document:
    """A text with its name and whatever else is known of it."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    ``score`` is the cosine of query and document; of a hybrid search, what was made of both rankings, from 0 to 1.
    """

    score: float
    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


class Added(NamedTuple):
    """What became of documents that were added."""

    added: int
    """Were not there."""
    replaced: int
    """Were there with another text."""
    updated: int
    """Were there with the same text; their metadata is new."""
    unchanged: int
    """Were there just so."""
    truncated: int
    """Were longer than the model takes and lost their end."""


class Store:
    """A folder of documents and their vectors, opened.

    ``Store.create`` makes one. It is used with the model that it remembers, or with ``model``, which must be of the same space;
    the model is opened when texts first need it. ``read_only`` opens a store that may not, or shall not, be written to.
    ``durability`` is what a change that was answered survives: ``full``, a power cut too; ``normal``, only the end of the process.

    Any number of threads may search while one adds. A store can be pickled, and is opened anew where it arrives; after a fork
    it has to be opened again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        arithmetic: Arithmetic | None = None,
        read_only: bool = False,
        durability: Durability = "full",
    ) -> None:
        self._path = Path(path).absolute()
        name = None if model is None else os.fspath(model)
        self._options: _Options = (name, revision, arithmetic, read_only, durability)
        self._native = _native.Store.open(str(self._path), *self._options)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        max_seq_length: int | None = None,
        arithmetic: Arithmetic | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> Store:
        """Makes an empty store for the vectors of ``model``, named as for ``Model``. The prompts go in front of queries and
        documents instead of the model's own; ``max_seq_length`` holds for all texts of the store.
        """
        store = cls.__new__(cls)
        store._path = Path(path).absolute()
        # When it is opened again, the model is the one that the store remembers.
        store._options = (None, None, arithmetic, False, "full")
        store._native = _native.Store.create(
            str(store._path),
            None if model is None else os.fspath(model),
            revision,
            max_seq_length,
            arithmetic,
            query_prompt,
            document_prompt,
        )
        return store

    def add(
        self,
        documents: str | Mapping[str, Any] | Document | Iterable[str | Mapping[str, Any] | Document],
        *,
        show_progress_bar: bool = False,
    ) -> Added:
        """Adds a document or many: mappings with ``text`` and, if it has a name, ``id`` or ``_id``, whose other items are the metadata; texts alone;
        or ``Document``.

        One whose id is there replaces that one, and one without an id is named by its contents, so that adding it again changes
        nothing. What has the same text as before is not embedded again. Documents are taken one after another, however many
        there are, and are safe on disk in steps of 512; after an error, or Ctrl-C, all before that step stand.
        """
        if isinstance(documents, (str, Mapping, Document)):
            documents = [documents]
        total = len(documents) if isinstance(documents, Sized) else None
        sum_of = Added(0, 0, 0, 0, 0)
        remaining = enumerate(documents)
        with Bar(total, "documents", show=show_progress_bar) as bar:
            while batch := [_parts(i, document) for i, document in islice(remaining, _BATCH)]:
                done = Added(*self._native.add(batch))
                sum_of = Added(*(a + b for a, b in zip(sum_of, done, strict=True)))
                bar.advance(len(batch))
        return sum_of

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        *,
        limit: int = 10,
        filter: str | None = None,
        hybrid: bool = False,
        min_score: float | None = None,
        exactness: Exactness = "high",
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: Texts,
        *,
        limit: int = 10,
        filter: str | None = None,
        hybrid: bool = False,
        min_score: float | None = None,
        exactness: Exactness = "high",
    ) -> list[list[Hit]]: ...

    def search(
        self,
        query: str | Texts,
        *,
        limit: int = 10,
        filter: str | None = None,
        hybrid: bool = False,
        min_score: float | None = None,
        exactness: Exactness = "high",
    ) -> list[Hit] | list[list[Hit]]:
        """The documents nearest to a text, best first; of several texts, a list for each.

        ``filter`` is a condition on the metadata, such as ``"lang = 'en' AND year >= 1990"`` (``hpd search --help`` has them all).
        ``hybrid`` searches by words too and joins both rankings. ``exactness`` says how sure to be that nothing nearer is missed:
        of the best ten, ``high`` misses less than one in a hundred, ``fast`` three to six, ``exact`` none.
        """
        if isinstance(query, str):
            return self._search([query], limit, filter, hybrid, min_score, exactness)[0]
        return self._search(texts_of(query), limit, filter, hybrid, min_score, exactness)

    def _search(self, queries: list[str], limit: int, *options: Any) -> list[list[Hit]]:
        _check(limit)
        if any(not query.strip() for query in queries):
            raise InputError("a query is empty, expected some words")
        found: list[list[Hit]] = []
        for start in range(0, len(queries), _QUERIES):
            batch = queries[start : start + _QUERIES]
            found += map(_hits, self._native.search(batch, limit, *options))
        return found

    def search_vectors(
        self,
        vectors: NDArray[Any],
        *,
        limit: int = 10,
        filter: str | None = None,
        min_score: float | None = None,
        exactness: Exactness = "high",
    ) -> list[list[Hit]]:
        """The documents nearest to each vector, ``[n, dim]``, of the store's space and of length 1."""
        _check(limit)
        rows = one_or_rows(vectors)
        found = self._native.search_vectors(rows, limit, filter, min_score, exactness)
        return [_hits(hits) for hits in found]

    def similar(
        self,
        id: str,
        *,
        limit: int = 10,
        filter: str | None = None,
        min_score: float | None = None,
        exactness: Exactness = "high",
    ) -> list[Hit]:
        """The documents nearest to the one of this id, without it. ``KeyError`` where it is not there."""
        _check(limit)
        hits = self._native.similar(id, limit, filter, min_score, exactness)
        if hits is None:
            raise KeyError(id)
        return _hits(hits)

    def get(self, id: str) -> Document | None:
        """The document of this id."""
        found = self._native.get(id)
        return None if found is None else _document(found[0])

    def vector(self, id: str) -> NDArray[np.float32]:
        """The vector of the document of this id, ``[dim]``. ``KeyError`` where it is not there."""
        found = self._native.get(id)
        if found is None:
            raise KeyError(id)
        row: NDArray[np.float32] = found[1][0]
        return row

    def vectors(self) -> tuple[list[str], NDArray[np.float32]]:
        """All ids and their vectors, ``[n, dim]``, in the order in which they were added."""
        return self._native.vectors()

    def delete(self, ids: str | Iterable[str] | None = None, *, filter: str | None = None) -> int:
        """Deletes documents by id, or all whose metadata matches ``filter``; tells how many were there."""
        if (ids is None) == (filter is None):
            raise TypeError("expected either `ids` or `filter`")
        if filter is not None:
            return self._native.delete_matching(filter)
        listed = [ids] if isinstance(ids, str) else list(ids or [])
        return self._native.delete(listed)

    def near_duplicates(self, threshold: float) -> list[list[Hit]]:
        """Groups of documents of which each scores at least ``threshold`` with another of its group; scores are those with the
        nearest. All are compared with all others, so time grows with the square of their number.
        """
        return [_hits(group) for group in self._native.near_duplicates(threshold)]

    def re_embed(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        max_seq_length: int | None = None,
        arithmetic: Arithmetic | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> int:
        """Embeds all documents anew with another model; tells how many. The store stays as it is, and can be searched, until the
        last one has its new vector. After Ctrl-C the same call goes on.
        """
        name = None if model is None else os.fspath(model)
        count = self._native.re_embed(name, revision, max_seq_length, arithmetic, query_prompt, document_prompt)
        self._options = (None, None, arithmetic, *self._options[3:])
        return count

    def export(self, path: str | os.PathLike[str]) -> int:
        """Writes all documents with their vectors to a ``.parquet`` or ``.jsonl``, replacing what is there; tells how many."""
        return self._native.export(os.fspath(path))

    def compact(self) -> tuple[int, int]:
        """Gives back the room of what was deleted; tells the bytes before and after."""
        return self._native.compact()

    def verify(self) -> list[str]:
        """Looks at every byte; tells what is not whole, nothing where all is."""
        return self._native.verify()

    def info(self) -> dict[str, Any]:
        """The facts about it: ``documents``, ``bytes``, ``model`` with its ``name`` and ``space``, prompts, and more."""
        facts: dict[str, Any] = json.loads(self._native.summary())
        return facts

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._path

    def __len__(self) -> int:
        return len(self._native)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._native.get(id) is not None

    def __getitem__(self, id: str) -> Document:
        found = self.get(id)
        if found is None:
            raise KeyError(id)
        return found

    # An object with `__getitem__` alone would be iterated by numbers.
    __iter__ = None

    def __repr__(self) -> str:
        return f"hpd.Store({str(self._path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        model, *others = self._options
        # Who unpickles it may be in another folder.
        if model is not None and Path(model).is_dir():
            model = str(Path(model).absolute())
        return _opened, (type(self), self._path, (model, *others))


def _opened(cls: type[Store], path: Path, options: tuple[Any, ...]) -> Store:
    model, revision, arithmetic, read_only, durability = options
    return cls(
        path,
        model,
        revision=revision,
        arithmetic=arithmetic,
        read_only=read_only,
        durability=durability,
    )


def _check(limit: int) -> None:
    if limit < 1:
        raise InputError(f"`limit` is {limit}, expected at least 1")


def _parts(i: int, document: str | Mapping[str, Any] | Document) -> tuple[str | None, str, str | None]:
    """Id, text, and metadata as JSON."""
    if isinstance(document, str):
        return None, document, None
    if isinstance(document, Document):
        id, text, metadata = document.id, document.text, document.metadata
    elif isinstance(document, Mapping):
        metadata = dict(document)
        # As `hpd index` has it.
        id = metadata.pop("id" if "id" in metadata else "_id", None)
        if "text" not in metadata:
            raise InputError(f"document {i} has no `text`, but {', '.join(map(repr, document)) or 'nothing'}")
        text = metadata.pop("text")
    else:
        kind = type(document).__name__
        raise TypeError(f"document {i} is of type {kind}, expected str, a mapping or Document")
    for name, value in (("id", id), ("text", text)):
        if not isinstance(value, str) and not (name == "id" and value is None):
            raise TypeError(f"the {name} of document {i} is of type {type(value).__name__}, expected str")
    try:
        return id, text, json.dumps(metadata, allow_nan=False) if metadata else None
    except (TypeError, ValueError) as error:
        raise InputError(f"the metadata of document {i} cannot be written as JSON: {error}") from error


def _document(found: tuple[str, str, str]) -> Document:
    id, text, metadata = found
    return Document(id, text, json.loads(metadata))


def _hits(hits: list[tuple[float, str, str, str]]) -> list[Hit]:
    return [Hit(score, id, text, json.loads(metadata)) for score, id, text, metadata in hits]
