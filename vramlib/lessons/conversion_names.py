"""Notebook 09: the models behind each name of the seed's table, their counts and the chart."""

from __future__ import annotations

from typing import Any

import altair as alt

from vramlib import catalog, charts_growth, names, tables
from vramlib.claims.cases import plain_bytes
from vramlib.lessons.conversion import UNITS, both, stored_bytes
from vramlib.lessons.kv_cache import short
from vramlib.messages import t
from vramlib.specs import PART_COLORS
from vramlib.vega import GREY, page_wide

KINDS = ("model", "llama", "printed")


def named() -> dict[str, list[str]]:
    """Models that are called by each name of the seed's table.

    Examples
    --------
    >>> [len(models) for models in named().values()]
    [5, 6, 7, 4]
    """
    return {r["params"]: r["models"].split(";") for r in catalog.table("conversion")}


def counts(language: str = "en") -> tables.Table:
    """Every model of those names with its exact count, in both units, from the smallest to the largest."""
    rows = []
    for name, models in named().items():
        for m in sorted((names.model(n) for n in models), key=lambda m: m.params_total):
            rows.append((name, short(m.name), f"{m.params_total:,}", *both(plain_bytes(m))))
    keys = ("name", "model", "params", "gb", "gib")
    return tables.table([t(f"conv.column_{c}", language) for c in keys], rows)


def names_chart(language: str = "en") -> alt.LayerChart:
    """Where the models of each name really lie, and where the table says; unit and format are chosen inside the chart.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    rows = [row for unit in ("GB", "GiB") for row in _points(unit, language)]
    choose = [
        charts_growth.chooser("unit", list(UNITS), t("conv.unit", language)),
        charts_growth.chooser("format", ["16 bit", "4 bit (AWQ)"], t("conv.column_format", language)),
    ]
    base = alt.Chart(alt.Data(values=rows))
    for c in choose:
        base = base.transform_filter(f"datum['{c.name}'] == {c.name}")
    words = [t(f"conv.sign_{kind}", language) for kind in KINDS]
    blue = PART_COLORS["model_weights"]
    shapes = alt.Scale(domain=words, range=["circle", "diamond", "stroke"])
    colors = alt.Scale(domain=words, range=[blue, "#D55E00", GREY])
    legend = alt.Legend(title=None, orient="bottom", labelLimit=300)
    place = alt.Y("name:N", sort=None, axis=alt.Axis(title=None, ticks=False, domain=False, labelFontSize=13))
    axis = alt.Axis(title=t("conv.names_axis", language), format="~g")
    sign = {
        "y": place, "x": alt.X("x:Q", axis=axis, scale=alt.Scale(zero=True)),
        "shape": alt.Shape("sign:N", scale=shapes, legend=legend),
        "color": alt.Color("sign:N", scale=colors, legend=legend),
        "tooltip": [alt.Tooltip("who:N", title=" "), alt.Tooltip("x:Q", title=" ", format=".2f")],
    }  # fmt: skip
    dots = base.transform_filter("datum.kind != 'printed'").mark_point(
        size=110, strokeWidth=2, fillOpacity=0.35
    )
    said = base.transform_filter("datum.kind == 'printed'").mark_point(size=420, strokeWidth=3, angle=90)
    text = base.transform_filter("datum.kind == 'printed'").mark_text(dy=-18, color=GREY, fontSize=12)
    layers = (said.encode(**sign), dots.encode(**sign), text.encode(y=place, x="x:Q", text="who:N"))
    title, description = (t(f"conv.names_{w}", language) for w in ("title", "description"))
    return page_wide(alt.layer(*layers).add_params(*choose), title, description, height=250)


def _points(unit: str, language: str) -> list[dict[str, Any]]:
    """Models and printed figures of every name, in one unit."""
    rows = []
    for r in catalog.table("conversion"):
        for label, format_name, printed in (("16 bit", "none", "fp16_gb"), ("4 bit (AWQ)", "awq", "int4_gb")):
            own = {"name": r["params"], "unit": unit, "format": label}
            for name in r["models"].split(";"):
                kind = "llama" if name == r["nearest"] else "model"
                x = stored_bytes(names.model(name), format_name) / UNITS[unit]
                rows.append(own | _point(kind, short(name), x, language))
            rows.append(own | _point("printed", f"~{r[printed]} GB", float(r[printed]), language))
    return rows


def _point(kind: str, who: str, x: float, language: str) -> dict[str, Any]:
    return {"kind": kind, "sign": t(f"conv.sign_{kind}", language), "who": who, "x": x}
