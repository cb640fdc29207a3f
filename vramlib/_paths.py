"""Where the facts and the notebooks are, in a checkout and in an installed wheel; and which path an error is about."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """Folder of the facts: the catalogue of models and cards, the tables, the recorded runs.

    Returns
    -------
    An existing folder [-]

    Raises
    ------
    FileNotFoundError : the package was copied without its data

    Examples
    --------
    >>> data_dir().is_dir()
    True
    """
    return _find("data")


def notebooks_dir() -> Path:
    """Folder of the workbook's notebooks, the report's template among them.

    Returns
    -------
    An existing folder [-]

    Raises
    ------
    FileNotFoundError : the package was copied without its notebooks

    Examples
    --------
    >>> notebooks_dir().is_dir()
    True
    """
    return _find("notebooks")


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Name a file in errors of the system that name none: a full disk, say.

    Parameters
    ----------
    path : what is written in the ``with`` block [-]

    Raises
    ------
    OSError : as it came, with a file's name

    Examples
    --------
    >>> with named(Path("out.csv")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'out.csv'
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _find(name: str) -> Path:
    """The folder inside an installed package (_data), or the one at the top of a checkout (data)."""
    candidates = (_PACKAGE / f"_{name}", _PACKAGE.parent / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    looked = " and ".join(map(str, candidates))
    raise FileNotFoundError(f"vramlib's {name} folder is missing, looked at {looked}; reinstall vramlib")
