"""Words that films are described with: those of many languages, and the site's own.

A text is compared word by word, without case, accents, digits and punctuation; a phrase of
several words is found where they follow each other, and `*` stands for any letters. Languages
that are written without blanks therefore have a star on both sides.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from radedit_dicom.errors import DicomError

CONFIG = "RADEDIT_CONFIG"  # names the settings file, whose table [words] is read here
TABLE = "words"
_STROKES = str.maketrans("ŁØĐ", "LOD")  # accents that Unicode does not take apart
_LONGEST_TEXT = 1024  # characters that are looked at


class Phrases:
    """Words and phrases to look for in a text.

    Parameters
    ----------
    patterns : iterable of str
        Each one or several words, `*` = any letters.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        found = [_folded(pattern.replace("*", "\0"), keep="\0") for pattern in patterns]
        either = "|".join(re.escape(p).replace("\0", r"\S*") for p in found if p.strip("\0 "))
        self._compiled = re.compile(rf"(?<!\S)(?:{either})(?!\S)" if either else "(?!)")

    def are_in(self, text: object) -> bool:
        """Tell whether one of them is in a text; nothing is in None."""
        return self._compiled.search(_folded(str(text or ""))) is not None


def _folded(text: str, keep: str = "") -> str:
    """Upper-case words with one blank between, without accents, digits and punctuation."""
    parts = unicodedata.normalize("NFKD", text[:_LONGEST_TEXT])
    plain = "".join(c for c in parts if not unicodedata.combining(c))
    upper = unicodedata.normalize("NFKC", plain).upper().translate(_STROKES)
    return re.sub(rf"(?:[^\w{keep}]|[_\d])+", " ", upper).strip()


def _phrases(listed: str) -> Phrases:
    return Phrases(listed.split(","))


CHEST = _phrases("""
    CHEST, CXR, THORAX, TORAX, TORACE, TORAKS, LUNG, LUNGS,
    LUNGE, LUNGEN, LUNGER, LUNGOR, BRUSTKORB, BRUSTRAUM, BORSTKAS, LONGEN, BROSTKORG,
    POUMON, POUMONS, PULMON, PULMONES, PULMAO, PULMOES, POLMONE, POLMONI, PLAMAN*,
    KEUHKO*, RINTAKEHA, MELLKAS, AKCIGER*,
    KLATK* PIERS*, KLP, PLUCA, PLUC, PLICE, HRUDNIK*, GRUDNI KOS, PRSNI KOS,
    ГРУДН* КЛЕТ*, ГРУДН* КЛІТ*, ОРГАН* ГРУДН*, ОГК, ЛЕГКИ*, ЛЕГЕН*, ГРЪДЕН КОШ,
    ΘΩΡΑΚ*, ΠΝΕΥΜΟΝ*, *صدر*, *חזה*, NGUC, PHOI, *ทรวงอก*, *ปอด*, *胸*, *肺*, *흉부*, *가슴*
""")
#: They say that the chest is not what is shown, although a word for it may stand beside them.
NOT_CHEST = _phrases("""
    SPINE, RIB, RIBS, STERNUM, CLAVICLE, WIRBEL*, BWS, RIPPE*, COSTAL*, COSTILLA*, COTES,
    COLONNA, COLUMNA, COLONNE, ZEBR*, KREGOSLUP*, ПОЗВОН*, РЕБР*, ГРУДИН*,
    *胸椎*, *胸骨*, *胸腰*, *胸锁*, *胸鎖*, *肋*, *흉추*, *늑골*
""")
_AP = """
    AP, A P, ANTERO POSTERIOR*, ANTEROPOSTERIOR*, ANTERIOR POSTERIOR, PRZEDNIO TYLN*,
    ПЕРЕДНЕ ЗАДН*, ПЕРЕДНЕЗАДН*, *前后位*, *前後位*
"""
_PA = """
    PA, P A, POSTERO ANTERIOR*, POSTEROANTERIOR*, POSTERIOR ANTERIOR, TYLNO PRZEDN*,
    ЗАДНЕ ПЕРЕДН*, ЗАДНЕПЕРЕДН*, *后前位*, *後前位*
"""
AP, PA = _phrases(_AP), _phrases(_PA)
FRONTAL = _phrases(f"{_AP}, {_PA}, FRONTAL, FRONTALE, FACE, FRENTE, ПРЯМ*, *正位*, *正面*, *정면*")
LATERAL = _phrases("""
    LAT, LATERAL, LATERALE, LATERAAL, LATERALIS, LATERO LATERAL*, LL, RL, LLAT, RLAT,
    SEITL*, PROFIL, PERFIL, BOCZN*, BOCNI*, БОКОВ*, БІЧН*, *侧位*, *側位*, *侧面*, *側面*, *측면*
""")
#: Positions that make a film another one than an upright frontal, whatever else is said.
TURNED = _phrases("""
    DECUB, DECUBITUS, DECUBITO LAT*, LLD, RLD, SEITENLAGE, *侧卧*, *側臥*,
    OBL, OBLIQ*, OBLICU*, SCHRAG*, SKOSN*, КОСАЯ, КОСОЙ, RAO, LAO, RPO, LPO, RLO, LLO, *斜位*
""")
#: What stands where nobody knew better.
UNKNOWN = _phrases("UNK, UNKNOWN, UNDEFINED, UNBEKANNT, NONE, NULL, N A, NA")

