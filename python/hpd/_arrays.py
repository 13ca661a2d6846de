"""What people pass in, as what the Rust half takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Texts = Sequence[str] | NDArray[np.str_] | NDArray[np.object_]
"""Several texts: a list, a tuple, a column of a data frame."""


def texts_of(texts: Texts) -> list[str]:
    """Texts as a list, each of them a string."""
    listed = [str(text) if isinstance(text, np.str_) else text for text in texts]
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"text {i} is of type {type(text).__name__}, expected str")
    return listed


def rows_of(array: ArrayLike) -> NDArray[np.float32]:
    """An array of two dimensions as f32."""
    rows = np.ascontiguousarray(array, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"expected an array of 2 dimensions, found {rows.ndim}")
    return rows


def one_or_rows(array: ArrayLike) -> NDArray[np.float32]:
    """A vector as the only row, rows as they are."""
    return rows_of(np.atleast_2d(np.asarray(array, dtype=np.float32)))


def unit_rows(array: ArrayLike) -> NDArray[Any]:
    """Rows of length 1; zeros stay zeros."""
    rows = one_or_rows(array)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[Any] = rows / np.maximum(lengths, 1e-12)
    return unit
