#!/usr/bin/env bash
# diffusers 0.42.0: set_timesteps(n) with timestep_spacing="trailing" gives n + 1 timesteps for 62 of
# the 1,000 values of n (61 is the first, then 103, 121, 122), in DDIM, DDPM, Euler and
# DPM-Solver++ alike; the one too many is timestep -1, behind the last. An edit "in 61 steps" takes 62
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check diffusers==0.42.0 torch==2.13.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PY'
import diffusers

names = ("DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
for name in names:
    wrong = {}
    for n in range(1, 1001):
        made = getattr(diffusers, name)(num_train_timesteps=1000, timestep_spacing="trailing")
        made.set_timesteps(n)
        if len(made.timesteps) != n:
            wrong[n] = len(made.timesteps)
    print(name, len(wrong), "of 1000 are off:", list(wrong.items())[:4])
    assert len(wrong) == 62 and all(found == n + 1 for n, found in wrong.items())
    assert list(wrong)[:4] == [61, 103, 121, 122]
PY
