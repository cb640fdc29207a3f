"""Which layer of a hybrid model is what: lists, intervals and patterns of config.json into one word a layer.

``ADAPT`` holds a function for each family: it gives the sizes their ``kinds``, and may change traits.
Source: transformers 5.23, configuration_<model_type>.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vramlib.architectures.config import Shape
from vramlib.architectures.families import Traits
from vramlib.architectures.fields import whole
from vramlib.units import round_up

Adapted = tuple[Shape, Traits]
# Words that files use for a layer, as the words that this package uses.
WORDS = {"attention": "full", "full": "full", "linear": "linear", "mamba": "mamba", "conv": "conv"}
WORDS |= {"mlp": "mlp", "moe": "moe", "recurrent": "recurrent", "hybrid": "both"}
PATTERN = {"M": "mamba", "*": "full", "-": "mlp", "E": "moe"}


def layer_words(s: Shape) -> tuple[str, ...]:
    """One word a layer from the lists that files have for it, empty where they have none.

    Parameters
    ----------
    s : the model's sizes [-]

    Returns
    -------
    ``full``, ``linear``, ``mamba``, ``conv``, ``mlp``, ``moe``, ``recurrent`` or ``both`` [-]

    Raises
    ------
    ValueError: an unknown word, or not one entry a layer.
    """
    for field in ("layer_types", "layers_block_type"):
        listed = s.get(field)
        if isinstance(listed, list):
            return _checked(s, field, [str(word).removesuffix("_attention") for word in listed], WORDS)
    return ()


def _checked(s: Shape, field: str, listed: list[str], known: dict[str, str]) -> tuple[str, ...]:
    unknown = sorted(set(listed) - set(known))
    if unknown:
        raise ValueError(f"{s.fields.name}: {field} has {unknown[0]!r}; known: {', '.join(known)}")
    if len(listed) != s.num_hidden_layers:
        raise ValueError(
            f"{s.fields.name}: {field} has {len(listed)} entries for {s.num_hidden_layers} layers"
        )
    return tuple(known[word] for word in listed)


def _numbers(s: Shape, field: str) -> frozenset[int]:
    """Layers that a list names, empty when it is missing."""
    listed = s.get(field) or []
    if not isinstance(listed, list):
        raise ValueError(f"{s.fields.name}: {field} is {listed!r}; a list of layer numbers is needed")
    return frozenset(whole(i, field=field, name=s.fields.name, least=0) for i in listed)


def _pick(s: Shape, full: Callable[[int], bool], other: str) -> tuple[str, ...]:
    return layer_words(s) or tuple("full" if full(i) else other for i in range(s.num_hidden_layers))


def _alone(s: Shape, t: Traits) -> Adapted:
    """Recurrent layers only, without an MLP."""
    return s.replace(kinds=("mamba",) * s.num_hidden_layers, intermediate_size=0), t


def _jamba(s: Shape, t: Traits) -> Adapted:
    """Attention in one layer of each period."""
    period, offset = s.size("attn_layer_period", default=8), s.size("attn_layer_offset", default=4, least=0)
    return s.replace(kinds=_pick(s, lambda i: i % period == offset, "mamba")), t


def _bamba(s: Shape, t: Traits) -> Adapted:
    """Attention in the layers that the file names."""
    named = _numbers(s, "attn_layer_indices")
    return s.replace(kinds=_pick(s, lambda i: i in named, "mamba")), t


def _falcon_h1(s: Shape, t: Traits) -> Adapted:
    """Attention and Mamba-2 side by side in every layer."""
    return s.replace(kinds=("both",) * s.num_hidden_layers), t


def _granite(s: Shape, t: Traits) -> Adapted:
    """Positions are learned by the Mamba layers unless the file asks for rope; the dense width is the shared one."""
    s = s.replace(
        kinds=_pick(s, lambda i: False, "mamba"),
        intermediate_size=s.size("shared_intermediate_size", default=1024),
    )
    return s, t if s.get("position_embedding_type") == "rope" else t.but(rotary=0)


def _nemotron(s: Shape, t: Traits) -> Adapted:
    """A letter or a word for each layer: Mamba, attention, MLP or experts."""
    pattern = s.get("hybrid_override_pattern")
    words = layer_words(s)
    if isinstance(pattern, str) and not words:
        words = _checked(s, "hybrid_override_pattern", list(pattern), PATTERN)
    if not words:
        raise ValueError(f"{s.fields.name}: hybrid_override_pattern is missing; it says what each layer is")
    width = s.size("intermediate_size") if "mlp" in words else 0
    return s.replace(kinds=words, moe=tuple(word == "moe" for word in words), intermediate_size=width), t


def one_each(s: Shape, t: Traits, kind: str, key: Any) -> Adapted:
    """A layer is a mixer, an MLP or a set of experts, never two of them.

    Parameters
    ----------
    s : the model's sizes [-]
    t : its traits [-]
    kind : the layer's word [-]
    key : not used [-]

    Returns
    -------
    Sizes of this layer, and the same traits [-]
    """
    return (s if kind == "mlp" else s.replace(intermediate_size=0)), t


def _interval(s: Shape, t: Traits) -> Adapted:
    """Attention in every n-th layer, a delta rule in the others."""
    every = s.size("full_attention_interval", default=4)
    return s.replace(kinds=_pick(s, lambda i: (i + 1) % every == 0, "linear")), t


def _kimi(s: Shape, t: Traits) -> Adapted:
    """Layers are counted from 1 in ``linear_attn_config``."""
    named = _numbers(s, "linear_attn_config.full_attn_layers")
    return s.replace(kinds=_pick(s, lambda i: i + 1 in named, "linear")), t


def _minimax(s: Shape, t: Traits) -> Adapted:
    """Ones and zeros: attention or lightning attention; every second layer when nothing is said."""
    listed = s.get("attn_type_list")
    full = [bool(n) for n in listed] if isinstance(listed, list) else []
    if full and len(full) != s.num_hidden_layers:
        raise ValueError(
            f"{s.fields.name}: attn_type_list has {len(full)} entries for {s.num_hidden_layers} layers"
        )
    return s.replace(kinds=_pick(s, lambda i: full[i] if full else i % 2 == 1, "linear")), t


def _lfm2(s: Shape, t: Traits) -> Adapted:
    """Dense widths are two thirds of the given one, rounded up, unless the file turns that off."""
    named = _numbers(s, "full_attn_idxs")
    s = s.replace(kinds=_pick(s, lambda i: i in named, "conv"))
    if s.model_type != "lfm2" or not s.flag("block_auto_adjust_ff_dim", True):
        return s, t
    width, factor = 2 * s.intermediate_size // 3, s.get("block_ffn_dim_multiplier")
    width = int(factor * width) if isinstance(factor, int | float) else width
    return s.replace(intermediate_size=round_up(width, s.size("block_multiple_of", default=256))), t


def _recurrent_gemma(s: Shape, t: Traits) -> Adapted:
    """Two recurrent layers and one with a window of attention, over and over; half the width goes to the MLP."""
    types = s.get("block_types") or s.get("_block_types") or ["recurrent", "recurrent", "attention"]
    words = tuple(
        "sliding" if types[i % len(types)] == "attention" else "recurrent" for i in range(s.num_hidden_layers)
    )
    window = s.size("attention_window_size", default=2048)
    return s.replace(kinds=words, intermediate_size=s.intermediate_size // 2, sliding_window=window), t


# What each family does with its sizes and traits before its layers are listed.
ADAPT: Mapping[str, Callable[[Shape, Traits], Adapted]] = {
    "alone": _alone,
    "jamba": _jamba,
    "bamba": _bamba,
    "falcon_h1": _falcon_h1,
    "granite": _granite,
    "nemotron": _nemotron,
    "interval": _interval,
    "kimi": _kimi,
    "minimax": _minimax,
    "lfm2": _lfm2,
    "recurrent_gemma": _recurrent_gemma,
}
