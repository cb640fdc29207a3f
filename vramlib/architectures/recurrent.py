"""Mamba and Mamba-2: what stands in place of attention, its matrices and the state it keeps instead of rows.

Tensors of one name are rows of one stored tensor; they stay apart because engines cut them in different ways: the
groups of Mamba-2 repeat when ranks outnumber them, as key-value heads do. What is split, and that ``A`` is held in
float32, follows vLLM 0.33, vllm/model_executor/layers/mamba/ (mamba_mixer.py, mamba_mixer2.py, short_conv.py, …).
"""

from __future__ import annotations

from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.specs import Cache, Tensor
from vramlib.units import ceil_div

Mixed = tuple[tuple[Tensor, ...], tuple[Cache, ...]]


def first(s: Shape, *names: str, default: int | None = None) -> int:
    """A size under the first spelling present.

    Parameters
    ----------
    s : the model's sizes [-]
    names : spellings, the usual one first [-]
    default : taken when all are missing; None makes that an error [-]

    Returns
    -------
    The number [-]

    Raises
    ------
    ValueError: all are missing (or ``auto``) and there is no default.
    """
    name = next((n for n in names if s.get(n) not in (None, "auto")), "")
    if name:
        return s.size(name)
    if default is None:
        raise ValueError(
            f"{s.fields.name}: {' or '.join(names)} is missing; look in the model's own config.json"
        )
    return default


def state_dtype(s: Shape) -> str:
    """Type that the file forces on the recurrent state, ``""`` when it follows the model.

    Parameters
    ----------
    s : the model's sizes [-]

    Returns
    -------
    ``float32``, ``float16``, ``bfloat16`` or ``""`` [-]
    """
    word = str(s.get("mamba_ssm_cache_dtype") or s.get("mamba_ssm_dtype") or "").removeprefix("torch.")
    return word if word in ("float32", "float16", "bfloat16") else ""


def plain(
    name: str, *shape: int, split: str = "out", heads: int = 0, fuse: str = "", dtype: str = ""
) -> Tensor:
    """A tensor of a recurrent mixer that weight quantization leaves alone.

    Parameters
    ----------
    name : in the checkpoint, without the layer's prefix [-]
    shape : its sizes [element]
    split, heads, fuse, dtype : as in ``specs.Tensor`` [-]

    Returns
    -------
    The tensor [-]
    """
    return Tensor(name=name, shape=shape, role="state", split=split, heads=heads, fuse=fuse, dtype=dtype)


def mamba1(s: Shape, *, prefix: str = "mixer.", inner_norms: bool = False) -> Mixed:
    """Mamba: a selective state of N numbers a channel.

    Formula: 2·H·D + D·K + D + D·(R + 2N) + R·D + D + D·N + D + D·H

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]
    inner_norms : norms over step and state projections, as in Jamba [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    Gu and Dao, "Mamba" (2023), section 3.4; transformers 5.23, models/mamba and jamba modeling_*.py.
    """
    expand = first(s, "expand", "mamba_expand", default=2)
    jamba = s.get("mamba_expand") is not None or s.get("mamba_d_state") is not None
    inner = expand * s.hidden_size if jamba else s.size("d_inner", default=_inner(s, expand))
    state = first(s, "state_size", "mamba_d_state", default=16)
    kernel = first(s, "conv_kernel", "mamba_d_conv", default=4)
    rank = first(s, "time_step_rank", "mamba_dt_rank", default=ceil_div(s.hidden_size, 16))
    bias = s.flag("mamba_proj_bias" if jamba else "use_bias")
    conv = s.flag("mamba_conv_bias" if jamba else "use_conv_bias", True)
    tensors = (
        *linear(prefix + "in_proj", (2 * inner, s.hidden_size), bias=bias, role="state", split="out"),
        plain(prefix + "conv1d.weight", inner, 1, kernel),
        *((plain(prefix + "conv1d.bias", inner),) if conv else ()),
        plain(prefix + "x_proj.weight", rank + 2 * state, inner, split="in"),
        plain(prefix + "dt_proj.weight", inner, rank),
        plain(prefix + "dt_proj.bias", inner),
        plain(prefix + "A_log", inner, state, dtype="float32"),
        plain(prefix + "D", inner),
        *linear(prefix + "out_proj", (s.hidden_size, inner), bias=bias, role="state", split="in"),
    )
    if inner_norms:
        widths = {"dt_layernorm": rank, "b_layernorm": state, "c_layernorm": state}
        tensors += tuple(t for name, width in widths.items() for t in norm(prefix + name, width))
    cache = Cache(
        kind="mamba1", conv_dim=inner, conv_kernel=kernel, state_elements=inner * state,
        state_dtype=state_dtype(s),
    )  # fmt: skip
    return tensors, (cache,)


