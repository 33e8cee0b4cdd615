"""Runs inside .venv-quantize (scripts/setup-quantize), never inside autotagger: NNCF needs plain onnxruntime.

    python nncf_job.py MODEL TENSORS.npy INPUT OUT.onnx [--plain]

TENSORS: float32 (n, height, width, 3) or (n, 3, height, width), as the model takes them. `--plain`: without bias
correction and smoothing, which some architectures (swinv2) do not survive. Prints a JSON object a line:
{"pass": 1, "done": 10, "of": 200} and at the end {"peak_mb": ...}.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_TELL_EVERY = 10


def main(model_path: str, tensors_path: str, source: str, out_path: str, *flags: str) -> None:
    """See the module."""
    # NNCF draws progress bars on stdout: they go to stderr, our lines keep the pipe.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    import nncf
    import numpy as np
    import onnx
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    tensors = np.load(tensors_path, mmap_mode="r")
    passes = 0

    class Pictures:
        """NNCF goes over them several times; every pass is told of."""

        def __iter__(self) -> Iterator[dict[str, object]]:
            nonlocal passes
            passes += 1
            for number in range(len(tensors)):
                if number % _TELL_EVERY == 0:
                    print(json.dumps({"pass": passes, "done": number, "of": len(tensors)}), file=lines)
                yield {source: np.ascontiguousarray(tensors[number : number + 1])}

    advanced = None
    if "--plain" in flags:
        off = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        advanced = AdvancedQuantizationParameters(disable_bias_correction=True, smooth_quant_alphas=off)
    quantised = nncf.quantize(
        onnx.load(model_path),
        nncf.Dataset(Pictures()),
        subset_size=len(tensors),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=advanced,
    )
    onnx.save(quantised, out_path)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"peak_mb": round(peak_mb), "bytes": Path(out_path).stat().st_size}), file=lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
