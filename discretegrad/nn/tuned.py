"""Control variates whose parameters are fitted by the variance's own gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.autograd import append_dims
from discretegrad.control_variate import Evaluation, less
from discretegrad.control_variate.relaxed import Perturbation, Relaxation
from discretegrad.control_variate.stein import AnyStein
from discretegrad.control_variate.taylor import OthersTaylor
from discretegrad.draw import Draw, of_possible
from discretegrad.nn.learner import Learner
from discretegrad.ops.perceptron import perceptron
from discretegrad.weights import Score


class Tuned(Learner):
    """A control variate of the score function that makes the estimate's mean squared norm small.

    The estimate is unbiased whatever the parameters, so its mean square and its variance have the same gradient. Other
    control variates of a chain are left out of it. Call `loss` before the backward pass of the surrogate frees the
    graph of the values, and step after the surrogate was made: parameters that have seen a draw's values bias its
    gradient.
    """

    differentiates_twice = False
    """Whether the parameters move the points at which f is evaluated."""

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The loss is the squared norm of the gradient estimate, averaged over the batch, for its own parameters."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not (parameters and torch.is_grad_enabled()):
            return values.new_zeros(())
        active = draw.active(values.ndim - 1)
        if active is not None:
            values = torch.where(active, values, 0.0)
        squared = self._squared_norm(draw, values, context)
        roots = [*parameters, draw.points] if self.differentiates_twice else parameters
        gradients = torch.autograd.grad(squared, roots, retain_graph=True, allow_unused=True)
        result = squared.detach()
        for parameter, gradient in zip(parameters, gradients, strict=False):
            if gradient is not None:
                result = result + ((parameter - parameter.detach()) * gradient).sum()
        if self.differentiates_twice and gradients[-1] is not None:
            moved, slopes = self.moved(draw), draw.latent.lift(of_possible(draw, gradients[-1]))
            result = result + ((moved - moved.detach()) * slopes[-len(moved) :]).sum()
        return result

    def moved(self, draw: Draw) -> Tensor:
        """The extra points as one-hots with their graph to the parameters, where those move them."""
        raise NotImplementedError

    def _squared_norm(self, draw: Draw, values: Tensor, context: Any) -> Tensor:
        points, grad_f = draw.indices.shape[0], None
        if self.needs_grad_f:
            grad_f = draw.grad_f(values, type(self).__name__, create_graph=self.differentiates_twice)
        wide = values.to(torch.promote_types(values.dtype, draw.drawn.logits.dtype))
        wide = wide if self.differentiates_twice else wide.detach()
        evaluation = Evaluation(draw, wide[:points], wide[points:], grad_f, context)
        constant = self.constant_of(evaluation)
        residual = self.subtract_from(evaluation if constant is None else less(evaluation, constant))
        remaining = append_dims(residual.values, draw.indices.ndim)
        gradient = Score().gradient(draw.drawn, remaining, self.centred)
        if residual.added_back is not None:
            gradient = gradient + residual.added_back
        if draw.mask is not None:
            gradient = torch.where(draw.mask.unsqueeze(-1), gradient, 0.0)
        return draw.latent.pull_back(gradient).square().sum() / max(1, values[0].numel())


class LearnedTaylor(Tuned, OthersTaylor):
    """`DoubleTaylor` with a coefficient that is learned.

    Args:
        coefficient: where it starts.

    Source: Titsias, Shi 2022, arXiv 2111.05300. Departs from the paper: there it has the other sign and starts at 0.
    """

    def __init__(self, coefficient: float = 1.0) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.tensor(float(coefficient)))


class LearnedStein(Tuned, AnyStein):
    """`OthersStein` with surrogates by a network, and both coefficients learned.

    Args:
        network: maps `[..., 3]` to `[..., 2]`; None for one hidden layer of 100 units, as in the paper.

    Source: Shi, Zhou, Hwang, Titsias, Mackey 2022, arXiv 2202.09497. Departs from the paper: a third feature,
    `grad f_t . (y - p)`.
    """

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        if network is None:
            network = nn.Sequential(nn.Linear(3, 100), nn.LeakyReLU(0.3), nn.Linear(100, 2))
        self.network = network
        # At 0 it is leave-one-out, until the first step says in which direction the surrogates help.
        self.inner = nn.Parameter(torch.zeros(()))
        self.outer = nn.Parameter(torch.zeros(()))

    def surrogates(self, features: Tensor) -> Tensor:
        outputs = _in_own_dtype(self.network, features, _of_one_layer(self.network))
        if outputs.shape != (*features.shape[:-1], 2):
            raise ValueError(
                f"the network of surrogates must map [..., 3] to [..., 2]; it turned {tuple(features.shape)} into "
                f"{tuple(outputs.shape)}."
            )
        return outputs


class LearnedRelaxation(Tuned, Relaxation):
    """A relaxed control variate `c = scale * f + network` with temperature, scale and network learned.

    Args:
        temperature: where it starts; positive, a number or a tensor that broadcasts to `[*variables]`.
        scale: where it starts; None for the network alone, with which f is not evaluated at relaxed points and need
            not be differentiable.
        network: None, or maps relaxed points, `[..., features]`, to `[...]` or `[..., 1]`. Its features are the points
            of the variables that share a value, flattened, followed by the context `[*batch, ...]` if one is given.
        tied: whether both relaxed points have the same noise, which makes them one.

    Source: Tucker et al. 2017, arXiv 1703.07370; Grathwohl et al. 2018, arXiv 1711.00123.
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.5,
        scale: float | None = 1.0,
        network: nn.Module | None = None,
        tied: bool = False,
    ) -> None:
        super().__init__()
        checks.temperature(temperature)
        if scale is None and network is None:
            raise ValueError("with scale=None and without a network there is no control variate; give one of them.")
        self.log_temperature = nn.Parameter(torch.as_tensor(temperature).detach().log())
        self.factor = None if scale is None else nn.Parameter(torch.tensor(float(scale)))
        self.network = network
        self.tied = tied
        self.needs_grad_f = self.differentiates_twice = scale is not None

    @property
    def temperature(self) -> Tensor:  # type: ignore[override]
        """Positive whatever the steps."""
        return self.log_temperature.exp()

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        """Of f."""
        assert self.factor is not None
        return self.factor

    def moved(self, draw: Draw) -> Tensor:
        assert isinstance(draw.added, Perturbation)  # as `add` has made it
        return draw.added.relaxed(self.temperature)

    def at(self, relaxed: Tensor, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """The function may be f, the network, or both."""
        if self.network is None:
            return super().at(relaxed, evaluation)
        values, slopes = self._network_at(relaxed, evaluation)
        if self.factor is None:
            return values, slopes
        of_f = super().at(relaxed, evaluation)
        return of_f[0] + values, of_f[1] + slopes

    def _network_at(self, relaxed: Tensor, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """The network and its gradient w.r.t. the one-hots, with graphs where those are wanted, in `loss`."""
        draw, learning, dims = evaluation.draw, torch.is_grad_enabled(), evaluation.values.ndim
        with torch.enable_grad():
            one_hots = relaxed if learning else relaxed.requires_grad_()
            points = one_hots if draw.mask is None else torch.where(draw.mask.unsqueeze(-1), one_hots, 0.0)
            features = draw.latent.points(points).unsqueeze(-1).flatten(dims)
            if evaluation.context is not None:
                context = evaluation.context.detach().flatten(dims - 1).to(features.dtype)
                features = torch.cat((features, context.expand(*features.shape[:-1], -1)), -1)
            values = _in_own_dtype(self.network, features)
            if values.shape == (*features.shape[:-1], 1):
                values = values.squeeze(-1)
            if values.shape != features.shape[:-1]:
                raise ValueError(
                    f"the network of a relaxed control variate must return {tuple(features.shape[:-1])}, with or "
                    f"without a last dimension of 1; it returned {tuple(values.shape)}."
                )
            (slopes,) = torch.autograd.grad(values.sum(), one_hots, create_graph=learning)
        return (values, slopes) if learning else (values.detach(), slopes)


def _in_own_dtype(network: Any, inputs: Tensor, called: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The network's outputs, computed in its parameters' dtype and returned in the inputs', where it is `called`."""
    parameters: Sequence[Tensor] = [p for p in network.parameters() if p.is_floating_point()]
    dtype = parameters[0].dtype if parameters else inputs.dtype
    outputs: Tensor = (called or network)(inputs.to(dtype))
    return outputs.to(inputs.dtype)


def _of_one_layer(network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same function of a network with one hidden layer of rectifiers, as the paper's is; None for any other.

    It is asked at very many rows, whose hidden units need not be kept.
    """
    layers: list[Any] = list(network) if type(network) is nn.Sequential else []
    if [type(layer) for layer in layers] not in [[nn.Linear, kind, nn.Linear] for kind in (nn.LeakyReLU, nn.ReLU)]:
        return None
    first, rectifier, second = layers
    hooked = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in (network, *layers))
    if hooked or first.bias is None or second.bias is None or torch.is_autocast_enabled("cpu"):
        return None
    slope = getattr(rectifier, "negative_slope", 0.0)
    return lambda rows: perceptron(rows, first.weight, first.bias, second.weight, second.bias, slope)
