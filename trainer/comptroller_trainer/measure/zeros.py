"""Count the zeros among an artifact's weights."""

from pathlib import Path

import numpy as np


def zero_share(graph: Path) -> float:
    """Return the share of zeros among the ONNX file's constants of two axes or more, also quantized ones."""
    import onnx  # noqa: PLC0415 - a second that other trials do not need

    constants = {c.name: onnx.numpy_helper.to_array(c) for c in onnx.load(graph).graph.initializer}
    zeros = count = 0
    for name, values in constants.items():
        if values.ndim < 2:  # noqa: PLR2004 - biases, norms, scales
            continue
        # ONNX Runtime gives these names to zero points; per channel, all are 0.
        zero = constants.get(name.removesuffix("_quantized") + "_zero_point", np.zeros(1))
        zeros += int((values == zero.flat[0]).sum())
        count += values.size
    return zeros / count
