"""A synthetic EdNet, and learners in a form that every model reads."""

import numpy as np
import pytest

from assay.papers.education.ednet.method import Catalogue, Contents, Steps
from assay.papers.education.ednet.synthetic import synthesize

QUESTIONS = """question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at
q6425,b4957,e4957,d,5,1;2,0
q6815,b5180,e5180,c,6,3,0
q6816,b5180,e5180,a,2,-1,0
q6814,b5180,e5180,b,6,3,0
"""
HEADER = "timestamp,action_type,item_id,source,user_answer,platform"


@pytest.fixture(scope="session")
def mini():
    return synthesize(students=30, seed=7, bundles=40, sessions=8)


@pytest.fixture(scope="session")
def mini_contents(mini, tmp_path_factory):
    return Contents.load(mini.write_contents(tmp_path_factory.mktemp("contents")))


@pytest.fixture(scope="session")
def contents_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "questions.csv").write_text(QUESTIONS)
    return folder


@pytest.fixture
def few(contents_folder):
    return Contents.load(contents_folder)


@pytest.fixture
def make_steps():
    """Steps from lists: one list of (item, correct) a learner; tags are lists of skills, one a question."""

    def make(*learners, tags=((0,), (1,), (0, 1)), skills=2, time=None):
        flat = [pair for learner in learners for pair in learner]
        names = [f"q{number}" for number in range(1, len(tags) + 1)]
        return Steps(
            users=tuple(f"u{number}" for number in range(len(learners))),
            starts=np.cumsum([0, *map(len, learners)]),
            item=np.array([item for item, _ in flat], np.int64),
            correct=np.array([right for _, right in flat], np.int8),
            kind=np.zeros(len(flat), np.int8),
            catalogue=Catalogue.of(names, [list(own) for own in tags], [f"s{n}" for n in range(skills)]),
            time=None if time is None else np.array(time, np.int64),
        )

    return make


@pytest.fixture
def random_steps(make_steps):
    """Learners with random answers to random questions."""

    def make(learners=20, length=12, seed=0, tags=((0,), (1,), (0, 1))):
        random = np.random.default_rng(seed)
        rows = [
            list(
                zip(
                    random.integers(1, len(tags) + 1, length).tolist(),
                    random.integers(0, 2, length).tolist(),
                    strict=True,
                )
            )
            for _ in range(learners)
        ]
        return make_steps(*rows, tags=tags, skills=1 + max(max(own) for own in tags))

    return make
