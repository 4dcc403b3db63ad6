#!/usr/bin/env bash
# A segmenter that finds nothing on a healthy film is right. What its Hausdorff distance and Dice are
# depends on who computes them: monai 1.6.1 nan for both, and its mean over films leaves those films out;
# scikit-image 0.26.0 a distance of 0; MedPy 0.5.2 raises RuntimeError for the distance and gives nan for Dice.
# Nothing found where there was something: monai and scikit-image inf, MedPy raises.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check monai==1.6.1 torch==2.13.0 scipy==1.17.1 \
    scikit-image==0.26.0 medpy==0.5.2 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PY'
import math
import numpy as np
import torch
from medpy.metric.binary import dc, hd95
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from skimage.metrics import hausdorff_distance

empty, square = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
square[8:16, 8:16] = True
batch = lambda *masks: torch.tensor(np.stack(masks))[:, None].float()

def medpy(function, *masks):
    try:
        return function(*masks)
    except RuntimeError as error:
        return type(error).__name__

distance, dice = HausdorffDistanceMetric(include_background=True), DiceMetric(include_background=True)
found = distance(batch(empty, square), batch(empty, square)).flatten().tolist()
mean = distance.aggregate().item()
both = dice(batch(empty), batch(empty)).item()
print("monai    both empty, then equal:", found, "mean over the two films:", mean, "Dice:", both)
assert math.isnan(found[0]) and found[1] == 0 and mean == 0 and math.isnan(both)
missed = distance(batch(empty), batch(square)).item()
print("monai    missed:", missed)
assert math.isinf(missed)
skimage = hausdorff_distance(empty, empty), hausdorff_distance(empty, square)
print("skimage  both empty, missed:", skimage)
assert skimage == (0, math.inf)
raised = medpy(hd95, empty, empty), medpy(hd95, empty, square), dc(empty, empty)
print("MedPy    both empty, missed, Dice of both empty:", raised)
assert raised[:2] == ("RuntimeError", "RuntimeError") and math.isnan(raised[2])
PY
