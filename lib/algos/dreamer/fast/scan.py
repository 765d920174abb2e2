"""Passes over a sequence record by record, with the posterior, and computes the gradient by hand.

PyTorch would walk back through every operation of every record and add up a whole weight matrix's
gradient each time. Here whatever does not depend on the next record is computed for all records at
once: activations anew, and each weight's gradient as one product. What is left of a step back is
four small products and what lies between them.

Letters: T records, B sequences, Z and D the two parts of the state, P statistics, I hidden units.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.dreamer.latents import Latent
from lib.algos.dreamer.networks import NORM_EPS


class Weights(NamedTuple):
    """What a step needs, products in the precision of their weights. A norm may be absent."""

    of_z: Tensor  # (Z, I)
    cell: Tensor  # (3 D, I + D)
    cell_bias: Tensor  # (3 D,)
    cell_scale: Tensor  # (3 D,)
    cell_shift: Tensor  # (3 D,)
    of_h: Tensor  # (D, I)
    out: Tensor  # (P, I)
    out_bias: Tensor  # (P,)
    input_scale: Tensor | None  # (I,)
    input_shift: Tensor | None
    hidden_scale: Tensor | None  # (I,)
    hidden_shift: Tensor | None


class Trace(NamedTuple):
    """What the way back needs of a step, (B, ·), or of all of them, (T, B, ·)."""

    x: Tensor  # (I) the input layer's activations
    gates_in: Tensor  # (3 D) before the norm, whose mean and 1 / std follow
    gates_mean: Tensor
    gates_rstd: Tensor
    reset: Tensor  # (D)
    raw: Tensor  # (D) the candidate before it is reset
    candidate: Tensor  # (D)
    update: Tensor  # (D)
    hidden: Tensor  # (I) the posterior's activations
    x_norm: tuple[Tensor, ...]  # what the input layer's norm read, mean, 1 / std; () without one
    hidden_norm: tuple[Tensor, ...]


def forward(
    latent: Latent,
    from_embed: Tensor,
    from_action: Tensor,
    keep: Tensor,
    noise: Tensor,
    z: Tensor,
    h: Tensor,
    weights: Weights,
) -> tuple[tuple[Tensor, Tensor, Tensor], list[Trace]]:
    """States and statistics of all records, and what happened at each.

    Args:
        from_embed, from_action: (T, B, I) what they add to a hidden layer.
        keep: (T, B, 1) 0 where the state before counts as zeros.
        noise: (T, B, ·) `latent.noise`.
        z, h: (B, ·) before the first record.

    Returns:
        z (T, B, Z), h (T, B, D) and the posterior's statistics (T, B, P) in single precision.
    """
    w, found, traces = weights, [], []
    parts = (part.unbind() for part in (from_embed, from_action, keep, noise))
    for embed, action, kept, drawn in zip(*parts, strict=True):
        h, trace = advance(z * kept, h * kept, action, w)
        hidden = torch.addmm(embed, h.to(w.of_h.dtype), w.of_h)
        hidden, norm = _norm(hidden, w.hidden_scale, w.hidden_shift)
        hidden = F.elu(hidden)
        stats = F.linear(hidden.to(w.out.dtype), w.out, w.out_bias).float()
        z = latent.sample(stats, drawn)
        found.append((z, h, stats))
        traces.append(trace._replace(hidden=hidden, hidden_norm=norm))
    return tuple(torch.stack(part) for part in zip(*found, strict=True)), traces


def advance(z: Tensor, h: Tensor, from_action: Tensor, w: Weights) -> tuple[Tensor, Trace]:
    """The cell: the next h (B, D), and what the way back needs to know of it."""
    x = torch.addmm(from_action, z.to(w.of_z.dtype), w.of_z)
    x, norm = _norm(x, w.input_scale, w.input_shift)
    x = F.elu(x)
    both = torch.cat((x.to(w.cell.dtype), h.to(w.cell.dtype)), -1)
    # Half precision would drift over the records, so the cell is normalised in single.
    gates_in = F.linear(both, w.cell, w.cell_bias).float()
    gates, read = _norm(gates_in, w.cell_scale, w.cell_shift)
    reset, raw, update = gates.chunk(3, -1)
    reset, update = torch.sigmoid(reset), torch.sigmoid(update - 1)
    candidate = torch.tanh(reset * raw)
    trace = Trace(x, *read, reset, raw, candidate, update, x, norm, ())
    return torch.lerp(h, candidate, update), trace


def scan(latent: Latent, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Computes what `forward` does without the traces, with gradients where they are wanted."""
    if torch.is_grad_enabled():
        return _Scan.apply(latent, *inputs[:-1], *inputs[-1])[:3]
    return forward(latent, *inputs)[0]


