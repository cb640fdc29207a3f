"""The workbook's notebooks in reading order: what each asks, minutes, GPU or not, what is there."""

from __future__ import annotations

from dataclasses import dataclass

from vramlib._paths import notebooks_dir


@dataclass(frozen=True, slots=True)
class Notebook:
    """One notebook of the map.

    Parameters
    ----------
    name : of its file, without the ending [-]
    question : what it answers [-]
    minutes : reading and trying [min]
    gpu : whether a GPU is needed [-]
    """

    name: str
    question: str
    minutes: int
    gpu: str = "no"

    @property
    def is_there(self) -> bool:
        """Whether the file exists."""
        return (notebooks_dir() / f"{self.name}.ipynb").is_file()


NOTEBOOKS = (
    Notebook("00_start_here", "Which of the table's claims hold, and by how much?", 25),
    Notebook("01_model_weights", "How many bytes is a parameter, really?", 25),
    Notebook("02_kv_cache", "What does one more token cost, and one more user?", 25),
    Notebook("03_activations", "Why does a deeper model not need more of it?", 25),
    Notebook("04_cuda_context", "What is taken before the first tensor?", 20, "helps"),
    Notebook("05_framework_buffers", "What do CUDA graphs and workspaces keep?", 20, "helps"),
    Notebook("06_prefill_padding", "What do tokens cost that are not there?", 20),
    Notebook("07_fragmentation", "Is memory lost between the tensors?", 25, "helps"),
    Notebook("08_multi_process", "What does each further process or card repeat?", 20, "helps"),
    Notebook("09_quick_conversion", "From a name such as 7B to gigabytes: how far off?", 15),
    Notebook("10_optimizations", "What does each optimization change in bytes?", 20),
    Notebook("11_what_if", "Which settings make my model fit my card?", 25),
    Notebook("12_predicted_vs_measured", "How far are the estimates from what engines print?", 20, "helps"),
    Notebook("report", "One model on one card, as a page to send to somebody", 5),
)


def map_of_notebooks() -> str:
    """All notebooks as a Markdown table; those that exist are links, the others are named as planned.

    Returns
    -------
    Markdown [-]

    Examples
    --------
    >>> print(map_of_notebooks().splitlines()[0])
    | notebook | question | minutes | GPU | |
    """
    head = "| notebook | question | minutes | GPU | |\n| --- | --- | --- | --- | --- |"
    return "\n".join((head, *(_row(n) for n in NOTEBOOKS)))


def _row(n: Notebook) -> str:
    link = f"[{n.name}]({n.name}.ipynb)" if n.is_there else n.name
    return f"| {link} | {n.question} | {n.minutes} | {n.gpu} | {'here' if n.is_there else 'planned'} |"
