"""Let botocore parse each of its files once in a process. Importing this module does it.

moto makes a session of botocore for most of what it looks up, and each session parses the files of its
services anew: EC2's, of 3 MB, four times when moto is imported. Nobody writes in what is parsed: the clients
of one session share it too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore import loaders


class _ParsedOnce(loaders.JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    def load_file(self, file_path: str) -> Any:
        return _parsed(file_path)


@cache
def _parsed(file_path: str) -> Any:
    return loaders.JSONFileLoader().load_file(file_path)


loaders.Loader.FILE_LOADER_CLASS = _ParsedOnce
