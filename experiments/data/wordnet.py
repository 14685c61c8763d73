"""WordNet 3.0's nouns, shipped with the experiments: what words mean, and how meanings are related."""

from __future__ import annotations

import functools
import gzip
import hashlib
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from experiments.data.pairs import Pair, Pairs
from experiments.errors import UserError, require_count

HERE = Path(__file__).parent / "wordnet"
NOUNS = ("nouns.tsv.gz", "7e2ce721abdc270540e02ddd951ae83e42cb95b4c9344d3c02d726a6d579b466")
RELATIONS = ("noun_relations.tsv.gz", "e22e8d78ec6d3941379276b3e8be814b8120d3a7db348054b68abfc6a2a61ffa")
"""Files, and the SHA-256 of their content."""
HELD_OUT = 3000
"""Synsets that no system trains on the gloss of."""
KIND = ("hypernym", "instance_hypernym")


class Synset(NamedTuple):
    """One meaning, and the words for it."""

    lemmas: tuple[str, ...]
    lexname: str
    """The lexicographers' class, one of 26, such as "noun.animal"."""
    gloss: str
    """The definition."""
    examples: tuple[str, ...]


class Relation(NamedTuple):
    """Of two synsets by their numbers: `head` has `tail` as its hypernym, its part, ..."""

    head: int
    name: str
    tail: int


class WordNet(NamedTuple):
    """All nouns."""

    synsets: tuple[Synset, ...]
    relations: tuple[Relation, ...]

    def shuffled(self) -> list[int]:
        """All synsets' numbers in the order of a hash of lemmas and gloss: the same for ever, on every machine.

        The first `HELD_OUT` are those to judge by; whoever trains on n others takes the next n.
        """
        hashes = [hashlib.sha256(f"{'|'.join(s.lemmas)}\t{s.gloss}".encode()).digest() for s in self.synsets]
        return sorted(range(len(self.synsets)), key=hashes.__getitem__)

    def split(self) -> tuple[list[int], list[int]]:
        """The numbers of the synsets to judge by, and of those to train on, whose definitions are others."""
        order = self.shuffled()
        known = {self.synsets[number].gloss for number in order[:HELD_OUT]}  # 29 of them are also others' glosses
        return order[:HELD_OUT], [number for number in order[HELD_OUT:] if self.synsets[number].gloss not in known]


@functools.cache
def wordnet() -> WordNet:
    """The 82,115 noun synsets and the 115,073 relations between them.

    Raises:
        UserError: where a file is damaged.
    """
    synsets = []
    for line in checked_lines(HERE / NOUNS[0], NOUNS[1]):
        lemmas, lexname, gloss, examples = line.split("\t")
        synsets.append(Synset(tuple(lemmas.split("|")), lexname, gloss, tuple(examples.split("|") if examples else ())))
    relations = []
    for line in checked_lines(HERE / RELATIONS[0], RELATIONS[1]):
        head, name, tail = line.split("\t")
        relations.append(Relation(int(head), name, int(tail)))
    return WordNet(tuple(synsets), tuple(relations))


def wordnet_pairs(
    pairs: int | None = None, held_out: int = HELD_OUT, most: int = 3, cache: str = "~/.cache/discretegrad"
) -> Pairs:
    """Find a noun by its definition: the query is the gloss; the document has the words, and those around them.

    Such as "dog, domestic dog, Canis familiaris; kind of domestic animal, canine; like puppy, pooch, cur". The 3,000
    held-out synsets are never trained on, but their words do occur in the documents of their relatives.

    Args:
        pairs: to train on, the smaller of two sets within the larger; None: all 79,019.
        held_out: of the 3,000, how many to judge by.
        most: words of each kind in a document.
        cache: see `Pairs`.

    Raises:
        UserError: where there are not so many.
    """
    nouns = wordnet()
    learned, judged = _chosen(nouns, pairs, held_out)
    require_count("data.most", most)
    kinds, likes = defaultdict(list), defaultdict(list)
    for head, name, tail in nouns.relations:
        if name in KIND:
            kinds[head].append(nouns.synsets[tail].lemmas[0])
            likes[tail].append(nouns.synsets[head].lemmas[0])

    def pair(number: int) -> Pair:
        synset = nouns.synsets[number]
        parts = [", ".join(synset.lemmas)]
        for label, words in (("kind of ", kinds[number]), ("like ", likes[number])):
            if words:
                parts.append(label + ", ".join(words[:most]))
        return Pair(synset.gloss, "; ".join(parts))

    return Pairs("WordNet nouns", [pair(n) for n in learned], [pair(n) for n in judged], cache)


