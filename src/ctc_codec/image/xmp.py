"""XMP, an XML packet: what it says about the picture is put right in the text, all else stays as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from .exif import Kept, Resolution

_TIFF, _EXIF = b"http://ns.adobe.com/tiff/1.0/", b"http://ns.adobe.com/exif/1.0/"
_GOOGLE = b"http://ns.google.com/photos/1.0/"

_GONE: dict[bytes, tuple[str | None, str | None]] = {
    # By namespace: names of properties that are removed (None: all), and the word for what goes with them.
    _TIFF: (
        "BitsPerSample|Compression|PhotometricInterpretation|SamplesPerPixel|PlanarConfiguration|YCbCr.*"
        "|TransferFunction|WhitePoint|PrimaryChromaticities|ReferenceBlackWhite|NativeDigest",
        None,
    ),
    _EXIF: ("CompressedBitsPerPixel|ComponentsConfiguration|Gamma|NativeDigest", None),
    b"http://cipa.jp/exif/1.0/": ("Gamma|Interop.*", None),
    b"http://ns.adobe.com/photoshop/1.0/": ("ICCProfile|ColorMode", None),
    b"http://ns.adobe.com/xap/1.0/": ("Thumbnails", "thumbnail"),
    b"http://ns.adobe.com/xmp/note/": ("HasExtendedXMP", "extended XMP"),
    b"http://ns.adobe.com/hdr-gain-map/1.0/": (None, "gain map"),
    b"http://ns.apple.com/HDRGainMap/1.0/": (None, "gain map"),
    b"http://ns.apple.com/pixeldatainfo/1.0/": (None, None),
    b"http://ns.apple.com/depthData/1.0/": (None, "depth map"),
    _GOOGLE + b"container/": (None, None),
    _GOOGLE + b"camera/": ("Motion.*|Micro.*", "video"),
    _GOOGLE + b"depthmap/": (None, "depth map"),
    _GOOGLE + b"image/": (None, "picture in XMP"),
    _GOOGLE + b"audio/": (None, "sound"),
}

_GONE_IF_TURNED: dict[bytes, tuple[str | None, str | None]] = {
    # Places in the picture before the turn, and a resolution that EXIF does not have.
    _TIFF: ("[XY]Resolution|ResolutionUnit", None),
    _EXIF: ("SubjectArea|SubjectLocation", None),
    _GOOGLE + b"panorama/": (None, "panorama"),
    b"http://www.metadataworkinggroup.com/schemas/regions/": (None, "regions"),
    b"http://ns.microsoft.com/photo/1.2/": ("RegionInfo", "regions"),
    b"http://iptc.org/std/Iptc4xmpExt/2008-02-29/": ("ImageRegion", "regions"),
}

_ENCODINGS = (
    (b"\xff\xfe\0\0|\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe|\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    # Without a mark: a packet's own stands within its first tag.
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""What packets begin with that are not in plain UTF-8."""

_MAX_ELEMENTS, _MAX_DEPTH = 500_000, 1000

_TAG = re.compile(rb"""<[^\s<>/]+(?:\s+[^\s=<>]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
_ATTRIBUTE = re.compile(rb"""\s([^\s=<>]+)\s*=\s*("[^"]*"|'[^']*')""")
_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\b""")


def orientation(packet: bytes) -> int:
    """tiff:Orientation of a packet, sound or not; 0 if it has none."""
    found = _ORIENTATION.search(_utf8(packet))
    return int(found[1]) if found else 0


def mend(packet: bytes, kept: Kept) -> tuple[bytes, list[str]]:
    """The same packet, in UTF-8, true about the pixels that are kept, and words for what is gone with it.

    packet: may be empty. Raises ValueError if it is no XML, or has a document type, which XMP has not.
    """
    if not packet:
        return b"", []
    packet = _utf8(packet).strip(b"\0 \t\r\n")
    mending = _Mending(packet, kept)
    parser = expat.ParserCreate("utf-8", "\n")
    parser.namespace_prefixes = True
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: mending.start(
        parser.CurrentByteIndex, name, attributes
    )
    parser.EndElementHandler = lambda _: mending.end(parser.CurrentByteIndex)
    try:
        parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    mended = mending.text()
    if orientation(mended) > 1:
        raise ValueError("Orientation outside its namespace")
    return mended, mending.lost


def _utf8(packet: bytes) -> bytes:
    """A packet in UTF-8: from Latin-1 if it is in none of Unicode's encodings."""
    encoding = next((name for start, name in _ENCODINGS if re.match(start, packet)), "")
    if not encoding:
        try:
            packet.decode()
        except UnicodeDecodeError:
            encoding = "latin-1"
        else:
            return packet
    # The declaration would tell of another encoding.
    return re.sub(rb"^<\?xml\s.*?\?>", b"", packet.decode(encoding, "replace").encode())


