"""EXIF, XMP and resolution: true about upright sRGB pixels, out into every format that carries them, and
never at an image's expense."""

from __future__ import annotations

import io
import struct
import time
import warnings
import xml.dom.minidom
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, features

import ctc_codec
from ctc_codec.container.sections import MAX_METADATA
from ctc_codec.image import exif, xmp
from ctc_codec.image.exif import TURNS, Kept, Resolution
from ctc_codec.image.open import open_image
from ctc_codec.image.save import dropped, image_bytes, image_from_pixels
from ctc_codec.image.source import psnr, source_image
from support.image_samples import (
    DISPLAY_P3,
    SIZE,
    chunk,
    disc,
    exif_with,
    file_of,
    palette_image,
    picture,
    png,
    psd,
    rgb_profile,
    rgba,
    saved,
    stored_for,
    tiff,
    turned,
    with_metadata,
    xmp_with,
)

_MAKER = b"Maker of things\0"
_DATE = b"2024:05:06 07:08:09\0"
_CARRIERS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"]


def _supported(kind: str) -> None:
    if kind in ("WEBP", "AVIF") and kind.lower() not in features.get_supported():
        pytest.skip(f"this Pillow is without {kind}")


def _orientation_of(exif: bytes) -> int:
    tags = Image.Exif()
    tags.load(exif)
    return int(tags.get(0x0112, 1))


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_metadata_are_kept_if_asked_for(kind: str, orientation: int) -> None:
    _supported(kind)
    data = turned(kind, orientation)()
    assert source_image(open_image(data)).exif == b""
    source = source_image(open_image(data), metadata=True)
    assert source.notes == []
    assert source.exif[:4] in (b"II*\0", b"MM\0*")
    assert _MAKER in source.exif
    assert _DATE in source.exif
    assert _orientation_of(source.exif) == 1
    if kind in ("JPEG", "PNG", "WEBP") and orientation == 1:
        assert source.exif == exif_with(1)[6:]  # makers' notes hold offsets: not a byte may move


def test_heic_keeps_its_metadata() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(stored_for(rgba(), 6))).save(
        out, quality=-1, chroma=444, exif=exif_with(6)
    )
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.notes == []
    assert source.alpha is not None
    assert np.array_equal(source.alpha, disc())
    assert psnr(source.pixels[disc() > 0], picture()[disc() > 0]) > 40
    assert _orientation_of(source.exif) == 1
    assert _MAKER in source.exif


def test_exif_is_changed_in_the_orientation_alone() -> None:
    for order in "<>":
        tags = Image.Exif()
        tags.endian = order
        tags[0x0112], tags[0x010F], tags[0x8769] = 8, "Maker of things", {0x927C: b"makers' notes"}
        before = tags.tobytes()
        out = io.BytesIO()
        Image.fromarray(picture()).save(out, "JPEG", exif=before)
        after = source_image(open_image(out.getvalue()), metadata=True).exif
        changed = [i for i, (a, b) in enumerate(zip(before[6:], after, strict=True)) if a != b]
        assert len(changed) == 1
        assert _orientation_of(after) == 1


def test_a_tiff_does_not_hand_on_what_it_says_about_its_pixels() -> None:
    data = file_of("TIFF", picture, exif=exif_with(1))()
    tags = Image.Exif()
    tags.load(source_image(open_image(data), metadata=True).exif)
    assert tags[0x010F] == "Maker of things"
    assert tags.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert not {256, 257, 258, 259, 262, 273, 277, 278, 279} & set(tags)


def test_a_tiff_that_says_nothing_has_no_exif() -> None:
    data = tiff([picture().tobytes()], SIZE, [8, 8, 8], 2)
    assert source_image(open_image(data), metadata=True).exif == b""


