// One picture in full: close to, among its neighbours, what is known of it, the matched places, and what can be done next.

import { Annotations } from "./annotations.js";
import { facesIn, newest, original, picture, thumbnail } from "./api.js";
import { copied } from "./export.js";
import { facts, labels } from "./details.js";
import { button, byId, el, icon, iconButton, openDialog, shown } from "./dom.js";
import { foldedPictures } from "./folded.js";
import { FilmStage } from "./film.js";
import { Filmstrip } from "./filmstrip.js";
import { drawMatches } from "./matches.js";
import { scores } from "./scores.js";
import { canMark } from "./state.js";
import { subjectOf } from "./subject.js";
import { Stage } from "./zoom.js";

/** Returns why no face of a picture is framed, by what is known of them. */
function whyNone({ faces, n_too_small: nTooSmall }) {
  if (nTooSmall === null && !faces.length) return "It was not looked at for faces yet.";
  const counts = [faces.length && `${faces.length} hidden`, nTooSmall && `${nTooSmall} too small`].filter(Boolean);
  return counts.length ? `No faces to frame: ${counts.join(", ")}.` : "No faces.";
}

/**
 * The dialog of one picture. `on` has addressOf(id), open(id), close, step(by), like, add, part, byPart, mark(id, kind),
 * again, classify, tags(), a promise of those that are known, withTag(tag), person(group), changed(), and pictureAt(index),
 * undefined where it is not loaded.
 */
export class ResultView {
  #id = null;
  #shown = "";
  #isMatches = true;
  #hasDetails = true;
  #hasFrames = false; // round faces
  #next = newest();
  #stage = null;