def wordnet_glosses(
    pairs: int | None = None, held_out: int = HELD_OUT, others: int = 0, cache: str = "~/.cache/discretegrad"
) -> Pairs:
    """Find a definition by its noun: the query has the words and one around them, the document is the gloss.

    Such as "dog, domestic dog, Canis familiaris (domestic animal)". Glosses that several nouns have are left out.

    Args:
        pairs: to train on, the smaller of two sets within the larger; None: all there are.
        held_out: of the 3,000, how many to judge by.
        others: glosses to search besides theirs, none of which is trained on.
        cache: see `Pairs`.

    Raises:
        UserError: where there are not so many.
    """
    nouns = wordnet()
    require_count("data.others", others, least=0)
    learned, judged = _chosen(nouns, None, held_out)
    learned = _with_own_gloss(nouns, learned)
    count = len(learned) - others if pairs is None else pairs
    if count + others > len(learned) or count < 1:
        raise UserError(
            f"data.pairs={pairs} and data.others={others} are more than the {len(learned)} pairs that there are."
        )
    require_count("data.pairs", count)
    kinds = {head: nouns.synsets[tail].lemmas[0] for head, name, tail in reversed(nouns.relations) if name in KIND}

    def pair(number: int) -> Pair:
        words = ", ".join(nouns.synsets[number].lemmas)
        return Pair(f"{words} ({kinds[number]})" if number in kinds else words, nouns.synsets[number].gloss)

    searched = [nouns.synsets[number].gloss for number in learned[len(learned) - others :]]
    held_out_pairs = [pair(n) for n in _with_own_gloss(nouns, judged)]
    return Pairs("WordNet glosses", [pair(n) for n in learned[:count]], held_out_pairs, cache, searched)


def wordnet_texts(
    pairs: int | None = None, held_out: int = HELD_OUT, most: int = 3, cache: str = "~/.cache/discretegrad"
) -> Pairs:
    """The single texts of `wordnet_pairs`, each paired with itself: for what is learned before there are pairs.

    Args:
        pairs, held_out, most, cache: of the pairs, whose queries and documents are trained on; the held-out queries
            alone are judged by.
    """
    found = wordnet_pairs(pairs, held_out, most, cache)
    texts = dict.fromkeys(text for pair in found.train for text in pair[:2])
    judged = dict.fromkeys(pair.query for pair in found.held_out)
    return Pairs("WordNet's texts", [Pair(t, t) for t in texts], [Pair(t, t) for t in judged], cache)


def checked_lines(path: Path, sha256: str) -> list[str]:
    """The lines of a packed file that is shipped.

    Raises:
        UserError: where its content has another hash.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(
            f"{path} is missing, damaged or cut off ({error}); restore it from the repository, which has it."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file it should be; restore it from the repository, which has it.")
    return content.decode().splitlines()


def _chosen(nouns: WordNet, pairs: int | None, held_out: int) -> tuple[list[int], list[int]]:
    """Synsets to train on, and to judge by."""
    order, others = nouns.split()
    if pairs is not None:
        require_count("data.pairs", pairs)
        if pairs > len(others):
            raise UserError(f"data.pairs={pairs} is more than the {len(others)} pairs that there are to train on.")
    require_count("data.held_out", held_out)
    if held_out > HELD_OUT:
        raise UserError(f"data.held_out={held_out} is more than the {HELD_OUT} pairs that nothing trains on.")
    return others[:pairs], order[:held_out]


def _with_own_gloss(nouns: WordNet, numbers: list[int]) -> list[int]:
    counts = Counter(nouns.synsets[number].gloss for number in numbers)
    return [number for number in numbers if counts[nouns.synsets[number].gloss] == 1]