@pytest.mark.parametrize(
    "xmp",
    [
        xmp_with(6),
        xmp_with(6).replace(b'tiff:Orientation="6"', b"tiff:Orientation = '6'"),
        xmp_with(6).replace(b' tiff:Orientation="6"', b"").replace(
            b"</rdf:RDF>", b'<r xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>6</tiff:Orientation></r></rdf:RDF>'
        ),
    ],
)  # fmt: skip
def test_xmp_is_kept_upright(xmp: bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "JPEG", xmp=xmp, quality=98, subsampling=0)
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.xmp == xmp.replace(b"6", b"1")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0", b"Exif\0\0II*\0\x99\0\0\0\x02\0"])
def test_broken_metadata_are_dropped(exif: bytes) -> None:
    data = file_of("JPEG", picture, exif=exif)()
    assert source_image(open_image(data)).notes == []
    source = source_image(open_image(data), metadata=True)
    assert source.exif == b""
    assert source.notes in (["EXIF data are broken: dropped"], [])
    assert bool(source.notes) == (len(exif) > 6)


@pytest.mark.parametrize(
    "info",
    [
        *({"exif": 5}, {"exif": "text"}, {"xmp": 5}, {"Raw profile type exif": "\n\n\nzz"}),
        *(
            {"dpi": 5},
            {"dpi": ("a", 1)},
            {"dpi": (float("nan"), 1)},
            {"dpi": (10**400, 1)},
            {"jfif_unit": []},
        ),
        *({"comment": 5}, {"photoshop": 5}, {"photoshop": {1005: 5}}, {"aspect": None}, {"thumbnails": 5}),
    ],
)
def test_metadata_that_are_none_do_no_harm(info: dict[str, object]) -> None:
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(image, metadata=True)
    assert (source.exif, source.xmp) == (b"", b"")


def test_an_orientation_counts_even_where_the_rest_is_broken() -> None:
    damaged = bytearray(exif_with(6))
    at = damaged.index(b"\x87\x69")
    damaged[at + 8 : at + 12] = b"\xff\xff\xff\xf0"  # where EXIF's own directory should be
    for broken in (bytes(damaged), bytes(damaged[:44])):  # cut behind two entries of three
        data = png(stored_for(picture(), 6), 8, 2, chunk(b"eXIf", broken.removeprefix(b"Exif\0\0")))
        assert np.array_equal(source_image(open_image(data), metadata=True).pixels, picture())


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_metadata_are_written(kind: str, mode: str, prefix: bytes) -> None:
    _supported(kind)
    image = with_metadata(mode)
    image.info["exif"] = prefix + exif_with(1)[6:]
    image.info["icc_profile"] = b"is not handed on"
    image.info["dpi"] = (1, 1)
    opened = open_image(image_bytes(image, kind))
    assert "icc_profile" not in opened.info
    source = source_image(opened, metadata=True)
    assert source.notes == []
    assert _MAKER in source.exif
    assert _DATE in source.exif
    assert _orientation_of(source.exif) == 1
    assert source.xmp == xmp_with(1)
    assert source.pixels.shape == (32, 48, 3)
    plain = image_from_pixels(picture())
    nothing = source_image(open_image(image_bytes(plain, kind)), metadata=True)
    assert (nothing.exif, nothing.xmp) == (b"", b"")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", [*_CARRIERS, "BMP", "PPM", "GIF", "TGA"])
@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"no exif"},
        {"exif": b"MM\0*\0\0\0\x08\xff\xff"},
        {"exif": exif_with(1) + bytes(70_000)},
        {"xmp": b"\xff\xfe no text"},
        {"xmp": b"<x>" + bytes(70_000)},
        {"exif": "text", "xmp": 5},
    ],
    ids=["no TIFF", "no tags", "long EXIF", "XMP of bytes", "long XMP", "other types"],
)
def test_what_cannot_be_written_is_left_out(kind: str, info: dict[str, object]) -> None:
    _supported(kind)
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(open_image(image_bytes(image, kind)))
    assert psnr(source.pixels, picture()) > (25 if kind == "GIF" else 40)


def test_long_exif_does_not_take_xmp_with_it() -> None:
    image = with_metadata()
    image.info["exif"] = exif_with(1) + bytes(70_000)
    source = source_image(open_image(image_bytes(image, "JPEG")), metadata=True)
    assert (source.exif, source.xmp) == (b"", xmp_with(1))


# --- EXIF that is true ------------------------------------------------------------------------------


