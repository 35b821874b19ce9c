"""Make moto and botocore start quickly. Importing this module does it, before moto is imported.

moto makes a session of botocore for most of what it looks up, and each session parses the files of its
services and lists all of AWS's services anew: EC2's file, of 3 MB, four times when moto is imported. Here the
sessions share what is parsed, as the clients of one session do; moto's own loader, which needs it unchanged,
does not. moto's images of EC2 are left out, which no container needs.
Source: botocore.session, botocore.handlers; moto.core.loaders, moto.settings.ec2_load_default_amis.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from botocore import loaders, session


class _ParsedOnce(loaders.JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    def load_file(self, file_path: str) -> Any:
        return _parsed(file_path)


@cache
def _parsed(file_path: str) -> Any:
    return loaders.JSONFileLoader().load_file(file_path)


def _create_loader(search_path_string: str | None = None) -> Any:
    made = loaders.create_loader(search_path_string)
    made.file_loader = _ParsedOnce()
    made.list_available_services = lambda type_name: list(_services(tuple(made.search_paths), type_name))
    return made


@cache
def _services(search_paths: tuple[str, ...], type_name: str) -> list[str]:
    loader = loaders.Loader(extra_search_paths=list(search_paths), include_default_search_paths=False)
    services: list[str] = loader.list_available_services(type_name)
    return services


session.create_loader = _create_loader
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
