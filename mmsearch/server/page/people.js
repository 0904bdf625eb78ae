// The people in the pictures: groups of faces, formed without labels, that are named, made one and hidden here.

import * as api from "./api.js";
import { button, byId, counted, el, iconButton, openDialog } from "./dom.js";
import { faceImage, nameOf } from "./faces.js";
import { nameField, PersonFaces } from "./person.js";

const PAGE = 60;

/** The dialog of people. `on` has showPictures(filters), open(id), addressOf(id) and changed(). */
export class People {
  #people = [];
  #chosen = new Set(); // numbers of groups
  #next = api.newest();

  constructor(on) {
    this.on = on;
    this.dialog = byId("people");
    this.title = el("h2", { id: "people-title", tabindex: "-1", autofocus: true });
    this.said = el("p", { class: "note", role: "status" });
    this.problem = el("p", { class: "error", role: "alert" });
    this.person = new PersonFaces({
      change: (...asked) => this.#change(...asked),
      ask: (request) => this.#ask(request),
      name: (...asked) => this.#name(...asked),
      showAll: () => this.#showAll(),
      showOne: (group) => this.#showOne(group),
      showPictures: (person) => this.#showPictures(person),
      open: (id) => this.#open(id),
      addressOf: on.addressOf,
    });
    this.all = this.#buildAll();
    this.dialog.append(
      el("div", { class: "people-bar" }, this.title, iconButton("Close", "close", () => this.dialog.close(), { id: "people-close" })),
      this.said,
      this.problem,
      this.all,
      this.person.element,
    );
  }

  /** Shows all people, or the faces of one group, above whatever is open. */
  show(group = null) {
    if (this.dialog.open) this.dialog.close();
    openDialog(this.dialog);
    if (group !== null) return this.#turnToOne(group);
    this.#say("");
    return this.#showAll();
  }

