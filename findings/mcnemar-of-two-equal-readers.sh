#!/usr/bin/env bash
# statsmodels 0.15.0: McNemar's test of two readers who agree on every film (no discordant pair)
# gives p = 1.0 when exact and p = 0.0, statistic infinite, with exact=False: the continuity
# correction makes (|0 - 0| - 1)^2 / 0. Two equal models differ with the greatest significance there is.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" -W ignore - <<'PY'
import math
from statsmodels.stats.contingency_tables import mcnemar

table = [[50, 0], [0, 50]]
exact = mcnemar(table, exact=True)
corrected = mcnemar(table, exact=False)
plain = mcnemar(table, exact=False, correction=False)
print("exact     p", exact.pvalue)
print("corrected p", corrected.pvalue, "statistic", corrected.statistic)
print("plain     p", plain.pvalue)
assert exact.pvalue == 1.0
assert corrected.pvalue == 0.0 and math.isinf(corrected.statistic)
assert math.isnan(plain.pvalue)
PY
