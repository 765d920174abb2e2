"""Chapter 10 over a study of a Dreamer's parts, and notebook 21 over the runs that it leaves."""

import json

from lib.experiments import notebooks
from tests.experiments.test_arms import asked, tiny_study
from tests.notebooks.test_runs import printed


def test_a_study_is_trained_drawn_and_told_in_one_table_and_compared_by_name(tmp_path):
    given = asked(tmp_path, study=tiny_study(tmp_path), seeds=[0], overrides={})
    out = tmp_path / "new"
    text = printed(notebooks.run(given, out / "transfer.ipynb", notebooks.TRANSFER))
    assert "| ftl | fractional, ω 0.5 | two |" in text
    assert "| meta | meta-model | two, adviser |" in text
    assert "1 of 5: sources, two, seed 0: final return" in text
    assert "5 of 5: target, meta, seed 0: final return" in text
    assert "Not asked: arms of a study hand over more than a world model" in text
    figures = {path.name for path in (out / "figures").glob("*.png")}
    assert figures >= {"parts-ftl.png", "parts-meta.png", "whole_runs-target.png"}
    assert "parts-scratch.png" not in figures
    table = (out / "whole_runs.md").read_text()
    assert "| runs | begin with | of | overall | final 10 % | overall, by run |" in table
    told = json.loads((out / "transfer.json").read_text())
    assert set(told["starts"]) == {"scratch", "ftl", "meta"}
    assert "python -m lib transfer" in told["command"] and "--preset" not in told["command"]

    runs = sorted(str(path) for path in (out / "runs").glob("target-*"))
    given = {"runs": runs, "out_dir": str(tmp_path / "compared")}
    node = notebooks.run(given, tmp_path / "compared" / "compare.ipynb", notebooks.COMPARE)
    text = printed(node)
    assert "| dreamer-v1 (fractional, ω 0.5) | fractional, ω 0.5 | two |" in text
    assert "| dreamer-v1 (from nothing) | nothing | – |" in text
    assert (tmp_path / "compared" / "whole_runs.png").is_file()
