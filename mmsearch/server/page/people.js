// The people in the pictures: groups of faces, formed without labels, that are named, made one and hidden here.

import * as api from "./api.js";
import { button, byId, counted, el, iconButton, openDialog } from "./dom.js";
import { faceImage, nameOf } from "./faces.js";
import { nameField, PersonFaces } from "./person.js";

/** The dialog of people. `on` has showPictures(filters), open(id), addressOf(id) and changed(). */
export class People {
  #people = [];
  #chosen = new Set(); // numbers of groups
  #shown; // the number of the group whose faces are shown, or null: the list is
  #next = api.newest();
  #changing = Promise.resolve(true); // what the last change comes to

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
      hide: (...asked) => this.#hideOne(...asked),
      back: () => this.#turnToAll(),
      leave: (group) => group === this.#shown && this.#showAll(),
      showAgain: (group) => group === this.#shown && this.#showOne(group),
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
    this.#shown = undefined; // what it was may have changed
    return group === null ? this.#turnToAll() : this.#turnToOne(group);
  }

  #buildAll() {
    this.list = el("ul", { class: "people", role: "list", "aria-label": "People" });
    this.one = button("They are one person", { id: "people-merge", onClick: () => this.#merge(this.#selected()) });
    this.hide = button("Hide", { id: "people-hide", onClick: () => this.#hide() });
    this.withHidden = el("input", { type: "checkbox", id: "people-hidden", on: { change: () => this.#turnToAll() } });
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

  /** Turns to the faces of a group, or to the list; both are empty until there is an answer. */
  #turnTo(group, title) {
    if (this.#shown === group) return;
    this.#shown = group;
    [this.all.hidden, this.person.element.hidden] = [group !== null, group === null];
    this.list.replaceChildren();
    this.more.hidden = true;
    this.person.empty();
    this.title.textContent = title;
    this.title.focus();
  }

  #turnToAll() {
    this.#say("");
    return this.#showAll();
  }

  async #showAll() {
    this.#turnTo(null, "People");
    this.#chosen.clear();
    this.#showChosen();
    await this.#load(0);
  }

  async #load(offset) {
    const answered = await this.#ask((signal) => api.people(this.withHidden.checked, offset, signal));
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
    this.#turnTo(group, nameOf(this.#people.find((one) => one.group === group) ?? { group }));
    const person = await this.#ask((signal) => api.person(group, 0, signal));
    if (!person) return;
    this.title.textContent = nameOf(person);
    this.person.show(person);
    if (!this.dialog.querySelector(":focus")) this.title.focus();
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
    const show = (changed) => {
      const held = card.contains(document.activeElement) && document.activeElement.id;
      card.replaceWith(this.#card(changed));
      if (held) byId(held).focus();
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
      nameField(person, `person-${group}`, (name) => this.#name(person, name), show),
      el("div", { class: "person-more" }, check, faces, person.is_hidden && el("span", { class: "note", text: "hidden" })),
    );
    check.checked = this.#chosen.has(group);
    return card;
  }

  #offerNames() {
    const names = new Set(this.#people.map(({ name }) => name).filter(Boolean));
    byId("known-people").replaceChildren(...[...names].sort().map((value) => el("option", { value })));
  }

  async #showPictures(person) {
    const isSaved = await this.#changing; // a name that was typed until now
    if (!isSaved || !person.name) return;
    this.dialog.close();
    this.on.showPictures(person.where);
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
    const request = async () => Object.assign(person, await api.namePerson(person.group, name));
    const changed = await this.#change(request, words);
    if (!changed) return null;
    this.#people = this.#people.map((one) => (one.group === person.group ? changed : one));
    this.#offerNames();
    if (this.#shown === person.group) this.title.textContent = nameOf(changed);
    const other = this.#people.find((one) => one.group !== person.group && one.name && one.name === changed.name);
    if (other) {
      const merge = () => {
        this.#say(""); // it is asked once
        this.#merge([other, changed]);
      };
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
    for (const person of selected) if (!(await this.#hideOne(person, isHidden))) break;
    await this.#showAll();
  }

  #hideOne(person, isHidden) {
    const words = () => `${nameOf(person)} is ${isHidden ? "hidden" : "listed again"}`;
    return this.#change(() => api.hidePerson(person.group, isHidden), words);
  }

  // -- asking -------------------------------------------------------------------------------------------

  #say(words, problem = "") {
    [this.said.textContent, this.problem.textContent] = [words, problem];
  }

  /** Returns what is there after all that is being changed, or null: it says why not, or something newer was asked. */
  async #ask(request) {
    const [signal, changing] = [this.#next(), this.#changing];
    await changing;
    if (signal.aborted) return null;
    const answered = await this.#answered(() => request(signal));
    if (signal.aborted) return null;
    return this.#changing === changing ? answered : this.#ask(request); // which may be of before a change
  }

  /** Returns what a change answers and says it in words, or returns null and says why nothing was changed. */
  async #change(request, words) {
    const changing = this.#changing.then(() => this.#answered(request)); // one after another
    this.#changing = changing;
    const changed = await changing;
    if (!changed && this.#changing === changing) this.#changing = Promise.resolve(true); // it is said once
    if (!changed) return null;
    this.#say(words(changed));
    this.on.changed();
    return changed;
  }

  async #answered(request) {
    try {
      return await request();
    } catch (problem) {
      if (problem.name !== "AbortError") this.#say("", problem.message);
      return null;
    }
  }
}