  constructor(on) {
    this.on = on;
    this.dialog = byId("view");
    this.strip = new Filmstrip(on);
    this.said = el("span", { class: "unseen", role: "status" });
    this.written = new Annotations({ known: on.tags, changed: on.changed, filter: on.withTag });
    this.zoomed = el("output", { class: "zoomed count" });
    this.dialog.addEventListener("close", () => this.#id !== null && this.on.close());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Shows a picture; `context` has hit (or undefined), state, abilities, answer, place, n, mark and isAgain. */
  async show(id, context) {
    const isOther = this.#id !== id;
    this.#id = id;
    const hit = context.hit ?? (await picture(id).catch((problem) => ({ problem })));
    if (this.#id !== id) return; // another one, or none, was asked for meanwhile
    const { state, abilities, place, n } = context;
    this.strip.show(place, n);
    const shownNow = JSON.stringify([id, hit, place, n, abilities.hasWords, abilities.hasVectors, abilities.hasFaces, state.pictures]);
    if (this.#shown === shownNow && this.dialog.open) {
      this.#frameFaces(); // a name may have changed
      return this.#showMark(context);
    }
    this.#shown = shownNow;
    const held = isOther ? null : this.dialog.querySelector(":focus")?.id;
    this.#endStage();
    this.dialog.replaceChildren(
      this.#bar(hit, context),
      hit.problem ? el("p", { class: "state", text: hit.problem.message }) : this.#body(hit, context),
      this.said,
    );
    this.#showMark(context);
    this.#showDetails();
    this.#frameFaces();
    openDialog(this.dialog);
    if (held) byId(held)?.focus();
    else if (isOther) byId("view-title").focus();
  }

  #showMark({ mark, isAgain }) {
    for (const kind of ["relevant", "irrelevant"])
      byId(`view-${kind}`)?.setAttribute("aria-pressed", String(mark === kind));
    if (byId("view-again")) byId("view-again").hidden = !isAgain;
  }

  #endStage() {
    this.#stage?.end();
    this.#stage = null;
  }

  #showDetails() {
    this.dialog.classList.toggle("bare", !this.#hasDetails);
    byId("view-details")?.setAttribute("aria-pressed", String(this.#hasDetails));
  }

  /** Closes the dialog if it is open. */
  hide() {
    const id = this.#id;
    this.#id = null;
    this.#endStage();
    if (this.dialog.open) this.dialog.close();
    return id;
  }

  /** The id of the picture that is shown: of a film that of the moment. */
  get #subject() {
    return this.#stage?.id ?? this.#id;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === " " && event.target.matches("a, button, summary, video")) return; // which know what it means
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const actions = {
      ArrowLeft: () => this.on.step(-1),
      ArrowRight: () => this.on.step(1),
      "+": () => this.#stage?.zoom(1),
      "=": () => this.#stage?.zoom(1), // where + needs the shift key
      "-": () => this.#stage?.zoom(-1),
      0: () => this.#stage?.zoom(0),
      f: () => byId("view-faces")?.click(),
      i: () => this.#toggleDetails(),
      m: () => this.on.like(this.#subject),
      p: () => this.on.byPart(this.#id),
      r: () => this.on.mark(this.#id, "relevant"),
      x: () => this.on.mark(this.#id, "irrelevant"),
      s: () => this.on.again(),
      ...(this.#stage?.toggle && { " ": () => this.#stage.toggle() }),
    };
    const action =
      arrow && event.shiftKey
        ? () => this.#stage?.pan(...arrow)
        : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #toggleDetails() {
    this.#hasDetails = !this.#hasDetails;
    this.#showDetails();
  }

  #toggleFaces() {
    this.#hasFrames = !this.#hasFrames;
    this.#frameFaces();
  }

  /** Shows the faces of the picture in frames, where that is wanted, or says why there are none. */
  async #frameFaces() {
    const [toggle, stage, signal] = [byId("view-faces"), this.#stage, this.#next()];
    if (!toggle || !stage) return;
    toggle.setAttribute("aria-pressed", String(this.#hasFrames));
    const answered = this.#hasFrames ? await facesIn(this.#id, signal).catch((problem) => ({ problem })) : {};
    if (signal.aborted || this.#stage !== stage) return;
    const { faces = [], problem } = answered;
    const framed = faces.filter((face) => !face.is_hidden);
    const isNone = this.#hasFrames && !framed.length;
    byId("view-no-faces").textContent = problem ? problem.message : isNone ? whyNone(answered) : "";
    stage.frame(framed);
    if (document.activeElement === document.body) byId("view-title").focus(); // a frame had it
  }

  #bar(hit, { place, n }) {
    const title = el(
      "h2",
      { id: "view-title", tabindex: "-1" },
      el("bdi", { text: hit.problem ? "This picture is not here" : shown(hit.name) }),
    );
    const zoom = (words, sign, direction) =>
      iconButton(words, sign, () => this.#stage?.zoom(direction), { id: `view-${sign}` });
    return el(
      "div",
      { class: "view-bar" },
      iconButton("Previous picture", "left", () => this.on.step(-1), {
        id: "view-previous",
        disabled: !(place > 0),
      }),
      iconButton("Next picture", "right", () => this.on.step(1), {
        id: "view-next",
        disabled: place < 0 || place >= n - 1,
      }),
      title,
      !hit.problem &&
        el(
          "div",
          { class: "zooms", role: "group", "aria-label": "Zoom" },
          this.zoomed,
          zoom("Farther away", "minus", -1),
          zoom("Closer", "plus", 1),
        ),
      !hit.problem &&
        iconButton("Details", "info", () => this.#toggleDetails(), { id: "view-details", "aria-pressed": "true" }),
      iconButton("Close", "close", () => this.dialog.close(), { id: "view-close" }),
    );
  }

  #body(hit, context) {
    const figure = el("figure", {});
    const hasMatches = Boolean(hit.local?.inliers.length) && context.state.pictures.length === 1;
    const choices =
      hasMatches &&
      el(
        "div",
        { class: "segments", role: "group", "aria-label": "What is shown" },
        ...[
          ["Matches", true],
          ["Picture", false],
        ].map(([words, isMatches]) =>
          button(words, {
            id: `show-${words}`,
            "aria-pressed": String(isMatches === this.#isMatches),
            onClick: (event) => {
              this.#isMatches = isMatches;
              for (const one of event.currentTarget.parentNode.children)
                one.setAttribute("aria-pressed", String(one === event.currentTarget));
              this.#draw(figure, hit, context, hasMatches);
            },
          }),
        ),
      );
    this.moments = el("div", { class: "of-film" });
    this.#draw(figure, hit, context, hasMatches);
    this.side = el(
      "div",
      { class: "view-side" },
      this.#actions(hit, context),
      scores(hit, context, () => this.on.byPart(hit.id)),
      this.written.of(hit, context.abilities.keepsAnnotations),
      facts(hit),
      hit.folded && foldedPictures(hit, this.on),
      context.abilities.hasLabels && labels(hit),
    );
    return el(
      "div",
      { class: "view-body" },
      el("div", { class: "view-main" }, choices, figure, this.moments, this.strip.element),
      this.side,
    );
  }

  async #draw(figure, hit, context, hasMatches) {
    this.#endStage();
    this.dialog.classList.toggle("matching", hasMatches && this.#isMatches);
    this.dialog.classList.toggle("filmed", Boolean(hit.film));
    this.moments.replaceChildren();
    const example = hasMatches && this.#isMatches && (await subjectOf(context.state.pictures[0]).catch(() => null));
    if (this.#id !== hit.id) return;
    if (hit.film && !example?.width) {
      this.#stage = new FilmStage(figure, hit);
      this.moments.replaceChildren(this.#stage.strip.element);
      return;
    }
    if (!example || !example.width) {
      this.#stage = new Stage(figure, hit, {
        step: (by) => this.on.step(by),
        close: () => this.dialog.close(),
        details: () => this.#bringDetails(),
        byPart: () => this.on.byPart(hit.id),
        person: (group) => this.on.person(group),
        zoomed: (percent) => (this.zoomed.textContent = `${percent} %`),
      });
      if (figure.isConnected) this.#frameFaces();
      return;
    }
    const found = { href: thumbnail(hit.id, 1280), width: hit.width, height: hit.height };
    const isWide = window.innerWidth > 700;
    figure.replaceChildren(drawMatches(example, found, hit.local, isWide));
  }

  #bringDetails() {
    if (!this.#hasDetails) this.#toggleDetails();
    this.side.scrollIntoView({ block: "start" });
  }

  #actions(hit, { state, abilities }) {
    const isMarkable = canMark(state, abilities);
    const judge = (kind, words, sign) =>
      button(words, {
        sign,
        id: `view-${kind}`,
        class: `judge-${kind}`,
        "aria-pressed": "false",
        onClick: () => this.on.mark(hit.id, kind),
      });
    return el(
      "div",
      { class: "actions" },
      button("More like this", {
        sign: "like",
        class: "primary",
        id: "view-like",
        onClick: () => this.on.like(this.#subject),
      }),
      button("A part of it", { sign: "crop", id: "view-part", onClick: () => this.on.part(this.#subject) }),
      abilities.hasVectors &&
        button("Add to search", { sign: "picture", id: "view-add", onClick: () => this.on.add(this.#subject) }),
      abilities.hasWords &&
        button("Classify", { sign: "label", id: "view-classify", onClick: () => this.on.classify(this.#subject) }),
      abilities.hasFaces &&
        button("Faces", { sign: "people", id: "view-faces", "aria-pressed": "false", onClick: () => this.#toggleFaces() }),
      abilities.hasFaces && el("p", { class: "note whole", id: "view-no-faces", role: "status" }),
      isMarkable && judge("relevant", "Relevant", "yes"),
      isMarkable && judge("irrelevant", "Not relevant", "no"),
      button("Search again with the marks", {
        sign: "search",
        id: "view-again",
        class: "primary whole",
        hidden: true,
        onClick: () => this.on.again(),
      }),
      button("Copy path", { sign: "copy", id: "view-copy", onClick: (event) => this.#copy(hit, event.currentTarget) }),
      el(
        "a",
        { class: "button", id: "view-download", href: original(hit.id), download: hit.name },
        icon("download"),
        "Download",
      ),
      el(
        "a",
        { class: "button whole", id: "view-file", href: original(hit.id), target: "_blank", rel: "noopener" },
        icon("picture"),
        "Open the file",
      ),
    );
  }

  async #copy(hit, copying) {
    const sentence = await copied([hit]);
    this.said.textContent = "";
    this.said.textContent = copying.lastChild.textContent = sentence;
  }
}