def _structure(order: str, ifds: dict[str, dict[int, tuple[int, int, bytes]]], tail: bytes = b"") -> bytes:
    """A TIFF structure of directories "0", "exif", "gps" and "1", in this order, each tag's type, count and
    value; a value of more than 4 bytes, or "@name" for a directory's place, or "@tail", stands behind."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    starts, at = {}, 8
    for name, tags in ifds.items():
        starts[name], at = at, at + 2 + 12 * len(tags) + 4
    values = b""
    everything = [value for tags in ifds.values() for _, _, value in tags.values()]
    starts["tail"] = at + sum(len(value) for value in everything if len(value) > 4 and value[:1] != b"@")
    for name, tags in ifds.items():
        out += struct.pack(order + "H", len(tags))
        for tag, (kind, count, value) in sorted(tags.items()):
            if value[:1] == b"@":
                value = struct.pack(order + "I", starts[value[1:].decode()])
            elif len(value) > 4:
                values, value = values + value, struct.pack(order + "I", at + len(values))
            out += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        out += struct.pack(order + "I", starts.get("1", 0) if name == "0" else 0)
    return bytes(out + values + tail)


def _adobe_and_sideways(order: str) -> bytes:
    """EXIF as a camera writes it that has all that is no longer true of the picture, and a thumbnail."""

    def short(*values: int) -> tuple[int, int, bytes]:
        return 3, len(values), struct.pack(f"{order}{len(values)}H", *values)

    def long(value: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack(order + "I", value)

    def rational(*values: int) -> tuple[int, int, bytes]:
        return 5, len(values) // 2, struct.pack(f"{order}{len(values)}I", *values)

    thumbnail = file_of("JPEG", lambda: picture(16, 12))()
    ifd0 = {0x100: short(SIZE[0]), 0x101: long(SIZE[1]), 0x102: short(8, 8, 8), 0x10F: (2, 16, _MAKER)}
    ifd0 |= {0x112: short(6), 0x11A: rational(300, 1), 0x11B: rational(150, 1), 0x128: short(2)}
    ifd0 |= {0x13E: rational(1, 3, 1, 3), 0x213: short(1), 0x8769: (4, 1, b"@exif"), 0x8825: (4, 1, b"@gps")}
    own = {0x9003: (2, 20, _DATE), 0x9102: rational(4, 1), 0x9214: short(5, 6), 0x927C: (7, 9, b"maker's: ")}
    own |= {0xA001: short(65535), 0xA002: long(SIZE[0]), 0xA003: short(SIZE[1]), 0xA005: (4, 1, b"@interop")}
    own |= {0xA20E: rational(7, 1), 0xA20F: rational(9, 1), 0xA500: rational(22, 10)}
    ifds = {"0": ifd0, "exif": own, "gps": {1: (2, 2, b"N\0")}, "interop": {1: (2, 4, b"R03\0")}}
    ifds["1"] = {0x103: short(6), 0x201: (4, 1, b"@tail"), 0x202: long(len(thumbnail))}
    return _structure(order, ifds, thumbnail)


def _tags(data: bytes) -> tuple[dict[int, object], dict[int, object]]:
    """IFD0's and EXIF's own, as Pillow reads them."""
    tags = Image.Exif()
    tags.load(data)
    own = tags.get_ifd(0x8769)
    return {tag: value for tag, value in tags.items() if tag not in (0x8769, 0x8825)}, own


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_tells_the_truth_about_the_pixels(kind: str, order: str) -> None:
    before = _adobe_and_sideways(order)
    options = {"exif": b"Exif\0\0" + before, "icc_profile": rgb_profile(DISPLAY_P3, 2.2)}
    data = saved(Image.fromarray(stored_for(picture(), 6)), kind, **options)
    source = source_image(open_image(data), metadata=True)
    assert source.pixels.shape == (32, 48, 3)
    tags, own = _tags(source.exif)
    width, height = SIZE
    assert tags == {
        0x100: width,
        0x101: height,
        0x10F: _MAKER[:-1].decode(),
        0x112: 1,
        0x11A: 150,
        0x11B: 300,
        0x128: 2,
    }
    assert own == {
        0x9003: _DATE[:-1].decode(),
        0x927C: b"maker's: ",
        0xA001: 1,
        0xA002: width,
        0xA003: height,
        0xA20E: 9,
        0xA20F: 7,
    }
    for kept in (_MAKER, _DATE, b"maker's: "):
        assert before.index(kept) == source.exif.index(kept)
    assert b"\xff\xd8" not in source.exif
    assert len(source.exif) == len(before)
    assert "not kept: thumbnail" in source.notes
    assert exif.mend(source.exif, Kept(SIZE)) == (source.exif, [])


def test_sizes_above_16_bits_fit() -> None:
    before = _structure("<", {"0": {0x100: (3, 1, b"\1"), 0x101: (1, 1, b"\1")}})
    after, _ = exif.mend(before, Kept((70_000, 2)))
    assert _tags(after)[0] == {0x100: 70_000, 0x101: 2}


def test_a_thumbnail_that_may_be_something_else_is_not_erased() -> None:
    """Its place and size lie about whose bytes these are."""
    ifd0 = {0x10F: (2, 16, b"\xff\xd8ker of things\0"), 0x112: (3, 1, b"\1\0")}
    for size in (8, 2**31):
        before = _structure(
            "<",
            {"0": ifd0, "1": {0x201: (4, 1, struct.pack("<I", 68)), 0x202: (4, 1, struct.pack("<I", size))}},
        )
        assert before[68:70] == b"\xff\xd8"
        after, lost = exif.mend(before, Kept(SIZE))
        assert ifd0[0x10F][2] in after
        assert lost == ["thumbnail"]


@pytest.mark.parametrize("target", [8, 0, 9, 2**32 - 1])
@pytest.mark.parametrize("tag", [0x8769, 0x8825])
def test_directories_that_are_none_or_their_own_are_unlinked(tag: int, target: int) -> None:
    before = _structure("<", {"0": {0x10F: (2, 4, b"abc\0"), tag: (4, 1, struct.pack("<I", target))}})
    after, lost = exif.mend(before, Kept(SIZE))
    assert _tags(after)[0] == {0x10F: "abc"}
    assert lost == ["broken parts of EXIF"]


def test_damaged_exif_is_mended_or_refused() -> None:
    random = np.random.default_rng(0)
    kept = Kept((20, 30), TURNS[6], Resolution(Fraction(300), Fraction(200)))
    good = 0
    for _ in range(3000):
        data = np.frombuffer(_adobe_and_sideways("<>"[random.integers(2)])[:500], np.uint8).copy()
        data[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
        try:
            after, _ = exif.mend(data.tobytes(), kept)
        except (ValueError, struct.error):
            continue
        good += 1
        if after:
            assert exif.resolution(after) == kept.resolution
            assert exif.orientation(after) in (0, 1)
    assert good > 1000


# --- XMP that is true -------------------------------------------------------------------------------

_XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:c="http://ns.google.com/photos/1.0/container/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:m="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:cam="http://ns.google.com/photos/1.0/camera/"
 t:Orientation='6' exif:ColorSpace = "65535" t:XResolution="1/2" {gone} t:Make="6 &gt; 5 > 4">
<exif:PixelXDimension>128</exif:PixelXDimension><exif:PixelYDimension/><t:YResolution >72/1</t:YResolution>
{more}<t:Model>A &gt; B</t:Model><!-- <t:Compression> --></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_GONE = b"""t:Compression="1"|hdrgm:Version="1.0"|cam:MotionPhoto="1"|photoshop:ICCProfile='Adobe RGB'"""
_MORE = b"""<t:BitsPerSample><rdf:Seq><rdf:li>16</rdf:li></rdf:Seq></t:BitsPerSample>|<t:Compression/>
|<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>
|<c:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><c:Item c:x=">"/></rdf:li></rdf:Seq></c:Directory>
|<m:Regions rdf:parseType="Resource"><m:AppliedToDimensions/></m:Regions>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xmp_tells_the_truth_about_the_pixels(encoding: str) -> None:
    before = _XMP.replace(b"{gone}", _GONE.replace(b"|", b" ")).replace(b"{more}", _MORE.replace(b"|", b""))
    kept = Kept((96, 128), TURNS[6], Resolution(Fraction(300), Fraction(150)))
    after, lost = xmp.mend(before.decode().encode(encoding), kept)
    expected = _XMP
    for old, new in (
        (b"t:Orientation='6'", b"t:Orientation='1'"),
        (b'"65535"', b'"1"'),
        (b'"1/2"', b'"300/1"'),
        (b">128<", b">96<"),
        (b">72/1<", b">150/1<"),
        (b"{gone} ", b""),
        (b"{more}", b"\n\n\n"),
    ):
        expected = expected.replace(old, new)
    assert b" ".join(after.split()) == b" ".join(expected.split())
    assert set(lost) == {"gain map", "thumbnail", "video", "regions"}
    xml.dom.minidom.parseString(after)
    assert xmp.mend(after, kept) == (after, [])


