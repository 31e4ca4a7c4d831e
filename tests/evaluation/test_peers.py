"""Peers: where embedded files are cut, and what is missing here."""

from __future__ import annotations

import numpy as np
import pytest

from ctc_codec.evaluation import peers
from ctc_codec.evaluation.codecs import PeerError
from ctc_codec.evaluation.measure import measure
from ctc_codec.evaluation.results import curve_of
from ctc_codec.image.source import psnr


def test_layers_of_jpeg2000_end_where_their_packets_do(pixels: np.ndarray) -> None:
    count = pixels[..., 0].size
    streams = list(peers.LayeredJpeg2000((0.1, 0.3, 0.8, 1.5)).streams(pixels))
    for stream in streams:
        assert 8 * stream.nbytes / count == pytest.approx(stream.asked, rel=0.05)
    sizes = [s.nbytes for s in streams]
    assert sizes == sorted(sizes)
    qualities = [psnr(pixels, s.decode()) for s in streams]
    assert all(np.diff(qualities) > 0.3)
    # The bytes that are counted suffice: a stream with these layers only, of that rate, is as good.
    for stream, found in zip(streams, qualities, strict=True):
        (single,) = peers.Jpeg2000((8 * stream.nbytes / count,)).streams(pixels)
        assert psnr(pixels, single.decode()) == pytest.approx(found, abs=0.3)


def test_layer_ends_leave_out_only_the_packet_lengths(pixels: np.ndarray) -> None:
    with_lengths, without = (
        peers._jpeg2000(pixels, (0.2, 0.6, 1.2), progression="LRCP", **options)
        for options in ({"plt": True}, {})
    )
    assert peers.layer_ends(with_lengths)[-1] == len(without) - len(b"\xff\xd9")


def test_progressive_jpeg_is_cut_between_scans(pixels: np.ndarray) -> None:
    data = peers._saved(pixels, "JPEG", quality=90, subsampling="4:2:0", progressive=True)
    ends = peers.scan_ends(data)
    assert len(ends) == 10
    assert ends[-1] == len(data) - 2
    streams = list(peers.ProgressiveJpeg().streams(pixels))
    assert [s.nbytes for s in streams] == ends
    qualities = [psnr(pixels, s.decode()) for s in streams]
    assert qualities[-1] > qualities[4] > qualities[0] + 3
    assert np.array_equal(streams[-1].decode(), peers.opened(data))


def test_best_jpeg_within_some_bytes(pixels: np.ndarray) -> None:
    data, larger = peers.jpeg_within(pixels, 6000), peers.jpeg_within(pixels, 12000)
    assert data is not None
    assert larger is not None
    assert len(data) <= 6000 < len(larger) <= 12000
    assert psnr(pixels, peers.opened(larger)) > psnr(pixels, peers.opened(data))
    assert peers.jpeg_within(pixels, 300) is None


@pytest.mark.parametrize("codec", peers.PEERS, ids=lambda codec: codec.name)
def test_peers_get_better_with_bytes(codec: peers.Codec, pixels: np.ndarray) -> None:
    try:
        codec.version()
    except PeerError as error:
        pytest.skip(str(error))
    points = measure(codec, pixels, ["psnr"])
    curve = curve_of(points, "psnr")
    assert len(curve.bpp) >= 0.9 * len({p["nbytes"] for p in points})
    assert curve.quality[-1] > 37
    assert len(curve.bpp) == 1 or curve.quality[-1] > curve.quality[0] + 4


def test_a_missing_peer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PeerError, match="cjxl is not installed"):
        peers.ProgressiveJpegXl().version()
    monkeypatch.setattr(peers.features, "check", lambda feature: False)
    for codec in (peers.LayeredJpeg2000(), *(c for c in peers.PEERS if c.name in ("webp", "avif"))):
        with pytest.raises(PeerError, match="is built without"):
            codec.version()
