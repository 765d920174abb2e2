import pytest

from lib.core.errors import UserError
from lib.envs.lengths import decisions


def test_an_episode_has_whole_decisions():
    assert decisions(35, 7) == 5


@pytest.mark.parametrize(("env_steps", "repeat"), [(36, 7), (0, 1), (5, 0), (3, 7)])
def test_an_episode_that_would_end_within_a_decision_is_refused(env_steps, repeat):
    with pytest.raises(UserError, match=f"{env_steps} env steps cannot hold decisions of {repeat}"):
        decisions(env_steps, repeat)
