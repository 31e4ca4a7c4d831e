"""``ctc check``: which of many files are as they were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..container.verify import CUT, Verdict, verify
from . import signals as _signals
from .batch import Reporter
from .files import printable, read_input
from .inputs import Plan, ctc_suffixes, expanded, folders_of
from .options import BatchOptions, ComputeOptions
from .work import explain


@dataclass(frozen=True)
class CheckOptions:
    """complete: a file that is cut is not accepted; decode: read the trits too, which needs the weights."""

    complete: bool = False
    decode: bool = False


class _CheckReporter(Reporter):
    """Tells what was found of files; nothing is written, so there are no outputs to name."""

    def verdict(self, name: str, found: Verdict, error: str | None) -> None:
        """error: why the file is not accepted. Raises StdoutGone."""
        header = found.header
        self._pixels += header.width * header.height
        if error is not None:
            self._failed.append(name)
            self._say(f"ctc: {printable(name)}: {error}")
        else:
            self._done += 1
            self._nbytes += found.nbytes
            if not self._options.quiet and (self._bar is None or self._options.verbose):
                self._say(f"{printable(name)}: {_words(found)}")
                if self._options.verbose:
                    self._say(f"  {_details(found)}")
        facts: dict[str, Any] = {
            "file": name,
            "state": found.state,
            "bytes": found.nbytes,
            "complete_bytes": header.file_bytes,
            "checked_bytes": found.checked_bytes,
            "width": header.width,
            "height": header.height,
            "sections": list(found.sections),
        }
        self._json(**facts, **({} if error is None else {"error": error}))
        self.draw()


def _words(found: Verdict) -> str:
    if found.state != CUT:
        return f"{found.state}, {found.nbytes} bytes"
    unchecked = found.nbytes - found.checked_bytes
    rest = f", the last {unchecked} without a check sum" if unchecked else ""
    return f"cut, {found.nbytes} of {found.header.file_bytes} bytes{rest}"


def _details(found: Verdict) -> str:
    header = found.header
    parts = [f"{header.width}x{header.height} {header.mode}", f"weights {header.fingerprint.hex()}"]
    return ", ".join([*parts, *found.sections])


def _files_of(inputs: tuple[str, ...], recursive: bool) -> Plan:
    """The names to read, in order, and what cannot be read. Raises UsageError."""
    folders_of(inputs, recursive)
    plan = Plan()
    for name, _ in expanded(inputs, ctc_suffixes, None, plan):
        plan.names.append(name)
    return plan


def _checker(options: CheckOptions, compute: ComputeOptions) -> Callable[[bytes], tuple[Verdict, str | None]]:
    """What gives a file's verdict and why it is not accepted, or None. Raises CtcError for wrong weights."""
    read_trits: Callable[[bytes], None] | None = None
    if options.decode:
        model = compute.load()
        from ..codec.recode import verify_code

        def read_trits(data: bytes) -> None:
            verify_code(data, model, compute.limit)

    def check(data: bytes) -> tuple[Verdict, str | None]:
        found = verify(data, compute.limit)
        if found.damage is not None:
            return found, found.damage
        if options.complete and found.state == CUT:
            return found, f"cut: {found.nbytes} of {found.header.file_bytes} bytes"
        if read_trits is not None:
            read_trits(data)
        return found, None

    return check


def check_files(
    inputs: tuple[str, ...], batch: BatchOptions, options: CheckOptions, compute: ComputeOptions
) -> NoReturn:
    """Check the inputs, tell what was found, and exit: with 1 if one is not sound."""
    plan = _files_of(inputs, batch.recursive)
    unusable = dict(plan.unusable)
    with _CheckReporter(len(plan.names), batch) as report:
        report.draw(at_once=True)
        check = _checker(options, compute)
        report.begin()
        for name in plan.names:
            if name in unusable:
                report.failed(name, unusable[name])
                continue
            try:
                found, error = check(read_input(name))
            except Exception as failure:
                report.failed(name, explain(failure)[0])
            else:
                report.verdict(name, found, error)
            _signals.check()
        report.finish(plan.names)
