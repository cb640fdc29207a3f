"""An Estimate as a person reads it in a terminal or a notebook, and as a program reads it.

Pure rendering: nothing is computed here but shares and lengths of bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramlib.contract import to_dict
from vramlib.specs import PART_COLORS, Budget, Estimate, Part, Scenario, Term
from vramlib.units import GiB, show, show_both

__all__ = ["bar", "budget", "explain", "headline", "html", "message", "table", "to_dict"]

LETTERS = {
    "model_weights": "W",
    "kv_cache": "K",
    "activations": "A",
    "cuda_context": "C",
    "framework_buffers": "B",
    "prefill_padding": "P",
    "fragmentation": "F",
    "multi_process": "M",
}
BUDGET_WORDS = {
    "requested_bytes": "requested of the card",
    "weights_bytes": "model weights, with their rounding",
    "persistent_bytes": "buffers that stay",
    "activation_peak_bytes": "activation peak of the profile run",
    "non_torch_bytes": "outside PyTorch",
    "cuda_graph_bytes": "CUDA graphs",
    "kv_pool_bytes": "KV pool",
    "bytes_per_block": "one KV block",
    "num_blocks": "KV blocks",
    "kv_pool_tokens": "tokens the pool holds",
    "kv_bytes_per_token": "KV bytes of one token",
    "kv_bytes_at_max_model_len": "KV bytes of one request of max_model_len",
    "max_concurrency": "requests of max_model_len at once",
    "max_model_len_that_fits": "largest max_model_len that starts",
    "model_buffer_bytes": "model buffer, all cards",
    "kv_buffer_bytes": "KV buffer, all cards",
    "compute_buffer_bytes": "compute buffer, all cards",
}


def table(estimate: Estimate) -> str:
    """The eight parts with interval, basis and share, the total, the verdict, and what to beware of.

    Parameters
    ----------
    estimate : of one scenario, or of an array of them (then one line) [-]

    Returns
    -------
    Lines of plain text, no colour [-]
    """
    if hasattr(estimate.total_bytes, "shape"):
        return many(estimate)
    rows = [("", "per card", "GiB", "from - to", "basis", "share")]
    rows += [(LETTERS[p.key], *cells(p, estimate.total_bytes)) for p in estimate.parts]
    rows.append(("", *total_cells(estimate)))
    lines = [headline(estimate.scenario), ""]
    lines += [f"{a:>2} {b:<26}{c:>8}  {d:^16}  {e:<9}{f:>7}".rstrip() for a, b, c, d, e, f in rows]
    lines += ["", estimate.verdict, *(f"Warning: {w}" for w in estimate.warnings)]
    return "\n".join(lines)


def headline(scenario: Scenario) -> str:
    """What was estimated, in one line: model, card, engine, types, workload."""
    s = scenario
    weights = s.dtype if s.quantization in ("", "none") else f"{s.dtype}, {s.quantization}"
    engine = f"{s.engine} {s.engine_version}".strip()
    return " · ".join(
        (s.model.name, f"{_cards(s)} ({show(s.gpu.memory_bytes)})", engine, weights, _workload(s))
    )


def bar(estimate: Estimate, width: int = 72, *, color: bool = False) -> str:
    """The parts end to end against the card's memory: blocks, and under them each part's letter.

    Neighbours have different blocks and every block its letter, so the bar reads without colour. A demand
    larger than the card runs past the mark of the card's end.

    Parameters
    ----------
    estimate : of one scenario [-]
    width : of the longer of the two, card and demand [column]
    color : add ANSI colours [-]

    Returns
    -------
    Three lines: blocks, letters, scale [-]
    """
    memory, total = estimate.gpu.memory_bytes, estimate.total_bytes
    longest = max(memory, total)
    blocks, letters, start, end, drawn = "", "", 0, 0, 0
    for part in estimate.parts:
        end += part.bytes
        columns = round(end * width / longest) - round(start * width / longest)
        blocks += _paint("█▓"[drawn % 2] * columns, PART_COLORS[part.key] if color else "")
        letters += LETTERS[part.key].center(columns) if columns else ""
        drawn += columns > 0
        start = end
    free = width - round(total * width / longest)
    mark = round(memory * width / longest)
    scale = "└" + "─" * max(mark - 2, 0) + "┘" + f" {show(memory)} card"
    over = f", {show(total - memory)} over" if total > memory else f", {show(memory - total)} free"
    return "\n".join((blocks + "░" * free, letters.rstrip(), scale + over))


def budget(estimate: Estimate) -> str:
    """What the engine reserves at start and what is left for its KV pool; empty where it does not reserve.

    Parameters
    ----------
    estimate : of one scenario [-]

    Returns
    -------
    Lines of plain text, or ``""`` [-]
    """
    if estimate.budget is None:
        return ""
    rows = [f"   {words:<44}{value:>14}" for words, value in _budget_rows(estimate.budget)]
    engine = f"{estimate.scenario.engine} {estimate.scenario.engine_version}"
    return "\n".join((f"What {engine} reserves at start (budget, not demand)", *rows))


def explain(estimate: Estimate) -> str:
    """Every formula, the same with this scenario's numbers put in, and its source.

    Parameters
    ----------
    estimate : of one scenario [-]

    Returns
    -------
    Lines of plain text, a paragraph for each part [-]
    """
    return "\n\n".join("\n".join(_explained(p)) for p in estimate.parts)


def html(estimate: Estimate) -> str:
    """Table and bar for a notebook: plain HTML in the page's own text colours, made for screen readers too.

    Parameters
    ----------
    estimate : of one scenario, or of an array of them (then one line) [-]

    Returns
    -------
    An HTML fragment, no script and no outside address [-]
    """
    from vramlib import text_html

    return text_html.fragment(estimate)


def message(error: BaseException) -> str:
    """What an exception says, in one line: a KeyError without its quotes, an OSError with its file.

    Parameters
    ----------
    error : any exception [-]

    Returns
    -------
    One line, never empty [-]

    Examples
    --------
    >>> message(KeyError("no model named 'x'")), message(ZeroDivisionError())
    ("no model named 'x'", 'ZeroDivisionError')
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    return " ".join(text.split()) or type(error).__name__


