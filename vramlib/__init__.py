"""Explain, predict and measure GPU memory for LLM inference, in eight parts that add up.

>>> import vramlib
>>> vramlib.estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192).fits
True
"""

from __future__ import annotations

import importlib
from typing import Any

from vramlib.estimate import estimate
from vramlib.specs import Estimate, GpuSpec, ModelSpec, Part, Scenario

__all__ = ["Estimate", "GpuSpec", "ModelSpec", "Part", "Scenario", "estimate"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Modules that are loaded when they are first named: ``vramlib.plan``, ``vramlib.sweep``."""
    if name not in ("plan", "sweep"):
        raise AttributeError(f"module 'vramlib' has no attribute {name!r}")
    return importlib.import_module(f"vramlib.{name}")
