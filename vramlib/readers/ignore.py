"""Which tensors a quantization leaves plain: the roles it keeps, the module names on the file's own list."""

from __future__ import annotations

import fnmatch
import functools
import re
from dataclasses import replace

from vramlib.specs import ModelSpec, QuantSpec, Tensor

PREFIXES = ("", "model.", "model.language_model.", "language_model.model.", "language_model.", "backbone.")
"""How the same module is called in a text model and inside several multimodal wrappers."""


def applies(quant: QuantSpec | None, tensor_full_name: str, tensor: Tensor) -> bool:
    """Whether a quantization compresses one tensor.

    Parameters
    ----------
    quant : the format, with its kept roles and its list of exceptions [-]
    tensor_full_name : as in the checkpoint, ``model.layers.3.mlp.down_proj.weight`` [-]
    tensor : the tensor, for its role and for whether it is a matrix that can be compressed [-]

    Returns
    -------
    True when it is stored compressed [-]

    Examples
    --------
    >>> from vramlib.readers.format_names import row
    >>> down = Tensor(name="mlp.down_proj.weight", shape=(8, 8), role="mlp", linear=True)
    >>> applies(row("awq"), "model.layers.3.mlp.down_proj.weight", down)
    True
    """
    return quant is not None and quant.compresses(tensor) and not ignored(quant.ignore, tensor_full_name)


def ignored(patterns: tuple[str, ...], tensor_full_name: str) -> bool:
    """Whether a file's list of exceptions names the module of this tensor.

    An entry is a module path or a run of its parts (``lm_head``, ``mlp.gate``, ``model.layers.0``), a glob with
    ``*``, or a regular expression after ``re:`` that must match from the start.

    Parameters
    ----------
    patterns : the entries [-]
    tensor_full_name : as in the checkpoint [-]

    Returns
    -------
    True when one of them matches [-]

    Examples
    --------
    >>> ignored(("re:.*mlp.gate$", "lm_head"), "model.layers.3.mlp.gate.weight")
    True
    >>> ignored(("mlp.gate",), "model.layers.3.mlp.gate_proj.weight")
    False
    """
    if not patterns:
        return False
    module = _module(tensor_full_name)
    exact, expressions = _compiled(patterns)
    if any(part in exact for part in _runs(module)):
        return True
    numbered = module.replace("experts.", "experts.0.") if "experts." in module else module
    spelled = [prefix + each for each in dict.fromkeys((module, numbered)) for prefix in PREFIXES]
    return any(e.match(each) for e in expressions for each in spelled)


def _module(name: str) -> str:
    """Path of the module, without the wrapper's prefix, the tensor's own word and the number of an expert."""
    for prefix in sorted(PREFIXES, key=len, reverse=True):
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    name = re.sub(r"\.(weight|bias|weight_packed|qweight)$", "", name.strip("."))
    return re.sub(r"\bexperts\.(\d+|\*)\.", "experts.", name)


def _runs(module: str) -> set[str]:
    """Every run of neighbouring parts of a dotted path, so that a pattern of any length is one look-up."""
    parts = module.split(".")
    return {".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    exact = frozenset(_module(p) for p in patterns if not p.startswith("re:") and not set("*?[") & set(p))
    expressions = [p[3:] for p in patterns if p.startswith("re:")]
    expressions += [fnmatch.translate(p) for p in patterns if not p.startswith("re:") and set("*?[") & set(p)]
    return exact, tuple(_expression(e) for e in expressions)


def _expression(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as problem:
        raise ValueError(
            f"quantization_config: {text!r} is not a regular expression ({problem})"
        ) from problem


def attach(model: ModelSpec, quant: QuantSpec | None) -> ModelSpec:
    """The model with its format, and with every tensor on the list of exceptions marked as not compressible.

    Layers differ where the list names only some of them, so that a formula needs no names.

    Parameters
    ----------
    model : inventory from config.json [-]
    quant : its format; ``None`` leaves the model as it is [-]

    Returns
    -------
    The same inventory, ``linear`` false where the format skips a matrix [-]

    Examples
    --------
    >>> from vramlib import catalog
    >>> from vramlib.readers.format_names import row
    >>> attach(catalog.model("Llama-3.1-8B"), row("awq")).quantization.name
    'awq'
    """
    if quant is None:
        return model
    if not quant.ignore:
        return replace(model, quantization=quant)
    layers = tuple(
        replace(layer, tensors=_marked(layer.tensors, quant, f"layers.{i}."))
        for i, layer in enumerate(model.layers)
    )
    head, towers = _marked(model.head, quant, ""), _marked(model.towers, quant, "")
    return replace(model, quantization=quant, layers=layers, head=head, towers=towers)


def _marked(tensors: tuple[Tensor, ...], quant: QuantSpec, prefix: str) -> tuple[Tensor, ...]:
    return tuple(
        replace(t, linear=False) if t.linear and ignored(quant.ignore, prefix + t.name) else t
        for t in tensors
    )
