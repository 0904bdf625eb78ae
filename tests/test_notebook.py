"""Answers as a notebook shows them: nothing that comes from outside is markup there."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mmsearch.notebook import Card, cards_html

HOSTILE = st.text(st.characters() | st.sampled_from(list("<>&\"'")))


class Page(HTMLParser):
    """The tags of some HTML with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@given(path=HOSTILE, line=HOSTILE, sentence=HOSTILE)
def test_whatever_a_name_or_a_term_is_the_markup_stays_what_it_is(path, line, sentence):
    html = cards_html([sentence], [Card(path, "data:image/jpeg;base64,AAAA", (line,)), Card(path, None, ())])
    html.encode()
    tags = [tag for tag, _ in Page(html).tags]
    assert tags == ["div", "p", "div", "figure", "img", "figcaption", "br", "figure", "div", "figcaption"]


def test_a_card_has_its_picture_its_name_and_its_lines():
    page = Page(cards_html(["2 hits"], [Card("/photos/a & b.jpg", "data:image/jpeg;base64,AAAA", ("score 0.5",))]))
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert (image["src"], image["alt"]) == ("data:image/jpeg;base64,AAAA", "a & b.jpg")
    assert page.texts == ["2 hits", "a & b.jpg", "score 0.5"]
    (figure,) = [attributes for tag, attributes in page.tags if tag == "figure"]
    assert figure["title"] == "/photos/a & b.jpg"
