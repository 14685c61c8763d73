"""Relaxed control variates: f between the one-hots, at perturbed logits whose argmax is the point."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.control_variate.base import ControlVariate, Evaluation, Residual
from discretegrad.control_variate.taylor import needed
from discretegrad.coupling import Coupling, Independent
from discretegrad.draw import Added, Draw, category_logits
from discretegrad.frozen import frozen
from discretegrad.ops import relaxation as relaxation_ops
from discretegrad.ops.gumbel import gumbel
from discretegrad.ops.noise import uniform


class Perturbation(Added):
    """How the relaxed points were made: those of the free noise first, those of the conditional noise behind.

    Args:
        log_probs: `[*variables, C]`.
        log_noise: `[2 S, *variables, C]`; `[S, *variables, C]` where both have the same noise.
        logits: perturbed, of the noise's shape.
        temperature: at which f is evaluated, whatever is learned meanwhile.
        of_f: whether f is wanted there, and its gradient.
    """

    def __init__(
        self, log_probs: Tensor, log_noise: Tensor, logits: Tensor, temperature: float | Tensor, of_f: bool = True
    ) -> None:
        self.log_probs, self.log_noise, self.logits, self.temperature = log_probs, log_noise, logits, temperature
        super().__init__(self.relaxed(temperature) if of_f else None, of_f)

    def relaxed(self, temperature: float | Tensor) -> Tensor:
        """One-hots between the one-hots."""
        return relaxation_ops.soften(self.logits, temperature)


class Relaxation(ControlVariate):
    """Subtract `c(z~)`, z~ drawn given the point, and add back `grad c(z) - grad c(z~)` along their paths."""

    temperature: float | Tensor
    scale: float | Tensor
    tied: bool
    constant = False
    noisy = True

    def refuse(self, coupling: Coupling) -> None:
        if not isinstance(coupling, Independent):
            raise ValueError(
                "a relaxed control variate makes its noise for one point at a time, whatever the coupling of "
                f"{type(coupling).__name__}; use coupling=Independent(), or control_variate=Taylor()."
            )

    def extra_evaluations(self, points: int) -> int:
        """Each point has two, or one where they are the same; none where c is no f."""
        return points * (1 if self.tied else 2) if self.needs_grad_f else 0

    def add(self, draw: Draw, generator: torch.Generator | None) -> Perturbation:
        checks.temperature_of_variables(self.temperature, draw.variables)
        log_probs = category_logits(draw.logits, draw.latent, draw.mask).log_softmax(-1)
        indices = self.repeat(draw.indices)
        noise = uniform((*indices.shape, log_probs.shape[-1]), log_probs, generator, dtype=log_probs.dtype)
        log_noise = -gumbel(noise)
        perturbed = relaxation_ops.perturbed(log_probs, indices, log_noise)
        temperature = self.temperature
        if isinstance(temperature, Tensor):  # which may be another by the time of the surrogate
            temperature = temperature.clone()
        return Perturbation(log_probs, log_noise, perturbed, temperature, self.needs_grad_f)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """Two paths lead from logits to relaxed points: one holds the noise fast, one the argmax as well."""
        draw, made = evaluation.draw, evaluation.draw.added
        if not isinstance(made, Perturbation):
            raise ValueError(
                f"{type(self).__name__} needs the noise of its relaxed points, which this draw has not; make draws "
                "with the estimator's own `sample`."
            )
        points = draw.indices.shape[0]
        temperature = self.temperature if torch.is_grad_enabled() else made.temperature  # the former to be learned
        relaxed = made.relaxed(temperature)
        values, slopes = self.at(relaxed, evaluation)
        gradient = relaxation_ops.softmax_pull_back(relaxed, slopes, temperature)
        free, given, log_noise = gradient[:points], gradient[-points:], made.log_noise[-points:]
        conditional = relaxation_ops.conditional_pull_back(made.log_probs, draw.indices, log_noise, given)
        return Residual(evaluation.values - values[-points:], (free - conditional).mean(0))

    def at(self, relaxed: Tensor, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """c at the relaxed points, `[2 S, *batch]`, and its gradient w.r.t. them, `[2 S, *variables, C]`: scale * f."""
        slopes = needed(evaluation)[evaluation.values.shape[0] :]
        return self.scale * evaluation.extra_values, self.scale * slopes

    def repeat(self, indices: Tensor) -> Tensor:
        """The ids that go with the relaxed points."""
        return indices if self.tied else torch.cat((indices, indices))


@frozen
class Relaxed(Relaxation):
    """`Relaxation` with `c = scale * f(softmax(perturbed logits / temperature))`.

    Source: Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein 2017, arXiv 1703.07370 (REBAR).
    """

    temperature: float | Tensor = 0.5
    scale: float = 1.0
    tied: bool = False
    needs_grad_f = True

    def __post_init__(self) -> None:
        checks.temperature(self.temperature, learned=False)
