"""Numbers of the published model, counted by hand: 6 layers of 768, 12 heads, ten tasks."""

import pytest

from lib.algos.decision_transformer.differences import HEADER, TOLD, differences, table
from lib.algos.decision_transformer.presets import METHODS

D, LAYERS = 768, 6
LORA = LAYERS * 6 * D * 8 * 2  # q, v and four times the width, two factors of rank 8
IA3 = LAYERS * 6 * D + 4 * D  # keys, values, four times the width; four kinds of tokens
KEYS = D  # of each member of a pool
WHOLE = 43_557_952
LEARNING = {
    "dt-full": WHOLE,
    "dt-ewc": WHOLE,
    "dt-head": 769 * 64,
    "dt-last-layers": 12 * D**2 + 13 * D + 2 * D,
    # Twice a layer 768 to 48 and back, with biases.
    "dt-adapters": LAYERS * 2 * (2 * D * 48 + 48 + D),
    "dt-lora": LORA,
    "dt-ia3": IA3,
    "dt-prompt": 25 * D,
    "dt-prefix": LAYERS * 2 * 25 * D,
    "dt-p-tuning": LAYERS * 25 * D,
    "dt-l2p-prompt": 100 * (5 * D + KEYS),
    "dt-l2p-prefix": 100 * (LAYERS * 2 * 5 * D + KEYS),
    "dt-l2p-p-tuning": 100 * (LAYERS * 5 * D + KEYS),
    "dt-l2m": 13_271_040 + 23_040,
    "dt-l2m-ia3": 30 * (IA3 + KEYS),
    "dt-hide-lora": LORA,
}


@pytest.fixture(scope="module")
def rows() -> dict:
    return {row.method: row for row in differences()}


def test_every_method_has_a_row(rows):
    assert list(rows) == list(METHODS)
    assert all(len(line) == len(HEADER) and all(line) for line in table(list(rows.values())))


@pytest.mark.parametrize("method", LEARNING)
def test_so_many_numbers_learn_in_a_task(method, rows):
    assert LORA == 442_368 and IA3 == 30_720
    assert rows[method].learning == LEARNING[method]


def test_what_one_more_task_costs(rows):
    assert rows["dt-lora"].each == LORA and rows["dt-l2m"].each == rows["dt-full"].each == 0
    assert rows["dt-ewc"].each == 2 * WHOLE, "an anchor: every weight, and how much it matters"
    # Ten centroids: mean and variance of 5 * 768 numbers and a share; of 6 * 768 numbers the mean;
    # a row of the classifier; and a mark that the task is known.
    statistics = 10 * (2 * 5 * D + 1) + 10 * 6 * D + 5 * D + 1 + 1
    assert rows["dt-hide-lora"].each == LORA + statistics


def test_tables_say_who_is_told_the_task(rows):
    told = {method for method, row in rows.items() if row.task == TOLD}
    per_task = {
        f"dt-{kind}" for kind in ("adapters", "lora", "ia3", "prompt", "prefix", "p-tuning")
    }
    assert told == per_task | {"dt-l2m-oracle", "dt-hide-lora-oracle"}
    assert rows["dt-hide-lora"].task == "inferred" and rows["dt-l2p-prefix"].task == "by keys"
