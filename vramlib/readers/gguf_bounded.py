"""``gguf.GGUFReader`` that cannot read past the end or loop over absurd counts; imported when a GGUF file is read.

Its own loop takes seconds for a real vocabulary, one step per token; here a list of numbers is one slice and a list of
texts is only skipped, which takes milliseconds.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy
from gguf import GGUFReader, GGUFValueType

MAX_ITEMS, MAX_HEADER, MAX_DIMENSIONS = 1 << 24, 1 << 28, 4
"""Real files have up to 600,000 items in a list and 30 MB of header; ggml has at most four dimensions."""
MOST_BYTES = 1 << 50
MAX_BY_LAYER = 10_000
"""Longer lists are not one number a layer but one a token; only their length is kept."""


class BoundedReader(GGUFReader):
    """The package's reader, with every offset checked against the file before it is used."""

    def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
        end = int(offset) + numpy.dtype(dtype).itemsize * int(count)
        if not 0 <= int(offset) <= end <= len(self.data):
            raise ValueError(f"cut off: {end} bytes are needed and {len(self.data)} are there")
        return super()._get(int(offset), dtype, int(count), override_order)

    def _get_str(self, offset: int) -> Any:
        if offset > MAX_HEADER:
            raise ValueError(f"a header of more than {MAX_HEADER} bytes")
        return super()._get_str(offset)

    def _get_tensor_info_field(self, orig_offs: int) -> Any:
        name_bytes = int(self._get(orig_offs, numpy.uint64)[0])
        dimensions = int(self._get(orig_offs + 8 + name_bytes, numpy.uint32)[0])
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"a tensor with {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed")
        return super()._get_tensor_info_field(orig_offs)

    def _get_field_parts(self, orig_offs: int, raw_type: Any) -> Any:
        if int(raw_type) != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, int(raw_type))
        kind = GGUFValueType(int(self._get(orig_offs, numpy.uint32)[0]))
        count = int(self._get(orig_offs + 4, numpy.uint64)[0])
        if count > MAX_ITEMS:
            raise ValueError(f"a list of {count} items; at most {MAX_ITEMS} are read")
        items: Any = count
        if kind == GGUFValueType.STRING:
            size = self._skip_strings(orig_offs + 12, count)
        else:
            values = self._get(orig_offs + 12, self.gguf_scalar_to_np[kind], count)
            size, items = int(values.nbytes), values.tolist() if count <= MAX_BY_LAYER else count
        return 12 + size, [items], [0], [GGUFValueType.ARRAY, kind]

    def _skip_strings(self, start: int, count: int) -> int:
        length = struct.Struct("<Q" if self.byte_order == "I" else ">Q").unpack_from
        data: Any = self.data
        view, offset, end = memoryview(data), start, min(len(data), MAX_HEADER)
        for _ in range(count):
            if offset + 8 > end:
                break
            offset += 8 + int(length(view, offset)[0])
        else:
            if offset <= end:
                return offset - start
        raise ValueError(f"cut off in a list of {count} strings")


class HeaderReader(BoundedReader):
    """The same of a file whose data may be cut off: the data reads as zeros that take no memory."""

    data_offset = MAX_HEADER  # until the base class knows where the header ends

    def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
        kind = numpy.dtype(dtype)
        if int(offset) < self.data_offset:
            return super()._get(offset, kind, count, override_order)
        if int(offset) + kind.itemsize * int(count) > MOST_BYTES:
            raise ValueError(f"a tensor that ends after {MOST_BYTES} bytes")
        return numpy.broadcast_to(numpy.zeros(1, kind), int(count))


def value(field: Any) -> Any:
    """A number, a text, a short list of numbers, or the length of any other list.

    Parameters
    ----------
    field : one of the reader's fields [-]

    Returns
    -------
    Its value as Python's own type [-]
    """
    if field.types[:1] == [GGUFValueType.ARRAY]:
        return field.parts[-1]
    if field.types[:1] == [GGUFValueType.STRING]:
        return bytes(field.parts[-1]).decode("utf-8", "replace")
    return field.parts[-1].tolist()[0]
