"""Which cards a program may use: the rules of ``CUDA_VISIBLE_DEVICES`` and of cards cut into MIG slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def visible(chosen: str | None, tree: Mapping[str, list[str]]) -> list[str]:
    """UUIDs of the cards that a CUDA program sees, in its order.

    Parameters
    ----------
    chosen : ``CUDA_VISIBLE_DEVICES``: numbers, UUIDs or their beginnings; None where it is not set [-]
    tree : UUID of each card, in the order of the bus, with those of its slices [-]

    Returns
    -------
    UUIDs; a word that fits none or several ends the list, as in CUDA; of a cut card the first slice counts [-]

    Examples
    --------
    >>> two = {"GPU-aa": [], "GPU-bb": []}
    >>> visible("1,0", two), visible("GPU-b", two), visible("7,0", two), visible("", two)
    (['GPU-bb', 'GPU-aa'], ['GPU-bb'], [], [])

    Source
    ------
    CUDA C++ Programming Guide, CUDA Environment Variables: CUDA_VISIBLE_DEVICES.
    """
    if chosen is None:
        return [u for card, slices in tree.items() for u in slices or [card]]
    found: list[str] = []
    for word in (w.strip() for w in chosen.split(",")):
        card = _named(word, tree)
        if not card or card in found:
            break
        found.append(card)
    return found


def _named(word: str, tree: Mapping[str, list[str]]) -> str:
    """The card or slice that one word of the variable means, or an empty string; of a cut card the first slice."""
    if word.isdigit():
        fits = list(tree)[int(word) : int(word) + 1]
    else:
        every = [*tree, *(u for slices in tree.values() for u in slices)]
        fits = [u for u in every if word and u.startswith(word)]
    return (tree.get(fits[0]) or fits)[0] if len(fits) == 1 else ""


def slices(library: Any, handle: Any) -> list[Any]:
    """The MIG slices of a card, by the driver's library; none where it is whole."""
    try:
        current, _ = library.nvmlDeviceGetMigMode(handle)
    except library.NVMLError:
        return []
    if current != library.NVML_DEVICE_MIG_ENABLE:
        return []
    found = []
    for i in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(library.nvmlDeviceGetMigDeviceHandleByIndex(handle, i))
        except library.NVMLError:
            continue
    return found
