// What is written about the picture that is viewed, and where it stood. Captions and tags of one's own are written here.

import { annotations, changeTags, writeCaption } from "./api.js";
import { button, el, iconButton, shown } from "./dom.js";
import { marked } from "./matched.js";
import { tagField } from "./tags.js";

const LONGEST_CAPTION = 5000;
const BY = { position: "by its position", face: "by the face" };
const OTHERS = { person: "People", place: "Places", creator: "By" };

/** The section of what is written. `on` has known(), a promise of tags, changed() and filter(where). */
export class Annotations {
  #id = null;
  #n = 0; // of the answers that were waited for
  #saving = "";

  constructor(on) {
    this.on = on;
    const save = () => this.#save();
    const keydown = (event) => event.key === "Enter" && !event.isComposing && (event.preventDefault(), save());
    this.caption = el("textarea", {
      id: "view-caption",
      rows: 2,
      maxlength: LONGEST_CAPTION,
      placeholder: "Add a caption",
      "aria-label": "Your caption",
      on: { change: save, keydown },
    });
    this.captions = el("ul", { class: "said", role: "list", "aria-label": "Captions" });
    this.tags = el("ul", { class: "tags", role: "list", "aria-label": "Tags" });
    this.field = tagField("view-tag", on.known);
    const submit = (event) => {
      event.preventDefault();
      this.#tag({ add: [this.field.value.trim()] });
    };
    this.form = el(
      "form",
      { class: "tag-form", on: { submit } },
      this.field,
      el("button", { id: "view-add-tag", text: "Add" }),
    );
    this.others = el("dl", { class: "others" });
    this.problem = el("p", { class: "error", role: "alert" });
    this.element = el(
      "section",
      { class: "written" },
      el("h3", { text: "Caption" }),
      this.caption,
      this.captions,
      el("h3", { text: "Tags" }),
      this.tags,
      this.form,
      this.others,
      this.problem,
    );
  }

  /** Returns the section of a picture, in which what is being typed stays; `isKept` says whether it can be changed. */
  of({ id, texts = [] }, isKept) {
    this.element.hidden = !isKept;
    if (!isKept) return this.element;
    if (id !== this.#id) {
      this.#show([]);
      this.caption.value = this.caption.defaultValue = this.field.value = "";
    }
    [this.#id, this.texts] = [id, texts];
    this.#ask(() => annotations(id));
    return this.element;
  }

  /** Shows what a request answers, unless another picture is looked at by then, or something was changed meanwhile. */
  async #ask(request, isChange = false) {
    const [id, n] = [this.#id, (this.#n += 1)];
    this.problem.textContent = "";
    try {
      const { annotations: found } = await request();
      if (id === this.#id && (isChange || n === this.#n)) this.#show(found);
      if (isChange) this.#n += 1;
      return true;
    } catch (problem) {
      if (id === this.#id && problem.status !== 404) this.problem.textContent = problem.message; // the view says that
      return false;
    }
  }

  async #save() {
    const [id, text] = [this.#id, this.caption.value.trim()];
    if (text === this.caption.defaultValue || this.#saving === `${id} ${text}`) return; // a key and then leaving it
    this.#saving = `${id} ${text}`;
    const isSaved = await this.#ask(() => writeCaption(id, text || null), true);
    this.#saving = "";
    if (!isSaved) return;
    if (id === this.#id && this.caption.value.trim() === text) this.caption.value = this.caption.defaultValue;
    this.on.changed();
  }

  async #tag(change) {
    if (change.add?.[0] === "") return;
    const id = this.#id;
    const request = () => changeTags({ ids: [id], ...change }).then(() => annotations(id));
    if (!(await this.#ask(request, true))) return;
    if (id === this.#id) {
      if (change.add) this.field.value = "";
      this.field.focus();
    }
    this.on.changed();
  }

  #show(found) {
    const of = (...kinds) => found.filter(({ kind }) => kinds.includes(kind));
    const own = of("caption").find(({ source }) => source === "user")?.text ?? "";
    if (this.caption.value.trim() === this.caption.defaultValue) this.caption.value = own;
    this.caption.defaultValue = own;
    const captions = of("title", "caption").filter(({ source }) => source !== "user");
    this.captions.replaceChildren(...captions.map((said) => el("li", {}, this.#text(said), stood(said))));
    const tags = new Map(of("tag").toReversed().map((said) => [said.text, said])); // the user's come first
    this.tags.replaceChildren(...[...tags.values()].toReversed().map((said) => this.#chip(said)));
    this.others.replaceChildren(
      ...Object.entries(OTHERS).flatMap(([kind, title]) => {
        const those = of(kind);
        const rows = those.map((said) => el("dd", {}, this.#text(said), stood(said)));
        return those.length ? [el("dt", { text: title }), ...rows] : [];
      }),
    );
  }

  #chip(said) {
    const name = shown(said.text);
    const filter = button(this.#text(said), {
      class: "quiet",
      title: `All with this tag; ${title(said)}`,
      onClick: () => this.on.filter(said.text),
    });
    const remove = () => this.#tag({ remove: [said.text] });
    const isOwn = said.source === "user";
    const last = isOwn ? iconButton(`Remove the tag ${name}`, "close", remove, { class: "quiet" }) : stood(said);
    return el("li", {}, filter, last);
  }

  /** Returns a text with the words that the search was for. */
  #text({ kind, source, text }) {
    const matched = this.texts.find((one) => one.kind === kind && one.source === source && one.text === text);
    return el("bdi", {}, ...marked(text, matched?.spans ?? []));
  }
}

const title = ({ source }) => (source === "user" ? "yours" : `from ${shown(source)}`);

/** Returns where a text stood, in words; its field is the title. */
function stood(said) {
  const isInside = /^(exif|iptc|xmp|png):/.test(said.source);
  const text = isInside ? "in the file" : (BY[said.source] ?? "beside the file");
  return el("span", { class: "note", title: title(said), text });
}
