"""A MONAI bundle as a victim: one that segments, or one that classifies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from radedit.lib.bundle_network import Bundle
from radedit.lib.errors import RadEditError, VictimError
from radedit.lib.victims.about import About
from radedit.lib.victims.answers import sha256_of
from radedit.lib.victims.preprocessing import checked
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.scores import usable_scores
from radedit_dicom.film import Film


@dataclass(frozen=True)
class BundleVictim:
    """A bundle that runs in this process.

    Attributes
    ----------
    card : VictimCard
    about : for labels in our words
    bundle : runs it
    """

    card: VictimCard
    about: About
    bundle: Bundle

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film; see `protocol.Victim`."""
        checked(display)
        spacing_mm = None if film is None else film.spacing_mm
        try:
            if not self.bundle.segments:
                scores = self.bundle.numbers(display, spacing_mm)
                return Answer(usable_scores(self.about.renamed(scores), self.about.unit)[0])
            labels = np.asarray(self.bundle.label_image(display, spacing_mm))
        except RadEditError as error:
            raise VictimError(str(error)) from error
        except Exception as error:  # a bundle is a program, it may raise anything
            raise VictimError(
                f"the bundle {self.bundle.name} failed on a film ({type(error).__name__})."
            ) from error
        image = labels[0].T  # MONAI's first axis runs along the columns
        if image.shape != display.shape:
            raise VictimError(f"the bundle {self.bundle.name} gave a label image of another size.")
        found = {label: np.asarray(image == n) for label, n in self.bundle.labels.items()}
        return Answer({}, self.about.renamed(found))


def load_bundle(folder: Path, about: About, device: str = "cpu") -> BundleVictim:
    """Make a victim of a bundle's folder.

    Raises
    ------
    ParameterError
        The folder holds no bundle for images of one plane.
    """
    bundle = Bundle(folder, device)
    said = "the bundle's own preprocessing of the film as it is displayed, 16 bits"
    version = about.version or str(bundle.metadata.get("version", ""))
    card = about.card(bundle.name, said, sha256_of(bundle.weights))
    return BundleVictim(replace(card, version=version), about, bundle)
