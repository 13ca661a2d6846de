"""A bar for those who want to see one."""

from __future__ import annotations

from types import TracebackType


class Bar:
    """Counts what is done; drawn by ``tqdm`` if ``show``."""

    def __init__(self, total: int | None, unit: str, *, show: bool) -> None:
        self._bar = None
        if show:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError("a progress bar needs tqdm: pip install tqdm") from error
            self._bar = tqdm(total=total, unit=f" {unit}")

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
