"""The bench's figures as tables, and their place in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radedit.lib.bench.figures import Figure
from radedit.lib.bench.truth import AS_IS, GUIDANCE
from radedit.lib.errors import OutputError
from radedit.lib.whole_files import write_file

BEGIN, END = "<!-- radedit bench truth: begin -->", "<!-- radedit bench truth: end -->"
PAGE = "benchmarks.md"


def write_page(docs: Path, text: str) -> None:
    """Put the tables between their markers in the page of benchmarks, at its end at first.

    Raises
    ------
    OutputError
        The page is not there or cannot be written, or one of its markers is missing.
    """
    page = docs / PAGE
    try:
        before = page.read_text("utf-8")
        write_file(page, _between(before, text))
    except OSError as error:
        raise OutputError(
            f"{PAGE} cannot be updated ({error.strerror or type(error).__name__}); run this in "
            "the root of the project's checkout."
        ) from None


def _between(page: str, text: str) -> str:
    block = f"{BEGIN}\n{text.strip()}\n{END}\n"
    if BEGIN not in page and END not in page:
        return f"{page.rstrip()}\n\n{block}"
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise OutputError(f"{PAGE} has lost one of its two markers; put it back or remove both.")
    after = tail.lstrip("\n")
    return f"{head}{block}\n{after}" if after else head + block


def markdown(facts: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """All tables, with what was measured in words."""
    parameters = facts["parameters"]
    paragraphs = [
        "## Against the phantom's truth",
        f"`radedit bench truth --patients {figures['patients']} --write-docs`: patients that "
        f"nothing was trained on (seeds from {facts['first_seed']}), films of {facts['size']} "
        f"pixels, model {facts['model']} at {parameters['steps']} steps, guidance "
        f"{parameters['guidance']:g}, skip {parameters['skip']:g}; the judge is another network, "
        "of other seeds, from a world in which nothing goes with anything. Software "
        "verification on simulated films, never clinical validity. Brackets: 95 % intervals, "
        "Wilson's for shares, bootstrap over patients else.",
        _table(
            ("aim", "wanted", "seen", "held"),
            ((a["what"], a["aim"], a["seen"], "yes" if a["held"] else "no")
             for a in figures["aims"]),
        ),
        _removal(figures["removal"]),
        _additions(figures["additions"]),
        _seams(figures["seams"]),
        _seconds(figures["seconds"]),
    ]  # fmt: skip
    return "\n\n".join(paragraphs)


def _removal(found: Mapping[str, Mapping[str, Figure]]) -> str:
    rows = (
        (
            name,
            percent(row["gone"]),
            percent(row["drain_there"]),
            number(row["drain_dice"]),
            number(row["drain_contrast"], 2),
            percent(row["drain_called"]),
            percent(row["drain_there_on_true_lung"]),
            number(row["drain_contrast_on_true_lung"], 2),
            number(row["error"], 4),
            number(row[f"{AS_IS}_over_error"], 2),
            number(row["sham_over_error"], 2),
            number(row["elsewhere"], 4),
        )
        for name, row in found.items()
    )
    refused = sum(round(row["refused"]["value"] * row["refused"]["n"]) for row in found.values())
    heads = (
        "edit", "finding gone", "drain there", "drain Dice", "drain contrast", "drain called",
        "there, on true lung", "contrast, on true lung", "error", "left over it", "sham over it",
        "elsewhere",
    )  # fmt: skip
    return "\n\n".join(
        (
            "### Remove a pneumothorax, keep the drain",
            "Masks are the truth's, grown by 5 pixels; the keep mask holds every device, not grown "
            "where attenuation is kept. *Gone*: not called by the judge on its "
            "side. *Drain there*: Dice of 0.95 or more and a "
            "contrast within 15 % of the true counterfactual's, where it crosses the lungs. Both "
            "are taken on the drain's shadow: the film less the same film without the drain, both "
            "edited alike, as the truth's is the true counterfactual less the same without the "
            "drain. *Contrast* is the mean on the drain less that in a ring of lung 2 to 6 pixels "
            "from it, over the truth's; *Dice* is of the drain's pixels near which that contrast "
            "is half the truth's or more. *Called*: by the judge, on the edited film. *On true "
            "lung*: the same two figures of the film less the true film without finding and drain, "
            "where all counts as drain that was drawn beside it otherwise than in truth; see "
            "[ADR 0006](adr/0006-keep-values-or-attenuation.md). *Error*: mean absolute difference "
            "to the true counterfactual inside the edit mask (display range 1), then that of "
            "leaving the finding in, and of the sham, over it. *Truth, its vessels drawn anew*: "
            "the same patient with other vessels in the lungs, which nobody could tell from the "
            "film with the finding; so it is what a perfect editor could reach. *Elsewhere*: "
            "mean change outside the edit mask. The sham asks for what is there already; *finding "
            "inverted*: the inversion was told of the finding, in the other rows it was told "
            "nothing, as in the paper. Refused for want of room beside the keep mask, and counted "
            f"as left: {refused} edits.",
            _table(heads, rows),
            "![Removal of pneumothoraces beside drains](pictures/truth-removal.png)",
            "![What of each film is the drain's](pictures/truth-drain.png)",
        )
    )


def _additions(found: Mapping[str, Any]) -> str:
    rows = (
        (
            kind,
            name,
            percent(row["present"]),
            percent(row["elsewhere_too"]),
            number(row["error"], 4),
            number(row[f"{AS_IS}_over_error"], 2),
            row["outside_pixels"],
            f"{row['outside_max']:.4f}",
            number(row["outside_mean"], 5),
            number(row["lungs_dice"], 4),
        )
        for kind, of_kind in found.items()
        for name, row in of_kind["methods"].items()
    )
    heads = (
        "added", "edit", "present", "elsewhere too", "error", "left over it",
        "pixels outside", "largest outside", "mean outside", "lungs outside, Dice",
    )  # fmt: skip
    places = (
        (kind, place, percent(figure))
        for kind, of_kind in found.items()
        for place, figure in of_kind["places"].items()
    )
    return "\n\n".join(
        (
            "### Add a consolidation, an effusion, a pacemaker",
            "To the same patients without finding and drain, each at one place in turn; the edit "
            "mask is that of the same patient rendered with it, grown by 8 pixels. *Present*: "
            "called by the judge on the side and in the lobe asked for; *elsewhere too*: the "
            "same kind called at a place where it was not called before. Consolidation and "
            f"pacemaker are added at guidance {GUIDANCE['consolidation']:g}, chosen on three "
            "patients of which one is among these, and at the model's own. *Outside*: more than 32 "
            "pixels from the edit mask; pixels that differ, and by how much of the display range. "
            "In the truth scatter changes them. *Lungs*: by the embedded segmenter, before against "
            "after.",
            _table(heads, rows),
            _table(("added", "place", "present"), places),
            "![Additions](pictures/truth-additions.png)",
        )
    )


def _seams(found: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> str:
    rows = (
        (
            task,
            name,
            number(row["z"], 2),
            percent(row["within"]),
            number(row["gradient_over_film"], 3),
        )
        for task, methods in found.items()
        for name, row in methods.items()
    )
    return "\n\n".join(
        (
            "### Seams",
            "Mean gradient in a band along the edit mask's border (3 pixels of 256), in standard "
            "deviations of the same band laid at 100 random places of the chest on the untouched "
            "film; how many lie within two; and the gradient over that of the untouched film.",
            _table(("task", "film", "z", "within 2", "over the film's"), rows),
            "![Borders, enlarged](pictures/truth-seam.png)",
        )
    )


def _seconds(found: Mapping[str, Any]) -> str:
    return (
        "### Time\n\nOne edit in a process with its model loaded, nothing cached: median "
        f"{found['median']:.2f} s ({found['min']:.2f} to {found['max']:.2f}, n = {found['n']}), "
        f"{found['threads']} threads."
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def percent(figure: Figure) -> str:
    """A share with its interval: "98 % (93 to 99)"."""
    if "value" not in figure:
        return "none"
    low, high = 100 * figure["low"], 100 * figure["high"]
    return f"{100 * figure['value']:.0f} % ({low:.0f} to {high:.0f})"


def number(figure: Figure, digits: int = 3) -> str:
    """A mean or factor with its interval, where there is one."""
    if "value" not in figure:
        return "none"
    text = f"{figure['value']:.{digits}f}"
    if "low" in figure:
        text += f" ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
    return text
