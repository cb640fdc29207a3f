"""One call for each notebook: ``widgets.kv_cache()`` is live, ``widgets.kv_cache.still()`` stays without a kernel."""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.controls import Widget
from vramlib.lessons import activations as _activations
from vramlib.lessons import conversion as _conversion
from vramlib.lessons import cuda_context as _cuda_context
from vramlib.lessons import fragmentation as _fragmentation
from vramlib.lessons import framework_buffers as _framework_buffers
from vramlib.lessons import kv_cache as _kv_cache
from vramlib.lessons import model_weights as _model_weights
from vramlib.lessons import multi_process as _multi_process
from vramlib.lessons import optimization_views as _optimization_views
from vramlib.lessons import prefill_padding as _prefill_padding
from vramlib.what_if.widget import WhatIf

kv_cache: Widget = _kv_cache.WIDGET
activations: Widget = _activations.WIDGET
model_weights: Widget = _model_weights.WIDGET
cuda_context: Widget = _cuda_context.WIDGET
framework_buffers: Widget = _framework_buffers.WIDGET
multi_process: Widget = _multi_process.WIDGET
prefill_padding: Widget = _prefill_padding.WIDGET
quick_conversion: Widget = _conversion.WIDGET
fragmentation: Widget = _fragmentation.WIDGET
optimizations: Widget = _optimization_views.WIDGET
what_if = WhatIf()

ALL: Mapping[str, Widget] = {
    w.name: w
    for w in (
        kv_cache,
        activations,
        model_weights,
        cuda_context,
        framework_buffers,
        multi_process,
        prefill_padding,
        fragmentation,
        quick_conversion,
        optimizations,
    )
}