HUMAN = _phrases("HUMAN, HUMANS, HOMO SAPIENS, MENSCH, HUMAIN, HUMANO, UMANO, ЧЕЛОВЕК, 人")
ANIMAL = _phrases("""
    ANIMAL*, VETERINA*, VET, EQUINE, EQUUS, HORSE, PONY, FOAL, PFERD, CHEVAL, CABALLO, CAVALLO,
    CANINE, CANIS, DOG, PUPPY, HUND, CHIEN, PERRO, FELINE, FELIS, CAT, KITTEN, KATZE, CHAT, GATO,
    GATTO, BOVINE, COW, OVINE, SHEEP, CAPRINE, GOAT, PORCINE, PIG, SWINE, RABBIT, KANINCHEN,
    LAPIN, RODENT, AVIAN, BIRD, REPTILE, WETERYN*, ВЕТЕРИН*, СОБАК*, КОШК*, ЛОШАД*,
    *宠物*, *动物*, *動物*, *犬*, *猫*, *兽*
""")
#: As a site calls itself.
ANIMAL_SITE = _phrases("VETERINA*, TIERKLINIK*, TIERARZT*, ANIMAL HOSPITAL, ANIMAL CLINIC")


@dataclass(frozen=True)
class SiteWords:
    """The site's own words, which win over those above.

    Attributes
    ----------
    chest, frontal, other_views : Phrases
        For the chest, for views from the front or behind, and for views that are neither.
    """

    chest: Phrases
    frontal: Phrases
    other_views: Phrases


def site_words() -> SiteWords:
    """Read the table [words] of the settings file that the environment names; once a file.

    Raises
    ------
    DicomError
        The file cannot be read, or the table holds anything but lists of words.
    """
    return _read(os.environ.get(CONFIG, ""))


@lru_cache
def _read(named: str) -> SiteWords:
    known = tuple(SiteWords.__dataclass_fields__)
    table: object = {}
    if named:
        try:
            table = tomllib.loads(Path(named).expanduser().read_text("utf-8")).get(TABLE, {})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            raise DicomError(
                f"The settings file that {CONFIG} names cannot be read as TOML; correct it."
            ) from None
    if (
        not isinstance(table, dict)
        or set(table) - set(known)
        or not all(map(_is_list, table.values()))
    ):
        raise DicomError(
            f"The table [{TABLE}] of the settings holds something else than lists of words named "
            f"{', '.join(known)}; correct it."
        )
    return SiteWords(**{name: Phrases(table.get(name, ())) for name in known})


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