class _Scan(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(latent: Latent, *inputs: Any) -> tuple[Tensor, ...]:
        output, traces = forward(latent, *inputs[:6], Weights(*inputs[6:]))
        each = [(*trace[:-2], *trace.x_norm, *trace.hidden_norm) for trace in traces]
        return (*output, *(torch.stack(part) for part in zip(*each, strict=True)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.latent = inputs[0]
        ctx.mark_non_differentiable(*output[3:])
        ctx.save_for_backward(*inputs[1:], *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        held = ctx.saved_tensors
        weights, output = Weights(*held[6:18]), held[18:21]
        seen, norms = held[21:30], held[30:]
        half = len(norms) // 2
        trace = Trace(*seen, norms[:half], norms[half:])
        return (None, *backward(ctx.latent, *held[2:6], weights, output, trace, grads[:3]))


def backward(
    latent: Latent,
    keep: Tensor,
    noise: Tensor,
    first_z: Tensor,
    first_h: Tensor,
    w: Weights,
    output: tuple[Tensor, Tensor, Tensor],
    trace: Trace,
    grads: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor | None, ...]:
    """Gradients of everything that `forward` takes after the latent, None for keep and noise."""
    z, h, stats = output
    x, reset, raw, candidate, update = trace[0], *trace[4:8]
    z_before = torch.cat((first_z.unsqueeze(0), z[:-1])) * keep
    h_before = torch.cat((first_h.unsqueeze(0), h[:-1])) * keep
    both = torch.cat((x.to(w.cell.dtype), h_before.to(w.cell.dtype)), -1)

    # How much each activation moves with what is before it, for all records at once.
    stay = 1 - update
    inner = update * (1 - candidate.square()) * reset
    slopes = torch.stack(
        (inner * raw * (1 - reset), inner, (candidate - h_before) * update * stay), -2
    )  # (T, B, 3, D), of the gates for h
    of_x, of_hidden = _elu_slope(x), _elu_slope(trace.hidden)
    of_sample = latent.slope(stats, noise)
    x_back = _back(trace.x_norm, w.input_scale, w.input_shift)
    gates_back = _back(trace[1:4], w.cell_scale, w.cell_shift)
    hidden_back = _back(trace.hidden_norm, w.hidden_scale, w.hidden_shift)

    z_grads, h_grads, stats_grads = (grad.unbind() for grad in grads)
    dz, dh, told = torch.zeros_like(first_z), torch.zeros_like(first_h), []
    steps = (part.unbind() for part in (keep, stay, slopes, of_x, of_hidden, of_sample))
    for t, (kept, stays, slope, x_slope, hidden_slope, pulled) in reversed(
        list(enumerate(zip(*steps, strict=True)))
    ):
        d_stats = stats_grads[t] + latent.pull(pulled, z_grads[t] + dz)
        d_hidden = _product(d_stats, w.out) * hidden_slope
        d_hidden_in = hidden_back(d_hidden, t)
        d_h = _plus(h_grads[t] + dh, d_hidden_in, w.of_h.T)
        d_gates = (d_h.unsqueeze(-2) * slope).flatten(-2)
        d_gates_in = gates_back(d_gates, t)
        d_x, dh = _product(d_gates_in, w.cell).split((x.shape[-1], h.shape[-1]), -1)
        d_x = d_x * x_slope
        d_x_in = x_back(d_x, t)
        dz = _product(d_x_in, w.of_z.T) * kept
        dh = torch.addcmul(dh, d_h, stays) * kept
        told.append((d_stats, d_hidden, d_hidden_in, d_gates, d_gates_in, d_x, d_x_in))
    each = (torch.stack(part) for part in zip(*reversed(told), strict=True))
    d_stats, d_hidden, d_hidden_in, d_gates, d_gates_in, d_x, d_x_in = each

    return (
        d_hidden_in.to(w.of_h.dtype),
        d_x_in.to(w.of_z.dtype),
        None,
        None,
        dz,
        dh,
        _outer(z_before, d_x_in, w.of_z),
        _outer(d_gates_in, both, w.cell),
        d_gates_in.sum((0, 1)).to(w.cell_bias.dtype),
        *_norm_grads(trace[1:4], d_gates),
        _outer(h, d_hidden_in, w.of_h),
        _outer(d_stats, trace.hidden, w.out),
        d_stats.sum((0, 1)).to(w.out_bias.dtype),
        *_norm_grads(trace.x_norm, d_x),
        *_norm_grads(trace.hidden_norm, d_hidden),
    )


# Helpers ------------------------------------------------------------------------------------


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return x.to(weight.dtype) @ weight


def _plus(base: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """base + x @ weight."""
    if base.dtype == x.dtype == weight.dtype:
        return torch.addmm(base, x, weight)
    return base + _product(x, weight)


def _outer(left: Tensor, right: Tensor, like: Tensor) -> Tensor:
    """Sum over records and sequences of left x right: the gradient of a weight (L, R)."""
    return left.to(like.dtype).flatten(0, 1).T @ right.to(like.dtype).flatten(0, 1)


def _elu_slope(out: Tensor) -> Tensor:
    """Returns the derivative of ELU where it gave `out`."""
    return out.clamp_max(0) + 1


def _norm(
    x: Tensor, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """LayerNorm, and what it read, the means and 1 / std; without a scale nothing happens."""
    if scale is None:
        return x, ()
    x = x.float()
    out, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], scale, shift, NORM_EPS)
    return out, (x, mean, rstd)


def _back(
    read: tuple[Tensor, ...], scale: Tensor | None, shift: Tensor | None
) -> Callable[[Tensor, int], Tensor]:
    """How the gradient of record t's rows (B, ·) goes back through a norm."""
    if not read:
        return lambda grad, t: grad
    steps = list(zip(*(part.unbind() for part in read), strict=True))

    def back(grad: Tensor, t: int) -> Tensor:
        x, mean, rstd = steps[t]
        rest = (x.shape[-1:], mean, rstd, scale, shift, [True, False, False])
        return torch.ops.aten.native_layer_norm_backward(grad.float(), x, *rest)[0]

    return back


def _norm_grads(
    read: tuple[Tensor, ...], grad: Tensor
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Gradients of a norm's scale and shift."""
    if not read:
        return None, None
    x, mean, rstd = read
    return (grad * (x - mean) * rstd).sum((0, 1)), grad.sum((0, 1))
