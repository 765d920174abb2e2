import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.envs import disc

E, T, S = 5, disc.STEPS, disc.SIDE


@pytest.fixture(scope="module")
def moving():
    return disc.episodes(E, "moving", "train", 0)


@pytest.fixture(scope="module")
def plain():
    return disc.episodes(E, "plain", "train", 0)


def test_episodes_fit_what_a_replay_takes(moving):
    assert moving.obs.shape == (E, T + 1, S, S, 3) and moving.obs.dtype == torch.uint8
    assert moving.action.shape == (E, T, 2) and moving.reward.shape == (E, T)
    assert moving.position.shape == (E, T + 1, 2)
    assert all(part.dtype == torch.float32 for part in moving[1:4])
    assert moving.obs.shape[2:] == disc.SPACE.shape and moving.obs.dtype == disc.SPACE.dtype


def test_the_same_seed_gives_the_same_episodes_and_another_one_others(moving):
    again = disc.episodes(E, "moving", "train", 0)
    assert all(torch.equal(a, b) for a, b in zip(moving, again, strict=True))
    other = disc.episodes(E, "moving", "train", 1)
    assert not any(torch.equal(a, b) for a, b in zip(moving, other, strict=True))


def test_the_disc_moves_alike_on_both_backgrounds(moving, plain):
    assert all(torch.equal(a, b) for a, b in zip(moving[1:4], plain[1:4], strict=True))
    assert not torch.equal(moving.obs, plain.obs)


def test_episodes_say_which_clip_they_show(moving, plain):
    assert (plain.clip == -1).all()
    many = disc.clips(200, disc._chance(0, "clips"))[1]
    assert set(many.tolist()) == set(range(disc.CLIPS))
    assert moving.clip.shape == (E,)


def test_test_episodes_share_neither_pushes_nor_clips(moving):
    test = disc.episodes(E, "moving", "test", 0)
    assert not torch.equal(moving.action, test.action)
    train_clips, test_clips = (
        disc.clips(40, disc._chance(0, f"clips-{split}"))[0][:, 0].mean((1, 2))
        for split in ("train", "test")
    )
    gap = np.abs(train_clips[:, None] - test_clips).max(-1)
    assert gap.min() > 1e-4  # no picture of one split has the colours of one of the other


def test_rewards_are_paid_where_the_disc_arrives(moving):
    x, y = moving.position[:, 1:].unbind(-1)
    torch.testing.assert_close(moving.reward, 1 - (x * x + y * y).sqrt())


def test_actions_push_the_disc_and_it_stays_in_the_picture(moving):
    assert moving.action.abs().max() <= 1
    assert moving.position.abs().max() <= disc.REACH + 1e-6
    # Away from the edge: v' = 0.8 v + 0.02 a, on paper.
    step = moving.position.diff(dim=1)  # (E, T, 2)
    free = (moving.position.abs() < disc.REACH - 0.15).all(-1)[:, 2:]
    left = (step[:, 1:] - disc.DRAG * step[:, :-1] - disc.PUSH * moving.action[:, 1:])[free]
    # A bounce just before changes the velocity but not the position that is left.
    assert left.abs().median() < 1e-6


def test_actions_are_smooth(moving):
    now, after = moving.action[:, :-1].flatten(), moving.action[:, 1:].flatten()
    assert torch.corrcoef(torch.stack((now, after)))[0, 1] > 0.6


def test_the_disc_covers_three_percent():
    cover = disc.coverage(np.array([[0.0, 0.0], [0.31, -0.4]]))
    assert cover.shape == (2, S, S)
    np.testing.assert_allclose(cover.mean((1, 2)), 0.03, atol=0.002)


def test_coverage_is_where_the_position_says():
    # x = 0.5 is three quarters along the columns, y = -0.5 one quarter down the rows.
    cover = disc.coverage(np.array([0.5, -0.5]))
    rows, columns = np.nonzero(cover == 1)
    assert columns.mean() + 0.5 == pytest.approx(24) and rows.mean() + 0.5 == pytest.approx(8)


def test_pixels_are_the_discs_or_the_grounds(plain):
    colour, ground = (np.round(255 * part) for part in (disc.COLOUR, disc.GROUND))
    cover = disc.coverage(plain.position.numpy())
    obs = plain.obs.numpy()
    assert np.abs(obs[cover == 1] - colour).max() <= 1
    assert np.abs(obs[cover == 0] - ground).max() <= 1


def test_clips_glide_at_a_constant_velocity():
    whole = np.zeros((1, disc.TEXTURE, disc.TEXTURE, 3), np.float32)
    whole[0, 10, 20] = 1.0
    which = np.zeros(3, int)
    at = np.array([[4.0, 12.0], [4.5, 12.0], [-54.0, 76.0]])  # whole, half a pixel, once around
    seen = disc._views(whole, which, at)
    assert seen[0, 6, 8, 0] == 1 and seen[0].sum() == 3
    np.testing.assert_allclose(seen[1, [5, 6], 8, 0], 0.5)
    assert seen[2, 0, 8, 0] == 1  # row 10 is what -54 shows first, column 84 is 20


def test_what_is_no_background_is_said():
    with pytest.raises(UserError, match="unknown background of the disc 'film'"):
        disc.episodes(1, "film", "train", 0)
    with pytest.raises(UserError, match="unknown split"):
        disc.episodes(1, "plain", "validation", 0)
    with pytest.raises(UserError, match="at least 1 episode"):
        disc.episodes(0, "plain", "train", 0)
