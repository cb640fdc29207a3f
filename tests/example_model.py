"""Models to test with: one of the catalogue or of data/configs by name, or a small Llama with fields of one's own."""

import json
from pathlib import Path

from vramlib import architectures
from vramlib._paths import data_dir

HERE = Path(__file__).parent / "data"


def read(name):
    folder = HERE if name.startswith("configs/") else data_dir() / "models"
    file = name if name.startswith("configs/") else f"{name.replace('/', '--')}.json"
    return json.loads((folder / file).read_text(encoding="utf-8"))


def build(name, **changes):
    return architectures.build({**read(name), **changes}, name=name)


def llama(**changes):
    config = {
        "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 2, "intermediate_size": 1024, "vocab_size": 1000, "max_position_embeddings": 2048,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    config |= changes
    return architectures.build({k: v for k, v in config.items() if v != "absent"})
