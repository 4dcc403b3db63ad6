#!/usr/bin/env bash
# statsmodels 0.15.0: multipletests of the p-values of four groups of films, one of which is not defined (nan: a group
# with one class only). Benjamini-Hochberg: every corrected value is nan. Hommel and fdr_gbs: nothing is significant
# any more, not even p = 1e-6. Holm and Simes-Hochberg count the nan as a fourth test and lose the third group. No warning,
# whatever the method. SciPy 1.17.1's false_discovery_control refuses it.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" -W error - <<'PY'
import math
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

groups = [1e-6, 1e-5, 0.03]
seen = {}
for method in ("bonferroni", "holm", "simes-hochberg", "hommel", "fdr_bh", "fdr_gbs"):
    for given in (groups, [*groups, math.nan]):
        significant, corrected, *_ = multipletests(given, method=method)
        seen[method, len(given)] = significant[:3].tolist(), corrected[:3].tolist()
    print(f"{method:14} three groups {seen[method, 3]}\n{'':14} and an undefined one {seen[method, 4]}")
yes, no, third_lost = [True] * 3, [False] * 3, [True, True, False]
for method in ("simes-hochberg", "hommel", "fdr_bh", "fdr_gbs"):
    assert seen[method, 3][0] == yes and all(map(math.isnan, seen[method, 4][1]))
assert seen["hommel", 4][0] == seen["fdr_gbs", 4][0] == no and seen["fdr_bh", 4][0] == yes
assert seen["holm", 3][0] == yes and seen["holm", 4][0] == seen["simes-hochberg", 4][0] == third_lost
try:
    false_discovery_control([*groups, math.nan])
except ValueError as error:
    print("scipy:", error)
else:
    raise AssertionError("scipy took it")
PY