def _inner(s: Shape, expand: int) -> int:
    """Mamba's own files name the inner width ``intermediate_size``."""
    return s.size("intermediate_size", default=expand * s.hidden_size)


def mamba2(s: Shape, *, prefix: str = "mixer.", gated_norm: bool = True, bias: str = "use_bias") -> Mixed:
    """Mamba-2: heads with a state of d_head × N each, and G groups that share B and C.

    Formula: H·(2D + 2·G·N + n_h) + (D + 2·G·N)·(K + 1) + 3·n_h + D + D·H

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]
    gated_norm : a norm before the output matrix [-]
    bias : field that gives both matrices biases [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    Dao and Gu, "Transformers are SSMs" (2024), section 8; transformers 5.23, models/mamba2/modeling_mamba2.py.
    """
    width, expand = s.hidden_size, first(s, "expand", "mamba_expand", default=2)
    heads = first(s, "mamba_num_heads", "mamba_n_heads", "num_heads")
    own = (
        "head_dim"
        if s.get("mamba_n_heads") is None and s.get("mamba_num_heads") is None
        else "mamba_head_dim"
    )
    inner = first(s, "mamba_d_ssm", default=expand * width)
    dim = first(s, own, "mamba_d_head", default=inner // heads)
    inner, groups = heads * dim, first(s, "n_groups", "mamba_n_groups", default=1)
    state = first(s, "state_size", "ssm_state_size", "mamba_d_state", default=128)
    kernel, shared = first(s, "conv_kernel", "mamba_d_conv", default=4), 2 * groups * state
    conv = s.flag("mamba_conv_bias" if s.get("mamba_conv_bias") is not None else "use_conv_bias", True)
    tensors = (
        *_rows(prefix + "in_proj", width, 2 * inner, bias=s.flag(bias)),
        *_rows(prefix + "in_proj", width, shared, bias=s.flag(bias), groups=groups),
        *_rows(prefix + "in_proj", width, heads, bias=s.flag(bias)),
        *_convolution(prefix + "conv1d", inner, kernel, conv),
        *_convolution(prefix + "conv1d", shared, kernel, conv, groups=groups),
        plain(prefix + "dt_bias", heads),
        plain(prefix + "A_log", heads, dtype="float32"),
        plain(prefix + "D", heads),
        *((plain(prefix + "norm.weight", inner),) if gated_norm else ()),
        *linear(prefix + "out_proj", (width, inner), bias=s.flag(bias), role="state", split="in"),
    )
    cache = Cache(
        kind="mamba2", conv_dim=inner + shared, conv_group_dim=shared, num_groups=groups, conv_kernel=kernel,
        state_elements=inner * state, state_dtype=state_dtype(s),
    )  # fmt: skip
    return tensors, (cache,)


def _rows(name: str, width: int, rows: int, *, bias: bool, groups: int = 0) -> tuple[Tensor, ...]:
    """Some rows of a matrix that is stored, and computed, as one."""
    split = "kv" if groups else "out"
    return linear(name, (rows, width), bias=bias, role="state", split=split, heads=groups, fuse=name)


def _convolution(name: str, rows: int, kernel: int, bias: bool, *, groups: int = 0) -> tuple[Tensor, ...]:
    split = "kv" if groups else "out"
    weight = plain(f"{name}.weight", rows, 1, kernel, split=split, heads=groups, fuse=name)
    more = (plain(f"{name}.bias", rows, split=split, heads=groups, fuse=f"{name}.bias"),) if bias else ()
    return (weight, *more)
