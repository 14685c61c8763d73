"""Questions: exact sets of answers, splits that hold nothing back from no one, files as published."""

import itertools
import json

import pytest
import torch

from experiments.data.phrases import ASKED, GEONAMES, WORDNET
from experiments.data.published_questions import freebase_qa, meta_qa, wiki_hop
from experiments.errors import UserError
from experiments.parts.graph import Graph
from experiments.parts.meta_qa import meta_qa_questions
from experiments.parts.templates import geonames_questions

KB = """\
Kismet|directed_by|William Dieterle
Kismet|starred_actors|Marlene Dietrich
Blonde Venus|starred_actors|Marlene Dietrich
Blonde Venus|release_year|1932
"""


@pytest.fixture(scope="module")
def cities():
    return geonames_questions(questions=60, held_out=12)


@pytest.fixture(scope="module")
def countries():
    return geonames_questions("countries", questions=60, held_out=12)


def answers_by_hand(knowledge, start, path):
    reached = {start}
    for relation in path:
        if relation < len(knowledge.relations):
            reached = {t.object for t in knowledge.triples if t.relation == relation and t.subject in reached}
    return {knowledge.entities[number].name for number in reached}


def test_answers_are_all_that_the_path_reaches(cities):
    for part in (cities.train, cities.held_out["reworded"]):
        rows = torch.linspace(0, len(part) - 1, 12).long()
        some = part.take(rows)
        names = some.named_answers(cities.knowledge)
        for start, path, found in zip(some.starts.tolist(), some.paths.tolist(), names, strict=True):
            assert {*found} == answers_by_hand(cities.knowledge, start, path)
    hops = (part.paths != len(cities.knowledge.relations)).sum(-1)
    assert hops.tolist() == [part.groups[group].hops for group in part.group.tolist()]


def test_questions_hold_the_name_and_words_of_each_relation(cities):
    part = cities.held_out["held_out"]
    texts = part.texts(cities.knowledge)
    for row, text in enumerate(texts):
        assert cities.knowledge.entities[int(part.starts[row])].name in text and "{}" not in text
    assert len({*texts}) == len(texts) and len({*part.forms}) > len(part.groups)


def test_parts_share_no_entity_and_no_wording(cities):
    train, held_out, reworded = cities.train, *cities.held_out.values()
    asked = [{*part.starts.tolist()} for part in (train, held_out)]
    assert not asked[0] & asked[1]
    assert torch.equal(held_out.starts, reworded.starts) and torch.equal(held_out.paths, reworded.paths)
    assert not {*train.forms} & {*reworded.forms}
    for wording in (*GEONAMES.relations.values(), *WORDNET.relations.values(), ASKED):
        assert not {*wording.learned} & {*wording.new} and len(wording.new) * 2 == len(wording.learned)
        words = [{word for form in forms for word in form.split()} for forms in wording]
        assert words[0] == words[1]


def test_countries_that_are_held_out_are_never_led_through(countries):
    graph, part = Graph(countries.knowledge), countries.held_out["held_out"]
    located = graph.relation("located_in")
    kinds = [entity.kind for entity in countries.knowledge.entities]

    def country(start):
        return start if kinds[start] == "country" else int(graph.objects(start, located)[0])

    apart = {country(start) for start in part.starts.tolist()}
    assert len(apart) > 5
    train = countries.train
    for start, path in zip(train.starts.tolist(), train.paths.tolist(), strict=True):
        assert country(start) not in apart
        sets = {start}
        for relation, after in itertools.pairwise(path):
            if after != graph.stay:
                sets = {n for entity in sets for n in graph.objects(entity, relation).tolist()}
                assert not sets & apart


