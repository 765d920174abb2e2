"""A short chapter with a film, for tests that open it in a browser."""

import shutil
from pathlib import Path

from lib.core.paths import NOTEBOOKS

CHAPTER = """\
# %% [markdown]
# # 00 · A short chapter
#
# **Question.** Does the picture move?
#
# ## Words
#
# A quokka eats $x^2$ leaves; more in [the other chapter](01_other.ipynb).

# %%
import numpy as np

from lib import viewer

frames = np.zeros((5, 8, 8, 3), np.uint8)
frames[np.arange(5), :, np.arange(5)] = 255
viewer.scrub(frames, {"column": np.arange(5.0)}, title="A line moves")

# %%
import os
import sys

import lib

print("library:", lib.__name__)
print("interpreter and folder:", sys.executable == EXPECTED, os.getcwd() == FOLDER)
"""
OTHER = """\
# %% [markdown]
# # 01 · Another chapter
#
# **Question.** Where does a wombat sleep?
#
# ## Burrows
#
# Under the $\\tfrac12$ hill.
"""


def write(root: Path, expected: str = "", folder: str = "") -> Path:
    """The two chapters' sources in a root of their own; their folder."""
    notebooks = root / "notebooks"
    notebooks.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / "jupytext.toml", notebooks)
    chapter = CHAPTER.replace("EXPECTED", repr(expected)).replace("FOLDER", repr(folder))
    (notebooks / "00_short.py").write_text(chapter)
    (notebooks / "01_other.py").write_text(OTHER)
    return notebooks