@dataclass
class _Mending:
    """Edits of a packet, gathered from the events of its parser in turn."""

    packet: bytes
    kept: Kept
    lost: list[str] = field(default_factory=list)
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)  # from, to, what is there instead
    open: list[tuple[int, int, bytes | None]] = field(default_factory=list)  # tag from, to, value
    elements: int = 0
    removing: int = 0  # open elements within one that is removed, and that one

    def __post_init__(self) -> None:
        self.gone = [_GONE, _GONE_IF_TURNED] if self.kept.turn is not None else [_GONE]
        width, height = (str(side).encode() for side in self.kept.size)
        self.values = {
            (_TIFF, "Orientation"): b"1",
            (_TIFF, "ImageWidth"): width,
            (_TIFF, "ImageLength"): height,
            (_EXIF, "PixelXDimension"): width,
            (_EXIF, "PixelYDimension"): height,
            (_EXIF, "ColorSpace"): b"1",
        }
        if known := self.kept.resolution:
            self.values |= _resolution(known)

    def start(self, at: int, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > _MAX_ELEMENTS or len(self.open) > _MAX_DEPTH:
            raise ValueError("no XMP of any program")
        tag = _TAG.match(self.packet, at)
        stop = tag.end() if tag else at
        space, local, _ = _split(name)
        value = self.values.get((space, local))
        if self.removing or (value is None and self.open and self._is_gone(space, local)):
            self.removing += 1
            self.open.append((at, stop, None))
            return
        self.open.append((at, stop, value))
        written = {found[1]: found for found in _ATTRIBUTE.finditer(self.packet, at, stop)}
        for attribute in attributes:
            space, local, prefix = _split(attribute)
            value, found = self.values.get((space, local)), written.get(b"%s:%s" % (prefix, local.encode()))
            if found and value is not None:
                self.edits.append((found.start(2) + 1, found.end(2) - 1, value))
            elif found and self._is_gone(space, local):
                self.edits.append((*found.span(), b""))

    def end(self, at: int) -> None:
        start, stop, value = self.open.pop()
        empty = self.packet.endswith(b"/>", start, stop)
        if self.removing:
            self.removing -= 1
            if not self.removing:
                self.edits.append((start, stop if empty else self.packet.find(b">", at) + 1, b""))
        elif value is not None and not empty:
            while self.edits and self.edits[-1][0] >= stop:  # within the value
                self.edits.pop()
            self.edits.append((stop, at, value))

    def _is_gone(self, space: bytes, local: str) -> bool:
        for gone in self.gone:
            if space in gone:
                names, word = gone[space]
                if names is None or re.fullmatch(names, local):
                    if word is not None and word not in self.lost:
                        self.lost.append(word)
                    return True
        return False

    def text(self) -> bytes:
        out, at = bytearray(), 0
        for start, stop, new in sorted(self.edits):
            out += self.packet[at:start] + new
            at = stop
        return bytes(out + self.packet[at:])


def _split(name: str) -> tuple[bytes, str, bytes]:
    """Namespace, name and prefix, of a name as expat writes them."""
    parts = name.split("\n")
    if len(parts) == 1:
        return b"", name, b""
    return parts[0].encode(), parts[1], "".join(parts[2:]).encode()


def _resolution(known: Resolution) -> dict[tuple[bytes, str], bytes]:
    x, y = (f"{value.numerator}/{value.denominator}".encode() for value in known[:2])
    return {
        (_TIFF, "XResolution"): x,
        (_TIFF, "YResolution"): y,
        (_TIFF, "ResolutionUnit"): str(known.unit).encode(),
    }
