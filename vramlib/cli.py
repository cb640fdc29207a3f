"""The ``vram`` command: words in, a table, JSON, CSV or a page out.

Input that cannot be used ends with exit status 2 and one line on standard error. What a command needs is
imported when it runs, so that ``vram --help`` and ``vram estimate`` start quickly.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from vramlib import fields, text
from vramlib.cli_frame import STATUS_PIPE, Scenario, Vram, field_flags, terminable

__all__ = ["STATUS_PIPE", "main"]


@click.group(cls=Vram, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vramlib", prog_name="vram")
def main() -> None:
    """Where every byte of GPU memory goes when a language model is served."""


@main.command(cls=Scenario)
@click.argument("name", metavar="MODEL", required=False)
@click.option("--model", help="the same as MODEL, as engines spell it")
@click.option("--json", "as_json", is_flag=True, help="one JSON object instead of a table; sizes in bytes")
@click.option(
    "--explain", is_flag=True, help="each formula with this scenario's numbers put in, and its source"
)
def estimate(name: str | None, model: str | None, as_json: bool, explain: bool, **given: Any) -> None:
    """Eight parts of GPU memory for one model, one card and one setting.

    MODEL is a catalogue name, or a path to a config.json or its folder, a .gguf, a .safetensors or its index.

    Flags are the engines' own, so they can be pasted. A list is written 100;200.
    """
    import vramlib

    if name and model:
        raise ValueError(f"the model is given twice, {name!r} and --model {model!r}; write one of them")
    if not (name or model):
        raise ValueError(
            "no model is given; write vram estimate MODEL, vram models lists those known by name"
        )
    answer = vramlib.estimate(model=name or model, **{k: v for k, v in given.items() if v is not None})
    if as_json:
        click.echo(json.dumps(text.to_dict(answer), indent=2, ensure_ascii=False))
        return
    colored = "NO_COLOR" not in os.environ
    views = [text.table(answer), text.bar(answer, _columns(), color=colored), text.budget(answer)]
    views += [text.explain(answer)] if explain else []
    click.echo("\n\n".join(v for v in views if v))


field_flags(estimate)


def _columns() -> int:
    import shutil

    return max(20, min(shutil.get_terminal_size().columns - 2, 100))


@main.command(cls=Scenario)
@click.argument("name", metavar="MODEL")
@click.option("--ask", default="all", metavar="QUESTION", help="one of the questions below, or all  [all]")
@click.option("--cards", help="smallest-card: cards to choose from, as L4;A10G  [NVIDIA's whole cards]")
@click.option("--servers", type=click.IntRange(1), help="servers: whether so many fit  [the most]")
@click.option("--json", "as_json", is_flag=True, help="a JSON list of answers instead of text")
def plan(name: str, ask: str, as_json: bool, cards: str | None, servers: int | None, **given: Any) -> None:
    """Asked backwards: the most, least or fewest that fits.

    QUESTION is max-model-len, batch, max-num-batched-tokens, gpu-memory-utilization, precision, smallest-card,
    fewest-cards, servers (on one card) or change-first. Each answer says why it ends there and how to start it.
    """
    from vramlib import cli_many

    asked = {"model": name, **{k: v for k, v in given.items() if v is not None}}
    found = cli_many.plan(ask, asked, cards, servers)
    if as_json:
        click.echo(json.dumps([answer.to_dict() for answer in found], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(map(str, found)))


field_flags(plan)


@main.command()
@click.argument("in_path", metavar="IN.csv|GRID.yaml", type=click.Path(path_type=Path))
@click.option("-o", "--out", "out_path", metavar="OUT.csv", required=True, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="do not ask before a grid of more than ten million scenarios")
def sweep(in_path: Path, out_path: Path, yes: bool) -> None:
    """One estimate for each row of a CSV or grid.

    A CSV has columns named as the flags of vram estimate; others pass through. A grid is YAML: a field a line, with
    a value, a list of values, or a range as 1..64. A row that cannot be used says why in its column error.
    """
    from vramlib import cli_many

    with terminable():
        for line in cli_many.sweep(in_path, out_path, yes):
            click.echo(f"vram: {line}", err=True)


@main.command()
@click.argument("part_of_name", metavar="[TEXT]", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="a JSON list instead of a table")
def models(part_of_name: str, as_json: bool) -> None:
    """Models known by name; with TEXT, those that contain it."""
    from vramlib import listing

    _list(listing.models(part_of_name), as_json)


@main.command()
@click.argument("part_of_name", metavar="[TEXT]", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="a JSON list instead of a table")
def gpus(part_of_name: str, as_json: bool) -> None:
    """Cards known by name; with TEXT, those that contain it.

    Memory is what CUDA can allocate from.
    """
    from vramlib import listing

    _list(listing.gpus(part_of_name), as_json)


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    from vramlib import listing

    click.echo(json.dumps(rows, indent=2, ensure_ascii=False) if as_json else listing.table(rows))


@main.command()
@click.option(
    "-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="a scenario field; repeatable"
)
@click.option("--out", type=click.Path(path_type=Path), help="the page to write  [reports/MODEL--GPU.html]")
def report(parameters: tuple[tuple[str, str], ...], out: Path | None) -> None:
    """Run the report's notebook, write a page.

    The page opens without a network. NAME is a field of vram estimate.
    """
    named = [fields.plain_name(name) for name, _ in parameters]
    twice = next((n for n in named if named.count(n) > 1), None)
    if twice:
        raise ValueError(f"parameter {twice} is given twice; write it once")
    from vramlib import report as reports

    click.echo(str(reports.run(dict(parameters), out)))


@main.command()
@click.argument("grid", metavar="GRID.yaml|GRID.csv", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="folder of the batch  [reports/GRID]")
@click.option(
    "--jobs", "workers", type=click.IntRange(1, 256), help="reports at once  [one a core, at most 8]"
)
@click.option("--scheduler", metavar="ADDRESS", help="of a dask.distributed cluster to use instead")
@click.option(
    "--compare", "previous", metavar="PREVIOUS", type=click.Path(path_type=Path), help="an earlier batch"
)
@click.option("--language", type=click.Choice(["en", "vi"]), default="en", help="of reports and index  [en]")
@click.option("--yes", is_flag=True, help="do not ask before more than 500 reports")
def reports(grid: Path, **given: Any) -> None:
    """A report for each scenario of a grid.

    GRID is as for vram sweep. Writes a folder a report, index.html, summary.csv, and with --compare changes.csv.
    Finished reports are kept; what is missing or changed is made. Exit status 1: a report failed.
    """
    from vramlib import cli_reports

    click.get_current_context().exit(cli_reports.reports(grid, **given))


@main.command()
@click.option(
    "--language", type=click.Choice(["en", "vi"]), default="en", help="of text, labels and menus  [en]"
)
@click.argument("lab_arguments", metavar="[-- LAB ARGUMENTS]", nargs=-1)
def lab(language: str, lab_arguments: tuple[str, ...]) -> None:
    """Open the workbook in JupyterLab.

    It listens on this machine only, and its address holds a token. Words after -- go to JupyterLab.
    """
    from vramlib import lab as labs

    labs.start(language, lab_arguments)


@main.command()
@click.option("--language", type=click.Choice(["en", "vi"]), default="en", help="of the page  [en]")
@click.option("--model", help="to start with: catalogue name or path, as for vram estimate")
@click.option("--gpu", help="to start with: catalogue name")
@click.argument("voila_arguments", metavar="[-- VOILA ARGUMENTS]", nargs=-1)
def app(voila_arguments: tuple[str, ...], **given: str | None) -> None:
    """Open the what-if dashboard in a browser.

    It listens on this machine only, and its address holds a token. Words after -- go to Voila, as --no-browser.
    """
    from vramlib import app as apps

    apps.start({k: v for k, v in given.items() if v is not None}, voila_arguments)


@main.command()
@click.argument("notebooks", metavar="[NOTEBOOK …]", nargs=-1)
@click.option("--language", type=click.Choice(["en", "vi"]), default="en", help="of text and charts  [en]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("pages"), help="their folder  [pages]")
def export(notebooks: tuple[str, ...], language: str, out: Path) -> None:
    """Write the workbook as pages to hand out.

    They open with no Python and no network, and lead to one another. NOTEBOOK is a name such as 02_kv_cache; all
    of them without one. Vietnamese pages are run first, a few minutes for all.
    """
    from tqdm import tqdm

    from vramlib import handout

    names = handout.known(notebooks)
    with terminable(), tqdm(total=len(names), desc="pages", unit="page", leave=False, disable=None) as shown:
        pages = handout.write(out, names, language, lambda _: shown.update())
    click.echo(str(pages[0]))


@main.command(cls=Scenario)
@click.argument("log", metavar="LOG")
@click.option("--model", help="where the log names none: catalogue name, or path as for vram estimate")
@click.option("--json", "as_json", is_flag=True, help="one JSON object instead of text; sizes in bytes")
def explain(log: str, model: str | None, as_json: bool, **given: Any) -> None:
    """What an engine's log means, beside the estimate.

    LOG is a start-up log of vLLM, SGLang or llama.cpp, an out-of-memory message or an nvidia-smi table, whole or
    in part; - reads standard input. Flags say what the log does not, and win over what it does.
    """
    from vramlib import logs

    words = {k: v for k, v in {"model": model, **given}.items() if v is not None}
    told = logs.explain(sys.stdin.buffer, **words) if log == "-" else logs.explain_file(log, **words)
    click.echo(json.dumps(told.to_dict(), indent=2, ensure_ascii=False) if as_json else str(told))


field_flags(explain)


@main.command()
@click.argument("names", metavar="[NAME …]", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="the file to write  [data/measurements/…json]")
@click.option("--share", type=float, default=0.5, help="largest part of the free memory to take  [0.5]")
@click.option("--seconds", type=float, default=300.0, help="time limit of each process  [300]")
@click.option("--repeats", type=int, default=3, help="readings of each point  [3]")
@click.option("--wait", type=float, default=30.0, help="seconds to wait for another measurement  [30]")
@click.option("--card", type=int, default=0, help="its number among the visible ones  [0]")
@click.option("--recorded", is_flag=True, help="touch no GPU: recordings, figures of others, predictions")
def measure(names: tuple[str, ...], out: Path | None, recorded: bool, card: int, **limits: Any) -> None:
    """Measure GPU memory, one experiment a process.

    NAME is context, weights, kv_growth, activations, sampler, cuda_graphs, padding, fragmentation,
    multi_process or whole_budget; all of them without one. Each predicts before it measures.
    """
    from vramlib.measure import Limits, command

    if recorded:
        for answer in command.recorded(names):
            click.echo(answer)
        return
    allowed = Limits(wait_seconds=limits.pop("wait"), **limits)
    _, path = command.live(names, allowed, card, out)
    if path is None:
        raise ValueError("every experiment was refused, nothing is written; see the reasons above")
    click.echo(f"vram: written to {path}", err=True)
