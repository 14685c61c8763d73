"""What is asked of definitions: their class, whether one is a kind of another, how near they are, whose they are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from experiments.data.wordnet import KIND, WordNet, wordnet
from experiments.engine.world import mixed
from experiments.errors import UserError, require_count

CANDIDATES, SIBLINGS = 8, 3
"""Of a ranking; the wrong ones that are siblings of the right one, at most."""
STEPS = 6
"""Up, and then down, by fewer than so many hypernyms to the other noun of a similarity."""


class Example(NamedTuple):
    """What is read, and what is to be said of it."""

    readings: tuple[tuple[str, ...], ...]
    """One, or the candidates of a ranking; each one text, or two of which one asks."""
    target: float
    """The number of the class, a score, or the place of the right reading."""


class Judgements(NamedTuple):
    """A task on texts: all examples have as many readings, and these as many texts."""

    name: str
    kind: str
    """classes, scores or ranking."""
    classes: tuple[str, ...]
    """The names of classes."""
    train: Sequence[Example]
    held_out: Sequence[Example]
    cache: str
    """See `Pairs`."""


def wordnet_judgements(
    task: str = "classes",
    examples: int | None = None,
    held_out: int | None = None,
    cache: str = "~/.cache/discretegrad",
) -> Judgements:
    """One of four tasks on the definitions of WordNet's nouns.

    * classes: which of 26 classes a definition is of.
    * entailment: whether the noun of the first definition is a kind of that of the second; see `entailment`.
    * similarity: how near two nouns are, by Wu and Palmer (1994): twice the depth of the nearest noun that both are
      kinds of, over the sum of their depths, along the first hypernym of each.
    * ranking: whose definition it is, of eight nouns by their words: of the wrong ones, up to three share the right
      one's hypernym, the others its class.

    The 3,000 held-out nouns of `WordNet.split` are judged by, and in no example that is trained on does a definition of
    theirs occur.

    Args:
        task: of the four.
        examples: to train on, the smaller of two sets within the larger; None: all there are.
        held_out: to judge by, at most; None: all. Of entailment the whole twelves of them.
        cache: see `Pairs`.

    Raises:
        UserError: where there is no such task, or there are not so many examples.
    """
    makers: dict[str, Callable[[_Nouns, bool], Iterator[Example]]] = {
        "classes": _classes,
        "entailment": entailment,
        "similarity": _similarity,
        "ranking": _ranking,
    }
    if task not in makers:
        raise UserError(f"data.task is one of {', '.join(makers)}, not {task!r}.")
    nouns = _Nouns(wordnet())
    judged = [*makers[task](nouns, True)]
    if held_out is not None:
        require_count("data.held_out", held_out, least=12 if task == "entailment" else 1)
        judged = judged[: held_out // 12 * 12 if task == "entailment" else held_out]
    if examples is not None:
        require_count("data.examples", examples)
    learned = [*itertools.islice(makers[task](nouns, False), examples)]
    if examples is not None and examples > len(learned):
        raise UserError(f"data.examples={examples} is more than the {len(learned)} that there are to train on.")
    kind = {"similarity": "scores", "ranking": "ranking"}.get(task, "classes")
    classes = {"classes": nouns.classes, "entailment": ("no", "yes")}.get(task, ())
    return Judgements(f"WordNet's {task}", kind, classes, learned, judged, cache)


class _Nouns:
    """WordNet by number, with what the tasks look up."""

    def __init__(self, nouns: WordNet) -> None:
        self.synsets = nouns.synsets
        self.judged, self.others = nouns.split()
        self.held_out = frozenset(self.judged)
        self.up: dict[int, list[int]] = defaultdict(list)
        self.down: dict[int, list[int]] = defaultdict(list)
        for head, name, tail in nouns.relations:
            if name in KIND:
                if not self.up[head]:
                    self.down[tail].append(head)
                self.up[head].append(tail)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Of lexicographers."""
        return tuple(sorted({synset.lexname for synset in self.synsets}))

    @cached_property
    def of_class(self) -> dict[str, list[int]]:
        """The nouns of each class."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, synset in enumerate(self.synsets):
            found[synset.lexname].append(number)
        return found

    def gloss(self, number: int) -> str:
        """The definition."""
        return self.synsets[number].gloss

    def chain(self, number: int, most: int = 99) -> list[int]:
        """A noun, its first hypernym, that one's, and so on."""
        found = [number]
        while len(found) < most and self.up[found[-1]]:
            found.append(self.up[found[-1]][0])
        return found

    def kinds(self, number: int) -> set[int]:
        """All that a noun is a kind of."""
        found: set[int] = set()
        front = [number]
        while front:
            front = [above for own in front for above in self.up[own] if above not in found]
            found.update(front)
        return found


