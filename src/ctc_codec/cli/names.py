"""Names of inputs and outputs, which may be URLs, or of files in tar shards."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from ..container import storage
from ..container.storage import is_url, local_name

_MEMBER = re.compile(r"tar://(.*?\.ctc)::(.+)", re.IGNORECASE | re.DOTALL)


def is_shard(name: str) -> bool:
    """Whether a name is that of a tar of .ctc files."""
    return path_in(name).lower().endswith(".tar")


def member_url(shard: str, member: str) -> str:
    """The URL of a file in a shard, a local one or a URL: ``tar://a/b.ctc::shard.tar``."""
    return f"tar://{member}::{shard if is_url(shard) else os.path.abspath(shard)}"


def member_of(url: str) -> tuple[str, str] | None:
    """Shard and member of such a URL; None for others, as those of images in a tar."""
    found = _MEMBER.fullmatch(url)
    return None if found is None or not is_shard(found[2]) else (local_name(found[2]), found[1])


def path_in(name: str) -> str:
    """The path that a URL names, with the folders of its file system; other names as they are."""
    if not is_url(name):
        return name
    first = name.partition("::")[0]
    # Other stores may have ?, # and % in their names.
    is_web = first.startswith(("http:", "https:"))
    return unquote(urlsplit(first).path).replace("\0", "") if is_web else first.partition("://")[2]


def inside(folder: str, relative: str) -> str:
    """The name of a file below a folder."""
    return storage.joined(folder, relative) if is_url(folder) else os.path.join(folder, relative)


def beside(source: str) -> str:
    """A name beside an input, for what becomes of it: of a web server's files, and of those in an archive,
    one in this folder."""
    if is_url(source) and ("::" in source or source.startswith(("http:", "https:"))):
        return os.path.basename(path_in(source))
    return source
