// Labels that the user types, and how probable each is for one picture.

import * as api from "./api.js";
import { button, byId, el, openDialog, paused, shown } from "./dom.js";
import { labelsOf } from "./state.js";
import { drawSubject, subjectOf } from "./subject.js";
import { uploads } from "./uploads.js";

const PAUSE = 400;
const MOST_SHOWN = 10;
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
    this.typed = paused(() => this.#typed(), PAUSE);
    this.labels.addEventListener("input", () => this.typed());
    this.dialog.append(
      el("h2", { id: "classify-title", text: "What is it?" }),
      this.face,
      el("label", { class: "wide" }, "Labels, with commas between them", this.labels),
      this.ways,
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

  /** Shows a picture by `{id}` or `{key}`, or asks for one if it is `{}`. */
  async show(subject, labels) {
    const isOther = JSON.stringify(subject) !== JSON.stringify(this.#subject);
    this.#subject = subject;
    if (document.activeElement !== this.labels) this.labels.value = labels;
    openDialog(this.dialog);
    if (!isOther) return;
    this.face.replaceChildren();
    const found = (subject.id || subject.key) && (await subjectOf(subject).catch(() => null));
    if (this.#subject !== subject) return;
    if (found)
      this.face.replaceChildren(...(found.width ? [drawSubject(found)] : []), el("bdi", { text: found.name }));
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
    const { id, key } = this.#subject ?? {};
    if (!labels.length || !(id || uploads.has(key))) return this.answer.replaceChildren();
    this.dialog.setAttribute("aria-busy", "true");
    const asked = {
      labels,
      k: Math.min(labels.length, MOST_SHOWN),
      pictures: id ? [{ id }] : [{ upload: 0 }],
      ...WAYS[this.way.value][1],
    };
    try {
      const { pictures, warnings } = await api.classify(asked, id ? [] : [uploads.get(key).file], signal);
      const [picture] = pictures;
      // Other ways are only there where an encoder is calibrated, and then it says how likely none of these is.
      if (picture.none_of_these !== undefined) this.ways.hidden = false;
      this.answer.replaceChildren(
        picture.error ? el("p", { class: "error", text: shown(picture.error) }) : table(picture),
        ...warnings.map((text) => el("p", { class: "note", text: shown(text) })),
      );
    } catch (problem) {
      if (problem.name === "AbortError") return undefined;
      this.answer.replaceChildren(el("p", { class: "error", text: problem.message }));
    }
    this.dialog.removeAttribute("aria-busy");
    return undefined;
  }
}

function table({ labels, none_of_these: none }) {
  const rows = none === undefined ? labels : [...labels, { probability: none }];
  rows.sort((one, other) => other.probability - one.probability); // as they are, but for none of these
  return el(
    "table",
    { class: "scores" },
    el("caption", { class: "unseen", text: "Labels, most probable first" }),
    el(
      "tbody",
      {},
      ...rows.map(({ label, probability }) => {
        const bar = el("i", {});
        bar.style.width = `${probability * 100}%`;
        return el(
          "tr",
          {},
          el("th", { scope: "row" }, label === undefined ? el("em", { text: NONE }) : el("bdi", { text: label })),
          el("td", { class: "bar", "aria-hidden": "true" }, bar),
          el("td", { class: "number", text: `${(probability * 100).toFixed(1)} %` }),
        );
      }),
    ),
  );
}