def _classes(nouns: _Nouns, judged: bool) -> Iterator[Example]:
    places = {name: place for place, name in enumerate(nouns.classes)}
    for number in nouns.judged if judged else nouns.others:
        yield Example(((nouns.gloss(number),),), places[nouns.synsets[number].lexname])


def entailment(nouns: _Nouns, judged: bool) -> Iterator[Example]:
    """Whether the first noun is a kind of the second, by definitions neither of which tells anything alone.

    Two chains of hypernyms w, x, h, g and w', x', h', g' of one class make twelve examples. Yes: (w, x), (x, h), (h, g)
    and those of the other chain. No: the same six first definitions with the same six second ones, (h, x) the wrong way
    round, and (w, h'), (x, g') between the chains. So in every twelve each definition is as often a first one of yes
    as of no, and as often a second one: whoever reads only one of the two is right half of the time.

    Judged chains begin with a held-out noun w. No two nouns that are judged by together are trained on together.
    """
    seen = {frozenset(pair) for pair, _ in _pairs_of_nouns(nouns, True)}
    for pair, entailed in _pairs_of_nouns(nouns, judged):
        if judged or frozenset(pair) not in seen:
            yield Example(((nouns.gloss(pair[0]), nouns.gloss(pair[1])),), float(entailed))


def _pairs_of_nouns(nouns: _Nouns, judged: bool) -> Iterator[tuple[tuple[int, int], bool]]:
    waiting: dict[str, list[int]] = {}
    for number in nouns.judged if judged else nouns.others:
        chain, name = nouns.chain(number, 4), nouns.synsets[number].lexname
        if len(chain) < 4 or nouns.held_out & {*chain[1:]}:
            continue
        other = waiting.pop(name, None)
        if other is None or not _apart(nouns, chain, other):
            waiting[name] = chain
            continue
        for (w, x, h, g), (_, _, above, top) in ((chain, other), (other, chain)):
            yield from (((w, x), True), ((x, h), True), ((h, g), True))
            yield from (((h, x), False), ((w, above), False), ((x, top), False))


def _apart(nouns: _Nouns, chain: list[int], other: list[int]) -> bool:
    """Whether crossed pairs of two chains are not entailed, and all definitions are different."""
    kinds = [nouns.kinds(own[0]) for own in (chain, other)]
    crossed = kinds[0] & {*other[2:]} or kinds[1] & {*chain[2:]}
    return not crossed and len({nouns.gloss(number) for number in (*chain, *other)}) == 8


def _similarity(nouns: _Nouns, judged: bool) -> Iterator[Example]:
    for number in nouns.judged if judged else nouns.others:
        chain = nouns.chain(number)
        up, down = (mixed(number, turn) % STEPS for turn in (0, 1))
        other = chain[min(up, len(chain) - 1)]
        for step in range(down):
            below = nouns.down[other]
            other = below[mixed(number, 2, step) % len(below)] if below else other
        if other == number or other in nouns.held_out or nouns.gloss(other) == nouns.gloss(number):
            continue
        yield Example(((nouns.gloss(number), nouns.gloss(other)),), wu_palmer(chain, nouns.chain(other)))


def wu_palmer(chain: Sequence[int], other: Sequence[int]) -> float:
    """Of two nouns, each with all that it is a kind of up to the same root."""
    shared = sum(own == theirs for own, theirs in zip(reversed(chain), reversed(other), strict=False))
    return 2 * shared / (len(chain) + len(other))


def _ranking(nouns: _Nouns, judged: bool) -> Iterator[Example]:
    def words(number: int) -> str:
        return ", ".join(nouns.synsets[number].lemmas)

    for number in nouns.judged if judged else nouns.others:
        siblings = [n for above in nouns.up[number][:1] for n in nouns.down[above]]
        mates = nouns.of_class[nouns.synsets[number].lexname]
        wrong: dict[str, None] = {}
        for turn in range(4 * CANDIDATES):
            pool = siblings if turn < SIBLINGS and siblings else mates
            found = words(pool[mixed(number, turn) % len(pool)])
            if found != words(number) and len(wrong) < CANDIDATES - 1:
                wrong[found] = None
        if len(wrong) < CANDIDATES - 1:
            continue
        place, texts = mixed(number) % CANDIDATES, [*wrong]
        texts.insert(place, words(number))
        yield Example(tuple((nouns.gloss(number), text) for text in texts), place)
