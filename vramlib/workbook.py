"""The workbook's notebooks in reading order: what each asks, minutes, GPU or not, what is there."""

from __future__ import annotations

from dataclasses import dataclass

from vramlib._paths import notebooks_dir
from vramlib.messages import names, t


@dataclass(frozen=True, slots=True)
class Notebook:
    """One notebook of the map.

    Parameters
    ----------
    name : of its file, without the ending [-]
    minutes : reading and trying [min]
    gpu : whether a GPU is needed [-]
    """

    name: str
    minutes: int
    gpu: str = "no"

    def question(self, language: str = "en") -> str:
        """What it answers.

        Examples
        --------
        >>> NOTEBOOKS[1].question()
        'How many bytes is a parameter, really?'
        """
        return t(f"book.{self.name}", language)

    @property
    def is_there(self) -> bool:
        """Whether the file exists."""
        return (notebooks_dir() / f"{self.name}.ipynb").is_file()


NOTEBOOKS = (
    Notebook("00_start_here", 25),
    Notebook("01_model_weights", 25),
    Notebook("02_kv_cache", 25),
    Notebook("03_activations", 25),
    Notebook("04_cuda_context", 20, "helps"),
    Notebook("05_framework_buffers", 20, "helps"),
    Notebook("06_prefill_padding", 20),
    Notebook("07_fragmentation", 25, "helps"),
    Notebook("08_multi_process", 20, "helps"),
    Notebook("09_quick_conversion", 15),
    Notebook("10_optimizations", 20),
    Notebook("11_what_if", 25),
    Notebook("12_predicted_vs_measured", 20, "helps"),
    Notebook("report", 5),
)


def map_of_notebooks(language: str = "en") -> str:
    """All notebooks as a Markdown table; those that exist are links, the others are named as planned.

    Parameters
    ----------
    language : of the words, en or vi [-]

    Returns
    -------
    Markdown [-]

    Examples
    --------
    >>> print(map_of_notebooks().splitlines()[0])
    | notebook | question | minutes | GPU | |
    """
    heads = names("book", ("notebook", "question", "minutes", "gpu"), language).values()
    head = f"| {' | '.join(heads)} | |\n| --- | --- | --- | --- | --- |"
    return "\n".join((head, *(_row(n, language) for n in NOTEBOOKS)))


def _row(n: Notebook, language: str) -> str:
    link = f"[{n.name}]({n.name}.ipynb)" if n.is_there else n.name
    gpu, there = t(f"book.{n.gpu}", language), t("book.here" if n.is_there else "book.planned", language)
    return f"| {link} | {n.question(language)} | {n.minutes} | {gpu} | {there} |"
