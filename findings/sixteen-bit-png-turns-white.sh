#!/usr/bin/env bash
# A 12 bit film in a 16 bit grey PNG, opened by pillow 13.0.0 and turned into RGB, is white: values above 255 are cut
# off, not scaled, without a warning. load_image of transformers 5.23.0, by which its pipelines open files, does
# just that, so a classifier gives the white picture a score. imageio 2.37.3 hands out the stored values.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 transformers==5.23.0 imageio==2.37.3 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W error - <<'PY'
import imageio.v3
import numpy as np
from PIL import Image
from transformers.image_utils import load_image

ramp = np.linspace(0, 4095, 224 * 224).reshape(224, 224).astype(np.uint16)
Image.fromarray(ramp).save("film.png")
seen = {
    "pillow, convert('L')": np.asarray(Image.open("film.png").convert("L")),
    "pillow, convert('RGB')": np.asarray(Image.open("film.png").convert("RGB")),
    "transformers, load_image": np.asarray(load_image("film.png")),
}
for name, picture in seen.items():
    print(f"{name:26} {np.mean(picture == 255):.1%} of the pixels are white")
    assert np.mean(picture == 255) > 0.93
kept = imageio.v3.imread("film.png")
print("imageio", kept.dtype, int(kept.min()), "to", int(kept.max()))
assert kept.dtype == np.uint16 and np.array_equal(kept, ramp)
PY
