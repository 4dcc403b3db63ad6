"""Which decoder reads compressed pixels: chosen by transfer syntax, and named.

Two decoders of a lossy codestream may round differently, so the film's values, and with them its
hashes and everything made from it, depend on which one read it. pydicom takes whichever of its
plugins comes first among those that are installed; here the order is fixed, so that another package
that comes into the environment changes nothing, and what read a film is recorded with its edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.gate import is_native

_DECODE_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

#: Syntaxes that may lose: two right decoders may read them as different values.
LOSSY: Final = frozenset(
    map(str, (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K))
)

_JPEG, _JPEG_LS, _JPEG_2000 = (
    ("pillow", "pylibjpeg", "gdcm"),
    ("pyjpegls", "pylibjpeg", "gdcm"),
    ("pillow", "pylibjpeg", "gdcm"),
)
#: pydicom's plugins of each syntax, the one that is asked first in front.
ORDER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(map(str, (JPEGBaseline8Bit, JPEGExtended12Bit)), _JPEG),
        **dict.fromkeys(map(str, (JPEGLossless, JPEGLosslessSV1)), ("pylibjpeg", "gdcm")),
        **dict.fromkeys(map(str, (JPEGLSLossless, JPEGLSNearLossless)), _JPEG_LS),
        **dict.fromkeys(map(str, (JPEG2000Lossless, JPEG2000)), _JPEG_2000),
        **dict.fromkeys(map(str, (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)), ("pylibjpeg",)),
        str(RLELossless): ("pydicom", "pylibjpeg", "gdcm"),
    }
)
_PYLIBJPEG: Final = MappingProxyType(
    {
        **dict.fromkeys(
            map(str, (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)),
            "pylibjpeg-openjpeg",
        ),
        str(RLELossless): "pylibjpeg-rle",
    }
)


def installed(syntax: str) -> tuple[str, ...]:
    """List the plugins that can read a compressed syntax here, in the order they are asked.

    Returns
    -------
    tuple of str
        pydicom's names; those that `ORDER` does not know come last, by name.
    """
    try:
        here = get_decoder(UID(syntax)).available_plugins
    except NotImplementedError:
        return ()
    order = ORDER.get(str(syntax), ())
    return (*(name for name in order if name in here), *sorted(set(here) - set(order)))


def decode_frame(dataset: Dataset, index: int | None = None) -> NDArray[Any]:
    """Decode one frame of an object whose declared sizes were looked at before.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With ``file_meta`` and its pixel data.
    index : int, optional
        Of the frame; None = all there are.

    Raises
    ------
    UnsupportedImageError
        It cannot be decoded.
    """
    return read_pixels(dataset, index=index)[0]


def read_pixels(
    dataset: Dataset, plugin: str = "", index: int | None = None
) -> tuple[NDArray[Any], str]:
    """Read pixels as `decode_frame`; also tell what decoded them, see `decoded`.

    Parameters
    ----------
    plugin : str
        As for `decoded`.

    Returns
    -------
    array
    str
        "" where nothing had to be decoded.
    """
    try:
        if is_native(dataset.file_meta.TransferSyntaxUID):
            return pixel_array(dataset, index=index), ""
        return decoded(dataset, plugin, index)
    except BaseException as error:
        # A panic of the RLE decoder, written in Rust, is no Exception and cannot be imported.
        if not isinstance(error, _DECODE_ERRORS) and type(error).__name__ != "PanicException":
            raise
        raise truncated(type(error).__name__) from None


def truncated(what: str) -> UnsupportedImageError:
    """Make the refusal of pixel data that are not what the header declares."""
    return UnsupportedImageError(
        f"The pixel data cannot be decoded to the declared size ({what}); "
        "the file is truncated or damaged, fetch it again."
    )


def decoded(
    dataset: Dataset, plugin: str = "", index: int | None = None
) -> tuple[NDArray[Any], str]:
    """Decode compressed pixels with the first decoder that reads them.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With compressed pixel data and ``file_meta``.
    plugin : str
        The only one to ask, a name of `installed`; "" = all in their order.
    index : int, optional
        Of the frame; None = all there are.

    Returns
    -------
    array
        As `pydicom.pixels.pixel_array` gives it.
    str
        Which decoder read it, with its version, such as "python-gdcm 3.2.2".

    Raises
    ------
    Exception
        What the decoder that was asked first raised, when none of them reads it.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    first: Exception | None = None
    for name in (plugin,) if plugin else installed(syntax):
        try:
            return pixel_array(dataset, index=index, decoding_plugin=name), named(syntax, name)
        except Exception as error:  # what a decoder written in C or Rust raises is not known
            first = first or error
    raise first or RuntimeError("there is no decoder")


def named(syntax: str, plugin: str) -> str:
    """Name the package behind a plugin, with its version; of pillow also that of its codec."""
    package = {
        "gdcm": "python-gdcm",
        "pylibjpeg": _PYLIBJPEG.get(str(syntax), "pylibjpeg-libjpeg"),
    }.get(plugin, plugin)
    try:
        said = f"{package} {version(package)}"
    except PackageNotFoundError:
        return plugin
    if plugin != "pillow":
        return said
    from PIL import features  # builds of one version of pillow come with other codecs

    codec = "jpg_2000" if str(syntax) in _PYLIBJPEG else "libjpeg_turbo"
    return f"{said} ({codec} {features.version(codec) or 'unknown'})"
