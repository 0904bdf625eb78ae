// Tags that users give: a field that offers those that are known, and the form that gives them to several pictures.

import { changeTags } from "./api.js";
import { button, byId, counted, el, menu } from "./dom.js";

export const LONGEST = 200;

/** Returns a field for a tag, which offers what `known`, a promise of tags, has when somebody goes there. */
export function tagField(id, known) {
  const offer = async () => {
    const tags = await known().catch(() => []); // who knows none can still type
    byId("known-tags").replaceChildren(...tags.map((value) => el("option", { value })));
  };
  return el("input", {
    type: "text",
    id,
    list: "known-tags",
    maxlength: LONGEST,
    autocomplete: "off",
    placeholder: "Add a tag",
    "aria-label": "Tag",
    on: { focus: offer },
  });
}

/** Returns the menu that tags several pictures. `on` has ids(), known(), say(sentence) and changed(). */
export function tagMenu(on) {
  const field = tagField("selection-tag", on.known);
  const change = async (how, past) => {
    const tag = field.value.trim();
    if (!tag) return field.focus();
    try {
      const { [`n_${past}`]: n, missing } = await changeTags({ ids: on.ids(), [how]: [tag] });
      field.value = "";
      const rest = missing.length ? `; ${counted(missing.length, "picture")} left the library` : "";
      on.say(`${how === "add" ? "Added to" : "Removed from"} ${counted(n, "picture")}${rest}`);
      on.changed();
    } catch (problem) {
      on.say(problem.message);
    }
    return field.focus();
  };
  const submit = (event) => {
    event.preventDefault();
    change("add", "added");
  };
  const form = el(
    "form",
    { class: "tag-form", on: { submit } },
    field,
    el("button", { class: "primary", text: "Add" }),
    button("Remove", { id: "selection-untag", onClick: () => change("remove", "removed") }),
  );
  return menu("Tag", "selection-tags", form);
}
