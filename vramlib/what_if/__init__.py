"""What if: up to four configurations side by side, every setting movable, as plain data for a page to draw.

``State`` is all there is to keep: it goes into a link or a small JSON file and comes back the same. ``view.quick`` and
``view.details`` turn it into figures, ``settings.controls`` into things to move; nothing here knows of a browser.

>>> from vramlib.what_if import State, view
>>> state = State().set(model="Llama-3.1-8B", gpu="L4")
>>> view.quick(state)["fits"]
True
"""

from __future__ import annotations

from vramlib.what_if.settings import controls
from vramlib.what_if.state import Configuration, State

__all__ = ["Configuration", "State", "controls"]
