#!/usr/bin/env bash
# monai 1.6.1: a mask of an 1841 pixel film that goes through Resize((256, 256), mode="nearest") and back by
# inverse() comes back with its upper left corner 6 pixels further in (at 806 instead of 800) and its lower
# right corner where it was: torch's "nearest" takes the left edge of each cell both times. With
# "nearest-exact" both corners are within half a cell (798 and 1201).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check monai==1.6.1 torch==2.13.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PY'
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Resize

mask = MetaTensor(torch.zeros(1, 1841, 1841))
mask[:, 800:1200, 800:1200] = 1
corners = {}
for mode in ("nearest", "nearest-exact"):
    resize = Resize((256, 256), mode=mode)
    back = np.argwhere(resize.inverse(resize(mask))[0].numpy() > 0)
    corners[mode] = back.min(0).tolist(), (back.max(0) + 1).tolist()
    print(f"{mode:14} drawn [800, 800] to [1200, 1200], back {corners[mode]}")
assert corners["nearest"] == ([806, 806], [1201, 1201])
assert corners["nearest-exact"] == ([798, 798], [1201, 1201])
PY
