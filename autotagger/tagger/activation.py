"""Whether a model gives scores or logits, by the last operator of its graph that computes something."""

from pathlib import Path

from autotagger.tagger.onnxfile import node_outputs

#: They hand on what they are given, in another form.
_FORMS = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
#: After them all values lie within 0..1.
_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})
#: After them they do not.
_OPEN = frozenset({"Gemm", "MatMul", "Add", "Conv", "LayerNormalization"})


def activation_of(path: Path, output: str) -> str | None:
    """What [output] activation must be for the output of this name: "none" where the graph ends with a sigmoid,
    "sigmoid" where it ends with a linear layer, None where it does not tell. Raises StartupFailed as
    `read_signature`."""
    nodes = node_outputs(path)
    operator, source = nodes.get(output, ("", ""))
    for _ in range(len(nodes)):
        if operator not in _FORMS:
            break
        operator, source = nodes.get(source, ("", ""))
    if operator in _BOUNDED:
        return "none"
    return "sigmoid" if operator in _OPEN else None
