from lib.algos.dreamer import parts
from tests.dreamer_tiny import new_agent, tiny


def state(method="dreamer", **changes):
    return new_agent(tiny(method, **changes)).state_dict(with_replay=False)


def test_every_tensor_of_a_plain_dreamer_but_the_discounts_is_in_a_part():
    found = parts.parts(state())
    assert found.keys() == parts.PARTS.keys()
    held = {name for part in found.values() for name in part}
    rest = parts.named(state()).keys() - held
    assert rest and all(name.startswith("model.discount_head.") for name in rest)


def test_an_autoencoder_is_encoder_and_decoder():
    found = parts.parts(state())
    assert found["autoencoder"].keys() == found["encoder"].keys() | found["decoder"].keys()
    assert found["encoder"] and found["decoder"]


def test_an_agent_that_draws_nothing_has_no_decoder():
    found = parts.parts(state(objective__representation="redundancy"))
    assert {"encoder", "reward", "rssm"} <= found.keys()
    assert not {"autoencoder", "decoder"} & found.keys()
