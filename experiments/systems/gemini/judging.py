"""What a tokenizer and a language model of images and captions are judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

import discretegrad as dg

if TYPE_CHECKING:
    from experiments.systems.gemini.task import GeminiTask

CHUNK = 250
"""Streams at a time."""


@torch.no_grad()
def judge(task: GeminiTask, most: int | None) -> dict[str, float]:
    """All figures, of so many test images, spread over the set, and of prompts.

    test_elbo, test_bound: of images given their captions; with one point in the posterior they are the same.
    test_rate: what the tokens of an image cost beyond what the posterior gives back: log q - log p_LM.
    tokens_used: the perplexity of all tokens.
    read_...: of the captions that are written, word by word the likeliest, behind the tokens of an image: the class,
        the mean over attributes, all words.
    drawn_...: of images whose tokens are drawn behind a caption: the class by the judge, whose pixels are drawn; the
        mean over attributes, measured on the pixels' probabilities.
    prompt_read, prompt_drawn: the class behind a prompt of complete examples.
    judge_accuracy: the judge's own, on test images.
    """
    world, images = task.world, task.images
    device, labels = world.device, images.labels
    assert labels is not None
    step = 1 if most is None else max(1, len(images.test) // most)
    every = torch.arange(len(images.test), device=device)[::step][:most]
    own = every[world.share(len(every))]
    generator = world.apart(torch.Generator(device).manual_seed(0))
    observed = task.observed(images.test[own], generator)
    captions = task.get_buffer("test_captions")[own]
    sums = _bounds(task, observed, captions, generator)
    ids = torch.cat([task.model.draw(part, 1, generator)[0][0] for part in observed.split(CHUNK)])
    sums |= _read(task, ids, captions)
    counts = torch.nn.functional.one_hot(ids, task.model.language.categories).double().sum((0, 1))
    [counts] = world.sum([counts])
    used = torch.distributions.Categorical(probs=counts).entropy().exp()
    if task.judge_steps:
        sums |= _drawn(task, captions, labels.test.to(device)[own], generator)
    found = {name: world.mean(float(total), len(own)) for name, total in sums.items()}
    number = task.prompts if most is None else min(task.prompts, most)
    prompts = prompts_of(len(images.test), task.examples, number)[world.share(number)].to(device)
    sums = _prompted(task, prompts, generator)
    found |= {name: world.mean(float(total), len(prompts)) for name, total in sums.items()}
    if task.judge_steps:
        found["judge_accuracy"] = float(task.judge().accuracy)
    return found | {"tokens_used": float(used)}


def prompts_of(images: int, examples: int, count: int) -> Tensor:
    """Which images are in each prompt, int64 `[count, examples]`; the last is asked for."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(images, generator=generator)[:examples] for _ in range(count)])


def captions_read(task: GeminiTask, ids: Tensor) -> Tensor:
    """The likeliest captions of images, int64 `[N, L]`, of their tokens `[N, V]`."""
    language = task.model.language
    return torch.cat([language.write(language.image_first(part)) for part in ids.split(CHUNK)])


def images_drawn(task: GeminiTask, captions: Tensor, generator: torch.Generator) -> Tensor:
    """Probabilities of pixels, `[N, H * W]`, of images drawn from captions `[N, L]`."""
    language = task.model.language
    written = [language.write(language.caption_first(part), generator) for part in captions.split(CHUNK)]
    return torch.cat([task.model.pixel_logits(part).sigmoid() for part in written])


def answers(task: GeminiTask, prompts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What prompts `[N, examples]` are answered.

    Returns:
        The examples' tokens, int64 `[N, examples, V]`; the captions behind prompts of images that are followed by
        their captions, `[N, L]`; the probabilities of pixels behind prompts of captions that are followed by their
        images, `[N, H * W]`.
    """
    language, count = task.model.language, prompts.shape[1]
    observed = task.observed(task.images.test[prompts.flatten()], generator)
    ids = torch.cat([task.model.draw(part, 1, generator)[0][0] for part in observed.split(CHUNK)])
    captions = task.get_buffer("test_captions")[prompts.flatten()]
    images_first = language.image_first(ids, captions).reshape(len(prompts), count, -1).flatten(1)
    captions_first = language.caption_first(captions, ids).reshape(len(prompts), count, -1).flatten(1)
    read = [language.write(part) for part in images_first[:, : -language.slots].split(CHUNK)]
    drawn = [language.write(part, generator) for part in captions_first[:, : -language.variables].split(CHUNK)]
    pixels = torch.cat([task.model.pixel_logits(part).sigmoid() for part in drawn])
    return ids.unflatten(0, (-1, count)), torch.cat(read), pixels


def _bounds(task: GeminiTask, images: Tensor, captions: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Sums over images `[N, H * W]` with captions `[N, L]`."""
    sums = torch.zeros(3, dtype=torch.float64, device=images.device)
    for part, own in zip(images.split(50), captions.split(50), strict=True):
        ids, logits = task.model.draw(part, task.bound_samples, generator)
        terms = task.model.terms(part, own, ids, logits)
        bound = dg.objectives.multi_sample_bound(terms.elbo)
        rate = (terms.log_posterior - terms.log_prior).sum(-1).mean(0)
        sums += torch.stack([each.double().sum() for each in (terms.elbo.mean(0), bound, rate)])
    return dict(zip(("test_elbo", "test_bound", "test_rate"), sums, strict=True))


def _read(task: GeminiTask, ids: Tensor, captions: Tensor) -> dict[str, Tensor]:
    right = captions_read(task, ids) == captions
    return {
        "read_class": right[:, -1].sum(),
        "read_attributes": right[:, :-1].double().mean(1).sum(),
        "read_caption": right.all(1).sum(),
    }


def _drawn(task: GeminiTask, captions: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    pixels = images_drawn(task, captions, generator)
    measured = task.captions.attributes(pixels, task.images.shape) == captions[:, :-1]
    right = task.judge().right(pixels, labels, generator)
    return {"drawn_class": right.sum(), "drawn_attributes": measured.double().mean(1).sum()}


def _prompted(task: GeminiTask, prompts: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    _, read, pixels = answers(task, prompts, generator)
    asked = task.get_buffer("test_captions")[prompts[:, -1]]
    found = {"prompt_read": (read[:, -1] == asked[:, -1]).sum()}
    if task.judge_steps:
        labels = asked[:, -1] - task.captions.firsts[-1]
        found["prompt_drawn"] = task.judge().right(pixels, labels, generator).sum()
    return found
