"""A build copies the files that its Dockerfile names, and equal content has an equal digest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images.ignore import Ignore
from copilot_sandbox.images.tree import CopyError, Entry, Tree, read_context
from tests.sandbox.builds import Project, files


def test_files_stand_where_the_dockerfile_copies_them(project: Project) -> None:
    project.put("manage.py", "main")
    project.put("demo/settings.py")
    project.put("demo/deep/a.txt")

    image = project.build(
        "FROM x\nWORKDIR /app\nCOPY manage.py ./run.py\nCOPY demo demo/\nCOPY demo/deep/a.txt /etc/\n"
    )

    assert files(image) == ["/app/demo/deep/a.txt", "/app/demo/settings.py", "/app/run.py", "/etc/a.txt"]
    assert (image.root / "app/run.py").read_text() == "main"
    assert image.workdir == "/app"
    assert image.paths == ("/app", "/etc/a.txt")


def test_a_dockerignore_keeps_files_out_and_takes_some_in_again(project: Project) -> None:
    project.put(".dockerignore", "*\n!demo\n**/*.pyc\n")
    project.put("secret.env")
    project.put("demo/a.py")
    project.put("demo/a.pyc")

    assert files(project.build("FROM x\nCOPY . /app\n")) == ["/app/demo/a.py"]


def test_the_sandboxs_own_folder_is_never_in_an_image(project: Project) -> None:
    project.state = project.context / ".sandbox"
    digests = {project.build("FROM x\nCOPY . /app/\n").digest for _ in range(2)}

    assert len(digests) == 1


def test_copying_what_is_left_out_fails_like_a_missing_file_in_dockers_words(project: Project) -> None:
    project.put(".dockerignore", "secret.env")
    project.put("secret.env")

    for source in ("secret.env", "absent"):
        with pytest.raises(
            SandboxError, match=f'line 2: COPY: failed to calculate checksum of ref: "/{source}": not found'
        ):
            project.build(f"FROM x\nCOPY {source} /app/\n")


def test_a_wildcard_copies_what_there_is_and_nothing_is_fine(project: Project) -> None:
    project.put("a.txt")
    project.put("b.txt")

    assert files(project.build("FROM x\nCOPY [ab].txt deployment.jso[n] /app/\n")) == [
        "/app/a.txt",
        "/app/b.txt",
    ]


def test_several_sources_need_a_folder(project: Project) -> None:
    project.put("a")
    project.put("b")

    with pytest.raises(SandboxError, match="must be a directory and end with a /"):
        project.build("FROM x\nCOPY a b /app\n")


@pytest.mark.parametrize("source", ["../secret", "a/../../secret", "/../secret", "./../secret"])
def test_a_source_outside_of_the_context_is_refused(project: Project, source: str) -> None:
    (project.context.parent / "secret").write_text("not for the image")

    with pytest.raises(SandboxError, match="forbidden path outside the build context"):
        project.build(f"FROM x\nCOPY {source} /app/\n")


@pytest.mark.parametrize("target", ["/etc", "../outside", "../../../../../../../../etc"])
@pytest.mark.parametrize("source", ["way", "way/passwd"])
def test_a_source_through_a_link_out_of_the_context_is_refused(
    project: Project, target: str, source: str
) -> None:
    (project.context.parent / "outside").mkdir()
    (project.context / "way").symlink_to(target)

    with pytest.raises(SandboxError, match="forbidden path outside the build context"):
        project.build(f"FROM x\nCOPY {source} /app/\n")


def test_a_source_that_is_a_link_within_the_context_is_followed(project: Project) -> None:
    project.put("real/a.txt", "content")
    (project.context / "way").symlink_to("real")

    image = project.build("FROM x\nCOPY way/a.txt way /app/\n")

    assert files(image) == ["/app/a.txt"]
    assert not (image.root / "app/a.txt").is_symlink()


def test_links_in_a_copied_folder_stay_links_and_are_never_written_through(project: Project) -> None:
    outside = project.context.parent / "outside"
    outside.mkdir()
    project.put("demo/a.txt")
    (project.context / "demo/way").symlink_to(outside)

    image = project.build("FROM x\nCOPY demo /app\nCOPY demo/a.txt /app/way/a.txt\n")

    assert (image.root / "app/way").is_symlink()
    assert list(outside.iterdir()) == []
    assert (image.root / str(outside).lstrip("/") / "a.txt").exists()
    assert any("demo/way is a link to" in line for line in project.said)


def test_a_destination_cannot_leave_the_root(project: Project) -> None:
    project.put("a.txt")

    image = project.build("FROM x\nWORKDIR /app\nCOPY a.txt ../../../../var/evil.txt\n")

    assert files(image) == ["/var/evil.txt"]


def test_a_link_that_leads_to_itself_ends_in_an_error() -> None:
    with pytest.raises(CopyError, match="too many levels"):
        Tree({"/": Entry("folder"), "/a": Entry("link", target="/a")}).resolve("/a/b")


def test_equal_content_gives_an_equal_digest_whatever_the_order_and_the_times(tmp_path: Path) -> None:
    digests = set()
    for number, names in enumerate((["b", "a", "c"], ["c", "b", "a"])):
        (tmp_path / str(number)).mkdir()
        project = Project(tmp_path / str(number))
        for name in names:
            file = project.put(f"demo/{name}", name)
            os.utime(file, (number * 1000, number * 1000))
            file.chmod(0o664 if number else 0o600)
        digests.add(project.build("FROM x\nENV B=1 A=2\nCOPY . /app\n").digest)

    assert len(digests) == 1


def test_any_difference_gives_another_digest(project: Project) -> None:
    file = project.put("run.sh", "a")
    text = "FROM x\nCOPY run.sh /app/\n"
    digests = [project.build(text).digest]
    file.chmod(0o755)
    digests.append(project.build(text).digest)
    file.write_text("b")
    digests.append(project.build(text).digest)
    digests += [project.build(text + more).digest for more in ("ENV A=1\n", "CMD a\n", "WORKDIR /x\n")]

    assert len(set(digests)) == len(digests)


def test_the_digest_is_that_of_the_manifest_and_the_manifest_names_its_parts(project: Project) -> None:
    digest = project.build("FROM x\n").digest.removeprefix("sha256:")
    text = (project.state / "images" / digest / "manifest.json").read_bytes()
    config = (project.state / "images" / digest / "config.json").read_bytes()

    assert hashlib.sha256(text).hexdigest() == digest
    assert json.loads(text)["config"]["digest"] == f"sha256:{hashlib.sha256(config).hexdigest()}"


def test_a_script_stays_executable_and_chmod_is_done(project: Project) -> None:
    project.put("run.sh").chmod(0o700)
    project.put("plain.sh")

    image = project.build("FROM x\nCOPY run.sh /app/\nCOPY --chmod=755 --chown=1:1 --link plain.sh /app/\n")

    assert [(image.root / "app" / name).stat().st_mode & 0o777 for name in ("run.sh", "plain.sh")] == [
        0o755
    ] * 2


def test_a_file_that_changes_during_the_build_fails_it(project: Project, tmp_path: Path) -> None:
    file = project.put("a.txt", "before")
    tree = Tree({"/": Entry("folder"), "/a.txt": Entry("file", 0o644, file, sha256="0" * 64)})

    with pytest.raises(CopyError, match="changed while the image was built"):
        tree.write(tmp_path)


def test_the_git_file_of_a_worktree_is_not_copied_and_a_repository_is(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "lib/.git").write_text("gitdir: /home/ada/shop/.git/modules/lib\n")
    tree = read_context(tmp_path, Ignore(""), tmp_path / "none")
    assert sorted(tree.entries) == ["/", "/.git", "/.git/HEAD", "/lib"]
