"""An estimate with sizes put in by hand: 17 GiB in eight parts, for tests of what is drawn."""

from types import SimpleNamespace

from vramlib.specs import PART_KEYS, Part, Term
from vramlib.units import MiB

SIZES = dict(zip(PART_KEYS, (15317, 160, 520, 360, 621, 20, 410, 0), strict=True))


def estimate(memory_bytes: int) -> SimpleNamespace:
    parts = []
    for key, mebibytes in SIZES.items():
        size = mebibytes * MiB
        term = Term(
            name=key, bytes=size, basis="modelled", formula="f", low=size * 9 // 10, high=size * 12 // 10
        )
        parts.append(Part.of(key, term))
    gpu = SimpleNamespace(name="L4", memory_bytes=memory_bytes)
    return SimpleNamespace(parts=parts, total_bytes=sum(p.bytes for p in parts), gpu=gpu)