def test_a_smaller_set_is_within_a_larger_one(cities):
    smaller = geonames_questions(questions=5, held_out=3)
    for few, many in ((smaller.train, cities.train), (smaller.held_out["held_out"], cities.held_out["held_out"])):
        assert {*few.texts(cities.knowledge)} <= {*many.texts(cities.knowledge)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "rivers"}, "data.split is one of cities, countries, not 'rivers'"),
        ({"hops": [4]}, "data.hops lists numbers from 1 to 3"),
        ({"hops": []}, "data.hops lists numbers from 1 to 3"),
        ({"questions": 0}, "data.questions must be an integer of at least 1"),
        ({"held_out": "all"}, "data.held_out must be an integer"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        geonames_questions(**arguments)


@pytest.fixture
def movies(tmp_path):
    (tmp_path / "kb.txt").write_text(KB)
    for wording, act in (("vanilla", "appear in"), ("ntm", "play a part in")):
        folder = tmp_path / "1-hop" / wording
        folder.mkdir(parents=True)
        lines = f"what does [Marlene Dietrich] {act}\tKismet|Blonde Venus\nwho directed [Kismet]\tWilliam Dieterle\n"
        for part in ("train", "test"):
            (folder / f"qa_{part}.txt").write_text(lines)
    for part in ("train", "test"):
        (tmp_path / "1-hop" / f"qa_{part}_qtype.txt").write_text("actor_to_movie\nmovie_to_director\n")
    return tmp_path


def test_metaqa(movies):
    assert meta_qa(str(movies), 1, "test", "ntm")[0][1:] == (
        ("Kismet", "Blonde Venus"),
        "actor_to_movie",
        "Marlene Dietrich",
    )
    found = meta_qa_questions(str(movies), hops=[1])
    assert found.train.texts(found.knowledge) == ["what does Marlene Dietrich appear in", "who directed Kismet"]
    assert found.train.named_answers(found.knowledge) == [["Kismet", "Blonde Venus"], ["William Dieterle"]]
    assert found.held_out["reworded"].forms[0] == "what does {} play a part in"
    assert [group.name for group in found.train.groups] == ["actor_to_movie", "movie_to_director"]
    assert (found.train.paths == -1).all()
    assert len(meta_qa_questions(str(movies), hops=[1], questions=1).train) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("who directed Kismet\tWilliam Dieterle", "line 3, has a question without an entity"),
        ("who directed [Kismet]", "line 3, has no answer"),
        ("who directed [Kismet]\tWilliam Dieterle", "qtype.txt has 2 lines"),
    ],
)
def test_a_broken_question_is_refused_with_its_line(movies, line, said):
    with open(movies / "1-hop" / "vanilla" / "qa_train.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=said):
        meta_qa_questions(str(movies), hops=[1])


def test_a_question_on_what_the_graph_lacks_is_refused(movies):
    path = movies / "1-hop" / "vanilla" / "qa_train.txt"
    path.write_text(path.read_text().replace("[Kismet]", "[Casablanca]"))
    with pytest.raises(UserError, match="no 'Casablanca'"):
        meta_qa_questions(str(movies), hops=[1])


def test_freebaseqa(tmp_path):
    parse = {
        "InferentialChain": "film.film.directed_by..people.person",
        "Answers": [{"AnswersMid": "m.0", "AnswersName": ["ray", "satyajit ray"]}],
    }
    row = {
        "Question-ID": "FreebaseQA-train-0",
        "RawQuestion": "Who directed Pather Panchali?",
        "Parses": [parse, parse],
    }
    path = tmp_path / "FreebaseQA-train.json"
    path.write_text(json.dumps({"Dataset": "FreebaseQA-train", "Version": "1.0", "Questions": [row]}))
    [found] = freebase_qa(str(tmp_path), "train")
    assert found[:3] == ("Who directed Pather Panchali?", ("ray", "satyajit ray"), "person")
    path.write_text(json.dumps({"Questions": [row, {"RawQuestion": "Who?"}]}))
    with pytest.raises(UserError, match="entry 2, lacks something"):
        freebase_qa(str(tmp_path), "train")
    with pytest.raises(UserError, match=r"FreebaseQA-dev.json is missing"):
        freebase_qa(str(tmp_path), "dev")


def test_wikihop(tmp_path):
    row = {"id": "WH_dev_0", "query": "participant_of juan rossell", "answer": "1996 summer olympics"}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps([row | {"candidates": ["1996 summer olympics"], "supports": ["..."]}]))
    [found] = wiki_hop(str(tmp_path), "dev")
    assert found[:3] == ("participant of juan rossell", ("1996 summer olympics",), "participant_of")
    path.write_text(json.dumps([row, row | {"query": "participant_of "}]))
    with pytest.raises(UserError, match="entry 2, has a query without an entity"):
        wiki_hop(str(tmp_path), "dev")
    path.write_text("{")
    with pytest.raises(UserError, match="no JSON file of that form"):
        wiki_hop(str(tmp_path), "dev")
