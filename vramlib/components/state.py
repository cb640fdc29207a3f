"""Recurrent and convolution states: what a Mamba, linear-attention or short-convolution layer keeps for a sequence.

Their size does not grow with the sequence. Claimed here: the numbers themselves; the padding of a state to a
page of the KV pool belongs to ``prefill_padding``.
"""

from __future__ import annotations

from vramlib.specs import Cache
from vramlib.units import ceil_div


def conv_channels(cache: Cache, *, tp: int = 1) -> int:
    """Channels of the short convolution that one rank holds.

    Formula: (D + 2·G'·N) / tp, with G' = G where tp divides it, else tp

    Parameters
    ----------
    cache : a state kind [-]
    tp : tensor-parallel ranks [-]

    Returns
    -------
    Channels of one rank; the groups' part is repeated so that each rank has a whole group [element]

    Examples
    --------
    >>> granite = Cache(kind="mamba2", conv_dim=8448, conv_group_dim=256, num_groups=1, conv_kernel=4)
    >>> conv_channels(granite), conv_channels(granite, tp=2)
    (8448, 4352)

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/mamba/mamba_utils.py MambaStateShapeCalculator.extra_groups_for_head_shards.
    """
    groups, dims = cache.num_groups, cache.conv_dim
    if groups and groups % tp:
        dims += cache.conv_group_dim // groups * (tp - groups)
    return ceil_div(dims, tp)


def state_bytes(
    cache: Cache, *, tp: int = 1, conv_bits: int = 16, state_bits: int = 16, num_speculative_tokens: int = 0
) -> int:
    """What one layer keeps for one sequence on one rank, as vLLM stores it.

    Formula: (K − 1 + spec) · channels / tp · b_conv / 8 + elements / tp · b_state / 8

    Parameters
    ----------
    cache : a state kind; Mamba-1 and short convolutions keep no columns for speculation [-]
    tp : tensor-parallel ranks [-]
    conv_bits : width of a number of the convolution, the model's type [bit]
    state_bits : width of a number of the recurrent state [bit]
    num_speculative_tokens : draft tokens a step, spec [token]

    Returns
    -------
    Convolution columns and recurrent state [byte]

    Raises
    ------
    ValueError: the cache is rows per token, not a state.

    Examples
    --------
    Qwen3-Next in bfloat16: 49,152 of the convolution and 1,048,576 of the gated delta rule.

    >>> gdn = Cache(kind="linear", conv_dim=2 * 16 * 128 + 32 * 128, conv_kernel=4, state_elements=32 * 128 * 128)
    >>> state_bytes(gdn), state_bytes(gdn, tp=2)
    (1097728, 548864)

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/mamba/mamba_utils.py MambaStateShapeCalculator.
    """
    _check(cache)
    columns = max(0, cache.conv_kernel - 1)
    if cache.kind in ("mamba2", "linear") and columns:
        columns += num_speculative_tokens
    conv = ceil_div(columns * conv_channels(cache, tp=tp) * conv_bits, 8)
    return conv + ceil_div(ceil_div(cache.state_elements, tp) * state_bits, 8)


def transformers_state_bytes(cache: Cache, *, conv_bits: int = 16) -> int:
    """What one layer keeps for one sequence in transformers: K columns, and the recurrent state in float32.

    Formula: K · channels · b_conv / 8 + 4 · elements

    Parameters
    ----------
    cache : a state kind [-]
    conv_bits : width of a number of the convolution, the model's type; lightning attention, which has no
        convolution, keeps its state in that type too [bit]

    Returns
    -------
    Convolution columns and recurrent state [byte]

    Raises
    ------
    ValueError: the cache is rows per token, not a state.

    Examples
    --------
    >>> gdn = Cache(kind="linear", conv_dim=2 * 16 * 128 + 32 * 128, conv_kernel=4, state_elements=32 * 128 * 128)
    >>> transformers_state_bytes(gdn) == 65_536 + 2_097_152
    True

    Source
    ------
    transformers 5.23, cache_utils.py LinearAttentionLayer; sizes read from the caches of small models in bfloat16.
    """
    _check(cache)
    state_bits = 32 if cache.conv_kernel else conv_bits
    conv = ceil_div(cache.conv_kernel * cache.conv_dim * conv_bits, 8)
    return conv + ceil_div(cache.state_elements * state_bits, 8)


def _check(cache: Cache) -> None:
    if not cache.is_state:
        raise ValueError(
            f"a {cache.kind} cache grows with the tokens; states are mamba1, mamba2, linear and conv"
        )
