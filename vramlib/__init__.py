"""Explain, predict and measure GPU memory for LLM inference, in eight parts that add up.

>>> import vramlib
>>> vramlib.estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192).fits
True
"""

from __future__ import annotations

from vramlib.estimate import estimate
from vramlib.specs import Estimate, GpuSpec, ModelSpec, Part, Scenario

__all__ = ["Estimate", "GpuSpec", "ModelSpec", "Part", "Scenario", "estimate"]
__version__ = "0.1.0"