def many(estimate: Estimate) -> str:
    """An array of scenarios in one line."""
    total = estimate.total_bytes
    fits = int(estimate.fits.sum()) if hasattr(estimate.fits, "sum") else total.size * bool(estimate.fits)
    span = f"{show(total.min())} to {show(total.max())}"
    return f"{total.size} scenarios of {estimate.model.name}: {span}; {fits} fit"


def cells(part: Part, total: int) -> tuple[str, str, str, str, str]:
    """A part's row: name, GiB, interval, basis, share of the total."""
    share = f"{part.bytes / total:.1%}" if total else ""
    return part.name, f"{part.bytes / GiB:.2f}", _interval(part.low_bytes, part.high_bytes), part.basis, share


def total_cells(estimate: Estimate) -> tuple[str, str, str, str, str]:
    """The total's line: name with decimal GB, GiB, interval, no basis, share."""
    total = estimate.total_bytes
    low, high = sum(p.low_bytes for p in estimate.parts), sum(p.high_bytes for p in estimate.parts)
    name = f"Total ({show_both(total).split('(')[1]}"
    return name, f"{total / GiB:.2f}", _interval(low, high), "", "100.0%" if total else ""


def _interval(low: int, high: int) -> str:
    return "" if low == high else f"{low / GiB:.2f} - {high / GiB:.2f}"


def _cards(s: Scenario) -> str:
    return s.gpu.name if s.world_size == 1 else f"{s.world_size} × {s.gpu.name}"


def _workload(s: Scenario) -> str:
    many = "1 sequence" if s.num_sequences == 1 else f"{s.num_sequences} sequences"
    if isinstance(s.prompt_tokens, tuple):
        return f"{many} of {min(s.prompt_tokens)} to {max(s.prompt_tokens)} tokens in"
    return f"{many} of {s.prompt_tokens} + {s.new_tokens} tokens"


def _paint(text: str, color: str) -> str:
    if not color or not text:
        return text
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"\x1b[38;2;{red};{green};{blue}m{text}\x1b[0m"


def _budget_rows(b: Budget) -> Iterator[tuple[str, str]]:
    for name, words in BUDGET_WORDS.items():
        value = getattr(b, name)
        if value is not None:
            yield words, _budget_value(name, value)


def _budget_value(name: str, value: Any) -> str:
    if name == "max_concurrency":
        return f"{value:.2f}×"
    return show(value) if "bytes" in name else f"{value:,}"


def _explained(part: Part) -> Iterator[str]:
    yield f"{part.name}: {show(part.bytes)} ({part.basis})"
    shown = [t for t in part.terms if t.bytes] or list(part.terms[:1])
    for term in shown:
        yield from _explained_term(term)
    if not shown:
        yield f"  {part.formula} = {part.worked}"


def _explained_term(term: Term) -> Iterator[str]:
    yield f"  {term.name}: {term.formula}"
    yield f"    = {term.worked}" if term.worked else f"    = {term.bytes}"
    yield f"    = {show(term.bytes)}"
    if term.source:
        yield f"    source: {term.source}"
