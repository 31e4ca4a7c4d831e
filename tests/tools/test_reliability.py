"""The page on reliability says what the committed records say, and they are of the committed weights."""

from __future__ import annotations

import json

import ctc_codec
from reliability.page import PAGE, RECORDS, renewed


def test_page_is_made_from_the_records() -> None:
    assert renewed() == PAGE.read_text("utf-8")


def test_records_are_of_the_committed_weights() -> None:
    fingerprint = ctc_codec.load_model().fingerprint.hex()
    weights = {path.name: json.loads(path.read_text("utf-8"))["weights"] for path in RECORDS.glob("*.json")}
    assert set(weights.values()) == {fingerprint}
