"""A decoder made from an inventory: real widths, random values, plain PyTorch, no checkpoint and no other package.

It computes nothing that makes sense and takes the memory that a real model takes, tensor by tensor: its peaks are those
of transformers to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramlib.measure.cache import Cache
from vramlib.specs import ModelSpec, Tensor

Weights = dict[str, Any]
NEEDED = (
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.down_proj.weight",
)


def supports(model: ModelSpec) -> bool:
    """Whether every layer is plain attention with a gated MLP, stored apart.

    Examples
    --------
    >>> from vramlib import catalog
    >>> supports(catalog.model("Llama-3.1-8B")), supports(catalog.model("DeepSeek-V3"))
    (True, False)
    """
    return all({t.name for t in layer.tensors}.issuperset(NEEDED) for layer, _ in model.layer_counts)


def named_tensors(model: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    """Every stored tensor under a name of its own, in the order of a checkpoint."""
    for t in model.embedding:
        yield t.name, t
    for i, layer in enumerate(model.layers):
        for t in layer.tensors:
            yield f"layers.{i}.{t.name}", t
    for t in model.head:
        yield t.name, t


def weights(model: ModelSpec, torch: Any, *, device: str, dtype: Any) -> Weights:
    """Every tensor of the inventory on the card, with small random values.

    Parameters
    ----------
    model : inventory [-]
    torch : the module [-]
    device, dtype : where, and in which type [-]
    """
    made = {}
    for name, t in named_tensors(model):
        made[name] = torch.empty(t.shape, dtype=dtype, device=device)
        fill(made[name], torch)
    return made


def fill(tensor: Any, torch: Any) -> None:
    """Small random values in place, without a second tensor; types without arithmetic get random bytes."""
    if tensor.is_floating_point() and tensor.element_size() > 1:
        tensor.normal_(std=0.02)
    else:
        tensor.view(torch.uint8).random_(0, 64)


class Decoder:
    """Forward passes over random weights.

    Parameters
    ----------
    model : inventory of a model that ``supports`` says yes to [-]
    torch : the module [-]
    device, dtype : where, and in which type [-]
    attention : ``sdpa`` or ``eager`` [-]
    """

    def __init__(
        self, model: ModelSpec, torch: Any, *, device: str, dtype: Any, attention: str = "sdpa"
    ) -> None:
        if not supports(model):
            raise ValueError(
                f"{model.name} has layers that the plain decoder cannot run; use a Llama-like model"
            )
        self.model, self.torch, self.attention = model, torch, attention
        self.device, self.dtype = device, dtype
        self._packed: tuple[int, ...] = ()
        self.weights = weights(model, torch, device=device, dtype=dtype)

    def ids(self, batch_size: int, tokens: int) -> Any:
        """Random token numbers."""
        shape = (batch_size, tokens)
        return self.torch.randint(0, self.model.vocab_size, shape, device=self.device)

    def forward(
        self,
        ids: Any,
        cache: Cache,
        *,
        logits_to_keep: int = 1,
        mask: Any = None,
        lengths: tuple[int, ...] = (),
    ) -> Any:
        """Logits of the last positions, or of all with ``logits_to_keep=0``; the cache grows by these tokens.

        Parameters
        ----------
        ids : one row a sequence; with ``lengths`` one row of sequences packed one after another [-]
        cache : keys and values so far [-]
        mask : where a position may look; None is all earlier ones [-]
        lengths : of the packed sequences [token]
        """
        self._packed = lengths
        hidden = self._hidden(ids, cache, mask)
        cache.tokens += ids.shape[1]
        matrix = self.weights.get("lm_head.weight", self.weights["embed_tokens.weight"])
        return self.torch.nn.functional.linear(hidden[:, -logits_to_keep:], matrix)

    def _hidden(self, ids: Any, cache: Cache, mask: Any) -> Any:
        """The last layer's output; embedding, positions and mask are held until then, as transformers does."""
        embedded = self.torch.nn.functional.embedding(ids, self.weights["embed_tokens.weight"])
        positions = self.torch.arange(cache.tokens, cache.tokens + ids.shape[1], device=self.device)
        rotary = self._rotary(positions)
        if self.attention == "eager" and mask is None:
            mask = self._causal(ids.shape[0], len(positions), cache.tokens + len(positions))
        hidden = embedded
        for i in range(self.model.num_hidden_layers):
            hidden = self._layer(i, hidden, rotary, cache, mask)
        return self._norm(hidden, "norm.weight")

    def _rotary(self, positions: Any) -> tuple[Any, Any]:
        torch, width = self.torch, self.model.head_dim
        steps = torch.arange(0, width, 2, device=self.device, dtype=torch.float32) / width
        angles = torch.outer(positions.float(), 10_000.0**-steps)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)

    def _norm(self, x: Any, name: str) -> Any:
        weight = self.weights[name]
        return self.torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-6)

    def _linear(self, x: Any, name: str) -> Any:
        bias = self.weights.get(name.removesuffix(".weight") + ".bias")
        return self.torch.nn.functional.linear(x, self.weights[name], bias)

    def _layer(self, i: int, x: Any, rotary: Any, cache: Cache, mask: Any) -> Any:
        at = f"layers.{i}."
        x = x + self._attend(i, self._norm(x, at + "input_layernorm.weight"), rotary, cache, mask)
        normed = self._norm(x, at + "post_attention_layernorm.weight")
        gate = self.torch.nn.functional.silu(self._linear(normed, at + "mlp.gate_proj.weight"))
        return x + self._linear(
            gate * self._linear(normed, at + "mlp.up_proj.weight"), at + "mlp.down_proj.weight"
        )

    def _heads(self, x: Any, name: str, count: int) -> Any:
        out = self._linear(x, name + "_proj.weight").view(*x.shape[:2], count, -1)
        if name + "_norm.weight" in self.weights:
            out = self._norm(out, name + "_norm.weight")
        return out.transpose(1, 2)

    def _attend(self, i: int, x: Any, rotary: Any, cache: Cache, mask: Any) -> Any:
        m, at = self.model, f"layers.{i}.self_attn."
        query = _rotate(self._heads(x, at + "q", m.num_attention_heads), rotary, self.torch)
        key = _rotate(self._heads(x, at + "k", m.num_key_value_heads), rotary, self.torch)
        key, value = cache.append(i, key, self._heads(x, at + "v", m.num_key_value_heads), self.torch)
        run = self._eager if self.attention == "eager" else self._sdpa
        if self._packed:
            each = zip(*(t.split(self._packed, dim=2) for t in (query, key, value)), strict=True)
            out = self.torch.cat([run(q, k, v, None) for q, k, v in each], dim=2)
        else:
            out = run(query, key, value, mask)
        out = out.transpose(1, 2).reshape(*x.shape[:2], -1)
        return self._linear(out, at + "o_proj.weight")

    def _sdpa(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Fused attention; with a mask the kernels want as many key heads as query heads, so they are expanded."""
        groups = query.shape[1] // key.shape[1]
        if mask is not None:
            key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        return self.torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None and query.shape[2] > 1,
            enable_gqa=mask is None and groups > 1,
        )

    def _eager(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Attention step by step: the scores exist thrice, as scores, in float32, and as probabilities."""
        torch, groups = self.torch, query.shape[1] // key.shape[1]
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        scores = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
        scores = scores + mask
        shares = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        return torch.matmul(shares, value)

    def _causal(self, batch_size: int, rows: int, columns: int) -> Any:
        """What is added to the scores, one matrix a sequence, as transformers makes it."""
        shape, lowest = (batch_size, 1, rows, columns), self.torch.finfo(self.dtype).min
        full = self.torch.full(shape, lowest, dtype=self.dtype, device=self.device)
        return full.triu_(columns - rows + 1)


def _rotate(x: Any, rotary: tuple[Any, Any], torch: Any) -> Any:
    cos, sin = rotary
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos + turned * sin
