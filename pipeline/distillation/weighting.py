"""Weighting: how much each of several teachers is heard, for each sample.

| name | a teacher's weight for a sample | source |
|---|---|---|
| mean | 1 / M | Hinton et al. 2015, section 3 |
| fixed | as the recipe says | |
| confidence | in proportion to its highest probability | |
| entropy | softmax over teachers of minus its entropy | Kwon et al. 2020, "Adaptive Knowledge Distillation Based on Entropy", ICASSP |
| agreement | (1 - softmax over teachers of its cross-entropy with the label) / (M - 1) | Zhang et al. 2022, https://arxiv.org/abs/2201.00007, equation 3 |
| learned | softmax over teachers of a trained trust in what it says | below |

What the last four look at is calibrated first, each teacher by its own temperature (`pipeline.distillation.calibration`): a teacher
that is only loud would otherwise be heard most. The calibrated answers are what the student learns from, too. Without a label,
as on a validation split that nobody labelled, "agreement" is the mean.

"learned" is a mixture of experts (Jacobs et al. 1991) whose experts stand still: trust u [M, K], zero at first, is trained along
with the student so that the weighted teachers find the labels,

    w_m = softmax_m(s Σ_k u_mk p_mk),    L = -log Σ_m w_m p_m[label]

with s = SHARPNESS, since an optimiser's steps are small. A teacher that doesn't know a sample's class has no weight for it.

Letters: M teachers, N samples, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pipeline.distillation.calibration import is_class
from pipeline.errors import RecipeError, did_you_mean

Rule = Literal["mean", "fixed", "confidence", "entropy", "agreement", "learned"]
RULES: tuple[Rule, ...] = get_args(Rule)
CALIBRATED: tuple[Rule, ...] = ("confidence", "entropy", "agreement", "learned")
BY_LABEL: tuple[Rule, ...] = ("agreement", "learned")
SHARPNESS = 50.0
"""At a learning rate of 4e-3 one step changes the gate's logits by at most 0.2, so that an epoch of fifty steps decides."""


class Weighting(nn.Module):
    """One of the rules for M teachers over K classes; a module, since "learned" is trained along with the student.

    `given` are the weights of "fixed", `temperatures` [M] what calibrates each teacher, `covers` [M, K] the classes that each knows.
    """

    temperatures: Tensor
    given: Tensor

    def __init__(
        self, rule: Rule, *, given: Sequence[float], temperatures: Sequence[float], classes: int, covers: Tensor | None
    ) -> None:
        super().__init__()
        self.rule = rule
        self.covers = covers
        self.register_buffer("given", torch.tensor(given) / sum(given), persistent=False)
        self.register_buffer("temperatures", torch.tensor(temperatures), persistent=False)
        self.trust = nn.Parameter(torch.zeros(len(given), classes)) if rule == "learned" else None

    def calibrated(self, answers: Tensor) -> Tensor:
        """Return the answers [M, N, ...] at their own temperatures."""
        if self.rule not in CALIBRATED:
            return answers
        return answers / self.temperatures.to(answers.device).reshape(-1, *[1] * (answers.ndim - 1))

    def forward(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """Return the weights [M, N] for calibrated answers [M, N, K, ...] and labels [N, ...]; each sample's add up to 1."""
        weights = self.given.to(answers.device)[:, None].expand(answers.shape[:2])
        if self.rule in CALIBRATED and (self.rule != "agreement" or labels is not None):
            weights = _of_places(self._by_rule(_log_probabilities(answers), labels))
        if self.covers is None or labels is None:
            return weights
        known = _of_places(self._known(labels, self.covers.to(answers.device)))
        heard = weights * known
        total = heard.sum(0, keepdim=True)
        # Where no teacher knows the class, all of them speak as before.
        return torch.where(total > 0, heard / total.clamp_min(1e-12), weights)

    def loss(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """Return what trains the weights: nothing but for "learned"."""
        if self.trust is None or labels is None:
            return torch.zeros((), device=answers.device)
        log_p = _log_probabilities(answers)
        right = _of_labels(log_p, labels)
        found = torch.logsumexp(torch.log_softmax(self._gate(log_p), 0) + right, 0)
        named = is_class(labels, log_p.shape[2])
        return -(found * named).sum() / named.sum().clamp_min(1)

    def _by_rule(self, log_p: Tensor, labels: Tensor | None) -> Tensor:
        if self.rule == "confidence":
            sure = log_p.max(2).values.exp()
            return sure / sure.sum(0, keepdim=True)
        if self.rule == "entropy":
            return torch.softmax((log_p.exp() * log_p).sum(2), 0)
        if self.rule == "learned":
            return torch.softmax(self._gate(log_p), 0).detach()
        assert labels is not None
        wrong = -_of_labels(log_p, labels)
        return (1 - torch.softmax(wrong, 0)) / (len(wrong) - 1) if len(wrong) > 1 else torch.ones_like(wrong)

    def _known(self, labels: Tensor, covers: Tensor) -> Tensor:
        """Return [M, N, ...]: 1 where a teacher knows the label's class, or where there is none to know."""
        named = is_class(labels, covers.shape[1])
        return (covers[:, labels.where(named, 0)] | ~named).float()

    def _gate(self, log_p: Tensor) -> Tensor:
        assert self.trust is not None
        return SHARPNESS * torch.einsum("mk,mnk...->mn...", self.trust, log_p.exp())


def given_weights(names: Sequence[str], weights: Mapping[str, float], rule: str) -> list[float]:
    """Return the recipe's `teacher_weights` in the teachers' order, ones where the rule doesn't ask for any."""
    if rule != "fixed":
        if weights:
            raise RecipeError(
                f"teacher_weights stand beside weighting = {rule!r}, which has its own; say weighting = 'fixed'"
            )
        return [1.0] * len(names)
    for name in weights:
        if name not in names:
            raise RecipeError(
                f"teacher_weights: no teacher {name!r}; known: {', '.join(names)}{did_you_mean(name, names)}"
            )
    chosen = [float(weights.get(name, 0.0)) for name in names]
    if min(chosen) < 0 or sum(chosen) <= 0:
        raise RecipeError(
            f"teacher_weights = {dict(weights)}: give each teacher a weight of 0 or more, and one above 0"
        )
    return chosen


def _log_probabilities(answers: Tensor) -> Tensor:
    return torch.log_softmax(answers.float(), 2).clamp_min(-100)


def _of_places(weights: Tensor) -> Tensor:
    """Return [M, N] for weights [M, N, ...]: a sample's teachers are weighed as a whole."""
    return weights.flatten(2).mean(2) if weights.ndim > 2 else weights


def _of_labels(log_p: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probabilities [M, N, ...] of labels [N, ...] in [M, N, K, ...], 0 where a label names no class."""
    named = is_class(labels, log_p.shape[2])
    index = labels.where(named, 0).long()[None, :, None].expand(len(log_p), len(labels), 1, *labels.shape[1:])
    return log_p.gather(2, index).squeeze(2) * named
