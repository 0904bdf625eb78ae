// One picture of the grid as an element: a link with the picture, and its signs and the buttons that mark it, which are
// added when there is time: while one scrolls, they would be most of the work.

import { thumbnail } from "./api.js";
import { el, iconButton, shown } from "./dom.js";
import { FILM_BADGE, timesInWords, timesOf } from "./film.js";
import { standsFor } from "./folded.js";
import { excerpt } from "./matched.js";
import { framed, placeOf } from "./part.js";

const PAUSES = [2_000, 10_000]; // before a thumbnail that did not come is asked for again

const mark = (kind, words, sign) =>
  iconButton(words, sign, null, { tabindex: "-1", "aria-pressed": "false", class: kind });
const TILE = el(
  "li",
  {},
  el("a", { tabindex: "-1" }, el("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" })),
);
const BADGES = el(
  "span",
  { class: "badges" },
  FILM_BADGE,
  el("span", { class: "badge standing" }),
  el("span", { class: "badge folded" }),
  el("span", { class: "badge same", text: "same thing" }),
  el("span", { class: "badge gone", text: "file is gone" }),
);
const MATCHED = el("bdi", { class: "matched" });
const CAPTION = el("bdi", { class: "caption" });
const CHECK = iconButton("Select", "yes", null, { tabindex: "-1", "aria-pressed": "false", class: "check" });
const JUDGE = el("div", { class: "judge" }, mark("relevant", "Relevant", "yes"), mark("irrelevant", "Not relevant", "no"));

/** The element of one picture. */
export class Tile {
  #picture = null;
  #said = "";
  #place = "";
  #address = "";
  #badges = null;
  #matched = null;
  #controls = null; // the caption, the check mark and the buttons
  #framed = null;
  #isChosen = false;
  #isActive = false;
  #timer;
  #n = 0;

