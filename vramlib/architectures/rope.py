"""Rotary position tables as vLLM keeps them: cosines and sines, one table for each distinct setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.architectures.config import Shape


def settings(s: Shape, *, local: bool = False) -> tuple[Mapping[str, Any], ...]:
    """The rope settings of a model: one, or one for each type of layer (Gemma-3: global and local).

    Parameters
    ----------
    s : the model's sizes [-]
    local : whether the family's sliding layers have a setting of their own [-]

    Returns
    -------
    Distinct settings, global before local, empty where positions are not scaled [-]
    """
    found = s.get("rope_parameters") or s.get("rope_scaling")
    found = found if isinstance(found, Mapping) else {}
    inner = [found[key] for key in sorted(found) if isinstance(found[key], Mapping)]
    if inner:
        return tuple(one for i, one in enumerate(inner) if one not in inner[:i])
    return (found, {}) if local else (found,)


def rows(s: Shape, scaling: Mapping[str, Any]) -> int:
    """Positions that one table holds.

    Formula: max_position_embeddings; linear and dynamic: × factor; yarn: original × factor;
    longrope: original + max; multimodal rope: 4 × max

    Parameters
    ----------
    s : the model's sizes [-]
    scaling : its rope settings [-]

    Returns
    -------
    Rows of the table [token]

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/rotary_embedding/: _compute_cos_sin_cache of each class.
    """
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    factor = scaling.get("factor")
    factor = factor if isinstance(factor, int | float) and factor > 0 else 1
    limit = s.max_position_embeddings
    original = scaling.get("original_max_position_embeddings") or s.get("original_max_position_embeddings")
    original = original if isinstance(original, int) and original > 0 else limit
    if "mrope_section" in scaling:
        return 4 * limit
    if kind in ("yarn", "deepseek_yarn"):
        return int(original * factor)
    if kind in ("linear", "dynamic"):
        return int(limit * factor)
    return original + limit if kind in ("longrope", "su") else limit


def rotary_dim(s: Shape, scaling: Mapping[str, Any], head_dim: int, fraction: float = 1.0) -> int:
    """Numbers of a head that turn with position.

    Parameters
    ----------
    s : the model's sizes [-]
    scaling : its rope settings [-]
    head_dim : width of one head [element]
    fraction : the family's own part of a head when the file names none [-]

    Returns
    -------
    Width of one row of the table [element]
    """
    if s.get("qk_rope_head_dim") is not None:
        return s.size("qk_rope_head_dim")
    if scaling.get("rope_type") == "proportional":
        return head_dim  # turned by zero where it does not turn
    if s.get("rotary_dim") is not None:
        return s.size("rotary_dim")
    for part in (scaling.get("partial_rotary_factor"), s.get("partial_rotary_factor"), s.get("rotary_pct")):
        if isinstance(part, int | float) and 0 < part <= 1:
            return int(head_dim * part)
    return int(head_dim * fraction)


def tables(
    s: Shape, *, fraction: float = 1.0, local: bool = False, head_dims: tuple[int, ...] = ()
) -> tuple[tuple[int, int], ...]:
    """Rows and width of every distinct table.

    Parameters
    ----------
    s : the model's sizes [-]
    fraction : the family's own part of a head when the file names none [-]
    local : whether the family's sliding layers have a setting of their own [-]
    head_dims : width of one global and one local head, where they differ [element]

    Returns
    -------
    Pairs (rows, rotary dimension), global before local [token], [element]

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/rotary_embedding/__init__.py get_rope: one a distinct setting.
    """
    found = settings(s, local=local)
    widths = head_dims or (s.head_dim,) * len(found)
    pairs = zip(found, widths, strict=False)
    return tuple((rows(s, scaling), rotary_dim(s, scaling, width, fraction)) for scaling, width in pairs)
