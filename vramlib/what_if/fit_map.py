"""Which contexts and batches fit, for the current configuration: one array of scenarios."""

from __future__ import annotations

from typing import Any

from vramlib import blocks, charts
from vramlib.report.questions import BATCHES, contexts
from vramlib.what_if.asked import answer, sound
from vramlib.what_if.state import State


def rows(state: State) -> list[dict[str, Any]]:
    """A row for each context and batch: the engine started with just that context, all sequences full.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    Rows of ``charts.map_row`` (context_tokens [token], batch_size, needed, verdict, sign), with ``total_bytes`` [byte],
    ``fits``, and ``set``: the fields that lead there, for ``state.set(**row["set"])``; a context or batch that cannot
    be used has no row [-]

    Raises
    ------
    ValueError : the configuration cannot be used
    KeyError : no such model or card

    Examples
    --------
    >>> found = rows(State().set(gpu="L4"))
    >>> found[0]["set"]
    {'max_model_len': 1024, 'batch_size': 1, 'prompt_tokens': 768, 'new_tokens': 256}
    """
    e = answer(state)
    limit = int(e.model.max_position_embeddings or e.scenario.max_model_len)
    together = e.scenario.engine == "llama.cpp"  # its n_ctx is shared by all sequences
    most = max(1, int(e.scenario.max_num_seqs)) if "max_num_seqs" in state.fields else BATCHES[-1]
    cells = [
        _load(length, batch, together) for batch in BATCHES if batch <= most for length in contexts(limit)
    ]
    given = state.given()
    with sound(state):
        found = blocks.answers([{**given, **cell} for cell in cells])
    return [
        _row(cell, answered) for cell, answered in zip(cells, found, strict=True) if not answered["error"]
    ]


def _load(length: int, batch: int, together: bool) -> dict[str, int]:
    new = min(256, length // 4)
    longest = length * (batch if together else 1)
    return {"max_model_len": longest, "batch_size": batch, "prompt_tokens": length - new, "new_tokens": new}


def _row(cell: dict[str, int], answered: dict[str, Any]) -> dict[str, Any]:
    size, fits = int(answered["total_bytes"]), bool(answered["fits"])
    context = cell["prompt_tokens"] + cell["new_tokens"]
    place = {"context_tokens": context, "batch_size": cell["batch_size"], "total_bytes": size, "fits": fits}
    return {**place, **charts.map_row(place), "set": cell}