def test_what_xmp_says_of_places_stays_where_nothing_is_turned() -> None:
    before = _XMP.replace(b"{gone}", b"").replace(b"{more}", _MORE.split(b"|")[-1])
    after, lost = xmp.mend(before, Kept((96, 128)))
    assert b"m:Regions" in after
    assert b't:XResolution="1/2"' in after
    assert lost == []


@pytest.mark.parametrize(
    "packet",
    [
        b"<x>",
        b"no XML",
        xmp_with(6).replace(b"</rdf:RDF>", b""),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
        b"<a>" * 2000 + b"</a>" * 2000,
        b"<a>" + b"<b/>" * 600_000 + b"</a>",
        b"<a b=\"tiff:Orientation='6'\"/>",
    ],
    ids=range(7),
)
def test_broken_xmp_is_dropped(packet: bytes) -> None:
    image = Image.fromarray(picture())
    image.info["xmp"] = packet
    source = source_image(image, metadata=True)
    assert (source.xmp, source.notes) == (b"", ["XMP data are broken: dropped"])


@pytest.mark.parametrize(
    "encoding",
    ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "latin-1"],
)
def test_xmp_becomes_utf_8(encoding: str) -> None:
    text = xmp_with(6).decode().replace("Maker", "M\u00fcller")
    for declared in ("", f'<?xml version="1.0" encoding="{encoding}"?>'):
        image = Image.fromarray(stored_for(picture(), 6))
        image.info["xmp"] = (declared + text).encode(encoding)
        source = source_image(image, metadata=True)
        assert np.array_equal(source.pixels, picture())
        assert source.xmp.decode() == text.replace('Orientation="6"', 'Orientation="1"')
        assert source.notes == []


