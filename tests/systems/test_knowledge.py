"""Knowledge graphs: files as published, and look-ups against brute force."""

import gzip
import random

import pytest
import torch

from experiments.data import Entity, KnowledgeGraph, Triple, geonames, wiki_movies, wordnet, wordnet_graph
from experiments.data.knowledge import KINDS, Fact, graph_of
from experiments.errors import UserError
from experiments.parts.graph import Graph, Sets

KB = """\
Kismet|directed_by|William Dieterle
Kismet|starred_actors|Marlene Dietrich
Kismet|release_year|1944
"""
WIKI = """\
1 Kismet directed_by William Dieterle
2 Kismet starred_actors Marlene Dietrich, Edward Arnold
3 Kismet has_plot Hafiz, a beggar, has_tags all over

1 Flags of Our Fathers release_year 2006
"""


def test_the_geographic_graph():
    graph = geonames()
    assert (len(graph.entities), len(graph.triples), graph.relations) == (32094, 64059, tuple(KINDS))
    assert len({*graph.entities}) == len(graph.entities) and len({*graph.triples}) == len(graph.triples)
    numbers = graph.numbers()
    assert Triple(numbers[Entity("city", "Lyon")], 0, numbers[Entity("country", "France")]) in graph.triples
    assert {Entity("city", "Singapore"), Entity("country", "Singapore")} <= numbers.keys()


def test_wordnet_s_entities_are_its_synsets():
    graph = wordnet_graph()
    assert len(graph.entities) == len({*graph.entities}) == len(wordnet().synsets)
    assert len(graph.relations) == 9 and len(graph.triples) == len(wordnet().relations)
    head, name, tail = wordnet().relations[0]
    assert graph.triples[0] == Triple(head, graph.relations.index(name), tail)
    assert graph.entities[100] == Entity("act", "rally, rallying")


@pytest.mark.parametrize("packed", [False, True])
def test_movies_in_the_form_of_metaqa(tmp_path, packed):
    path = tmp_path / ("kb.txt.gz" if packed else "kb.txt")
    path.write_bytes(gzip.compress(KB.encode()) if packed else KB.encode())
    graph = wiki_movies(str(tmp_path))
    assert graph.relations[:3] == ("directed_by", "starred_actors", "release_year")
    assert graph.relations[3:] == ("directed_by_of", "starred_actors_of", "release_year_of")
    assert [entity.name for entity in graph.entities] == ["Kismet", "William Dieterle", "Marlene Dietrich", "1944"]
    assert graph.triples[0] == Triple(0, 0, 1) and graph.triples[3] == Triple(1, 3, 0)


def test_movies_in_the_form_of_wikimovies(tmp_path):
    (tmp_path / "wiki_entities_kb.txt").write_text(WIKI)
    graph = wiki_movies(str(tmp_path))
    assert len(graph.triples) == 2 * 4 and "has_plot" not in graph.relations
    assert {"Edward Arnold", "Flags of Our Fathers"} <= {entity.name for entity in graph.entities}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("kb.txt", KB + "Kismet|1944\n", "line 4, has 2 parts"),
        ("kb.txt", KB + "Kismet||1944\n", "line 4, has a part that is empty"),
        ("kb.txt", "\n", "has no facts"),
        ("wiki_entities_kb.txt", WIKI + "3 Kismet liked_by All\n", "line 6, is no number, movie"),
        ("other.txt", KB, "neither kb.txt nor"),
    ],
)
def test_a_broken_graph_is_refused_with_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        wiki_movies(str(tmp_path))


def test_an_unknown_relation_is_refused_with_its_line(tmp_path):
    facts = [Fact(1, "Lyon", "located_in", "France"), Fact(2, "Lyon", "near", "Paris")]
    with pytest.raises(UserError, match="line 2, has the relation 'near', which is none of located_in"):
        graph_of("a graph", tmp_path, facts, KINDS)
    with pytest.raises(UserError, match="GeoNames has no relation 'near'; it has located_in, timezone"):
        Graph(geonames()).relation("near")


def small(seed, entities=12, relations=3, facts=40):
    chance = random.Random(seed)
    triples = {
        Triple(chance.randrange(entities), chance.randrange(relations), chance.randrange(entities))
        for _ in range(facts)
    }
    names = tuple(Entity("entity", str(number)) for number in range(entities))
    return KnowledgeGraph("a graph", names, tuple("abc"[:relations]), tuple(sorted(triples)))


def walked(knowledge, start, path):
    reached = {start}
    for relation in path:
        if relation == len(knowledge.relations):
            continue  # it stays where it is
        reached = {t.object for t in knowledge.triples if t.subject in reached and t.relation == relation}
    return reached


@pytest.mark.parametrize("seed", range(3))
def test_paths_reach_what_brute_force_reaches(seed):
    knowledge = small(seed)
    graph = Graph(knowledge)
    paths = torch.cartesian_prod(*[torch.arange(4)] * 3)
    for start in range(12):
        found = graph.walk(torch.full((64,), start), paths)
        sets = [{*found.entities[found.rows == row].tolist()} for row in range(64)]
        assert sets == [walked(knowledge, start, path) for path in paths.tolist()]
        assert found.sizes(64).tolist() == [len(each) for each in sets]
        assert {*graph.objects(start, 1).tolist()} == walked(knowledge, start, [1])


def test_a_path_ends_where_it_first_stays():
    graph = Graph(small(0))
    paths = torch.tensor([[3, 1, 2], [1, 3, 2], [1, 2, 3], [0, 1, 2]])
    assert graph.ended(paths).tolist() == [[3, 3, 3], [1, 3, 3], [1, 2, 3], [0, 1, 2]]


def test_sets_are_taken_in_any_order():
    graph = Graph(small(1))
    sets = graph.walk(torch.arange(12), torch.zeros(12, 1, dtype=torch.int64))
    index = torch.tensor([7, 0, 7, 3])
    taken = sets.take(index, 12)
    rows = [[*sets.entities[sets.rows == row].tolist()] for row in index.tolist()]
    assert [[*taken.entities[taken.rows == row].tolist()] for row in range(4)] == rows


def test_sets_overlap_as_sets_do():
    knowledge = small(5)
    graph = Graph(knowledge)
    starts = torch.arange(12)
    paths = torch.randint(0, 4, (3, 12, 2), generator=torch.Generator().manual_seed(0))
    wanted = graph.walk(starts, paths[0])
    found = graph.walk(starts.repeat(3), paths.reshape(36, 2))
    hits = graph.overlap(found, wanted, 12, repeats=3).view(3, 12)
    walks = [[walked(knowledge, start, paths[s, start].tolist()) for start in range(12)] for s in range(3)]
    assert hits.tolist() == [[len(walks[s][row] & walks[0][row]) for row in range(12)] for s in range(3)]
    none = Sets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert not graph.overlap(found, none, 12, repeats=3).any()
