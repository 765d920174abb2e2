import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer import replaying
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.core.seeding import Streams
from lib.runner import evaluate
from tests.sequence_tiny import episodes, tiny, world

STEPS = 30


def learnt(method: str) -> SequenceAgent:
    run = tiny(method)
    one = registry.build_agent(run, world(run), Streams(0), torch.device("cpu"))
    for task in range(3):
        one.begin_task(task)
        for part in one.parts[task]:
            one.store("learner", episodes(5, STEPS, part.actions.size, seed=task))
        one.update(4)
    return one


def played(one: SequenceAgent, task: int):
    env = one.domain.make(task)
    draws = torch.Generator().manual_seed(0)
    return evaluate.play(one, env, 1, draws, explore=False, heads={"task": task})


@pytest.mark.parametrize("method", ["dt-full", "dt-lora", "dt-prefix", "dt-l2m", "dt-hide-lora"])
def test_what_was_decided_is_the_likeliest_at_every_step(method):
    one = learnt(method)
    episode = played(one, 1)
    told = one.capabilities().decisions(
        *(part[0] for part in (episode.obs, episode.action, episode.reward)), {"task": 1}
    )
    chances = torch.stack([told.numbers[f"its probability, number {i}"] for i in (1, 2)])
    assert chances.shape == (2, STEPS)
    assert float(chances.min()) >= 1 / one.cfg.model.bins, "no token is less likely than by chance"
    tokens = torch.stack([told.numbers[f"token of number {i}"] for i in (1, 2)], 1)
    bins = one.cfg.model.bins
    torch.testing.assert_close((tokens + 0.5) * 2 / bins - 1, episode.action[0])
    assert len(told.words) == STEPS and f"token {int(tokens[0, 0])} (p " in told.words[0]


def test_it_says_which_task_it_takes_an_episode_for_and_keeps_that_after_some_steps():
    one = learnt("dt-hide-lora")
    episode = played(one, 2)
    parts = [part[0] for part in (episode.obs, episode.action, episode.reward)]
    told = one.capabilities().decisions(*parts, {"task": 2})
    (name,) = (name for name in told.numbers if name.startswith("task it takes this for"))
    assert name.endswith("1 point-mass-turn-0 2 point-mass-turn-90")
    taken, sure = told.numbers[name], told.numbers["how sure it is of that task"]
    whole = replaying.believed(one, 2, *(part[None] for part in parts))[:, 0]
    assert torch.equal(taken[:10], whole[:10].argmax(1) + 1)
    freeze = one.cfg.modulator.freeze_after
    assert (
        len(set(taken[freeze - 1 :].tolist())) == 1 and len(set(sure[freeze - 1 :].tolist())) == 1
    )
    assert "; taken for point-mass-turn-" in told.words[0]


def test_beliefs_are_sums_of_evidence_over_tasks_met_so_far():
    one = learnt("dt-hide-lora")
    found = episodes(4, 7, seed=3)
    told = replaying.believed(one, 1, found.obs, found.action, found.reward)
    assert told.shape == (7, 4, 2)
    torch.testing.assert_close(told.sum(-1), torch.ones(7, 4))
    one.modulator.known[1] = False
    alone = replaying.believed(one, 1, found.obs, found.action, found.reward)
    assert torch.equal(alone[..., 0], torch.ones(7, 4)) and not alone[..., 1].any()


def test_a_pool_says_which_member_was_nearest():
    one = learnt("dt-l2m")
    episode = played(one, 1)
    parts = [part[0] for part in (episode.obs, episode.action, episode.reward)]
    told = one.capabilities().decisions(*parts, {"task": 1})
    members = told.numbers["member of the pool, the nearest"]
    assert set(members.tolist()) <= set(range(3))
    assert not [name for name in told.numbers if "takes this for" in name]
