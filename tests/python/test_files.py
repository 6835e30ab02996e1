"""Which file has which UUID."""

import os
import pathlib
import shutil

import nano
import uproot

import bufferd.files
from bufferd.files import Files, file_uuid, local_path, paths_in


def test_what_is_no_root_file_has_no_uuid(tmp_path):
    (tmp_path / "short").write_bytes(b"root")
    (tmp_path / "other").write_bytes(b"x" * 200)
    for name in ("short", "other", "missing", "."):
        assert file_uuid(tmp_path / name) is None


def test_uuids_are_those_of_uproot(corpus, made_files):
    files = list(made_files.values())
    files += sorted(map(str, corpus.glob("*.root"))) if corpus else []
    for path in files:
        with uproot.open(path) as f:
            assert file_uuid(path) == str(f.file.uuid), path


def test_local_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "a.root")
    pathlib.Path(path).touch()
    assert local_path("a.root") == path
    assert local_path(f"{path}:Events") == path
    assert local_path(f"file://{path}") == path
    assert local_path(pathlib.Path(path)) == path
    for other in ("root://host//a.root", "https://host/a.root", 3, None, b"a.root"):
        assert local_path(other) is None


def test_paths_in_what_users_have():
    assert list(paths_in(None)) == []
    assert list(paths_in("/a.root")) == ["/a.root"]
    assert list(paths_in(["/a.root", "/b.root"])) == ["/a.root", "/b.root"]
    assert list(paths_in({"/a.root": "Events", "/b.root": None})) == ["/a.root", "/b.root"]
    assert list(paths_in({"/a.root": {"object_path": "Events", "steps": [[0, 1]]}})) == ["/a.root"]
    fileset = {
        "one": {"files": {"/a.root": "Events", "root://x//y.root": "Events"}, "metadata": {}},
        "two": ["/b.root"],
        "three": {"files": ["/c.root", "/d.root"], "treename": "Events"},
    }
    assert list(paths_in(fileset)) == ["/a.root", "/b.root", "/c.root", "/d.root"]


def test_files_are_read_when_a_key_asks(nano_file, monkeypatch):
    n_read = []
    monkeypatch.setattr(bufferd.files, "_headers", {})
    monkeypatch.setattr(
        bufferd.files, "file_uuid", lambda path: n_read.append(path) or file_uuid(path)
    )
    names = ["/nowhere/at/all.root", nano_file]
    files = Files()
    files.add(names)
    assert n_read == []
    assert files.find(file_uuid(nano_file)) == nano_file
    assert n_read == names
    assert files.find("no-such-uuid") is None
    again = Files()
    again.add(names)
    assert again.find(file_uuid(nano_file)) == nano_file
    assert n_read.count(nano_file) == 1


def test_a_file_that_was_rewritten_is_read_again(tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=5)
    files = Files()
    files.add(path)
    old = file_uuid(path)
    assert files.find(old) == path
    os.replace(nano.make(tmp_path / "b.root", n_parts=1, n_each=5), path)
    later = Files()
    later.add(path)
    assert later.find(file_uuid(path)) == path
    assert later.find(old) in (path, None)  # whoever opens it sees the difference


def test_what_a_cache_knows_goes_before_what_the_process_knows(nano_file, tmp_path):
    copy = str(shutil.copy(nano_file, tmp_path / "copy.root"))
    uuid = file_uuid(nano_file)
    process = Files()
    process.add_known(uuid, nano_file)
    own = Files(process)
    assert own.find(uuid) == nano_file
    own.add(copy)
    assert own.find(uuid) == copy
    process.add_known(uuid, copy)
    assert process.find(uuid) is None
    assert own.find(uuid) == copy


def test_a_copy_is_another_file_and_names_neither(nano_file, tmp_path):
    copy = str(shutil.copy(nano_file, tmp_path / "copy.root"))
    files = Files()
    files.add([nano_file])
    uuid = file_uuid(nano_file)
    assert files.find(uuid) == nano_file
    files.add_known(uuid, copy)
    assert files.find(uuid) is None


def test_another_name_of_a_file_is_the_same_file(nano_file, tmp_path):
    link = tmp_path / "link.root"
    os.symlink(nano_file, link)
    files = Files()
    uuid = file_uuid(nano_file)
    files.add_known(uuid, nano_file)
    files.add_known(uuid, str(link))
    assert files.find(uuid) == nano_file


def test_a_moved_file_is_found_again(tmp_path):
    path = nano.make(tmp_path / "a.root", n_parts=1, n_each=5)
    files = Files()
    uuid = file_uuid(path)
    files.add_known(uuid, path)
    moved = str(tmp_path / "b.root")
    os.rename(path, moved)
    files.add_known(uuid, moved)
    assert files.find(uuid) == moved
