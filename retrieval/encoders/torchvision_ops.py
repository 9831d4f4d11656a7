"""Let torchvision be imported beside a CPU build of torch.

Layer: ``retrieval``; torch and the standard library.

open_clip needs torchvision, and transformers imports it wherever it is installed. The package index offers torchvision
for CUDA only; its compiled operators do not load beside a CPU build of torch, and its Python part then fails with
``operator torchvision::nms does not exist`` (seen with torch 2.13.0 and torchvision 0.28.0+cu130). Image encoders use
the Python part alone. Declaring the operators' schemas makes it import; calling one of them still fails, as it should.

Call :func:`declare_missing_operators` before the first import of transformers or open_clip in a process.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from pathlib import Path
from typing import Any

__all__ = ["declare_missing_operators"]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "qroi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor",
    "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned) -> Tensor",
    "_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width) -> Tensor",
    "_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width, int sampling_ratio, SymInt batch_size, SymInt channels, SymInt height, "
    "SymInt width) -> Tensor",
    "_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width, SymInt batch_size, SymInt channels, SymInt height, SymInt width) -> Tensor",
    "_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
_lock = threading.Lock()
_library: list[object] = []
"""The declarations live as long as this object does."""


def declare_missing_operators() -> bool:
    """Declare torchvision's operators if, and only if, its compiled part cannot be loaded into this torch.

    :returns: Whether they are declared by us (now or by an earlier call).
    """
    import torch

    with _lock:
        if _library:
            return True
        if torch.version.cuda is not None or not _is_cuda_torchvision() or hasattr(torch.ops.torchvision, "nms"):
            return False
        make: Any = torch.library.Library  # untyped upstream
        library = make("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _library.append(library)
        return True


def _is_cuda_torchvision() -> bool:
    """Read torchvision's build from its version file, for importing it is what may fail."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return False
    file = Path(found.submodule_search_locations[0]) / "version.py"
    return file.is_file() and re.search(r"__version__ = '[^']*\+cu\d+'", file.read_text("utf-8")) is not None
