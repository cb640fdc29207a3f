"""The ``vram`` command: words in, a table, JSON, CSV or a page out.

Input that cannot be used ends with exit status 2 and one line on standard error. What a command needs is
imported when it runs, so that ``vram --help`` and ``vram estimate`` start quickly.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from vramlib import fields, text, values

UNUSABLE = (ValueError, KeyError, OSError)
BOOLEANS = {f.flag for f in fields.FIELDS if f.kind == "bool"}
METAVARS = {
    "gpu": "NAME",
    "text": "NAME",
    "choice": "NAME",
    "bool": "TRUE|FALSE",
    "int": "N",
    "lengths": "N|N;N",
}
METAVARS |= {"fraction": "FRACTION", "size": "BYTES"}
STATUS_UNUSABLE, STATUS_STOPPED, STATUS_PIPE = 2, 130, 141


class Vram(click.Group):
    """The command's frame: every known exception becomes one line and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of this file."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command; where there is none, offer the nearest."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], list(self.commands), n=1)
            offer = f"nearest: {near[0]}" if near else f"the commands are: {', '.join(self.commands)}"
            raise click.UsageError(f"no command {args[0]!r}; {offer}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run one command; a reader that closes the pipe early, as ``head`` does, is no error."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return STATUS_PIPE
        return 0

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run one command and exit; unlike click's own it never prints a usage block or a traceback."""
        extra.pop("standalone_mode", None)
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(words, standalone_mode=False, **extra)
        except click.Abort:
            _stop("stopped", STATUS_STOPPED)
        except click.ClickException as error:
            _stop(_usage(error), STATUS_UNUSABLE)
        except UNUSABLE as error:
            _stop(text.message(error), STATUS_UNUSABLE)
        sys.exit(status)


class Scenario(click.Command):
    """A command whose flags are the scenario's fields, spelled with hyphens or underscores."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write pasted flags the one way that click reads: ``--enforce-eager``, ``--no-…``, ``--a_b``."""
        return super().parse_args(ctx, list(_respelled(args)))


def _respelled(args: Sequence[str]) -> Iterable[str]:
    """Flags with hyphens; a bare boolean gets its ``true``, and one with ``no-`` before it its ``false``."""
    for place, arg in enumerate(args):
        name, given, value = arg.partition("=")
        if not name.startswith("--"):
            yield arg
            continue
        flag = "--" + name[2:].replace("_", "-")
        positive = "--" + flag.removeprefix("--no-")
        following = args[place + 1].strip().lower() if place + 1 < len(args) else ""
        if flag in BOOLEANS and not given and following not in values.TRUE_FALSE and following != "auto":
            yield f"{flag}=true"
        elif positive in BOOLEANS and flag != positive and not given:
            yield f"{positive}=false"
        else:
            yield flag + given + value


def _stop(line: str, status: int) -> NoReturn:
    click.echo(f"vram: {line}", err=True)
    sys.exit(status)


def _usage(error: click.ClickException) -> str:
    """What is wrong with the words, in one line, with the nearest right one."""
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        return _no_flag(error.option_name, ctx.command)
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}; see {ctx.command_path} --help" if ctx else message


def _no_flag(typed: str, command: click.Command) -> str:
    known = [name for p in command.params for name in p.opts if name.startswith("--")]
    flags = {fields.plain_name(flag): flag for flag in known}
    near = fields.nearest(typed, flags)
    offer = f"nearest: {flags[near]}" if near else f"see vram {command.name} --help"
    return f"no flag {typed}; {offer}"


def _field_flags(command: click.Command) -> click.Command:
    """One option for each field, in the table's order, after the command's own."""
    for field in fields.FIELDS[1:]:
        default = f"  [{field.default}]" if field.default else ""
        takes = "|".join(field.choices) if 0 < len(field.choices) < 5 else METAVARS[field.kind]
        command.params.append(click.Option([field.flag], metavar=takes, help=field.help + default))
    return command


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


_field_flags(estimate)


def _columns() -> int:
    import shutil

    return max(20, min(shutil.get_terminal_size().columns - 2, 100))


@main.command()
@click.argument("in_path", metavar="IN.csv", type=click.Path(path_type=Path))
@click.option("-o", "--out", "out_path", metavar="OUT.csv", required=True, type=click.Path(path_type=Path))
def sweep(in_path: Path, out_path: Path) -> None:
    """One estimate for each row of a CSV.

    Columns are named as the flags of vram estimate; others pass through. A row that cannot be used says
    why in its column error.
    """
    from tqdm import tqdm

    from vramlib import sweep as sweeps

    total = _lines(in_path) - 1 if sys.stderr.isatty() and in_path.is_file() else None
    summary = sweeps.run(in_path, out_path, lambda rows: tqdm(rows, total=total, unit=" rows", disable=None))
    for note in summary.notes:
        click.echo(f"vram: {note}", err=True)
    bad = f", {summary.bad_rows} of them bad: see column error" if summary.bad_rows else ""
    click.echo(f"vram: {summary.rows} rows written to {out_path}{bad}", err=True)


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


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
@click.option("--language", type=click.Choice(["en", "vi"]), default="en", help="of Lab's own menus  [en]")
@click.argument("lab_arguments", metavar="[-- LAB ARGUMENTS]", nargs=-1)
def lab(language: str, lab_arguments: tuple[str, ...]) -> None:
    """Open the workbook in JupyterLab.

    It listens on this machine only, and its address holds a token. Words after -- go to JupyterLab.
    """
    from vramlib import lab as labs

    labs.start(language, lab_arguments)


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


_field_flags(explain)
