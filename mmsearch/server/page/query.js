// The query as parts that can be seen and changed: words, pictures, what is left out, and the weight of each.

import { Problem } from "./api.js";
import { askPart } from "./crop.js";
import { byId, el, icon, iconButton, paused } from "./dom.js";
import { EMPTY, canCollapse, isBrowsing, isOneExample } from "./state.js";
import { drawSubject, subjectOf } from "./subject.js";
import { uploads } from "./uploads.js";

const PAUSE = 250;
const BY_LOOKS = ["What should the pictures show?", "What the pictures should show"]; // what is asked, and its name
const BESIDE = ["Search captions, tags and other texts", "What captions, tags and other texts say"];

/** The form above the pictures. `go(change, how)` carries a change out, `bring(files)` takes pictures. */
export class QueryForm {
  #structure = "";
  #isTyping = false;
  #heavier = null;
  #hasWeights = false; // shown, also where all weigh the same

  constructor(go, bring) {
    [this.go, this.bring, this.state] = [go, bring, EMPTY];
    this.text = byId("text");
    this.typed = paused(() => this.#take(), PAUSE);
    this.weighed = paused(() => this.go(this.#heavier, "replace"), PAUSE);
    this.text.addEventListener("input", () => this.typed());
    this.text.addEventListener("blur", () => this.#finish());
    this.text.addEventListener("keydown", (event) => event.key === "Enter" && this.#finish());
    byId("query").addEventListener("submit", (event) => event.preventDefault());
    byId("exclude").addEventListener("keydown", (event) => event.key === "Enter" && this.#exclude(event));
    byId("exclude").addEventListener("change", (event) => this.#exclude(event));
    byId("rank").addEventListener("change", (event) => this.go({ rank: event.target.value }));
    byId("collapse").addEventListener("change", (event) => this.go({ collapse: event.target.value }));
    byId("expand").addEventListener("change", (event) => this.go({ expands: event.target.checked }));
    byId("weights").addEventListener("click", () => this.#toggleWeights());
    byId("examples").addEventListener("click", ({ target }) => target.matches("button") && this.#try(target.textContent));
    byId("text-field").addEventListener("click", ({ target }) => target === byId("text-field") && this.text.focus());
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (event) => {
      this.bring([...event.target.files]);
      event.target.value = "";
    });
  }

  /** Shows a state. */
  render(state, abilities) {
    this.state = state;
    if (this.text.value !== state.text && !this.#isPending()) this.text.value = state.text;
    this.abilities = abilities;
    const isEmpty = isBrowsing(state) && !state.where.length;
    const { hasWords, answersTexts } = abilities;
    this.text.hidden = !answersTexts;
    [this.text.placeholder, this.text.ariaLabel] = hasWords ? BY_LOOKS : BESIDE;
    byId("text-field").hidden = !answersTexts && isEmpty;
    byId("examples").hidden = !hasWords || !isEmpty || !abilities.n;
    const isAlone = !answersTexts && isEmpty;
    byId("choose").classList.toggle("alone", isAlone);
    byId("choose-words").textContent = isAlone ? "Drop, paste or choose a picture to find others like it" : "Picture";
    byId("exclude-field").hidden = !hasWords || isBrowsing(state);
    byId("rank-field").hidden = !abilities.hasLocal || !abilities.hasVectors || state.pictures.length !== 1;
    byId("rank").value = state.rank;
    byId("collapse-field").hidden = isBrowsing(state) || !canCollapse(abilities);
    byId("collapse").value = state.collapse;
    byId("expand-field").hidden = byId("rank-field").hidden;
    byId("expand").checked = state.expands;
    byId("expand").disabled = state.rank === "words" && isOneExample(state);
    byId("rank").querySelector("[value='words']").disabled = !isOneExample(state);
    byId("clear").hidden = isEmpty;
    byId("upload-note").hidden = !state.pictures.some((picture) => picture.key);
    this.#renderTerms(state, abilities);
  }

  /** Forgets what was typed and not yet asked. */
  forget() {
    this.typed.cancel();
    this.#isTyping = false;
  }

  #isPending() {
    return document.activeElement === this.text && this.#isTyping;
  }

  #try(words) {
    this.text.value = words;
    this.forget();
    this.go({ text: words });
    this.text.focus();
  }

  #toggleWeights() {
    this.#hasWeights = !this.#hasWeights;
    const { pictures, exclude } = this.state;
    const alike = (parts) => parts.map((one) => ({ ...one, weight: 1 }));
    if (!this.#hasWeights && areDifferent(this.state))
      this.go({ textWeight: 1, pictures: alike(pictures), exclude: alike(exclude) });
    else this.#renderTerms(this.state, this.abilities);
  }

  #take() {
    if (this.text.value === this.state.text) return;
    this.go({ text: this.text.value }, this.#isTyping ? "replace" : "push");
    this.#isTyping = document.activeElement === this.text;
  }

  #finish() {
    this.typed.now();
    this.#isTyping = false;
  }

  #exclude(event) {
    const text = event.target.value.trim();
    event.preventDefault();
    event.target.value = "";
    const isNew = text && !this.state.exclude.some((one) => one.text === text);
    if (isNew) this.go({ exclude: [...this.state.exclude, { text, weight: 1 }] });
  }

  /** Rebuilds the parts only when others have come: a slider must not be replaced under a finger. */
  #renderTerms(state, abilities) {
    const hasWords = state.text.trim() !== "";
    const n = state.pictures.length + state.exclude.length + hasWords;
    const canWeigh = abilities.hasVectors && n > 1;
    if (areDifferent(state)) this.#hasWeights = true;
    const hasWeights = canWeigh && this.#hasWeights;
    byId("weights").hidden = !canWeigh;
    byId("weights").setAttribute("aria-pressed", String(hasWeights));
    const parts = [...(hasWords && hasWeights ? [{ words: true }] : []), ...state.pictures, ...state.exclude];
    const structure = JSON.stringify([
      parts.map(({ weight, ...part }) => [part, uploads.has(part.key)]),
      hasWeights,
    ]);
    const list = byId("terms");
    list.hidden = !parts.length;
    if (structure !== this.#structure) {
      this.#structure = structure;
      list.replaceChildren(
        ...[
          parts[0]?.words && this.#card("words", "the words", hasWeights && "textWeight"),
          ...state.pictures.map((picture, place) => this.#pictureCard(picture, place, hasWeights)),
          ...state.exclude.map((one, place) => this.#excludeCard(one, place, hasWeights)),
        ].filter(Boolean),
      );
    }
    for (const words of list.querySelectorAll(".words .term-text")) words.textContent = state.text;
    for (const slider of list.querySelectorAll("input[type=range]")) {
      if (slider !== document.activeElement) this.#showWeight(slider, weightAt(state, slider.name));
    }
  }

  #card(kind, text, weightName, ...children) {
    const label = kind === "not" ? `less of ${text}` : text;
    return el(
      "li",
      { class: `term ${kind}` },
      ...children,
      kind === "not" && el("span", { class: "less", text: "less of" }),
      el("bdi", { class: "term-text", text }),
      weightName && this.#slider(weightName, label),
    );
  }

  #pictureCard(picture, place, hasWeights) {
    const remove = () => this.go({ pictures: this.state.pictures.filter((_, other) => other !== place) });
    const face = el("button", { type: "button", class: "face", disabled: true });
    const card = this.#card("picture", "", hasWeights && `pictures.${place}`, face);
    card.append(iconButton("Remove this picture", "close", remove, { class: "quiet" }));
    this.#fill(card, face, picture, place);
    return card;
  }

  async #fill(card, face, picture, place) {
    const name = card.querySelector(".term-text");
    const subject = await subjectOf(picture).catch((error) => {
      if (error instanceof Problem) return null;
      throw error;
    });
    if (!subject) {
      name.textContent = picture.key
        ? "Your picture is not here any more: bring it again"
        : `Picture ${picture.id} is not here`;
      card.classList.add("missing");
      return;
    }
    name.textContent = subject.name;
    const slider = card.querySelector("input");
    if (slider) slider.setAttribute("aria-label", `Weight of ${subject.name}`);
    if (!subject.width) return; // a format that the browser cannot show, but the server can read
    face.append(drawSubject(subject), el("span", { class: "face-sign" }, icon("crop")));
    face.disabled = false;
    face.title = "Choose a part of it";
    face.setAttribute("aria-label", `Choose a part of ${subject.name}`);
    face.addEventListener("click", async () => this.#part(await askPart(subject), place));
  }

  #part(box, place) {
    if (box === undefined) return;
    this.go({ pictures: this.state.pictures.map((one, other) => (other === place ? { ...one, box } : one)) });
  }

  #excludeCard(one, place, hasWeights) {
    const remove = () => this.go({ exclude: this.state.exclude.filter((_, other) => other !== place) });
    const card = this.#card("not", one.text, hasWeights && `exclude.${place}`);
    card.append(iconButton(`No longer less of ${one.text}`, "close", remove, { class: "quiet" }));
    return card;
  }

  #slider(name, label) {
    const slider = el("input", {
      type: "range",
      name,
      min: 0.1,
      max: 3,
      step: 0.1,
      "aria-label": `Weight of ${label}`,
      on: { input: () => this.#weigh(slider), change: () => this.weighed.now() },
    });
    return el("span", { class: "weight" }, slider, el("output"));
  }

  #showWeight(slider, weight) {
    slider.value = weight;
    slider.nextSibling.textContent = `×${Number(weight)}`;
  }

  #weigh(slider) {
    this.#showWeight(slider, slider.value);
    this.#heavier = withWeightAt(this.state, slider.name, Number(slider.value));
    this.weighed();
  }
}

const areDifferent = ({ textWeight, pictures, exclude }) =>
  textWeight !== 1 || [...pictures, ...exclude].some(({ weight }) => weight !== 1);

function weightAt(state, name) {
  const [kind, place] = name.split(".");
  return place === undefined ? state[kind] : state[kind][place].weight;
}

function withWeightAt(state, name, weight) {
  const [kind, place] = name.split(".");
  if (place === undefined) return { [kind]: weight };
  return { [kind]: state[kind].map((one, other) => (other === Number(place) ? { ...one, weight } : one)) };
}
