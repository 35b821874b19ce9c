"""Make moto and botocore start quickly. Importing this module does it, before moto is imported.

moto makes a session of botocore for most of what it looks up, and each session parses the files of its
services and lists all of AWS's services anew: EC2's file, of 3 MB, four times when moto is imported. Nobody
writes in what is parsed: the clients of one session share it too. moto's images of EC2 are left out, which no
container needs.
Source: moto.settings.ec2_load_default_amis; botocore.loaders.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from botocore import loaders

_list = loaders.Loader.list_available_services


class _ParsedOnce(loaders.JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    def load_file(self, file_path: str) -> Any:
        return _parsed(file_path)


@cache
def _parsed(file_path: str) -> Any:
    return loaders.JSONFileLoader().load_file(file_path)


def _list_available_services(loader: loaders.Loader, type_name: str) -> list[str]:
    return list(_listed(tuple(loader.search_paths), type_name))


@cache
def _listed(search_paths: tuple[str, ...], type_name: str) -> list[str]:
    listed: list[str] = _list(
        loaders.Loader(extra_search_paths=list(search_paths), include_default_search_paths=False), type_name
    )
    return listed


loaders.Loader.FILE_LOADER_CLASS = _ParsedOnce
loaders.Loader.list_available_services = _list_available_services
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
