"""Submodules in a branch's worktree: fetched as the caller may, and nothing else of .gitmodules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.core import checkout, git
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.process import Command, RealShell, Result
from copilot_testenv.core.settings import Settings, load
from tests.clone import IDENTITY
from tests.core.test_git import run_git

SHELL = RealShell()
BAD = "0123456789" * 4


def repository(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(parents=True)
    run_git(folder, "init", "--quiet")
    return commit(folder, files)


def commit(folder: Path, files: dict[str, str], links: dict[str, str] | None = None) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    run_git(folder, "add", "--all")
    for path, of in (links or {}).items():
        run_git(folder, "update-index", "--add", "--cacheinfo", f"160000,{of},{path}")
    run_git(folder, "commit", "--quiet", "--allow-empty", "-m", "work")
    return run_git(folder, "rev-parse", "HEAD")


def settings(root: Path, trusted: str = "") -> Settings:
    variables = {"COPILOT_APP": "demo", "TRUSTED_CHANGES": trusted}
    (root / "copilot/environments/test").mkdir(parents=True, exist_ok=True)
    (root / "copilot/environments/test/manifest.yml").write_text("name: test\n")
    (root / ".git/info/exclude").write_text("copilot\n.worktrees\n")
    return load(root, variables)


def modules(**urls: str) -> dict[str, str]:
    text = "".join(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, url in urls.items())
    return {".gitmodules": text}


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller lets Git fetch local paths, which it does not do for submodules by itself."""
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A clone whose submodule `lib` has a submodule itself, both with relative URLs."""
    inner = repository(tmp_path / "inner.git", {"inner.txt": "inner"})
    repository(tmp_path / "lib.git", {"lib.txt": "old"})
    lib = commit(tmp_path / "lib.git", {"lib.txt": "lib", **modules(deep="../inner.git")}, {"deep": inner})
    commit(tmp_path / "lib.git", {"lib.txt": "newer than the branch names"})
    repository(tmp_path / "shop.git", {"a": "a"})
    commit(tmp_path / "shop.git", modules(lib="../lib.git"), {"lib": lib})
    run_git(tmp_path, "clone", "--quiet", str(tmp_path / "shop.git"), str(tmp_path / "clone"))
    return tmp_path / "clone"


@pytest.mark.usefixtures("allowed")
def test_submodules_are_there_at_the_commit_that_the_branch_names(shop: Path) -> None:
    with checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")) as folder:
        assert (folder / "lib/lib.txt").read_text() == "lib"
        assert (folder / "lib/deep/inner.txt").read_text() == "inner"
        assert not (folder / "lib/.git").exists()
    assert run_git(shop, "status", "--porcelain") == ""
    assert not (shop / ".git/modules").exists()


def test_a_submodule_that_cannot_be_fetched_is_one_line(shop: Path) -> None:
    with (
        pytest.raises(
            Failed, match=r"^The submodule lib of main cannot be fetched at .*protocol\.file\.allow"
        ) as told,
        checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")),
    ):
        pass
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 4
    assert list((shop / ".worktrees").glob("main-*")) == []


def test_a_link_without_an_entry_in_gitmodules_is_an_empty_folder_as_in_each_clone(shop: Path) -> None:
    commit(shop, {".gitmodules": ""}, {"lib": BAD})
    with checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")) as folder:
        assert list((folder / "lib").iterdir()) == []


@pytest.mark.usefixtures("allowed")
def test_a_commit_that_was_not_pushed_is_said(shop: Path) -> None:
    commit(shop, {}, {"lib": BAD})
    with (
        pytest.raises(Failed, match=f"lib of main cannot be fetched at {BAD[:12]}"),
        checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")),
    ):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch {0}/ran'",
        "--upload-pack=touch {0}/ran",
        "-cprotocol.ext.allow=always",
        "git://example.org/x",
        "http://example.org/x",
        "ssh://-oProxyCommand=touch/x",
        "fd::17",
        "x@-oProxyCommand:x",
        "https://example.org/a/../../b",
        "../../../../../../../../../../../../etc",
        "",
    ],
)
@pytest.mark.usefixtures("allowed")
def test_a_hostile_url_is_refused_and_nothing_runs(shop: Path, url: str, tmp_path: Path) -> None:
    commit(shop, modules(lib=f'"{url.format(tmp_path)}"'), {"lib": BAD})
    with (
        pytest.raises(Refused, match="The submodule lib of main has"),
        checkout.worktree(SHELL, settings(shop, trusted="submodules"), git.find(SHELL, shop, "main")),
    ):
        pass
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("allowed")
def test_a_url_that_the_default_branch_has_not_must_be_trusted(shop: Path, tmp_path: Path) -> None:
    secret = repository(tmp_path / "private.git", {"key": "of another team"})
    run_git(shop, "checkout", "--quiet", "-b", "feature")
    commit(shop, modules(lib="../private.git"), {"lib": secret})
    branch = git.find(SHELL, shop, "feature")
    with (
        pytest.raises(
            Refused, match=r"\.\./private\.git, which the default branch has not.*--trust submodules"
        ),
        checkout.worktree(SHELL, settings(shop), branch),
    ):
        pass
    with checkout.worktree(SHELL, settings(shop, trusted="submodules"), branch) as folder:
        assert (folder / "lib/key").read_text() == "of another team"


@pytest.mark.usefixtures("allowed")
def test_commands_filters_and_hooks_of_a_submodule_do_nothing(shop: Path, tmp_path: Path) -> None:
    text = (shop / ".gitmodules").read_text()
    ran = tmp_path / "ran"
    evil = f"\tupdate = !touch {ran}\n[include]\n\tpath = evil\n"
    evil += '[submodule "../../x"]\n\tpath = ../x\n\turl = ../x\n'
    commit(shop, {".gitmodules": text + evil, "evil": f"[core]\n\tfsmonitor = touch {ran}\n"})
    run_git(shop, "config", "filter.odd.smudge", f"touch {ran}")
    with checkout.worktree(SHELL, settings(shop), git.find(SHELL, shop, "main")) as folder:
        assert (folder / "lib/lib.txt").read_text() == "lib"
    assert not ran.exists()


@pytest.mark.usefixtures("allowed")
def test_a_repository_that_contains_itself_ends(tmp_path: Path) -> None:
    origin = tmp_path / "self.git"
    one = repository(origin, {"a": "a"})
    for _ in range(8):
        one = commit(origin, modules(me="../self.git"), {"me": one})
    run_git(tmp_path, "clone", "--quiet", str(origin), str(tmp_path / "clone"))
    with (
        pytest.raises(Refused, match="50 submodules, and 5 within each other"),
        checkout.worktree(SHELL, settings(tmp_path / "clone"), git.find(SHELL, tmp_path / "clone", "main")),
    ):
        pass


@pytest.mark.usefixtures("allowed")
def test_no_password_of_a_url_is_a_word_of_a_command(shop: Path) -> None:
    run_git(shop, "config", "remote.origin.url", "https://job:s3cret-token-0001@127.0.0.1:9/team/shop.git")
    seen: list[str] = []

    class Watching(RealShell):
        def run(self, command: Command) -> Result:
            seen.extend(command.argv)
            return super().run(command)

    with (
        pytest.raises(Failed) as told,
        checkout.worktree(Watching(), settings(shop, trusted="submodules"), git.find(SHELL, shop, "main")),
    ):
        pass
    assert not any("s3cret" in word for word in (*seen, str(told.value)))


def test_a_branch_without_submodules_starts_nothing_for_them(tmp_path: Path) -> None:
    repository(tmp_path / "plain", {"a": "a"})
    with checkout.worktree(
        SHELL, settings(tmp_path / "plain"), git.find(SHELL, tmp_path / "plain", "main")
    ) as folder:
        assert (folder / "a").read_text() == "a"
    assert subprocess.run(
        ["git", "-C", str(tmp_path / "plain"), "fsck"], check=False, env=IDENTITY, capture_output=True
    )


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../out"])
def test_the_guard_judges_what_is_in_a_submodule(tmp_path: Path, link: str) -> None:
    library = tmp_path / "lib.git"
    repository(library, {"app.py": "1"})
    (library / "Dockerfile").symlink_to(link)
    named = commit(library, {})
    web = "name: web\ntype: Load Balanced Web Service\nimage: {build: lib/Dockerfile, port: 80}\n"
    shop = tmp_path / "shop"
    repository(shop, {"copilot/web/manifest.yml": web, "copilot/.workspace": "application: demo\n"})
    run_git(shop, "remote", "add", "origin", str(tmp_path / "shop.git"))
    commit(shop, modules(lib="../lib.git"), {"lib": named})
    here = settings(shop)
    with checkout.worktree(SHELL, here, git.find(SHELL, shop, "main")) as folder:
        scope = branch_files.Scope(services=("web",), environments=False)
        with pytest.raises(Refused, match="lib/Dockerfile is a link that leads out of the repository"):
            branch_files.require(folder, here, {}, scope)
