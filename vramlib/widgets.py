"""One call for each notebook: ``widgets.kv_cache()`` is live, ``widgets.kv_cache.still()`` stays without a kernel."""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.controls import Widget
from vramlib.lessons import kv_cache as _kv_cache

kv_cache: Widget = _kv_cache.WIDGET

ALL: Mapping[str, Widget] = {w.name: w for w in (kv_cache,)}
