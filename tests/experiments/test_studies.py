"""Files of studies: how they are named, and what they may say."""

from pathlib import Path

import pytest
import yaml

from lib.core.errors import UserError
from lib.experiments import studies, transfer

QUICK = "dreamer-v1-sources-quick"


def written(tmp_path: Path, **said) -> str:
    """The path of a study's file."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    return str(path)


def test_a_study_is_found_by_its_name_or_its_path(tmp_path, monkeypatch):
    path = written(tmp_path, arms={"scratch": QUICK})
    assert studies.named_first([QUICK, "a", "b"]) == (QUICK, ["a", "b"])
    assert studies.named_first([path, "a"]) == (path, ["a"])
    assert studies.named_first(["a", QUICK]) == ("", ["a", QUICK])
    assert studies.named_first([]) == ("", [])
    assert studies.read(path).name == "mine" and studies.read(path).seeds == (0,)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "no arms in '.*mine.yaml'; list them"),
        ({"arms": []}, "no arms in"),
        ({"arms": {"a": "dreamer-v1-sources-quik"}}, "did you mean 'dreamer-v1-sources-quick'"),
        ({"arms": {"a": 3}}, "'a' in '.*': got 3, wanted a params file"),
        ({"arms": {"a": {"overrides": {}}}}, "wanted a params file"),
        ({"arms": {"a/b": QUICK}}, "name in '.*' 'a/b' is no plain file name"),
        ({"arms": {"a": {"params": QUICK, "tasc": []}}}, "unknown parameter 'tasc'.*'tasks'"),
        ({"arms": {"a": QUICK}, "seds": [0]}, "unknown key 'seds'.*did you mean 'seeds'"),
        ({"arms": {"a": QUICK}, "seeds": 3}, "seeds in '.*': got 3, wanted a list"),
        ({"arms": {"a": QUICK}, "seeds": [0, 0]}, "0 is there twice"),
        ({"arms": {"a": QUICK}, "sources": ["x"]}, "sources in '.*': wanted names to params files"),
        (
            {"arms": {"a": QUICK, "b": "dreamer-v1-sources"}},
            r"several presets \(a: sources-quick, b: sources-full\)",
        ),
    ],
)
def test_what_a_file_cannot_say_is_one_line(tmp_path, said, message):
    with pytest.raises(UserError, match=message) as error:
        studies.read(written(tmp_path, **said))
    assert "\n" not in str(error.value)


def test_a_study_that_is_not_there_is_told_those_that_are():
    with pytest.raises(UserError, match="unknown study.*did you mean 'dreamer-v1-sources-quick'"):
        transfer.prepare({"study": "dreamer-v1-sources-quik"}, Path("nowhere"))
