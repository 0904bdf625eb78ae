// One group of faces: its name, its faces, which of them are of somebody else, and whether it is hidden or forgotten.

import * as api from "./api.js";
import { button, byId, counted, el, shown } from "./dom.js";
import { faceImage, nameOf } from "./faces.js";

const LONGEST_NAME = 200;

/**
 * Returns a field for the name of a person. `take(name)`, a promise, saves it, and null takes it away; `show(changed)`
 * follows, unless the field has gone meanwhile or somebody has typed on.
 */
export function nameField(person, id, take, show) {
  const save = async () => {
    const [name, before] = [field.value.trim(), field.defaultValue];
    if (name === before) return;
    field.defaultValue = name; // a key and then leaving the field are one change
    const changed = await take(name || null);
    if (field.defaultValue === name) field.defaultValue = changed ? (changed.name ?? "") : before;
    if (!changed || !field.isConnected || field.value.trim() !== name) return;
    field.value = field.defaultValue;
    show(changed);
  };
  const keydown = (event) => event.key === "Enter" && !event.isComposing && (event.preventDefault(), save());
  const field = el("input", {
    type: "text",
    id,
    value: person.name ?? "",
    list: "known-people",
    maxlength: LONGEST_NAME,
    autocomplete: "off",
    placeholder: "Who is it?",
    "aria-label": `Name of group ${person.group}, ${counted(person.n_faces, "face")}`,
    on: { change: save, keydown },
  });
  return field;
}

/**
 * The faces of one group. `on` has ask(request) and change(request, words), promises of what a request answers, or of
 * null, and name(person, name) and hide(person, isHidden), which are such, too; back(); showAgain(group) and
 * leave(group), which do nothing where that is shown no more; showPictures(person), open(id) and addressOf(id).
 */
export class PersonFaces {
  element = el("div", { class: "person-faces", hidden: true });

  constructor(on) {
    this.on = on;
  }

  /** Shows nobody, and the way back. */
  empty() {
    this.element.replaceChildren(el("div", { class: "people-actions" }, this.#back()));
  }

  /** Shows a group, as it answers, unless its name is being typed: then it is shown when that is saved. */
  show(person) {
    const field = byId("person-name");
    if (field && field === document.activeElement && field.value.trim() !== field.defaultValue) return;
    this.faces = el("ul", { class: "faces", role: "list", "aria-label": `Faces of ${nameOf(person)}` });
    this.more = button("Show more", { class: "quiet", onClick: () => this.#more(person) });
    const held = this.element.contains(document.activeElement) && document.activeElement.id;
    this.element.replaceChildren(this.#actions(person), this.faces, this.more);
    this.#add(person, person.faces);
    if (held) byId(held)?.focus();
  }

  #back = () => button("All people", { sign: "left", id: "person-back", onClick: () => this.on.back() });

  #actions(person) {
    const take = (name) => this.on.name(person, name);
    const name = nameField(person, "person-name", take, () => this.on.showAgain(person.group));
    const pictures = button("Show the pictures", {
      class: "primary",
      id: "person-pictures",
      hidden: !person.name,
      onClick: () => this.on.showPictures(person),
    });
    const hide = button(person.is_hidden ? "List again" : "Hide", {
      id: "person-hide",
      onClick: async () => {
        if (await this.on.hide(person, !person.is_hidden)) this.on.leave(person.group);
      },
    });
    const erase = button(`Erase ${counted(person.n_faces, "face")}${person.name ? " and the name" : ""} for good`, {
      id: "person-erase",
      class: "danger",
      hidden: true,
      onClick: async () => {
        const words = ({ n_faces: n }) => `${counted(n, "face")} erased`;
        if (await this.on.change(() => api.forgetPerson(person.group), words)) this.on.leave(person.group);
      },
    });
    const forget = button("Forget", {
      id: "person-forget",
      onClick: () => {
        [forget.hidden, erase.hidden] = [true, false]; // what cannot be undone takes two steps
        erase.focus();
      },
    });
    return el("div", { class: "people-actions" }, this.#back(), name, pictures, hide, forget, erase);
  }

  async #more(person) {
    const answered = await this.on.ask((signal) => api.person(person.group, this.faces.children.length, signal));
    if (answered) this.#add(person, answered.faces);
  }

  #add(person, faces) {
    this.faces.append(...faces.map((face) => this.#face(person, face)));
    this.more.hidden = this.faces.children.length >= person.n_faces || !faces.length;
  }

  #face(person, face) {
    const { id, name } = face.picture;
    const open = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
      event.preventDefault();
      this.on.open(id);
    };
    const words = ({ group }) => `Taken out of ${nameOf(person)}: it is in group ${group} now`;
    const split = async () => {
      if (await this.on.change(() => api.splitPerson(person.group, [id]), words)) this.on.showAgain(person.group);
    };
    return el(
      "li",
      {},
      el("a", { href: this.on.addressOf(id), "aria-label": shown(name), title: shown(name), on: { click: open } }, faceImage(face)),
      person.n_faces > 1 &&
        button(`Not ${person.name ? shown(person.name) : "this person"}`, {
          class: "quiet",
          "aria-label": `Not ${nameOf(person)}: ${shown(name)}`,
          onClick: split,
        }),
    );
  }
}
