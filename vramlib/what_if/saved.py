"""What can be taken away from a page: the figures as CSV, the bar as a picture, the command, a report."""

from __future__ import annotations

import csv as csv_files
import io
import tempfile
from pathlib import Path
from typing import Any

from vramlib import charts, commands, contract, csv_rows, fields, messages
from vramlib.messages import t
from vramlib.vega import STATIC_WIDTH, VEGA_LITE
from vramlib.what_if import compare
from vramlib.what_if.asked import answer, tried
from vramlib.what_if.state import State
from vramlib.what_if.uploads import Upload, stem

PNG_SCALE = 2.0  # picture points for each of the drawing


def csv(state: State) -> str:
    """Every configuration as a row: its name, its fields as given, and the columns of a sweep's answer.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    CSV whose first row names the columns; ``vram sweep`` reads it again where no model was uploaded [-]

    Examples
    --------
    >>> lines = csv(State().set(gpu="L4").add().set(batch_size=2)).splitlines()
    >>> lines[0][:48], len(lines)
    ('configuration,model,gpu,max_model_len,batch_size', 3)
    """
    given = [{"max_model_len": "auto", **c.fields} for c in state.configurations]
    names = [name for name in fields.NAMES if any(name in one for one in given)]
    out = io.StringIO(newline="")
    writer = csv_files.writer(out, lineterminator="\n")
    writer.writerow(["configuration", *names, *contract.COLUMNS])
    for place, one in enumerate(given):
        e, error = tried(state, place)
        row = dict.fromkeys(contract.COLUMNS) | {"error": error} if e is None else contract.row(e)
        cells = map(csv_rows.cell, (*map(one.get, names), *row.values()))
        writer.writerow([_no_formula(compare.name(state, place)), *cells])
    return out.getvalue()


def _no_formula(text: str) -> str:
    """A text that no spreadsheet runs."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def command(state: State) -> str:
    """The command that starts the current configuration's engine.

    Raises
    ------
    ValueError : the configuration cannot be used
    KeyError : no such model or card

    Examples
    --------
    >>> command(State().set(max_model_len=8192))
    'vllm serve meta-llama/Llama-3.1-8B --max-model-len 8192'
    """
    return commands.command_line(answer(state).scenario)


def svg(state: State) -> str:
    """The bar of the current configuration as SVG.

    Raises
    ------
    ValueError : the configuration cannot be used
    KeyError : no such model or card
    """
    import vl_convert

    return vl_convert.vegalite_to_svg(_spec(state), vl_version=VEGA_LITE)


def png(state: State) -> bytes:
    """The same picture as PNG, on white.

    Raises
    ------
    ValueError : the configuration cannot be used
    KeyError : no such model or card
    """
    import vl_convert

    spec = {**_spec(state), "background": "white"}
    return vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=PNG_SCALE)


def _spec(state: State) -> dict[str, Any]:
    e = answer(state)
    chart = charts.parts_bar(e, labels=messages.parts(state.language), language=state.language)
    return {**chart.to_dict(), "width": STATIC_WIDTH}


def report(state: State) -> bytes:
    """The report of the current configuration, one HTML file; its notebook runs for some seconds.

    Parameters
    ----------
    state : any; an uploaded config.json is written into a temporary folder for it [-]

    Returns
    -------
    The page [byte]

    Raises
    ------
    ValueError : the configuration cannot be used, or its model was uploaded as a header whose file is not here
    KeyError : no such model or card
    """
    from vramlib import report as reports

    answer(state)  # what cannot be used is told at once
    with tempfile.TemporaryDirectory(prefix="vram-report-") as folder:
        model = str(state.fields["model"])
        if model in state.models:
            model = str(_written(state.models[model], Path(folder), state.language))
        asked = {**state.fields, "model": model, "language": state.language}
        page = reports.run(asked, Path(folder) / "report.html", progress=False).read_bytes()
        return page.replace(f"{folder}/".encode(), b"")


def _written(upload: Upload, folder: Path, language: str) -> Path:
    """An uploaded config.json as a file again; the folder is called as the model is."""
    if upload.kind != "config":
        raise ValueError(t("what.report_needs_file", language, file=upload.name))
    path = folder / stem(upload.name) / "config.json"
    path.parent.mkdir()
    path.write_text(upload.text, encoding="utf-8")
    return path