def test_many_properties_of_xmp_take_no_time_each_of_all_the_others() -> None:
    gone = b" ".join(b"tiff:YCbCr%d='1'" % i for i in range(50_000))
    packet = xmp_with(1).replace(b"tiff:Make=", gone + b" tiff:Make=")
    start = time.perf_counter()
    mended, _ = xmp.mend(packet, Kept(SIZE))
    assert time.perf_counter() - start < 5  # 0.3 s, and minutes if each is looked for from the first on
    assert b" ".join(mended.split()) == b" ".join(xmp_with(1).split())


def test_metadata_in_boxes_of_jpeg_2000() -> None:
    _supported("JPEG2000")
    data = saved(Image.fromarray(stored_for(picture(), 6)), "JPEG2000", irreversible=False)
    at = data.index(b"jp2c") - 4
    packet = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC") + xmp_with(6)
    boxes = [b"JpgTiffExif->JP2" + exif_with(6)[6:], packet]
    for box in boxes:
        data = data[:at] + struct.pack(">I4s", 8 + len(box), b"uuid") + box + data[at:]
    for image in (open_image(data), Image.open(io.BytesIO(data))):
        source = source_image(image, metadata=True)
        assert np.array_equal(source.pixels, picture())
        assert (source.exif, source.xmp) == (exif_with(1)[6:], xmp_with(1))
        assert source.notes == []


