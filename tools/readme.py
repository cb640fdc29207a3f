"""Keep the README true: run each command that it shows, draw its figure, and put the results in place.

``python tools/readme.py`` rewrites README.md and docs/parts.svg; with ``--check`` it says whether they would change.
"""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import vl_convert
from click.testing import CliRunner

import vramlib
from vramlib import charts, cli, vega

ROOT = Path(__file__).resolve().parent.parent
FIGURE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192, "batch_size": 16}
BLOCK = re.compile(r"```console\n\$ ((?:vram|make accuracy)[^\n]*)\n.*?```", re.S)


def output(command: str) -> str:
    """What one ``vram`` command prints, cut where the README pipes it into ``head -N`` or ``grep -A N WORD``."""
    words, _, cut = command.partition(" | ")
    if words == "make accuracy":
        ran = subprocess.run(
            [sys.executable, "-m", "vramlib.accuracy"], capture_output=True, text=True, check=True
        )
        return "\n".join(piped([line.rstrip() for line in ran.stdout.splitlines()], shlex.split(cut)))
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(ROOT / "docs", "docs")
        text = (
            CliRunner().invoke(cli.main, shlex.split(words)[1:], prog_name="vram", terminal_width=78).output
        )
        if "-o out.csv" in words:
            text += "\nsome columns of out.csv:\n" + columns(Path("out.csv"))
    return "\n".join(piped([line.rstrip() for line in text.rstrip().splitlines()], shlex.split(cut)))


def piped(lines: list[str], cut: list[str]) -> list[str]:
    """The lines that ``head -N``, ``grep -A N WORD`` or ``grep -E PATTERN`` would leave."""
    if not cut:
        return lines
    if cut[0] == "head":
        return lines[: abs(int(cut[1]))]
    if cut[1] == "-E":
        return [line for line in lines if re.search(cut[2], line)]
    [first] = (
        i for i, line in enumerate(lines) if re.search(cut[3], line)
    )  # one: grep shows each that it finds
    return lines[first : first + int(cut[2]) + 1]


def columns(path: Path) -> str:
    """A few columns of a sweep's output, as a reader would look at them first."""
    import csv

    shown = ("model", "gpu", "max_model_len", "total_bytes", "fits", "budget_kv_pool_tokens", "error")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [[row[name] for name in shown] for row in csv.DictReader(file)]
    return "\n".join([",".join(shown), *(",".join(row) for row in rows)]) + "\n"


def figure() -> str:
    """The eight parts of the README's model and card as an SVG."""
    chart = charts.parts_bar(vramlib.estimate(**FIGURE), title="Llama-3.1-8B, 16 requests, on one L4")
    return vl_convert.vegalite_to_svg(json.loads(chart.to_json()), vl_version=vega.VEGA_LITE)


def rendered(text: str) -> str:
    """README.md with every console block run again."""
    return BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{output(m[1])}\n```", text)


def main(check: bool) -> int:
    """Rewrite, or only compare."""
    files = {ROOT / "README.md": rendered, ROOT / "docs" / "parts.svg": lambda _: figure()}
    stale = []
    for path, make in files.items():
        old = path.read_text("utf-8") if path.exists() else ""
        new = make(old)
        if new != old:
            stale.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale and check:
        print(f"not true any more: {', '.join(stale)}; run python tools/readme.py", file=sys.stderr)
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
