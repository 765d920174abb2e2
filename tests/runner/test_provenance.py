import json
import platform
import re

import torch

from lib.runner import provenance


def test_hardware_is_plain_data_about_this_machine():
    found = json.loads(json.dumps(provenance.hardware()))
    assert found["cpu"] and found["cores"] >= 1 and found["memory_gib"] > 0
    assert (found["gpu"] is not None) == torch.cuda.is_available()


def test_versions_name_python_and_torch():
    found = provenance.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__


def test_commit_is_a_hash_or_says_that_it_is_unknown(monkeypatch):
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(\+changes)?", provenance.commit())
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"