  #buildAll() {
    this.list = el("ul", { class: "people", role: "list", "aria-label": "People" });
    this.one = button("They are one person", { id: "people-merge", onClick: () => this.#merge(this.#selected()) });
    this.hide = button("Hide", { id: "people-hide", onClick: () => this.#hide() });
    this.withHidden = el("input", { type: "checkbox", id: "people-hidden", on: { change: () => this.#showAll() } });
    this.more = button("Show more", { class: "quiet", id: "people-more", onClick: () => this.#load(this.#people.length) });
    return el(
      "div",
      { class: "people-all" },
      el(
        "div",
        { class: "people-actions" },
        this.one,
        this.hide,
        el("label", { class: "small-field" }, this.withHidden, "Hidden ones, too"),
      ),
      this.list,
      this.more,
    );
  }

  // -- what is shown ------------------------------------------------------------------------------------

  #turnTo(element, title) {
    const isOther = element.hidden;
    [this.all.hidden, this.person.element.hidden] = [element !== this.all, element === this.all];
    this.title.textContent = title;
    if (isOther || !this.dialog.querySelector(":focus")) this.title.focus();
  }

  async #showAll() {
    this.#turnTo(this.all, "People");
    this.#chosen.clear();
    await this.#load(0);
  }

  async #load(offset) {
    const answered = await this.#ask((signal) => api.people(this.withHidden.checked, offset, PAGE, signal));
    if (!answered) return;
    const { people, n, message } = answered;
    this.#people = [...this.#people.slice(0, offset), ...people];
    const cards = people.map((person) => this.#card(person));
    if (offset) this.list.append(...cards);
    else this.list.replaceChildren(...cards);
    if (message) this.list.replaceChildren(el("li", { class: "note", text: message }));
    this.more.hidden = this.#people.length >= n;
    this.#showChosen();
    this.#offerNames();
    if (!this.dialog.querySelector(":focus")) this.title.focus(); // what had it has gone, or can no longer be used
  }

  #turnToOne(group) {
    this.#say("");
    return this.#showOne(group);
  }

  async #showOne(group) {
    const person = await this.#ask((signal) => api.person(group, 0, PAGE, signal));
    if (!person) return;
    this.person.show(person);
    this.#turnTo(this.person.element, nameOf(person));
  }

  #card(person) {
    const { group } = person;
    const isNamed = Boolean(person.name);
    const face = el(
      "button",
      {
        type: "button",
        id: `person-${group}-face`,
        class: "person-face",
        "aria-label": isNamed ? `Pictures of ${nameOf(person)}` : `Faces of group ${group}`,
        on: { click: () => (isNamed ? this.#showPictures(person) : this.#turnToOne(group)) },
      },
      faceImage(person.best),
    );
    const check = el("input", {
      type: "checkbox",
      id: `person-${group}-check`,
      "aria-label": `Select ${nameOf(person)}`,
      on: { change: () => this.#choose(group, check.checked) },
    });
    const take = async (name) => {
      const changed = await this.#name(person, name);
      if (!changed) return null;
      const held = card.contains(document.activeElement) && document.activeElement.id;
      card.replaceWith(this.#card(changed));
      if (held) byId(held).focus();
      return changed;
    };
    const faces = button(counted(person.n_faces, "face"), {
      class: "quiet",
      id: `person-${group}-faces`,
      "aria-label": `${counted(person.n_faces, "face")} of ${nameOf(person)}`,
      onClick: () => this.#turnToOne(group),
    });
    const card = el(
      "li",
      { "data-group": group, class: person.is_hidden && "hidden-person" },
      face,
      nameField(person, `person-${group}`, take),
      el("div", { class: "person-more" }, check, faces, person.is_hidden && el("span", { class: "note", text: "hidden" })),
    );
    check.checked = this.#chosen.has(group);
    return card;
  }

  #offerNames() {
    const names = new Set(this.#people.map(({ name }) => name).filter(Boolean));
    byId("known-people").replaceChildren(...[...names].sort().map((value) => el("option", { value })));
  }

  #showPictures({ where }) {
    this.dialog.close();
    this.on.showPictures(where);
  }

  /** Opens a picture above the people, or in the view that they lie above. */
  #open(id) {
    if (byId("view").open) this.dialog.close();
    this.on.open(id);
  }

  // -- what is decided ----------------------------------------------------------------------------------

  #choose(group, isChosen) {
    if (isChosen) this.#chosen.add(group);
    else this.#chosen.delete(group);
    this.#showChosen();
  }

  #selected = () => this.#people.filter(({ group }) => this.#chosen.has(group));

  #showChosen() {
    const selected = this.#selected();
    this.one.disabled = selected.length < 2;
    this.hide.disabled = !selected.length;
    this.hide.lastChild.textContent = selected.length && selected.every((one) => one.is_hidden) ? "List again" : "Hide";
  }

  /** Gives a person a name; where another one has it, they can be made one. */
  async #name(person, name) {
    const words = (changed) => (changed.name ? `Group ${person.group} is ${nameOf(changed)}` : `Group ${person.group} has no name`);
    const changed = await this.#change(() => api.namePerson(person.group, name), words);
    if (!changed) return null;
    this.#people = this.#people.map((one) => (one.group === person.group ? changed : one));
    this.#offerNames();
    if (!this.person.element.hidden) this.title.textContent = nameOf(changed);
    const other = this.#people.find((one) => one.group !== person.group && one.name && one.name === changed.name);
    if (other) {
      const merge = () => this.#merge([other, changed]);
      this.said.append(`, and so is group ${other.group}. `, button("Make them one", { id: "people-same", onClick: merge }));
    }
    return changed;
  }

  /** Puts several people into one: the first that has a name, or the first of all. */
  async #merge(people) {
    const target = people.find(({ name }) => name) ?? people[0];
    const others = people.map(({ group }) => group).filter((group) => group !== target.group);
    const words = (merged) => `${nameOf(merged)} has ${counted(merged.n_faces, "face")} now`;
    if (await this.#change(() => api.mergePeople(target.group, others), words)) await this.#showAll();
  }

  async #hide() {
    const selected = this.#selected();
    const isHidden = !selected.every((one) => one.is_hidden);
    for (const { group, name } of selected) {
      const words = () => `${nameOf({ group, name })} is ${isHidden ? "hidden" : "listed again"}`;
      if (!(await this.#change(() => api.hidePerson(group, isHidden), words))) return;
    }
    await this.#showAll();
  }

  // -- asking -------------------------------------------------------------------------------------------

  #say(words, problem = "") {
    [this.said.textContent, this.problem.textContent] = [words, problem];
  }

  /** Returns what is there, or null and says why not. */
  async #ask(request) {
    try {
      return await request(this.#next());
    } catch (problem) {
      if (problem.name !== "AbortError") this.#say("", problem.message);
      return null;
    }
  }

  /** Returns what a change answers and says it in words, or returns null and says why nothing was changed. */
  async #change(request, words) {
    const changed = await this.#ask(() => request());
    if (!changed) return null;
    this.#say(words(changed));
    this.on.changed();
    return changed;
  }
}
