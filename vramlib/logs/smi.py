"""A pasted nvidia-smi table: used and total memory of each card, and the processes that hold it.

Source: the output of nvidia-smi of the driver series 470 to 580, whole cards and MIG slices.
"""

from __future__ import annotations

import re

from vramlib.logs.rules import Line, MiB, Rule, Value, rule
from vramlib.units import show

CARD = rule("", "|", r"(?!)", "a card's memory", name="smi_card")
PROCESS = rule("", "|", r"(?!)", "a process's memory", name="smi_process")
NAME_CELL = re.compile(r"^\s{0,4}(\d{1,3})\s{1,4}(\S.{1,60}?)\s{1,30}(?:On|Off|N/A|ERR!)\s{0,6}$")
MEMORY_CELL = re.compile(r"^\s{0,12}(\d{1,9})MiB\s{0,4}/\s{0,12}(\d{1,9})MiB\s{0,6}$")
SLICE_CELL = re.compile(r"^\s{0,6}(\d{1,3})\s{1,6}\d{1,3}\s{1,6}\d{1,3}\s{1,6}(\d{1,3})\s{0,4}$")
PROCESS_CELL = re.compile(
    r"^\s{0,8}(\d{1,3})\s{1,8}(?:(?:N/A|\d{1,3})\s{1,8}(?:N/A|\d{1,3})\s{1,16})?(\d{1,10})\s{1,8}[CGM+]{1,3}\s{1,8}"
    r"(\S.{0,80}?)\s{1,60}(\d{1,9})MiB\s{0,6}$"
)


class Table:
    """Reads a table line by line; the name of a card stands in the row above its memory."""

    def __init__(self) -> None:
        self.card: tuple[str, str] | None = None

    def line(self, number: int, text: str) -> Line | None:
        """What one line of the table says, or ``None``.

        Examples
        --------
        >>> table = Table()
        >>> table.line(1, "|   0  NVIDIA L4                      Off |   00000000:13:00.0 Off |          0 |")
        >>> table.line(2, "| N/A   57C    P0     60W /  72W |   21956MiB /  23034MiB |      0%      Default |").words
        'card 0 (NVIDIA L4): 21.44 GiB of 22.49 GiB in use'
        """
        if "|" not in text[:120]:
            return None
        cells = text[text.index("|") + 1 :][:400].split("|")
        if named := NAME_CELL.match(cells[0]):
            self.card = (named[1], named[2])
            return None
        if len(cells) > 1 and (memory := MEMORY_CELL.match(cells[1])):
            return self._memory(number, cells, memory)
        if process := PROCESS_CELL.match(cells[0]):
            return _process(number, text, process)
        return None

    def _memory(self, number: int, cells: list[str], memory: re.Match[str]) -> Line | None:
        part = SLICE_CELL.match(cells[0])
        if part:
            device, name = f"{part[1]} MIG {part[2]}", ""
        elif self.card and cells[0].strip():
            (device, name), self.card = self.card, None
        else:
            return None
        values = {
            "device": Value(value=device),
            "used_bytes": Value(value=int(memory[1]) * MiB, half_digit=MiB / 2),
            "smi_total_bytes": Value(value=int(memory[2]) * MiB, half_digit=MiB / 2),
        }
        if name:
            values["gpu"] = Value(value=name)
        return _line(
            number, "|" + "|".join(cells), CARD, values, f"card {device}" + (f" ({name})" if name else "")
        )


def _process(number: int, text: str, found: re.Match[str]) -> Line:
    values = {
        "device": Value(value=found[1]),
        "pid": Value(value=int(found[2])),
        "process": Value(value=found[3]),
        "held_bytes": Value(value=int(found[4]) * MiB, half_digit=MiB / 2),
    }
    return _line(number, text, PROCESS, values, f"process {found[2]} ({found[3]}) on card {found[1]}")


def _line(number: int, text: str, its_rule: Rule, values: dict[str, Value], subject: str) -> Line:
    sizes = [show(v.value) for n, v in values.items() if n.endswith("_bytes")]
    words = f"{subject}: {' of '.join(sizes)} in use" if len(sizes) == 2 else f"{subject} holds {sizes[0]}"
    return Line(number=number, text=text.strip()[:240], rank="", words=words, values=values, rule=its_rule)
