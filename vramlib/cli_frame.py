"""The frame of the ``vram`` command: flags as people paste them, every known exception one line and an exit status."""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
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


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM stops a command as Ctrl-C does: nothing half written, no process left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def field_flags(command: click.Command) -> click.Command:
    """One option for each field, in the table's order, after the command's own."""
    for field in fields.FIELDS[1:]:
        default = f"  [{field.default}]" if field.default else ""
        takes = "|".join(field.choices) if 0 < len(field.choices) < 5 else METAVARS[field.kind]
        command.params.append(click.Option([field.flag], metavar=takes, help=field.help + default))
    return command
