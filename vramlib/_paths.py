"""Where the facts and the notebooks are, in a checkout and in an installed wheel."""

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


def _find(name: str) -> Path:
    """The folder inside an installed package (_data), or the one at the top of a checkout (data)."""
    candidates = (_PACKAGE / f"_{name}", _PACKAGE.parent / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    looked = " and ".join(map(str, candidates))
    raise FileNotFoundError(f"vramlib's {name} folder is missing, looked at {looked}; reinstall vramlib")
