"""Two hours in class: which notebooks, how long at each, what is read together, what is left for home."""

from __future__ import annotations

from dataclasses import dataclass

from vramlib.messages import t

SECTIONS = (
    "question",
    "intuition",
    "formula",
    "hand",
    "try",
    "measure",
    "claim",
    "exercises",
    "check",
    "takeaways",
)
START = ("question", "table", "model", "check")  # sections of 00_start_here that a class reads
COMPONENTS = tuple(f"{n:02}" for n in range(1, 11))  # notebooks that have all of SECTIONS
CLASS_MINUTES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One stop of the class: a notebook and its sections, or a break where it has none.

    Parameters
    ----------
    notebook : of the workbook; empty for the break [-]
    minutes : that it takes [min]
    reads : sections read in class, by the names of their messages ``section.<name>`` [-]
    together : who works with whom: ``all``, ``alone``, ``pairs`` or ``rest`` [-]
    """

    notebook: str
    minutes: int
    reads: tuple[str, ...]
    together: str

    @property
    def skipped(self) -> tuple[str, ...]:
        """Sections that the notebooks of the rows share and this stop leaves for home."""
        return tuple(name for name in SECTIONS if name not in self.reads)


ROUTE = (
    Stop(notebook="00_start_here", minutes=12, reads=START, together="all"),
    Stop(
        notebook="01_model_weights",
        minutes=14,
        reads=("question", "formula", "hand", "try"),
        together="alone",
    ),
    Stop(
        notebook="02_kv_cache",
        minutes=18,
        reads=("question", "intuition", "formula", "hand", "try", "measure"),
        together="pairs",
    ),
    Stop(notebook="03_activations", minutes=10, reads=("question", "intuition", "try"), together="alone"),
    Stop(notebook="04_cuda_context", minutes=8, reads=("question", "measure", "claim"), together="pairs"),
    Stop(notebook="", minutes=8, reads=(), together="rest"),
    Stop(notebook="05_framework_buffers", minutes=8, reads=("question", "try", "measure"), together="pairs"),
    Stop(notebook="06_prefill_padding", minutes=8, reads=("question", "intuition", "try"), together="alone"),
    Stop(notebook="07_fragmentation", minutes=8, reads=("question", "intuition", "claim"), together="all"),
    Stop(notebook="08_multi_process", minutes=7, reads=("question", "try"), together="alone"),
    Stop(notebook="10_optimizations", minutes=9, reads=("question", "try", "claim"), together="all"),
    Stop(notebook="11_what_if", minutes=10, reads=("question", "try"), together="pairs"),
)


def class_route(language: str = "en") -> str:
    """The route as a Markdown table with a running clock, and how to pair up when only half have a GPU.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    Markdown [-]

    Examples
    --------
    >>> class_route().splitlines()[6].split(" | ")[:3]
    ['| 0:54', '8', '[04_cuda_context](04_cuda_context.ipynb)']
    """
    heads = ("clock", "minutes", "stop", "reads", "skips", "together")
    lines = [
        "| " + " | ".join(t(f"route.{name}", language) for name in heads) + " |",
        "| --- " * len(heads) + "|",
    ]
    clock = 0
    for stop in ROUTE:
        lines.append(_row(stop, clock, language))
        clock += stop.minutes
    return "\n".join((*lines, "", t("route.pairing", language), "", t("route.home", language)))


def _row(stop: Stop, clock: int, language: str) -> str:
    link = f"[{stop.notebook}]({stop.notebook}.ipynb)" if stop.notebook else t("route.break", language)
    if stop.notebook[:2] in COMPONENTS:
        skips = _sections(stop.skipped, language)
    else:
        skips = t("route.remainder", language) if stop.notebook else ""
    cells = (
        f"{clock // 60}:{clock % 60:02}",
        str(stop.minutes),
        link,
        _sections(stop.reads, language),
        skips,
        t(f"route.{stop.together}", language),
    )
    return "| " + " | ".join(cells) + " |"


def _sections(names: tuple[str, ...], language: str) -> str:
    return " · ".join(t(f"section.{name}", language) for name in names)