def test_xmp_is_found_in_gif_and_jpeg_xl() -> None:
    gif = saved(palette_image(), "GIF")
    at = 13 + 3 * (2 << (gif[10] & 7))
    block = b"!\xff\x0bXMP DataXMP" + xmp_with(1) + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    data = gif[:at] + block + gif[at:]
    for image in (open_image(data), Image.open(io.BytesIO(data))):
        assert source_image(image, metadata=True).xmp == xmp_with(1)
    pytest.importorskip("pillow_jxl")
    data = saved(Image.fromarray(picture()), "JXL", xmp=xmp_with(1), lossless=True)
    assert source_image(open_image(data), metadata=True).xmp == xmp_with(1)
    bare = saved(Image.fromarray(picture()), "JXL", exif=exif_with(1), lossless=True)
    data = bare + struct.pack(">I4s4s", 13, b"brob", b"xml ") + b"\0"
    assert source_image(open_image(data), metadata=True).notes == ["not kept: compressed XMP"]


def test_jpeg_xl_is_turned_as_it_says_itself() -> None:
    """EXIF's Orientation is not what counts in this format: decoders have turned the picture already."""
    pytest.importorskip("pillow_jxl")
    data = saved(Image.fromarray(picture()), "JXL", exif=exif_with(6), lossless=True)
    source = source_image(open_image(data), metadata=True)
    assert np.array_equal(source.pixels, picture())
    assert _orientation_of(source.exif) == 1


# --- resolution -------------------------------------------------------------------------------------


def _jfif(unit: int, x: int, y: int) -> Callable[[], bytes]:
    def make() -> bytes:
        data = bytearray(file_of("JPEG", picture)())
        data[13:18] = struct.pack(">BHH", unit, x, y)
        return bytes(data)

    return make


def _bmp(x: int, y: int) -> Callable[[], bytes]:
    def make() -> bytes:
        data = bytearray(file_of("BMP", picture)())
        data[38:46] = struct.pack("<II", x, y)
        return bytes(data)

    return make


_RESOLUTION_BLOCK = (
    b"8BIM" + struct.pack(">H2xI", 1005, 16) + struct.pack(">IHHIHH", 300 << 16, 1, 1, 150 << 16, 1, 1)
)


def _psd() -> bytes:
    data, block = psd(picture(), 3), _RESOLUTION_BLOCK
    return data[:30] + struct.pack(">I", len(block)) + block + data[34:]


def _phys(unit: int, x: int, y: int) -> Callable[[], bytes]:
    return lambda: png(picture(), 8, 2, chunk(b"pHYs", struct.pack(">IIB", x, y, unit)))


def _jp2(name: bytes, x: int, y: int) -> Callable[[], bytes]:
    def make() -> bytes:
        _supported("JPEG2000")
        data = saved(Image.fromarray(picture()), "JPEG2000", irreversible=False)
        at = data.index(b"jp2h") - 4
        (size,) = struct.unpack_from(">I", data, at)
        box = struct.pack(">4H2b", y, 254, x, 254, 4, 4)
        box = struct.pack(">I4sI4s", 16 + len(box), b"res ", 8 + len(box), name) + box
        return (
            data[:at]
            + struct.pack(">I", size + len(box))
            + data[at + 4 : at + size]
            + box
            + data[at + size :]
        )

    return make


def _resolution_of(exif_data: bytes) -> Resolution | None:
    return exif.resolution(exif_data) if exif_data else None


_RESOLUTIONS: dict[str, tuple[Callable[[], bytes], tuple[float, float] | None]] = {
    "PNG": (file_of("PNG", picture, dpi=(300, 150)), (300, 150)),
    "PNG, without a unit": (_phys(0, 300, 300), None),
    "PNG, none": (_phys(1, 0, 0), None),
    "PNG, absurd": (_phys(1, 2**32 - 1, 1), None),
    "JFIF": (_jfif(1, 300, 150), (300, 150)),
    "JFIF, centimetres": (_jfif(2, 100, 50), (254, 127)),
    "JFIF, without a unit": (_jfif(0, 300, 300), None),
    "JFIF, none": (_jfif(1, 0, 0), None),
    "JPEG, and EXIF that says none": (file_of("JPEG", picture, exif=exif_with(1)), None),
    "JFIF, and EXIF that says none": (file_of("JPEG", picture, exif=exif_with(1), dpi=(72, 72)), (72, 72)),
    "TIFF": (file_of("TIFF", picture, dpi=(300, 150)), (300, 150)),
    "TIFF, centimetres": (
        file_of("TIFF", picture, x_resolution=100, y_resolution=50, resolution_unit=3),
        (254, 127),
    ),
    "TIFF, none": (file_of("TIFF", picture), None),
    "TIFF, 1": (file_of("TIFF", picture, dpi=(1, 1)), None),
    "BMP": (file_of("BMP", picture, dpi=(300, 150)), (300, 150)),
    "BMP, none": (_bmp(0, 0), None),
    "PSD": (_psd, (300, 150)),
    "JPEG, Photoshop": (lambda: _segment(0xED, b"Photoshop 3.0\0" + _RESOLUTION_BLOCK)(), (300, 150)),
    "GIF": (file_of("GIF", lambda: picture()[..., 0]), None),
    "JPEG 2000": (_jp2(b"resd", 300, 150), (300, 150)),
    "JPEG 2000, capture": (_jp2(b"resc", 300, 150), (300, 150)),
    "JPEG 2000, none": (_jp2(b"resd", 0, 0), None),
}


