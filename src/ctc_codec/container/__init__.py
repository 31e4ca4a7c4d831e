"""The .ctc file: header, check sums, sections, range coder. FORMAT.md is its description."""
