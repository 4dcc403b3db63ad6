#!/usr/bin/env bash
# openvino 2026.4.1 on a CPU: a float32 model compiled without any setting runs in bfloat16 where the CPU has it and
# in float32 elsewhere, so one file scores a film differently on two servers. Told f16 on a CPU without it, it runs in
# one of those two without a word; told i8, it refuses. Only the compiled model's own property says what it took.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W error - <<'PY'
import numpy as np
import openvino
from openvino import opset13 as op

rng = np.random.default_rng(0)
weight = op.constant(rng.normal(0, 0.1, (256, 256)).astype(np.float32))
x = op.parameter([1, 256], np.float32)
y = op.matmul(op.relu(op.matmul(x, weight, False, False)), weight, False, False)
model, core = openvino.Model([y], [x], "model"), openvino.Core()
can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
print("this CPU:", can)
film = rng.normal(size=(1, 256)).astype(np.float32)
took, scores = {}, {}
for asked in ("nothing", "f32", "bf16", "f16"):
    compiled = core.compile_model(model, "CPU", {} if asked == "nothing" else {"INFERENCE_PRECISION_HINT": asked})
    took[asked] = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    scores[asked] = compiled(film)[0]
for asked, precision in took.items():
    off = float(np.abs(scores[asked] - scores["f32"]).max() / np.abs(scores["f32"]).max())
    print(f"asked for {asked:8} took {precision:5} largest difference from f32: {off:.2%}")
    assert (off > 1e-4) == (precision != "f32")
assert took["f32"] == "f32"
if "FP16" not in can:
    native = "bf16" if "BF16" in can else "f32"
    assert took["nothing"] == took["bf16"] == took["f16"] == native
try:
    core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "i8"})
except RuntimeError as error:
    print("asked for i8:", next(line for line in str(error).splitlines() if "Wrong value" in line))
else:
    raise AssertionError("i8 was taken")
PY