  constructor(id) {
    this.element = TILE.cloneNode(true);
    this.element.dataset.id = id;
    [this.id, this.link] = [id, this.element.firstChild];
    this.image = this.link.firstChild;
    this.image.addEventListener("load", () => this.#loaded());
  }

  /** Shows what is known of the picture; `place` counts from 0 among `n`, of which -1 are not known yet. */
  show(picture, address, place, n) {
    const said = `${place} ${n} ${address}`;
    if (picture === this.#picture && said === this.#said) return;
    [this.#picture, this.#said] = [picture, said];
    const { classList } = this.element;
    this.link.href = address;
    const words = excerpt(picture.texts);
    this.link.setAttribute("aria-label", label(picture, words));
    this.element.setAttribute("aria-posinset", place + 1);
    this.element.setAttribute("aria-setsize", n);
    classList.toggle("weak", picture.strength === "weak");
    classList.toggle("verified", Boolean(picture.local?.is_verified));
    classList.toggle("missing", Boolean(picture.is_missing));
    classList.toggle("filmed", Boolean(picture.film));
    if (this.#badges || picture.rank || picture.is_missing || picture.film) this.#showBadges();
    if (this.#matched || words.length) this.#showMatched(words);
    if (!this.#controls) return;
    this.#controls.caption.textContent = shown(picture.name);
    this.#showFrame();
  }

  /** Adds what a tile has besides its picture, and returns whether that was missing. */
  finish() {
    if (this.#controls) return false;
    const [caption, check, judge] = [CAPTION, CHECK, JUDGE].map((one) => one.cloneNode(true));
    this.#controls = { caption, check, judge };
    caption.textContent = shown(this.#picture?.name ?? "");
    this.#showBadges();
    this.link.append(caption);
    this.element.append(check, judge);
    this.#showFrame();
    this.#showPressed();
    this.isActive = this.#isActive;
    return true;
  }

  /** Stands at a place of the grid, in pixels. */
  stand(left, top, width, height) {
    const place = `${left} ${top} ${width} ${height}`;
    if (place === this.#place) return;
    this.#place = place;
    Object.assign(this.element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    const pixels = Math.max(width, height) * window.devicePixelRatio;
    this.#address ||= thumbnail(this.id, pixels > 340 ? 640 : 320);
  }

  /** Asks for the thumbnail, and returns whether it was not asked for before. */
  load() {
    if (this.image.hasAttribute("src")) return false;
    this.image.src = this.#address;
    return true;
  }

  /** Shows that there is no thumbnail, and asks for it again some times: a server may be busy, or gone for a moment. */
  fail() {
    this.element.classList.add("broken");
    this.finish();
    if (this.#n < PAUSES.length) this.#timer = setTimeout(() => this.again(), PAUSES[this.#n++]);
  }

  /** Asks again for a thumbnail that did not come. */
  again() {
    clearTimeout(this.#timer);
    if (this.element.classList.contains("broken")) this.image.src = this.#address;
  }

  /** Leaves the page: what is still on its way need not come. */
  remove() {
    clearTimeout(this.#timer);
    if (!this.image.complete) this.image.removeAttribute("src");
    this.element.remove();
  }

  /** Shows how the picture is marked: relevant, irrelevant or not. */
  mark(mark = "") {
    this.element.dataset.mark = mark;
    this.#pressed(Boolean(mark));
  }

  /** Shows whether the picture is chosen. */
  choose(isChosen) {
    this.#isChosen = isChosen;
    this.element.classList.toggle("chosen", isChosen);
    this.#pressed(isChosen);
  }

  /** Is the one that the Tab key reaches, or not. */
  set isActive(isActive) {
    this.#isActive = isActive;
    for (const control of this.element.querySelectorAll("a, button")) control.tabIndex = isActive ? 0 : -1;
    if (isActive) this.finish();
  }

  #pressed(isPressed) {
    if (isPressed) this.finish();
    if (this.#controls) this.#showPressed();
  }

  #showPressed() {
    const { check, judge } = this.#controls;
    check.setAttribute("aria-pressed", this.#isChosen);
    for (const one of judge.children) one.setAttribute("aria-pressed", one.classList.contains(this.element.dataset.mark));
  }

  #showBadges() {
    if (!this.#badges) this.link.append((this.#badges = BADGES.cloneNode(true)));
    const [film, standing, folded] = this.#badges.children;
    standing.textContent = this.#picture?.strength ?? this.#picture?.rank ?? "";
    folded.textContent = standsFor(this.#picture ?? {});
    film.lastChild.textContent = this.#picture?.film ? timesOf(this.#picture.film) : "";
  }

  #showFrame() {
    this.#framed?.remove();
    this.#framed = this.#picture?.part ? framed(this.#picture, { tabindex: this.#isActive ? "0" : "-1" }) : null;
    if (this.#framed) this.link.after(this.#framed);
  }

  #showMatched(words) {
    if (!this.#matched) this.link.append((this.#matched = MATCHED.cloneNode(true)));
    this.#matched.replaceChildren(...words);
  }

  #loaded() {
    this.#n = 0;
    this.element.classList.add("loaded");
    this.element.classList.remove("broken");
  }
}

function label(picture, words) {
  const place = picture.rank ? `${picture.rank}. ` : "";
  const film = picture.film ? `, ${timesInWords(picture.film)}` : "";
  const strength = picture.strength ? `, ${picture.strength}` : "";
  const local = picture.local?.is_verified ? ", the same thing by its details" : "";
  const part = picture.part ? `, by its part: ${placeOf(picture.part.box)}` : "";
  const folded = picture.folded ? `, ${standsFor(picture)}` : "";
  const gone = picture.is_missing ? ", its file is gone" : "";
  const beside = words.length ? `, beside it: ${words.map((part) => part.textContent ?? part).join("")}` : "";
  return `${place}${shown(picture.name)}${film}${strength}${local}${part}${folded}${gone}${beside}`;
}
