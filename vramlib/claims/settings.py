"""Every setting that a row of the seed names, moved: what its row does, or why it stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import tables
from vramlib.claims import sizes
from vramlib.estimate import estimate
from vramlib.messages import names, parts, retold, t
from vramlib.units import show

START: Mapping[str, Any] = {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of one row, moved from one value to another.

    Parameters
    ----------
    part : key of the row [-]
    name : the setting as the seed writes it [-]
    move : what is changed, in words [-]
    before, after : fields that differ from ``START`` [-]
    why : what to know, above all where the row stays [-]
    depth : layers before and after, for the one setting that no engine has [-]
    """

    part: str
    name: str
    move: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    depth: tuple[int, int] = (0, 0)

    def bytes(self) -> tuple[int, int]:
        """The row before and after [byte]."""
        if any(self.depth):
            by_depth = sizes.depth_bytes(self.depth)
            return by_depth[self.depth[0]], by_depth[self.depth[1]]
        return _row(self.part, self.before), _row(self.part, self.after)


def _row(part: str, given: Mapping[str, Any]) -> int:
    return int(estimate(**{**START, **given}).part(part).bytes)


MIXED = "100;300;600;1000"
HF = {"engine": "transformers"}
SETTINGS = (
    Setting(part="model_weights", name="precision", move="16 bit → AWQ, 4 bit", after={"quantization": "awq"}),
    Setting(part="kv_cache", name="--max-model-len", move="limit of 1,024 → 8,192 tokens, same workload",
            before={"max_model_len": 1024, "prompt_tokens": 500}, after={"prompt_tokens": 500},
            why="a limit holds no token: it moves what the engine must be able to hold, not what it holds"),
    Setting(part="kv_cache", name="sequence length", move="1,024 → 4,096 tokens in the cache",
            before={"new_tokens": 0}, after={"prompt_tokens": 4096, "new_tokens": 0},
            why="this is what the seed's ×4 is about"),
    Setting(part="kv_cache", name="batch_size", move="1 → 8 sequences", after={"batch_size": 8}),
    Setting(part="activations", name="batch_size", move="1 → 8 sequences", after={"batch_size": 8},
            why="until a step is full: max_num_batched_tokens bounds it"),
    Setting(part="activations", name="model depth", move="8 → 32 layers", depth=(8, 32),
            why="a layer hands its buffers to the next, so depth adds nothing"),
    Setting(part="cuda_context", name="(automatic)", move="L4 → H100-80GB", after={"gpu": "H100-80GB"},
            why="card and driver decide, the model never does"),
    Setting(part="framework_buffers", name="--enable-cuda-graphs", move="--enforce-eager → graphs",
            before={"enforce_eager": True}, why="no flag of that name; graphs are on unless --enforce-eager is given"),
    Setting(part="framework_buffers", name="tokenizer preload", move="none → loaded",
            why="a tokenizer runs on the CPU: no engine has bytes for it on the card"),
    Setting(part="prefill_padding", name="--gpu-memory-utilization", move="0.8 → 0.9",
            before={"gpu_memory_utilization": 0.8}, after={"gpu_memory_utilization": 0.9},
            why="it sizes the KV pool, which is a reservation; padding does not depend on it"),
    Setting(part="prefill_padding", name="padding strategy", move="packed → padded prompts of 100, 300, 600, 1,000",
            before={"prompt_tokens": MIXED}, after={"prompt_tokens": MIXED, **HF}),
    Setting(part="prefill_padding", name="PagedAttention", move="blocks of 16 → 128 tokens",
            before={"prompt_tokens": 1025}, after={"prompt_tokens": 1025, "block_size": 128},
            why="what stays unused is the tail of each sequence's last block"),
    Setting(part="fragmentation", name="(runtime allocator)", move="vLLM's pool → tensors that grow, 8 sequences",
            before={"batch_size": 8}, after={"batch_size": 8, **HF}),
    Setting(part="multi_process", name="nproc", move="1 → 2 processes", after={"num_processes": 2},
            why="independent processes share nothing"),
    Setting(part="multi_process", name="multi-GPU", move="1 → 2 cards (tensor parallel)",
            after={"tensor_parallel_size": 2}),
    Setting(part="multi_process", name="vLLM workers", move="1 → 2 workers (pipeline parallel)",
            after={"pipeline_parallel_size": 2}, why="each worker has its own card, and buffers to talk"),
)  # fmt: skip


def table(*part_keys: str, language: str = "en") -> tables.Table:
    """Settings of these rows, or of all: the move, the row before and after, and what to know.

    Parameters
    ----------
    part_keys : keys of rows; all rows where none is given [-]
    language : of the words, en or vi [-]

    Returns
    -------
    A row for each setting [-]
    """
    chosen = [s for s in SETTINGS if not part_keys or s.part in part_keys]
    keys = ("row", "setting", "moved", "before", "after", "moves", "why")
    columns = tuple(names("moved", keys, language).values())
    first = 1 if len(part_keys) == 1 else 0
    return tables.table(columns[first:], [_cells(s, language)[first:] for s in chosen])


def _cells(s: Setting, language: str) -> tuple[str, ...]:
    before, after = s.bytes()
    name = f"`{s.name}`" if s.name.startswith("-") else s.name
    moves = t("ask.yes" if before != after else "ask.no", language)
    move, why = (retold("setting", words, language) for words in (s.move, s.why))
    return parts(language)[s.part], name, move, show(before), show(after), moves, why
