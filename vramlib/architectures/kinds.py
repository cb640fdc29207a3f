"""What each layer is: which tokens its attention sees, and whether its MLP is a set of experts."""

from __future__ import annotations

from vramlib.architectures.fields import Fields

# Every n-th layer sees all tokens, the others a window, where the file itself does not say.
# Source: transformers 5.23, configuration_<model_type>.py
EVERY_NTH_FULL = {"gemma2": 2, "gpt_oss": 2, "vaultgemma": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
EVERY_NTH_FULL |= {"gemma3n": 5, "gemma3n_text": 5, "gemma4": 6, "gemma4_text": 6, "exaone4": 4, "olmo3": 4}
SAME_AS = {"indexed": "full"}  # a sparse layer that keeps every token
SWITCHED_WINDOW = ("qwen2", "qwen3", "smollm3")  # slide only where use_sliding_window says so


def expert_layers(f: Fields, num_layers: int, num_experts: int) -> tuple[bool, ...]:
    """Which layers have routed experts, from any of the ways in which files say so.

    Parameters
    ----------
    f : the file [-]
    num_layers, num_experts : L and E [-]

    Returns
    -------
    One answer a layer [-]

    Examples
    --------
    >>> expert_layers(Fields({"first_k_dense_replace": 1}), 3, 64)
    (False, True, True)
    """
    if not num_experts:
        return (False,) * num_layers
    words = f.listing("mlp_layer_types")
    if words and len(words) < num_layers:
        raise ValueError(f"{f.name}: mlp_layer_types has {len(words)} entries for {num_layers} layers")
    if words:
        return tuple(word != "dense" for word in words[:num_layers])
    if f.listing("moe_layers"):
        return tuple(i in f.listing("moe_layers") for i in range(num_layers))
    if isinstance(f.get("moe_layer_freq"), list):
        return tuple(bool(n) for n in f.sizes("moe_layer_freq", num_layers, default=1, least=0))
    dense = f.listing("mlp_only_layers")
    first = f.size("first_k_dense_replace", default=0, least=0)
    end = f.get("moe_layer_end_index")
    last = num_layers - 1 if end in (None, -1) else f.size("moe_layer_end_index")
    period, step = f.size("moe_layer_freq", default=1), f.size("decoder_sparse_step", default=1)
    offset = f.size("expert_layer_offset", default=0, least=0)
    return tuple(
        first <= i <= last and i not in dense and (i - offset) % period == 0 and (i + 1) % step == 0
        for i in range(num_layers)
    )


def attention_kinds(f: Fields, num_layers: int, window: int, chunk: int, limit: int) -> tuple[str, ...]:
    """What each layer's attention sees: ``full``, ``sliding``, ``chunked``, ``cross``, or another word.

    Parameters
    ----------
    f : the file [-]
    num_layers : L [-]
    window, chunk : sliding window and chunk, 0 for none [token]
    limit : longest context; a window that holds it all is none [token]

    Returns
    -------
    One word a layer [-]

    Raises
    ------
    ValueError: a list that does not have one entry a layer.

    Examples
    --------
    >>> attention_kinds(Fields({"model_type": "gemma2"}), 4, 4096, 0, 8192)
    ('sliding', 'full', 'sliding', 'full')
    """
    listed = f.listing("layer_types")
    if listed:
        if len(listed) != num_layers:
            raise ValueError(f"{f.name}: layer_types has {len(listed)} entries for {num_layers} layers")
        words = (str(word).removesuffix("_attention") for word in listed)
        return tuple(SAME_AS.get(word, word) for word in words)
    if f.listing("cross_attention_layers"):
        crossed = f.listing("cross_attention_layers")
        return tuple("cross" if i in crossed else "full" for i in range(num_layers))
    if f.listing("hybrid_layer_pattern"):
        slides = f.sizes("hybrid_layer_pattern", num_layers, default=0, least=0)
        return tuple("sliding" if n else "full" for n in slides)
    if chunk:
        rope = f.sizes("no_rope_layers", num_layers, default=1, least=0) if f.get("no_rope_layers") else ()
        return tuple("chunked" if (rope[i] if rope else (i + 1) % 4) else "full" for i in range(num_layers))
    if (
        not window
        or window >= limit
        or not f.flag("use_sliding_window", not f.model_type.startswith(SWITCHED_WINDOW))
    ):
        return ("full",) * num_layers
    return _windows(f, num_layers)


def _windows(f: Fields, num_layers: int) -> tuple[str, ...]:
    pattern = f.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        return tuple("sliding" if pattern[i % len(pattern)] == "L" else "full" for i in range(num_layers))
    every = f.size("sliding_window_pattern", default=EVERY_NTH_FULL.get(f.model_type, num_layers + 1))
    first = f.size("max_window_layers", default=0, least=0) if f.flag("use_sliding_window") else 0
    return tuple("sliding" if (i + 1) % every and i >= first else "full" for i in range(num_layers))
