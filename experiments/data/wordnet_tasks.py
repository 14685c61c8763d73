"""Several tasks about WordNet's nouns, for models that embed texts for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from experiments.data.pairs import Asked, Mixture, Pair, Pairs
from experiments.data.wordnet import KIND, Synset, WordNet, wordnet, wordnet_pairs
from experiments.errors import UserError, require_count

CACHE = "~/.cache/discretegrad"
PROMPTS = {"definition": "word", "kind": "kind", "example": "meaning", "class": "class"}
"""What stands before the queries of a task."""


def wordnet_tasks(pairs: int | None = None, held_out: int | None = None, cache: str = CACHE) -> Mixture:
    """Four tasks: a noun by its definition, its kind, its meaning in a sentence, the class of a definition.

    The nouns that `wordnet_pairs` holds out are held out here, in every task.

    Args:
        pairs: of each task, to train on at most, the smaller of two sets within the larger; None: all.
        held_out: of each task, to judge by at most; None: all.
        cache: see `Pairs`.

    Raises:
        UserError: for what is no count.
    """
    for name, count in (("pairs", pairs), ("held_out", held_out)):
        if count is not None:
            require_count(f"data.{name}", count)
    nouns = wordnet()
    kinds = defaultdict(list)
    for head, name, tail in nouns.relations:
        if name in KIND:
            kinds[head].append(_words(nouns.synsets[tail]))
    makers: dict[str, Callable[[int], list[Pair]]] = {
        "kind": lambda n: [Pair(_words(nouns.synsets[n]), kind) for kind in kinds[n]],
        "example": lambda n: [Pair(example, nouns.synsets[n].gloss) for example in nouns.synsets[n].examples],
        "class": lambda n: [Pair(nouns.synsets[n].gloss, nouns.synsets[n].lexname.removeprefix("noun."))],
    }
    definition = wordnet_pairs(cache=cache)
    found = {"definition": definition._replace(train=definition.train[:pairs], held_out=definition.held_out[:held_out])}
    found |= {name: _task(nouns, name, make, pairs, held_out, cache) for name, make in makers.items()}
    tasks = {name: Asked(prompt, found[name]) for name, prompt in PROMPTS.items()}
    return Mixture("four tasks about WordNet's nouns", tasks, cache)


def wordnet_titles(pairs: int | None = None, held_out: int = 3000, cache: str = CACHE) -> Pairs:
    """Titles and what stands below them: the words for a noun, and its definition with examples of its use.

    Args:
        pairs, held_out, cache: see `wordnet_pairs`.

    Raises:
        UserError: where there are not so many.
    """
    nouns = wordnet()
    wordnet_pairs(1, held_out)  # refuses what is no count
    judged, others = nouns.split()
    if pairs is not None:
        require_count("data.pairs", pairs)
        if pairs > len(others):
            raise UserError(f"data.pairs={pairs} is more than the {len(others)} pairs that there are to train on.")

    def pair(number: int) -> Pair:
        synset = nouns.synsets[number]
        return Pair(_words(synset), "; ".join((synset.gloss, *synset.examples)))

    return Pairs("WordNet's titles", [pair(n) for n in others[:pairs]], [pair(n) for n in judged[:held_out]], cache)


def _task(
    nouns: WordNet, name: str, make: Callable[[int], list[Pair]], pairs: int | None, held_out: int | None, cache: str
) -> Pairs:
    judged, others = nouns.split()
    train, asked = ([pair for number in numbers for pair in make(number)] for numbers in (others, judged))
    queries = dict.fromkeys(pair.query for pair in asked)
    kept = {*list(queries)[:held_out]}
    train = [pair for pair in train if pair.query not in queries]
    return Pairs(f"WordNet's {name}", train[:pairs], [pair for pair in asked if pair.query in kept], cache)


def _words(synset: Synset) -> str:
    return ", ".join(synset.lemmas)
