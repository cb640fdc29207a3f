"""The model that an experiment runs: transformers' own where it is installed, else the plain decoder.

Both answer the same three calls, so an experiment does not need to know which one it has.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from vramlib import architectures, catalog
from vramlib.components import model_weights
from vramlib.measure import decoder
from vramlib.measure.bench import Bench
from vramlib.measure.cache import Cache, static_cache
from vramlib.measure.plan import with_layers
from vramlib.specs import ModelSpec

LADDER = ("Llama-3.1-8B", "Llama-3.2-3B", "Llama-3.2-1B", "Qwen3-0.6B", "SmolLM2-360M", "SmolLM2-135M")


class Subject(Protocol):
    """What an experiment asks of a model."""

    name: str

    def ids(self, batch_size: int, tokens: int) -> Any:
        """Random token numbers."""
        ...

    def new_cache(self, *, batch_size: int = 1, max_tokens: int = 0) -> Any:
        """A cache that grows, or one with room for ``max_tokens`` from the start."""
        ...

    def forward(self, ids: Any, cache: Any, *, logits_to_keep: int = 1) -> Any:
        """Logits of the last positions (all with 0); the cache grows."""
        ...


def ladder(num_layers: int = 0) -> tuple[ModelSpec, ...]:
    """Models of real size, largest first; with ``num_layers`` at their true width and that many layers."""
    models = (catalog.model(name) for name in LADDER)
    return tuple(with_layers(m, num_layers) if num_layers else m for m in models)


def weight_bytes(model: ModelSpec, *, dtype_bits: int = 16) -> int:
    """Bytes of the tensors of a model that keeps q, k and v apart [byte]."""
    return model_weights.tensor_bytes(model, fuse=False, dtype_bits=dtype_bits)


def multi_head(model: ModelSpec) -> ModelSpec:
    """The same model with a key-value head for every query head, as before grouped-query attention.

    Examples
    --------
    >>> multi_head(with_layers(catalog.model("Llama-3.1-8B"), 2)).num_key_value_heads
    32
    """
    config = {**model.config, "num_key_value_heads": model.num_attention_heads}
    return with_layers(architectures.build(config, name=f"{model.name}, MHA"), model.num_hidden_layers)


def build(model: ModelSpec, bench: Bench, *, attention: str = "sdpa") -> Subject:
    """The model on the bench's card in bfloat16, with random weights."""
    if importlib.util.find_spec("transformers"):
        return TransformersSubject(model, bench, attention)
    return PlainSubject(model, bench, attention)


class PlainSubject(decoder.Decoder):
    """The plain decoder, with caches of its own."""

    name = "plain PyTorch"

    def __init__(self, model: ModelSpec, bench: Bench, attention: str = "sdpa") -> None:
        torch = bench.torch
        super().__init__(model, torch, device=bench.device, dtype=torch.bfloat16, attention=attention)

    def new_cache(self, *, batch_size: int = 1, max_tokens: int = 0) -> Cache:
        """A growing cache, or a static one."""
        if not max_tokens:
            return Cache()
        return static_cache(
            self.model,
            self.torch,
            batch_size=batch_size,
            max_tokens=max_tokens,
            device=self.device,
            dtype=self.dtype,
        )


class TransformersSubject:
    """The class of transformers for this architecture, made from the config alone."""

    def __init__(self, model: ModelSpec, bench: Bench, attention: str = "sdpa") -> None:
        import transformers

        self.name = f"transformers {transformers.__version__}"
        self.torch, self.device, self.model = bench.torch, bench.device, model
        self.config = _config(model)
        with bench.torch.device(bench.device):
            self.net = transformers.AutoModelForCausalLM.from_config(
                self.config, dtype=bench.torch.bfloat16, attn_implementation=attention
            )
        self.net.eval()

    def ids(self, batch_size: int, tokens: int) -> Any:
        """Random token numbers."""
        return self.torch.randint(0, self.model.vocab_size, (batch_size, tokens), device=self.device)

    def new_cache(self, *, batch_size: int = 1, max_tokens: int = 0) -> Any:
        """A DynamicCache of transformers, or a StaticCache."""
        import transformers

        if max_tokens:
            return transformers.StaticCache(config=self.config, max_cache_len=max_tokens)
        return transformers.DynamicCache(config=self.config)

    def forward(self, ids: Any, cache: Any, *, logits_to_keep: int = 1) -> Any:
        """Logits of the last positions (all with 0)."""
        return self.net(ids, past_key_values=cache, use_cache=True, logits_to_keep=logits_to_keep).logits


def _config(model: ModelSpec) -> Any:
    """The config of this model as transformers has it, cut to its number of layers."""
    import transformers

    given = {k: v for k, v in model.config.items() if not k.startswith("_")}
    given["num_hidden_layers"] = model.num_hidden_layers
    if given.get("layer_types"):
        given["layer_types"] = list(given["layer_types"])[: model.num_hidden_layers]
    return transformers.AutoConfig.for_model(given.pop("model_type"), **given)


def code_name() -> str:
    """Whose model code an experiment runs."""
    if not importlib.util.find_spec("transformers"):
        return PlainSubject.name
    import transformers

    return f"transformers {transformers.__version__}"
