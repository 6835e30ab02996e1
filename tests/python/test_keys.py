"""Reading coffea's buffer keys."""

import pytest

from bufferd import keys

UUID = "a9490124-3648-11ea-89e9-f5b55c90beef"


def key(form, attribute="data", entries="0-40", tree="%2FEvents%3B1"):
    return f"{UUID}/{tree}/{entries}/{attribute}/{form}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b",
        key("x") + "/y",
        key("x", entries="0"),
        key("x", entries="-1-4"),
        key("x", entries="5-4"),
        key("x", entries="a-b"),
        key("x", entries="0-1-2"),
        7,
        None,
        b"a/b/0-1/data/x",
    ],
)
def test_other_things_are_no_keys(text):
    assert keys.parse(text) is None


def test_parts_are_unquoted():
    parsed = keys.parse(key("Jet_pt%2C%21load%2C%21content", tree="%2Fdir%2FEvents%3B2"))
    assert parsed == (UUID, "dir/Events;2", 0, 40, "data", "Jet_pt,!load,!content")


@pytest.mark.parametrize(
    "attribute, form, expected",
    [
        ("data", "MET_pt,!load", ("values", 0, "MET_pt", None)),
        ("data", "Jet_pt,!load,!content", ("values", 1, "Jet_pt", None)),
        ("offsets", "Jet_pt,!load,!offsets", ("offsets", 0, "Jet_pt", None)),
        ("offsets", "nJet,!load,!counts2offsets,!skip,!offsets", ("counts", 0, "nJet", None)),
        ("data", "a/a.b,!load", ("values", 0, "a/a.b", None)),
        ("data", "A,!load,!content,!content", ("values", 2, "A", None)),
        ("data", "A,!load,!content,!content,m_persKey,!item", ("values", 2, "A", "m_persKey")),
        ("data", "TrigConfKeys,!load,m_smk,!item", ("values", 0, "TrigConfKeys", "m_smk")),
        ("offsets", "A,!load,!content,!content,!offsets", ("offsets", 2, "A", None)),
        # everything else is coffea's
        ("offsets", "MET_pt,!load", None),
        ("data", "Jet_pt,!load,!offsets", None),
        ("data", "MET_pt", None),
        ("data", ",!load", None),
        ("data", "!load,!load", None),
        ("data", "MET_pt,!loadallowmissing", None),
        ("data", "nJet,!load,!counts2offsets", None),
        ("data", "A,!load,nB,!load,!counts2offsets,!local2global", None),
        ("data", "A,!load,!content,!content,!content,!content", None),
        ("data", "A,!load,!content,x,!item,y,!item", None),
        ("data", "A,!load,!content,!skip,!item", None),
        ("offsets", "A,!load,!content", None),
        ("offsets", "A,!load,!offsets,!skip,!offsets", None),
    ],
)
def test_programs(attribute, form, expected):
    parsed = keys.CoffeaKey(UUID, "Events;1", 0, 1, attribute, form)
    assert parsed.program() == expected


def test_derived_names_tell_versions_and_keys_apart(monkeypatch):
    one = keys.parse(key("x%2C%21y"))
    two = keys.parse(key("x%2C%21y", entries="0-41"))
    assert keys.derived_name(one) != keys.derived_name(two)
    assert f"uproot-{keys.version('uproot')}" in keys.derived_name(one)
    before = keys.derived_name(one)
    monkeypatch.setitem(keys._versions, "awkward", "99")
    assert keys.derived_name(one) != before


def test_long_names_are_shortened():
    one, two = "x" * 5000, "x" * 5001
    assert len(keys.shortened(one)) < 200
    assert keys.shortened(one) != keys.shortened(two)


def test_a_package_that_is_not_installed_has_a_version():
    assert keys.version("no-such-package-here") == "0"
