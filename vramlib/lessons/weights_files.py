"""Notebook 01: two small files, as a downloader would find them, whose headers alone tell the bytes."""

from __future__ import annotations

from pathlib import Path

from vramlib import tables
from vramlib.messages import t
from vramlib.readers import gguf, safetensors

ROWS, COLUMNS, GROUP = 64, 256, 128


def write_safetensors(folder: str | Path) -> Path:
    """One AWQ matrix of 256 × 64 and a 16-bit norm in a safetensors file.

    Parameters
    ----------
    folder : where the file is written [-]

    Returns
    -------
    The file [-]

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/quantization/awq.py: qweight, qzeros and scales of a linear layer.
    """
    import numpy
    from safetensors.numpy import save_file

    groups, packed = COLUMNS // GROUP, ROWS * 4 // 32
    tensors: dict[str, numpy.ndarray] = {
        "model.norm.weight": numpy.ones(COLUMNS, numpy.float16),
        "q_proj.qweight": numpy.zeros((COLUMNS, packed), numpy.int32),
        "q_proj.qzeros": numpy.zeros((groups, packed), numpy.int32),
        "q_proj.scales": numpy.ones((groups, ROWS), numpy.float16),
    }
    path = Path(folder) / "model.safetensors"
    save_file(tensors, path)
    return path


def write_gguf(folder: str | Path) -> Path:
    """The same matrix in three block types of GGUF.

    Parameters
    ----------
    folder : where the file is written [-]

    Returns
    -------
    The file [-]

    Source
    ------
    ggml, docs/gguf.md: metadata, then name, shape, type and offset of each tensor.
    """
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    path = Path(folder) / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    matrix = numpy.linspace(-1, 1, ROWS * COLUMNS, dtype=numpy.float32).reshape(ROWS, COLUMNS)
    writer.add_tensor("output_norm.weight", numpy.ones(COLUMNS, numpy.float32))
    for name, kind in (("attn_q", "F16"), ("attn_k", "Q8_0"), ("attn_v", "Q4_0")):
        made = quants.quantize(matrix, GGMLQuantizationType[kind])
        writer.add_tensor(f"blk.0.{name}.weight", made, raw_dtype=GGMLQuantizationType[kind])
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    return path


def header_text(path: Path) -> str:
    """The header of a safetensors file as it stands there: its length, then that many bytes of JSON.

    Parameters
    ----------
    path : the file [-]

    Returns
    -------
    Both, one tensor a line [-]
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length).decode()
    return f"{length} bytes:\n" + text.strip().replace('},"', '},\n "')


def tensors_table(path: Path, language: str = "en") -> tables.Table:
    """Every tensor of a file as its header tells it, with the bits that one element takes.

    Parameters
    ----------
    path : a .safetensors or .gguf file [-]
    language : en or vi [-]

    Returns
    -------
    A row for each tensor, by name, and the sum [-]
    """
    reader = gguf if path.suffix == ".gguf" else safetensors
    found = dict(sorted(reader.read(path).tensors.items()))
    rows = [
        (name, s.dtype, " × ".join(map(str, s.shape)), f"{s.nbytes:,}", f"{8 * s.nbytes / _count(s):.4g}")
        for name, s in found.items()
    ]
    total = sum(s.nbytes for s in found.values())
    columns = [t(f"weights.column_{c}", language) for c in ("tensor", "type", "shape", "bytes", "bits_each")]
    return tables.table(columns, [*rows, (t("weights.sum", language), "", "", f"{total:,}", "")])


def _count(stored: safetensors.Stored) -> int:
    """Elements of a stored tensor."""
    count = 1
    for size in stored.shape:
        count *= size
    return count


def matrix_bits(path: Path) -> float:
    """Bits that one of the 64 × 256 weights takes in the safetensors file, by its header.

    Parameters
    ----------
    path : of ``write_safetensors`` [-]

    Returns
    -------
    Width, scales and zero points included [bit]
    """
    tensors = safetensors.read(path).tensors
    return 8 * sum(s.nbytes for name, s in tensors.items() if name.startswith("q_proj")) / (ROWS * COLUMNS)
