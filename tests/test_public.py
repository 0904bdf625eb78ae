"""What `mmsearch` gives to all: every name can be had, says what it is, and is shown by an example that runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import re

import pytest

import mmsearch
from mmsearch import errors

PUBLIC = {name: getattr(mmsearch, name) for name in mmsearch.__all__}
CLASSES = {name: public for name, public in PUBLIC.items() if inspect.isclass(public)}
ENCODER = "needs an encoder, which is no thing for an example that runs in a moment: the README's runs"
REASONS = {
    "Calibration": "is fitted by `mmsearch calibrate`, to many pictures with captions",
    "Classifier": "is taught by `mmsearch train`, of many pictures",
    "Encoder": ENCODER,
    "Library.calibrate": ENCODER,
    "Library.classify": ENCODER,
    "Library.decoder": "starts a process",
    "Library.export": ENCODER,
    "Library.film_reader": "starts a process",
    "Library.index": ENCODER,
    "Library.installed_encoder": ENCODER,
    "Library.interruptible": "is about what takes long",
    "Library.label_warnings": ENCODER,
    "Library.load": ENCODER,
    "Library.photograph_probes": ENCODER,
    "Library.remove_labels": "takes away what set_labels gave",
    "Library.set_labels": ENCODER,
    "Library.text_probes": ENCODER,
    "Library.words": "needs visual words, which are learned of many pictures",
}
"""Why a public class or method has no example; of a class for all of its methods."""


def test_names_are_listed_once_in_order_and_each_is_what_its_module_has():
    assert mmsearch.__all__ == sorted(set(mmsearch.__all__)) == sorted(mmsearch._HOME)
    for name, public in PUBLIC.items():
        assert getattr(public, "__name__", name) == name
        assert name in dir(mmsearch)
    with pytest.raises(AttributeError, match="module 'mmsearch' has no attribute 'Nonsense'"):
        mmsearch.Nonsense  # noqa: B018


def test_type_checkers_know_every_name():
    tree = ast.parse(inspect.getsource(mmsearch))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    known = {alias.name: node.module for node in checking.body for alias in node.names}
    assert known == mmsearch._HOME


def test_every_error_is_public():
    raised = {n for n, e in vars(errors).items() if inspect.isclass(e) and issubclass(e, mmsearch.MmsearchError)}
    assert raised <= set(mmsearch.__all__)


def methods(public):
    """The methods and properties of a class that are written for its users, by name."""
    for name, member in vars(public).items():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(function) and not name.startswith("_"):
            yield name, member


def calls_shown(docstring):
    """Names that are called or read as attributes in the examples of a docstring."""
    lines = "".join(example.source for example in doctest.DocTestParser().get_examples(docstring or ""))
    return set(re.findall(r"\.(\w+)", lines))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_and_method_says_what_it_is(name):
    assert inspect.getdoc(CLASSES[name])
    for method, member in methods(CLASSES[name]):
        assert inspect.getdoc(member), f"{name}.{method}"


@pytest.mark.parametrize("name", sorted(name for name, public in CLASSES.items() if any(methods(public))))
def test_every_method_is_shown_by_an_example_of_its_own_or_of_its_class_unless_there_is_a_reason(name):
    shown = calls_shown(CLASSES[name].__doc__)
    without = {
        f"{name}.{method}"
        for method, member in methods(CLASSES[name])
        if method not in shown | calls_shown(member.__doc__) and not isinstance(member, property)
    }
    assert without - set(REASONS) == set() or name in REASONS


def test_a_reason_is_only_given_for_what_has_no_example():
    for name in REASONS:
        public, _, method = name.partition(".")
        member = getattr(CLASSES[public], method) if method else CLASSES[public]
        assert not doctest.DocTestParser().get_examples(member.__doc__)
        assert not method or method not in calls_shown(CLASSES[public].__doc__)


def test_the_check_of_examples_can_fail():
    assert calls_shown("Text of library.search.\n\n>>> library.index(paths)\n1\n") == {"index"}
