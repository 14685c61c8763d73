"""Data sets: images in [0, 1] with a training and a test part, WordNet's nouns, texts in pairs, knowledge graphs."""

from experiments.data.digits import digits
from experiments.data.idx import File, idx_images, mnist_subset
from experiments.data.images import Images
from experiments.data.knowledge import Entity, KnowledgeGraph, Triple, geonames, wiki_movies, wordnet_graph
from experiments.data.omniglot import omniglot
from experiments.data.pairs import Asked, Mixture, Pair, Pairs
from experiments.data.published import beir, ms_marco, multi_reqa
from experiments.data.wordnet import WordNet, wordnet, wordnet_glosses, wordnet_pairs, wordnet_texts
from experiments.data.wordnet_tasks import wordnet_tasks, wordnet_titles

__all__ = [
    "Asked",
    "Entity",
    "File",
    "Images",
    "KnowledgeGraph",
    "Mixture",
    "Pair",
    "Pairs",
    "Triple",
    "WordNet",
    "beir",
    "digits",
    "geonames",
    "idx_images",
    "mnist_subset",
    "ms_marco",
    "multi_reqa",
    "omniglot",
    "wiki_movies",
    "wordnet",
    "wordnet_glosses",
    "wordnet_graph",
    "wordnet_pairs",
    "wordnet_tasks",
    "wordnet_texts",
    "wordnet_titles",
]
