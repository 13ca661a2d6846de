"""Vectors in fewer bits, as sentence-transformers has them."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpd import _native
from hpd._arrays import rows_of

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]

# Fewer vectors give ranges that many later values fall outside of.
_FEW = 100


def quantize_embeddings(
    embeddings: ArrayLike,
    precision: Precision,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[Any]:
    """Embeddings, ``[n, dim]``, as ``int8``, ``uint8``, ``binary`` or ``ubinary`` (one bit a number, eight to a byte).

    The two of 8 bits have 256 steps between the least and the greatest value of each dimension: those of ``ranges``,
    ``[2, dim]``, or else of ``calibration_embeddings``, or else of ``embeddings`` themselves. What is to be compared must have
    been quantized by the same ranges.
    """
    rows = rows_of(embeddings)
    if precision not in ("int8", "uint8"):
        return _native.quantize(rows, precision, None)
    if ranges is None:
        source = rows if calibration_embeddings is None else rows_of(calibration_embeddings)
        ranges = _ranges_of(source)
    return _native.quantize(rows, precision, rows_of(ranges))


def _ranges_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(rows) == 0:
        raise ValueError("ranges need at least one embedding to be taken from")
    if len(rows) < _FEW:
        warnings.warn(
            f"the ranges come from {len(rows)} embeddings; give `ranges`, or more as `calibration_embeddings`",
            stacklevel=3,
        )
    return np.stack([rows.min(axis=0), rows.max(axis=0)])
