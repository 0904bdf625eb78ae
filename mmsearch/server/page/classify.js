// Labels that the user types, and how probable each is for one picture, or which is the most probable of several.

import * as api from "./api.js";
import { button, byId, counted, el, openDialog, paused, shown } from "./dom.js";
import { placeOf } from "./part.js";
import { labelsOf } from "./state.js";
import { drawSubject, subjectOf } from "./subject.js";
import { uploads } from "./uploads.js";

const PAUSE = 400;
const MOST_SHOWN = 10;
const TOGETHER = 8; // pictures of one request
const NONE = "none of these";

/** How labels are taken: what a request has for it, and what people choose. */
const WAYS = {
  open: ["one of these, or none", {}],
  closed: ["one of these", { closed: true }],
  multi: ["any of these", { multi: true }],
};

/** The dialog that classifies. `on` has close, labelled(text) and choose. */
export class Classifier {
  #subject = null;
  #next = api.newest();

  constructor(on) {
    this.on = on;
    this.dialog = byId("classify");
    this.dialog.addEventListener("close", () => this.#subject !== null && this.on.close());
    this.face = el("div", { class: "classify-face" });
    this.labels = el("textarea", {
      id: "labels",
      autofocus: true,
      rows: 3,
      maxlength: 20_000,
      placeholder: "a cat, a dog, a landscape",
      spellcheck: "false",
    });
    this.answer = el("div", { class: "classify-answer", "aria-live": "polite" });
    this.way = el(
      "select",
      { id: "label-way", on: { change: () => this.#ask() } },
      ...Object.entries(WAYS).map(([value, [text]]) => el("option", { value, text })),
    );
    this.ways = el("label", { class: "small-field", hidden: true }, "It is", this.way);
    this.parts = el("input", { type: "checkbox", id: "label-parts", on: { change: () => this.#ask() } });
    this.lookAtParts = el("label", { class: "small-field", hidden: true }, this.parts, "Look at parts as well");
    this.typed = paused(() => this.#typed(), PAUSE);
    this.labels.addEventListener("input", () => this.typed());
    this.dialog.append(
      el("h2", { id: "classify-title", text: "What is it?" }),
      this.face,
      el("label", { class: "wide" }, "Labels, with commas between them", this.labels),
      this.ways,
      this.lookAtParts,
      this.answer,
      el(
        "div",
        { class: "dialog-actions" },
        button("Choose a picture", { onClick: () => this.on.choose() }),
        button("Close", { id: "classify-close", onClick: () => this.dialog.close() }),
      ),
    );
  }

  get isOpen() {
    return this.dialog.open;
  }

  /**
   * Shows a picture by `{id}` or `{key}`, or several of the library by `{chosen}`, or asks for one if it is `{}`. Parts can
   * be looked at where the library `hasParts`.
   */
  async show(subject, labels, hasParts) {
    this.lookAtParts.hidden = !hasParts;
    const isOther = JSON.stringify(subject) !== JSON.stringify(this.#subject);
    this.#subject = subject;
    if (document.activeElement !== this.labels) this.labels.value = labels;
    openDialog(this.dialog);
    if (!isOther) return;
    this.face.replaceChildren();
    const words = subject.chosen && counted(subject.chosen.length, "selected picture");
    const found = (subject.id || subject.key) && (await subjectOf(subject).catch(() => null));
    if (this.#subject !== subject) return;
    if (found)
      this.face.replaceChildren(...(found.width ? [drawSubject(found)] : []), el("bdi", { text: found.name }));
    else if (words) this.face.replaceChildren(el("p", { text: words }));
    else
      this.face.replaceChildren(
        el("p", { class: "note", text: "Drop, paste or choose the picture that is to be labelled." }),
      );
    this.#ask();
  }

  /** Closes the dialog if it is open. */
  hide() {
    this.#subject = null;
    this.#next();
    if (this.dialog.open) this.dialog.close();
  }

  #typed() {
    this.on.labelled(this.labels.value);
    this.#ask();
  }

  async #ask() {
    const signal = this.#next();
    const labels = labelsOf(this.labels.value);
    const { id, key, chosen } = this.#subject ?? {};
    this.answer.setAttribute("aria-live", chosen ? "off" : "polite"); // a line a picture is too much to be read aloud
    if (!labels.length || !(id || chosen || uploads.has(key))) return this.answer.replaceChildren();
    this.dialog.setAttribute("aria-busy", "true");
    const parts = !this.lookAtParts.hidden && this.parts.checked;
    const asked = { labels, parts, ...WAYS[this.way.value][1] };
    try {
      await (chosen ? this.#askSeveral(chosen, asked, signal) : this.#askOne({ id, key }, asked, signal));
    } catch (problem) {
      if (problem.name === "AbortError") return undefined;
      this.answer.replaceChildren(el("p", { class: "error", text: problem.message }));
    }
    this.dialog.removeAttribute("aria-busy");
    return undefined;
  }

  async #askOne({ id, key }, asked, signal) {
    const of = { k: Math.min(asked.labels.length, MOST_SHOWN), pictures: id ? [{ id }] : [{ upload: 0 }] };
    const { pictures, warnings } = await api.classify({ ...asked, ...of }, id ? [] : [uploads.get(key).file], signal);
    const [picture] = pictures;
    this.#showWays(picture);
    this.answer.replaceChildren(
      picture.error ? el("p", { class: "error", text: shown(picture.error) }) : table(picture),
      ...warnings.map(note),
    );
  }

  async #askSeveral(chosen, asked, signal) {
    const rows = el("tbody", {});
    const progress = el("p", { class: "note", role: "status" });
    const caption = el("caption", { class: "unseen", text: "The most probable label of each picture" });
    const scores = el("table", { class: "scores several" }, caption, rows);
    this.answer.replaceChildren(progress, scores);
    for (let start = 0; start < chosen.length; start += TOGETHER) {
      const some = chosen.slice(start, start + TOGETHER);
      const of = { k: 1, pictures: some.map(({ id }) => ({ id })) };
      const { pictures, warnings } = await api.classify({ ...asked, ...of }, [], signal);
      this.#showWays(pictures[0]);
      rows.append(...pictures.map((picture, nth) => pictureRow(some[nth], picture)));
      progress.textContent = `${start + some.length} of ${counted(chosen.length, "picture")}`;
      if (!start) this.answer.append(...warnings.map(note));
    }
  }

  /** Lets people choose a way: others are only there where an encoder is calibrated, and knows how likely none is. */
  #showWays(picture) {
    if (picture.none_of_these !== undefined) this.ways.hidden = false;
  }
}

const note = (text) => el("p", { class: "note", text: shown(text) });

/** Returns how probable a label is where it is most so, in the whole picture or in a part of it. */
const highest = ({ probability, part }) => Math.max(probability, part?.probability ?? 0);

/** Returns where a label is most probable, if that is not the whole picture. */
const placeIn = (label) =>
  label.part?.probability > label.probability && el("span", { class: "note", text: ` ${placeOf(label.part.box)}` });

const percent = (probability) => `${(probability * 100).toFixed(1)} %`;
const labelText = (label) => (label === undefined ? el("em", { text: NONE }) : el("bdi", { text: label }));

/** Returns a row with a picture and its most probable label. */
function pictureRow({ id, name }, { labels, none_of_these: none = 0, error }) {
  const [best] = labels;
  const isNoneOfThem = !error && none > highest(best);
  const probability = isNoneOfThem ? none : best && highest(best);
  return el(
    "tr",
    {},
    el("td", {}, el("img", { class: "thumb", src: api.thumbnail(id, 320), alt: "" })),
    el("th", { scope: "row" }, el("bdi", { text: shown(name) })),
    el(
      "td",
      { class: error && "error" },
      error ? shown(error) : labelText(isNoneOfThem ? undefined : best.label),
      !error && !isNoneOfThem && placeIn(best),
    ),
    el("td", { class: "number", text: error ? "" : percent(probability) }),
  );
}

function table({ labels, none_of_these: none }) {
  const rows = none === undefined ? labels : [...labels, { probability: none }];
  rows.sort((one, other) => highest(other) - highest(one)); // as they are, but for none of these
  return el(
    "table",
    { class: "scores" },
    el("caption", { class: "unseen", text: "Labels, most probable first" }),
    el(
      "tbody",
      {},
      ...rows.map((row) => {
        const probability = highest(row);
        const bar = el("i", {});
        bar.style.width = `${probability * 100}%`;
        return el(
          "tr",
          {},
          el("th", { scope: "row" }, labelText(row.label), placeIn(row)),
          el("td", { class: "bar", "aria-hidden": "true" }, bar),
          el("td", { class: "number", text: percent(probability) }),
        );
      }),
    ),
  );
}
