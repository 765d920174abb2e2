import torch

from lib.core.seeding import STREAMS, Streams, generator, stream_seed


def draw(source: torch.Generator) -> list[float]:
    return torch.rand(5, generator=source).tolist()


def test_streams_of_one_seed_differ_from_each_other():
    streams = Streams(3)
    assert len({tuple(draw(getattr(streams, name))) for name in STREAMS}) == len(STREAMS)


def test_the_same_seed_and_name_give_the_same_numbers_and_others_do_not():
    assert draw(generator(3, "env")) == draw(generator(3, "env"))
    assert draw(generator(3, "env")) != draw(generator(4, "env"))
    assert draw(generator(3, "eval/0/28")) != draw(generator(3, "eval/0/56"))


def test_a_stream_is_the_generator_of_its_name():
    assert draw(Streams(7).act) == draw(generator(7, "act"))


def test_a_seed_fits_what_a_generator_takes():
    seeds = [stream_seed(seed, name) for seed in (0, 1, 2**63) for name in STREAMS]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_drawing_from_one_stream_leaves_the_others_alone():
    one, other = Streams(0), Streams(0)
    draw(one.env)
    assert draw(one.update) == draw(other.update) and draw(one.env) != draw(other.env)


def test_restored_streams_go_on_where_they_were():
    one, other = Streams(0), Streams(5)
    draw(one.act)
    other.load_state_dict(one.state_dict())
    assert all(draw(getattr(one, name)) == draw(getattr(other, name)) for name in STREAMS)


def test_streams_do_not_touch_the_global_generator():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draw(Streams(0).init)
    assert torch.equal(torch.rand(3), expected)
