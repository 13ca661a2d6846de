"""What can go wrong. Each is also one of Python's own exceptions, which programs catch already."""


class Error(Exception):
    """An error of hpd: what failed, on which thing, what was expected and what found.

    ``hint`` is what can be done about it, in the words of the command line, or ``None``; it is part of the message too.
    """

    hint: str | None = None


class InputError(Error, ValueError):
    """A text, file or argument is not what it must be."""


class ModelError(Error, ValueError):
    """A model folder is missing something, damaged or not supported."""


class MismatchError(Error, ValueError):
    """Two things that must belong together do not, such as a store and a model of another space."""


class FileError(Error, OSError):
    """The operating system refused: a missing file, a full disk, no permission."""


class NetworkError(Error, ConnectionError):
    """The hub did not answer as it should."""
