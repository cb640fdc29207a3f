"""The seed: the table this workbook grew from, its words as they stand and its rows with numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import catalog, messages, names, tables
from vramlib._paths import data_dir
from vramlib.components import model_weights
from vramlib.estimate import estimate
from vramlib.messages import parts, t
from vramlib.readers.format_names import quantization_named
from vramlib.specs import PART_COLORS, PART_KEYS, Estimate, ModelSpec
from vramlib.units import GB, GiB, show

LANGUAGES = ("vi", "en")


def words(language: str = "vi") -> str:
    """The seed as Markdown, word for word in Vietnamese, or its English rendering.

    Parameters
    ----------
    language : vi or en [-]

    Returns
    -------
    Markdown with the three tables [-]

    Raises
    ------
    ValueError : another language

    Examples
    --------
    >>> words("vi").splitlines()[0]
    '## Bảng: Các thành phần ảnh hưởng đến VRAM khi chạy LLM (MECE)'
    """
    if language not in LANGUAGES:
        raise ValueError(f"the seed is there in {' and '.join(LANGUAGES)}, not in {language!r}")
    return (data_dir() / f"seed_table.{language}.md").read_text(encoding="utf-8")


def rows(language: str = "vi") -> list[tuple[str, ...]]:
    """The eight rows of the seed's first table, cells as they stand.

    Examples
    --------
    >>> len(rows("vi")), rows("en")[1][1]
    (8, '`~0.2 – 0.6×`')
    """
    lines = [line for line in words(language).splitlines() if line.startswith("|")]
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2 : 2 + len(PART_KEYS)]
    ]


def side_by_side() -> tables.Table:
    """The eight rows in Vietnamese, word for word, with the English rendering beside each."""
    pairs = zip(rows("vi"), rows("en"), strict=True)
    cells = [(vi[0], vi[1], vi[2], en[2]) for vi, en in pairs]
    columns = ("Thành phần", "So với model size (B)", "Config ảnh hưởng chính & mô tả chi tiết", "in English")
    return tables.table(columns, cells, colors=list(PART_COLORS.values()))


def with_numbers(e: Estimate, language: str = "en") -> tables.Table:
    """The seed's rows with the sizes of one estimate: what it says, what this model needs, and both as a ratio.

    Parameters
    ----------
    e : of one scenario [-]
    language : of the words, en or vi [-]

    Returns
    -------
    Eight rows and their sum [-]
    """
    size = 2 * e.model.params_total
    known = parts(language)
    cells = [
        (
            known[p.key],
            seed[1],
            f"{p.bytes / GB:.2f}",
            f"{p.bytes / GiB:.2f}",
            f"{p.bytes / size:.3f}×",
            t(f"basis.{p.basis}", language),
        )
        for p, seed in zip(e.parts, rows(language), strict=True)
    ]
    total = e.total_bytes
    last = (
        f"**{t('seed.total', language)}**",
        "",
        f"**{total / GB:.2f}**",
        f"**{total / GiB:.2f}**",
        f"**{total / size:.3f}×**",
        "",
    )
    heads = [t(f"seed.{key}", language) for key in ("part", "says", "of_weights", "basis")]
    columns = (*heads[:2], "GB", "GiB", *heads[2:])
    return tables.table(columns, [*cells, last], colors=list(PART_COLORS.values()))


def conversion(language: str = "en") -> tables.Table:
    """The quick conversion against exact counts: the model nearest to each name, in 16 bit and in 4 bit."""
    keys = ("name", "says_16", "nearest", "parameters", "gb_16", "gib_16", "says_4", "gb_4", "gib_4")
    columns = [t(f"seed.{key}", language) for key in keys]
    return tables.table(columns, [_converted(row, language) for row in catalog.table("conversion")])


def _converted(row: Mapping[str, str], language: str) -> tuple[str, ...]:
    m = names.model(row["nearest"])
    plain, narrow = 2 * m.params_total, four_bit_bytes(m)
    return (
        row["params"], f"~{row['fp16_gb']} GB", m.name.rsplit("/", 1)[-1],
        messages.count(m.params_total, language),
        f"{plain / GB:.2f}", f"{plain / GiB:.2f}", f"~{row['int4_gb']} GB", f"{narrow / GB:.2f}", f"{narrow / GiB:.2f}",
    )  # fmt: skip


def four_bit_bytes(m: ModelSpec) -> int:
    """Stored bytes with AWQ: 4 bits in groups of 128, embeddings and head in 16 bit [byte].

    Examples
    --------
    >>> four_bit_bytes(names.model("Llama-2-7b-hf")) > 6_738_415_616 // 2
    True
    """
    return model_weights.tensor_bytes(m, quant=quantization_named("awq", m))


def spread_of_names(language: str = "en") -> tables.Table:
    """All models that one name of the quick conversion stands for: the smallest and the largest, in GB and GiB."""
    heads = [t(f"seed.{key}", language) for key in ("name", "seed", "models", "smallest", "largest")]
    columns = (*heads[:4], "GB", heads[4], "GB")
    return tables.table(columns, [_named(row) for row in catalog.table("conversion")])


def _named(row: Mapping[str, str]) -> tuple[str, ...]:
    found = sorted((names.model(n) for n in row["models"].split(";")), key=lambda m: m.params_total)
    ends = [(m.name.rsplit("/", 1)[-1], f"{2 * m.params_total / GB:.2f}") for m in (found[0], found[-1])]
    return row["params"], f"~{row['fp16_gb']} GB", str(len(found)), *ends[0], *ends[1]


LOAD: Mapping[str, Any] = {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192}
MIXED = "100;300;600;1000"


def optimizations(language: str = "en") -> tables.Table:
    """What each optimization changes in bytes: the same load without it and with it, by estimates."""
    rows_by_name = {row["name"]: row for row in catalog.table("optimizations")}
    cells = [
        (
            name,
            rows_by_name[name]["seed_words"],
            t(f"seed.{what}", language),
            show(before),
            show(after),
            _difference(before, after, language),
        )
        for name, (what, before, after) in _changes().items()
    ]
    columns = ("optimization", "seed", "counted", "without", "with", "change")
    return tables.table([t(f"seed.{key}", language) for key in columns], cells)


def _changes() -> dict[str, tuple[str, int, int]]:
    """For each optimization the key of what is compared, and the bytes without and with it."""
    one = estimate(**LOAD, prompt_tokens=1024, new_tokens=1)
    eight = estimate(**LOAD, batch_size=8, prompt_tokens=1024, new_tokens=1)
    padded = estimate(**LOAD, engine="transformers", prompt_tokens=MIXED)
    packed = estimate(**LOAD, prompt_tokens=MIXED)
    eager = estimate(**LOAD, enforce_eager=True)
    pool_of_eight, pool_of_one = (int(e.budget.kv_pool_bytes) if e.budget else 0 for e in (eight, one))
    whole = int(one.budget.kv_bytes_at_max_model_len) if one.budget else 0
    return {
        "PagedAttention": (
            "paged",
            whole - one.part("kv_cache").bytes,
            one.part("prefill_padding").bytes,
        ),
        "Dynamic Memory Pool": ("pool", pool_of_eight, pool_of_one),
        "Smart Batching": (
            "batching",
            padded.part("prefill_padding").bytes,
            packed.part("prefill_padding").bytes,
        ),
        "CUDA Graphs": (
            "graphs",
            eager.part("framework_buffers").bytes,
            one.part("framework_buffers").bytes,
        ),
    }


def _difference(before: int, after: int, language: str) -> str:
    change = after - before
    return f"{'+' if change > 0 else '−'}{show(abs(change))}" if change else t("seed.no_change", language)