@pytest.mark.parametrize("name", _RESOLUTIONS)
def test_resolution_is_kept(name: str) -> None:
    make, expected = _RESOLUTIONS[name]
    source = source_image(open_image(make()), metadata=True)
    assert source.notes == []
    found = _resolution_of(source.exif)
    assert (found and found.dpi) == (expected and pytest.approx(expected, abs=0.02))
    image = image_from_pixels(source.pixels)
    image.info["exif"] = source.exif
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "PCX"):
        info = Image.open(io.BytesIO(image_bytes(image, kind))).info
        if expected:
            assert info["dpi"] == pytest.approx(expected, abs=0.02)
            assert dropped(image, kind) == (
                ["EXIF"] if kind in ("BMP", "PCX") and exif.says_more(source.exif) else []
            )
        elif not (kind == "JPEG" and source.exif):  # Pillow says 72 then
            assert info.get("dpi", (0, 0)) == (0, 0)
    assert dropped(image, "PPM") == ["EXIF"] * bool(source.exif and exif.says_more(source.exif)) + [
        "resolution"
    ] * bool(expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_resolution_is_turned_with_the_picture(kind: str) -> None:
    data = file_of(kind, picture, dpi=(300, 150), exif=exif_with(6))()
    found = _resolution_of(source_image(open_image(data), metadata=True).exif)
    assert found is not None
    assert found.dpi == pytest.approx((150, 300), abs=0.02)


def test_a_resolution_outside_exif_goes_over_that_in_it_unless_it_is_the_same_but_for_rounding() -> None:
    for inside, expected in ((72.0, 300), (299.72, 299.72)):
        tags = Image.Exif()
        tags[0x11A] = tags[0x11B] = inside
        tags[0x128], tags[0x10F] = 2, _MAKER[:-1].decode()
        data = file_of("JPEG", picture, dpi=(300, 300), exif=tags.tobytes())()
        after = source_image(open_image(data), metadata=True).exif
        found = _resolution_of(after)
        assert found is not None
        assert found.dpi == pytest.approx((expected, expected), abs=0.001)
        assert after.index(_MAKER) == tags.tobytes()[6:].index(_MAKER)
        assert _tags(after)[0][0x10F] == tags[0x10F]


def test_pixels_that_are_not_square_stay_so() -> None:
    data = _phys(0, 2, 1)()
    found = _resolution_of(source_image(open_image(data), metadata=True).exif)
    assert found == Resolution(Fraction(2), Fraction(1), 1)
    known = exif.mend(b"", Kept(SIZE, resolution=Resolution(Fraction(300), Fraction(300))))[0]
    data = data[:33] + chunk(b"eXIf", known) + data[33:]
    assert source_image(open_image(data), metadata=True).exif == known


# --- what is not kept, and what is too long ---------------------------------------------------------


def _segment(marker: int, content: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        data = file_of("JPEG", picture)()
        return data[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content + data[2:]

    return make


_IPTC = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", 6) + b"\x1c\x02\x05\0\x01A"

_LOST: dict[str, tuple[Callable[[], bytes], str]] = {
    "IPTC": (_segment(0xED, _IPTC), "IPTC"),
    "IPTC, TIFF": (lambda: tiff([picture().tobytes()], SIZE, [8] * 3, 2, t33723=[1, 2]), "IPTC"),
    "GeoTIFF": (lambda: tiff([picture().tobytes()], SIZE, [8] * 3, 2, t33550=[1, 1, 0]), "georeference"),
    "layers, TIFF": (lambda: tiff([picture().tobytes()], SIZE, [8] * 3, 2, t37724=[1, 2]), "layers"),
    "comment": (file_of("JPEG", picture, comment=b"words"), "comment"),
    "comment, GIF": (lambda: saved(palette_image(), "GIF", comment=b"words"), "comment"),
    "comment, TGA": (file_of("TGA", picture, id_section=b"words"), "comment"),
    "text": (lambda: png(picture(), 8, 2, chunk(b"tEXt", b"Title\0words")), "text"),
    "C2PA": (_segment(0xEB, b"JP\0\1\0\0\0\1" + b"\0\0\0\x10jumb"), "C2PA"),
    "extended XMP": (_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)), "extended XMP"),
    "thumbnail": (file_of("JPEG", picture, exif=b"Exif\0\0" + _adobe_and_sideways("<")), "thumbnail"),
}


@pytest.mark.parametrize("name", _LOST)
def test_what_is_not_kept_is_said(name: str) -> None:
    make, word = _LOST[name]
    data = make()
    assert not any("not kept" in note for note in source_image(open_image(data)).notes)
    assert source_image(open_image(data), metadata=True).notes.count(f"not kept: {word}") == 1


def test_metadata_that_are_too_long_are_dropped_with_a_note() -> None:
    image = with_metadata()
    image.info["exif"] = exif_with(1) + bytes(MAX_METADATA)
    source = source_image(image, metadata=True)
    length = len(image.info["exif"]) - 6
    assert source.notes == [f"EXIF data of {length} bytes are too long to be kept: dropped"]
    assert (source.exif, source.xmp) == (b"", xmp_with(1))
    image.info["exif"], image.info["xmp"] = exif_with(1), b"<a>" + bytes(MAX_METADATA)
    source = source_image(image, metadata=True)
    assert source.notes == [f"XMP data of {len(image.info['xmp'])} bytes are too long to be kept: dropped"]
    assert (source.exif, source.xmp) == (exif_with(1)[6:], b"")


def test_an_image_is_coded_without_metadata_that_are_too_long() -> None:
    source = source_image(image_from_pixels(picture()), metadata=True)
    told: list[str] = []
    too_long = type(source)(source.pixels, source.grey, exif=bytes(MAX_METADATA + 1))
    data = ctc_codec.encode(too_long, warn=told.append)
    assert "exif" not in ctc_codec.decode(data).info
    assert told == [f"EXIF data of {MAX_METADATA + 1} bytes are too long to be kept: dropped"]


def test_pictures_are_turned_where_warnings_are_errors() -> None:
    """Pillow warns of a value that is not there."""
    before = _structure("<", {"0": {0x10F: (2, 900, b"@tail"), 0x112: (3, 1, b"\6\0")}})
    data = png(stored_for(picture(), 6), 8, 2, chunk(b"eXIf", before))
    image = Image.open(io.BytesIO(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = source_image(image, metadata=True)
        again = image_bytes(image_from_pixels(source.pixels), "TIFF")
    assert np.array_equal(source.pixels, picture())
    assert np.array_equal(source_image(open_image(again)).pixels, picture())


def test_what_a_format_cannot_hold_is_named() -> None:
    image = with_metadata()
    assert dropped(image, "PNG") == dropped(image, "TIFF") == dropped(image, "JPEG") == []
    assert dropped(image, "BMP") == ["EXIF", "XMP"]
    image.info["exif"] += bytes(70_000)
    assert dropped(image, "JPEG") == ["EXIF"]
    image.info["xmp"] = b"<a>" + b" " * 70_000 + b"</a>"
    assert dropped(image, "JPEG") == ["EXIF", "XMP"]
    assert dropped(image, "WEBP") == []
    image.info["exif"] = b"no EXIF"
    assert dropped(image, "JPEG") == ["XMP"]
    assert dropped(Image.fromarray(picture()), "PPM") == []
