"""The ``workbook`` renderer: Altair charts that need no network, in a notebook and in a saved page.

A chart becomes a picture (SVG) that every viewer shows, and a script that puts the live chart, with tooltips,
in its place where scripts run. Vega itself is loaded once a page: by ``enable`` in a notebook, by ``export``
in a saved page.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair
import vl_convert

GREY = "#767676"  # readable on white (4.5:1) and on a dark page (4.1:1)
STATIC_WIDTH = 600  # the picture's width where the live chart takes that of its page [px]
PAGE_JS = "window.__vramVega = window.__vramVega || Promise.resolve(vegaEmbed);"
VEGA_LITE = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])

_loaders: list[Any] = []

_UPGRADE = """<script>(() => {
const script = document.currentScript, before = script && script.previousElementSibling;
const free = e => e && e.dataset.chart === "%(sha)s" && !e.dataset.live;
const box = free(before) ? before : [...document.querySelectorAll('[data-chart="%(sha)s"]')].find(free);
if (!box) return;
box.dataset.live = "1";
const inputs = () => box.querySelectorAll("input,select").forEach(
  i => i.setAttribute("data-lm-suppress-shortcuts", "true"));
const draw = tries => window.__vramVega
  ? window.__vramVega.then(embed => embed(box, %(spec)s, {actions: false, renderer: "svg"})).then(inputs)
  : tries && setTimeout(() => draw(tries - 1), 50);
draw(200);
})()</script>"""


@functools.cache
def bundle(code: str) -> str:
    """JavaScript module with Vega, Vega-Lite, vega-embed and our code; kept on disk, as it takes a second.

    Parameters
    ----------
    code : what the module does with ``vegaEmbed`` [-]

    Returns
    -------
    Source of one module without imports [-]
    """
    key = hashlib.sha256(f"{version('vl-convert-python')}|{VEGA_LITE}|{code}".encode()).hexdigest()[:16]
    file = _cache_folder() / f"{key}.js"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(vl_convert.javascript_bundle(code, vl_version=VEGA_LITE), encoding="utf-8")
        part.replace(file)
    return file.read_text(encoding="utf-8")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vramlib"


def render(spec: dict[str, Any], **_: Any) -> dict[str, str]:
    """One chart as a notebook stores it: a short text for diffs, and the picture that becomes live.

    Parameters
    ----------
    spec : a Vega-Lite specification with its data inside [-]

    Returns
    -------
    Text by media type, the same bytes for the same chart [-]
    """
    spec = _rounded(spec)
    text = json.dumps(spec, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    sha = hashlib.sha256(text.encode()).hexdigest()[:12]
    title = _title(spec)
    picture = base64.b64encode(_svg(spec).encode()).decode()
    alt_text = html.escape(spec.get("description") or title, quote=True)
    body = (
        f'<div class="vram-chart" data-chart="{sha}" style="width:100%"><img alt="{alt_text}" '
        f'style="max-width:100%;height:auto" src="data:image/svg+xml;base64,{picture}"></div>'
    )
    script = _UPGRADE % {"sha": sha, "spec": text.replace("</", "<\\/")}
    return {"text/plain": f"<chart {title!r} sha={sha}>", "text/html": body + script}


def to_html(chart: altair.TopLevelMixin) -> str:
    """A chart as HTML that stands in any page, for a rich display that holds more than the chart."""
    return render(chart.to_dict())["text/html"]


def page_wide(
    chart: Any, title: str, description: str, *, height: int, subtitle: bool = False
) -> altair.LayerChart:
    """What all charts share: the page's width, colours for light and dark, words for a screen reader.

    Parameters
    ----------
    chart : a layered chart [-]
    title : what stands above it [-]
    description : the picture in words [-]
    height : of the drawing without its axes [px]
    subtitle : whether the description is also shown [-]

    Returns
    -------
    The chart, ready to show [-]
    """
    head = altair.TitleParams(title, subtitle=description if subtitle else altair.Undefined, anchor="start")
    chart = chart.properties(title=head, description=f"{title}. {description}", background="transparent")
    fit = altair.AutoSizeParams(type="fit-x", contains="padding")
    chart = chart.properties(width="container", height=height, autosize=fit).configure_view(stroke=None)
    grey = {"labelColor": GREY, "titleColor": GREY}
    chart = chart.configure_axis(**grey, gridColor=GREY, gridOpacity=0.25, tickColor=GREY, labelFontSize=11)
    chart = chart.configure_title(color=GREY, subtitleColor=GREY, fontSize=14)
    return chart.configure_legend(**grey, labelFontSize=12, offset=6)


def enable() -> None:
    """Make ``workbook`` the renderer of this notebook and load Vega into its page; shows nothing."""
    import anywidget

    class VegaLoader(anywidget.AnyWidget):
        _esm = bundle(PAGE_JS + "\nexport default { initialize() {} };")

    _loaders.append(VegaLoader())
    altair.renderers.register("workbook", render)
    altair.renderers.enable("workbook")


def loaded() -> bool:
    """Whether ``enable`` has loaded Vega into this notebook's page."""
    return bool(_loaders)


def _svg(spec: dict[str, Any]) -> str:
    """The picture: it has no page to take its width from, and an image's inner labels are read by no one."""
    fixed = {**spec, "width": STATIC_WIDTH} if spec.get("width") == "container" else spec
    svg = vl_convert.vegalite_to_svg(fixed, vl_version=VEGA_LITE)
    return re.sub(r' (?:aria-[a-z]+|role|class|pointer-events)="[^"]*"', "", svg)


def _title(spec: dict[str, Any]) -> str:
    title = spec.get("title") or "chart"
    title = title.get("text", "chart") if isinstance(title, dict) else title
    return title if isinstance(title, str) else " ".join(title)


def _rounded(value: Any) -> Any:
    """Floats to 6 digits, as the last bit may differ between processors."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
