"""What strangers send costs the server little memory, and nobody else much time; see `benchmarks/attacks.py`.

The limits are those of `benchmarks/strangers.py`, but a text may take longer: other tests run at the same time, and
a machine of two cores decodes for strangers on one of them.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import attacks
import mixture
import pytest
import serving
import strangers

from tests.tiers import tiered

TEXT_S = 6.0  # 1 s in the benchmark; here other tests and their workers may want the same cores
FAST = {  # how often; all attacks are tried twenty times with -m full
    "picture: webp of 40 bytes": 2,
    "picture: tiff, one large tile": 1,
    "40 bodies to /session": 1,
    "40 bodies to /search with the token": 1,
    "empty lists": 1,
    "empty objects": 1,
    "nested lists": 1,
    "vectors cut to a half, idle": 2,
    "vectors cut to nothing, eight texts": 2,
}


@pytest.fixture(scope="module")
def folder(offline_folder, cache, tmp_path_factory):
    """A library of the samples and of hostile pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(cache))
        yield mixture.library_of_samples(tmp_path_factory.mktemp("strangers"), cache=cache)


@pytest.fixture(scope="module")
def living(folder):
    """Gives the server that all attacks meet, one after the other; another one only if it has ended."""
    with ExitStack() as stack:
        started = [stack.enter_context(attacks.attacked(folder))]

        def server():
            if not started[-1].is_alive:
                started.append(stack.enter_context(attacks.attacked(folder)))
            return started[-1]

        yield server


@pytest.fixture
def shared(living):
    return living()


def test_every_attack_of_the_fast_tier_is_one_of_all():
    assert set(FAST) <= set(attacks.ATTACKS)


@pytest.mark.parametrize("name", FAST)
def test_an_attack_costs_little(shared, name):
    attack = attacks.ATTACKS[name]
    row = strangers.measure(attack, shared, FAST[name])
    assert strangers.faults(attack, row, most_text_s=TEXT_S) == []


@pytest.mark.parametrize("way", attacks.WAYS)
def test_a_picture_that_takes_too_much_is_refused_with_a_sentence(shared, way):
    status, body = attacks.send_picture(shared, attacks.made("tiff, one large tile"), way)
    assert_refused(way, status, json.loads(body))


def assert_refused(way, status, answered):
    """A search says so as a problem; a classification of several pictures says it of this one."""
    said = answered["pictures"][0]["error"] if way == "classify" else answered["detail"]
    assert status == ("200" if way == "classify" else "422")
    assert said.startswith("it: ") or way == "classify"
    assert len(said.split()) >= 6


def test_made_up_methods_are_no_series(shared):
    before = attacks.n_series(shared)
    assert set(attacks.made_up_methods(shared, 0)) <= attacks.ATTACKS["made-up methods"].allowed
    assert attacks.n_series(shared) < before + 100


@pytest.mark.full
def test_classification_ends_when_its_client_leaves(shared):
    answers = attacks.leave_classify(shared, 0)
    assert set(answers) <= {"left", "422", "200"}
    assert answers["left"] >= 1, "what is allowed must be long enough to be left"
    assert answers["200"] == 1, "the next one was not answered soon"
    assert shared.peak_mb() < strangers.MOST_MB


@pytest.mark.parametrize("name", tiered(list(attacks.INTERRUPTS), [next(iter(attacks.INTERRUPTS))]))
def test_ctrl_c_ends_the_server_soon(folder, name):
    attacks.made("jpeg, 20000 scans")
    with attacks.attacked(folder) as server:
        assert attacks.INTERRUPTS[name](server, 0) < strangers.MOST_INTERRUPT_S


@pytest.mark.full
def test_wrong_tokens_are_not_free_and_a_browser_that_was_let_in_is_answered_meanwhile(folder):
    with attacks.attacked(folder) as server, strangers.Asking(server) as asking:
        start = time.monotonic()
        answers = attacks.wrong_tokens(server, 0, n=10)
        seconds = time.monotonic() - start
    assert set(answers) == {"401"}
    assert seconds > 1
    assert set(asking.answers) == {"200"}
    assert asking.longest_s < TEXT_S


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_twenty_attacks_cost_little(folder, name):
    assert strangers.measured_attack(folder, name, 20, most_text_s=TEXT_S)["wrong"] == []


def test_mixed_requests_are_answered_as_described(folder):
    figures = serving.asked_all(folder.parent, n_clients=4, n_requests=60, seconds=0, address=None)
    assert figures["queries"] >= 60
    assert figures["unexpected"] == {}
