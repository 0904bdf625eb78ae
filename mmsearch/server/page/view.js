// One picture in full: what is known of it, why it was found, the matched places, and what can be done next.

import { givenLabels, original, picture, thumbnail } from "./api.js";
import { button, byId, bytes, el, iconButton, openDialog, shown } from "./dom.js";
import { drawMatches } from "./matches.js";
import { scores } from "./scores.js";
import { subjectOf } from "./subject.js";

const MOST_ZOOM = 1.6; // of small pictures

/** The dialog of one picture. `on` has close, step(by), like, add, part, mark(id, kind), again, classify. */
export class ResultView {
  #id = null;
  #shown = "";
  #isMatches = true;

  constructor(on) {
    this.on = on;
    this.dialog = byId("view");
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
    const shownNow = JSON.stringify([id, hit, place, n, abilities.hasWords, abilities.hasVectors, state.pictures]);
    if (this.#shown === shownNow && this.dialog.open) return this.#showMark(context);
    this.#shown = shownNow;
    const held = isOther ? null : this.dialog.querySelector(":focus")?.id;
    this.dialog.replaceChildren(
      this.#bar(hit, context),
      hit.problem ? el("p", { class: "state", text: hit.problem.message }) : this.#body(hit, context),
    );
    this.#showMark(context);
    openDialog(this.dialog);
    if (held) byId(held)?.focus();
    else if (isOther) byId("view-title").focus();
  }

  #showMark({ mark, isAgain }) {
    for (const kind of ["relevant", "irrelevant"])
      byId(`view-${kind}`)?.setAttribute("aria-pressed", String(mark === kind));
    if (byId("view-again")) byId("view-again").hidden = !isAgain;
  }

  /** Closes the dialog if it is open. */
  hide() {
    const id = this.#id;
    this.#id = null;
    if (this.dialog.open) this.dialog.close();
    return id;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    const actions = {
      ArrowLeft: () => this.on.step(-1),
      ArrowRight: () => this.on.step(1),
      m: () => this.on.like(this.#id),
      r: () => this.on.mark(this.#id, "relevant"),
      x: () => this.on.mark(this.#id, "irrelevant"),
      s: () => this.on.again(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #bar(hit, { place, n }) {
    const title = el(
      "h2",
      { id: "view-title", tabindex: "-1" },
      el("bdi", { text: hit.problem ? "This picture is not here" : shown(hit.name) }),
    );
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
    this.#draw(figure, hit, context, hasMatches);
    return el(
      "div",
      { class: "view-body" },
      el("div", { class: "view-main" }, choices, figure),
      el(
        "div",
        { class: "view-side" },
        this.#actions(hit, context),
        scores(hit, context),
        facts(hit),
        context.abilities.hasLabels && labels(hit),
      ),
    );
  }

  async #draw(figure, hit, context, hasMatches) {
    const whole = el("img", {
      src: thumbnail(hit.id, 1280),
      alt: shown(hit.name),
      width: hit.width,
      height: hit.height,
    });
    whole.style.width = `${hit.width * MOST_ZOOM}px`;
    whole.addEventListener("error", () =>
      figure.replaceChildren(
        el("p", {
          class: "state",
          text: "The file is gone, or is not what was indexed any more. Index its folder again.",
        }),
      ),
    );
    const example = hasMatches && this.#isMatches && (await subjectOf(context.state.pictures[0]).catch(() => null));
    if (!example || !example.width) return figure.replaceChildren(whole);
    const found = { href: thumbnail(hit.id, 1280), width: hit.width, height: hit.height };
    const isWide = window.innerWidth > 700;
    return figure.replaceChildren(drawMatches(example, found, hit.local, isWide));
  }

  #actions(hit, { abilities }) {
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
        onClick: () => this.on.like(hit.id),
      }),
      button("A part of it", { sign: "crop", id: "view-part", onClick: () => this.on.part(hit) }),
      abilities.hasVectors &&
        button("Add to search", { sign: "picture", id: "view-add", onClick: () => this.on.add(hit.id) }),
      abilities.hasWords &&
        button("Classify", { sign: "label", id: "view-classify", onClick: () => this.on.classify(hit.id) }),
      abilities.hasVectors && judge("relevant", "Relevant", "yes"),
      abilities.hasVectors && judge("irrelevant", "Not relevant", "no"),
      button("Search again with the marks", {
        sign: "search",
        id: "view-again",
        class: "primary whole",
        hidden: true,
        onClick: () => this.on.again(),
      }),
    );
  }
}

/** Returns the labels that the library gave a picture, which come a moment later for a hit. */
function labels(hit) {
  const list = el("ul", { class: "given-labels" });
  const section = el("section", { hidden: true }, el("h3", { text: "Labels" }), list);
  const asked = hit.labels ? Promise.resolve(hit.labels) : givenLabels(hit.id);
  asked
    .then((given) => {
      section.hidden = !given.length;
      list.replaceChildren(
        ...given.map(({ label_set: set, label, probability }) =>
          el(
            "li",
            { title: `given by the label set ${set}` },
            el("bdi", { text: shown(label) }),
            el("span", { class: "count", text: `${Math.round(100 * probability)} %` }),
          ),
        ),
      );
    })
    .catch(() => {}); // it left meanwhile
  return section;
}

function facts(hit) {
  const rows = {
    Size: `${hit.width} × ${hit.height}, ${bytes(hit.size_bytes)}, ${hit.format}`,
    Taken: hit.taken_at ? hit.taken_at.replace("T", " ") : "not known",
    Where: shown(hit.path),
  };
  const link = el("a", { href: original(hit.id), target: "_blank", rel: "noopener", text: "Open the file" });
  return el(
    "section",
    {},
    el("h3", { text: "The picture" }),
    el(
      "dl",
      { class: "facts" },
      ...Object.entries(rows).flatMap(([name, value]) => [
        el("dt", { text: name }),
        el("dd", {}, el("bdi", { text: value })),
      ]),
    ),
    link,
  );
}
