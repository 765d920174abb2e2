"""A new agent starts from some parameters of another one, by rules on their names.

An ordered list of rules says of every tensor what becomes of it; the first rule that names it
counts. Nothing else is carried over: no moments of optimisers, no counters.

    target = random + ω source

for what a head says at last (ω = 0: a new last layer, *modular* transfer; ω > 0: *fractional
transfer*); encoder, decoder and recurrence are copied; what belongs to actions stays random, so
that source and target may act with different numbers of them.

Source: Sasso, Sabatelli and Wiering (TMLR 2023, arXiv 2205.14410), section on fractional transfer
learning, tensor by tensor as their code does it. Ours: a discount head is treated as a reward,
parts of other objectives as the encoder is, and exploration starts afresh.

Letters: O outputs, Z numbers of the stochastic state, A numbers in an action.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lib.algos.api import Moved
from lib.algos.dreamer.settings import TransferConfig
from lib.core.errors import UserError

How = Literal["copy", "random", "fraction", "columns"]
Tensors = Mapping[str, Tensor]


def fraction(random: Tensor, source: Tensor, omega: float) -> Tensor:
    """Returns a new tensor with a share ω of the source's added to the target's random one."""
    return random + omega * source


def columns(random: Tensor, source: Tensor, kept: int) -> Tensor:
    """Returns a target's weight with the source's first columns, which read the state, in it.

    Args:
        random: (O, Z + A) of the target.
        source: (O, Z + its own A).
        kept: Z.

    Returns:
        (O, Z + A), a new tensor whose last A columns are the random ones.
    """
    return torch.cat((source[:, :kept], random[:, kept:]), 1)


class Rule(NamedTuple):
    """What becomes of the tensors that a pattern names."""

    pattern: str  # a regular expression of the whole name
    how: How  # copy: the source's; random: the target's own; fraction: random + ω source
    columns: int = 0  # columns: so many of a (O, Z + A) weight are copied, the others random


def transfer(
    source: Tensors, target: Tensors, omega: float, rules: Sequence[Rule]
) -> tuple[dict[str, Tensor], list[Moved]]:
    """Returns a target's tensors with parts of a source in them, and what was done one by one.

    Args:
        source, target: tensors by name; the target's are random ones, and stay as they are.
        omega: ω, in [0, 1].
        rules: in order; the first that names a tensor counts.

    Raises:
        UserError: ω is outside [0, 1], a tensor is named by no rule, a rule names no tensor, the
            source lacks one, or shapes cannot be reconciled.
    """
    if not 0 <= omega <= 1:
        raise UserError(f"transfer.omega {omega:g}: a share of the source lies between 0 and 1")
    for rule in rules:
        if not any(re.fullmatch(rule.pattern, name) for name in target):
            raise UserError(
                f"the transfer's rule '{rule.pattern}' ({rule.how}) names no tensor; mend it, or "
                "leave it out"
            )
    found, rows = {}, []
    for name, mine in target.items():
        rule = next((rule for rule in rules if re.fullmatch(rule.pattern, name)), None)
        if rule is None:
            raise UserError(f"no rule of the transfer says what becomes of '{name}'; add one")
        theirs = source.get(name)
        found[name], note = _moved(name, rule, theirs, mine, omega)
        had = () if theirs is None else tuple(theirs.shape)
        rows.append(Moved(name, rule.how, tuple(mine.shape), had, note))
    for name in sorted(source.keys() - target.keys()):
        rows.append(Moved(name, "unused", tuple(source[name].shape), tuple(source[name].shape)))
    return found, rows


def _moved(
    name: str, rule: Rule, theirs: Tensor | None, mine: Tensor, omega: float
) -> tuple[Tensor, str]:
    """Returns a tensor of its own for the target, and what to say of it."""
    if rule.how == "random":
        return mine.clone(), ""
    if theirs is None:
        raise UserError(
            f"the source has no '{name}', which the transfer takes from it ({rule.how}); name a "
            "source with the same networks"
        )
    if rule.how == "columns":
        kept, rows = rule.columns, (theirs.shape[0], mine.shape[0])
        if theirs.dim() != 2 or rows[0] != rows[1] or min(theirs.shape[1], mine.shape[1]) < kept:
            raise _unlike(name, theirs, mine, f"{kept} columns")
        note = f"{kept} columns copied, {mine.shape[1] - kept} random"
        return columns(mine, theirs.to(mine), kept), note
    if theirs.shape != mine.shape:
        raise _unlike(name, theirs, mine, rule.how)
    if rule.how == "copy":
        return theirs.to(mine, copy=True), ""
    return fraction(mine, theirs.to(mine), omega), f"random + {omega:g} source"


def _unlike(name: str, theirs: Tensor, mine: Tensor, how: str) -> UserError:
    return UserError(
        f"'{name}' is {list(theirs.shape)} in the source and {list(mine.shape)} here, which the "
        f"transfer cannot take over ({how}); name a source of the same sizes"
    )


# The cases that have a name -------------------------------------------------------------------

FRACTIONAL = ("model.reward_head", "model.discount_head", "critic")  # heads that say how much


def rules_of(cfg: TransferConfig, target: Tensors, columns: int) -> tuple[Rule, ...]:
    """Returns the rules of a case that has a name.

    Args:
        target: tensors by name, which tell where a head ends.
        columns: Z, how many columns of the recurrent model's first layer read the state.
    """
    if cfg.case == "scratch":
        return (Rule(".*", "random"),)
    if cfg.case == "full":
        return (Rule(".*", "copy"),)
    heads = [head for head in FRACTIONAL if any(name.startswith(f"{head}.") for name in target)]
    ends = [_last_layer(head, target) for head in heads]
    if cfg.scope == "whole_head":
        ends = [rf"{re.escape(head)}\..*" for head in heads]
        of_actor = r"actor\..*"
    else:
        of_actor = _last_layer("actor", target)
    rules = (
        Rule(r"model\.reward_head\.sources\..*", "random"),  # fixed ones, which come from files
        *(Rule(end, "fraction") for end in ends),
        Rule(of_actor, "random"),
        Rule(r"model\.rssm\.input\.weight", "columns", columns),
        Rule(r"(model|actor|critic)\..*", "copy"),
        Rule(r"(?!(model|actor|critic)\.).*", "random"),  # what explores
    )
    return tuple(rule for rule in rules if any(re.fullmatch(rule.pattern, name) for name in target))


def in_words(cfg: TransferConfig) -> str:
    """Returns what a case is called where cases are compared."""
    share = f"fractional, ω {cfg.omega:g}" if cfg.case == "ftl" else cfg.case
    whole = cfg.scope == "whole_head" and cfg.case in ("ftl", "modular")
    return f"{share}, whole heads" if whole else share


def share_of(cfg: TransferConfig) -> float:
    """Returns ω, which is 0 of modular transfer whatever is set."""
    return cfg.omega if cfg.case == "ftl" else 0.0


def _last_layer(head: str, names: Iterable[str]) -> str:
    """Returns a pattern of the weight and bias of a head's last layer."""
    found = [re.fullmatch(rf"{re.escape(head)}\.net\.(\d+)\.\w+", name) for name in names]
    last = max(int(match[1]) for match in found if match)
    return rf"{re.escape(head)}\.net\.{last}\.(weight|bias)"


def rssm_rules(columns: int) -> tuple[Rule, ...]:
    """Returns the rules of a recurrent model alone, see `rules_of`."""
    return (
        Rule(r"model\.rssm\.input\.weight", "columns", columns),
        Rule(r"model\.rssm\..*", "copy"),
    )
