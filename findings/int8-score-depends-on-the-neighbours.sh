#!/usr/bin/env bash
# ONNX Runtime 1.31.1: a model made int8 by quantize_dynamic takes the scale of each layer's input from the
# whole batch. So the score that it gives a film changes with the films beside it: a little with their
# number, and by over a twentieth of the largest score when one neighbour is fifty times brighter (an image
# with padding that was not removed). The float32 model it was made from gives the same score to the last bit.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$work"
OMP_NUM_THREADS=1 "$work/env/bin/python" -W ignore - 2>/dev/null <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

rng = np.random.default_rng(0)
shapes = (32, 1, 3, 3), (64, 32, 3, 3), (64, 2)
weights = [numpy_helper.from_array(rng.normal(0, 0.1, s).astype("f4"), f"w{i}") for i, s in enumerate(shapes)]
node = helper.make_node
layers = [
    node("Conv", ["x", "w0"], ["a"], pads=[1] * 4), node("Relu", ["a"], ["b"]),
    node("Conv", ["b", "w1"], ["c"], pads=[1] * 4), node("GlobalAveragePool", ["c"], ["d"]),
    node("Flatten", ["d"], ["e"]), node("MatMul", ["e", "w2"], ["y"]),
]
value = helper.make_tensor_value_info
graph = helper.make_graph(
    layers, "g", [value("x", TensorProto.FLOAT, ["N", 1, 128, 128])],
    [value("y", TensorProto.FLOAT, ["N", 2])], weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.save(model, "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx", weight_type=QuantType.QUInt8)
films = rng.random((4, 1, 128, 128), dtype=np.float32)
bright = films.copy()
bright[3] *= 50
moved = {}
for name in ("float", "int8"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    ask = lambda given: session.run(None, {"x": given})[0]
    scores = ask(films)
    largest = np.abs(scores).max()
    alone, beside = (np.abs(ask(given)[0] - scores[0]).max() / largest for given in (films[:1], bright))
    moved[name] = float(alone), float(beside)
    print(f"{name:5} score of film 0 moves by {alone:.4f} when asked alone, by {beside:.4f} beside a bright film")
assert moved["float"][1] == 0 and moved["float"][0] < 1e-5
assert moved["int8"][0] > 1e-4 and moved["int8"][1] > 0.05
PY
