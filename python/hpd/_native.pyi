from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Encoder",
    "Store",
    "__version__",
    "get_num_threads",
    "quantize",
    "set_num_threads",
    "shipped_models",
]

__version__: str

_Hit = tuple[float, str, str, str]

@final
class Encoder:
    def __new__(
        cls,
        model: str | None,
        revision: str | None,
        max_seq_length: int | None,
        arithmetic: str | None,
        side: str | None,
    ) -> Encoder: ...
    def encode(
        self,
        texts: list[str],
        prompt: str | None,
        prompt_name: str | None,
        side: str | None,
        prompt_of_side: bool,
        normalize: bool,
        dimensions: int | None,
    ) -> tuple[NDArray[np.float32], int]: ...
    def tokenize(self, texts: list[str]) -> list[list[int]]: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def dim(self) -> int: ...
    @property
    def max_seq_length(self) -> int: ...
    @property
    def arithmetic(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def normalizes(self) -> bool: ...
    @property
    def prompts(self) -> dict[str, str]: ...
    @property
    def default_prompt_name(self) -> str | None: ...
    @property
    def weights(self) -> str: ...
    @property
    def space(self) -> str: ...

@final
class Store:
    @staticmethod
    def create(
        folder: str,
        model: str | None,
        revision: str | None,
        max_seq_length: int | None,
        arithmetic: str | None,
        query_prompt: str | None,
        document_prompt: str | None,
    ) -> Store: ...
    @staticmethod
    def open(
        folder: str,
        model: str | None,
        revision: str | None,
        arithmetic: str | None,
        read_only: bool,
        durability: str,
    ) -> Store: ...
    def add(self, documents: list[tuple[str | None, str, str | None]]) -> tuple[int, int, int, int, int]: ...
    def search(
        self,
        queries: list[str],
        limit: int,
        filter: str | None,
        hybrid: bool,
        min_score: float | None,
        exactness: str,
    ) -> list[list[_Hit]]: ...
    def search_vectors(
        self,
        queries: NDArray[np.float32],
        limit: int,
        filter: str | None,
        min_score: float | None,
        exactness: str,
    ) -> list[list[_Hit]]: ...
    def similar(
        self,
        id: str,
        limit: int,
        filter: str | None,
        min_score: float | None,
        exactness: str,
    ) -> list[_Hit] | None: ...
    def get(self, id: str) -> tuple[tuple[str, str, str], NDArray[np.float32]] | None: ...
    def vectors(self) -> tuple[list[str], NDArray[np.float32]]: ...
    def delete(self, ids: list[str]) -> int: ...
    def delete_matching(self, filter: str) -> int: ...
    def compact(self) -> tuple[int, int]: ...
    def verify(self) -> list[str]: ...
    def near_duplicates(self, threshold: float) -> list[list[_Hit]]: ...
    def re_embed(
        self,
        model: str | None,
        revision: str | None,
        max_seq_length: int | None,
        arithmetic: str | None,
        query_prompt: str | None,
        document_prompt: str | None,
    ) -> int: ...
    def export(self, path: str) -> int: ...
    def summary(self) -> str: ...
    def __len__(self) -> int: ...

def quantize(rows: NDArray[np.float32], precision: str, ranges: NDArray[np.float32] | None) -> NDArray[Any]: ...
def shipped_models() -> list[tuple[str, str, bool]]: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
