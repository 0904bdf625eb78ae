// Pictures of the grid that are dragged into the query.

const KIND = "application/x-mmsearch-pictures";

/** Lets pictures be dragged from a list to a target: `idsOf(id)` returns those that go along, `drop(ids)` takes them. */
export function letDrag(list, target, { idsOf, drop }) {
  let isTouch = false;
  const isOurs = (event) => event.dataTransfer.types.includes(KIND);
  const mark = (isOver) => target.classList.toggle("awaits", isOver);
  list.addEventListener("pointerdown", ({ pointerType }) => (isTouch = pointerType === "touch"), { capture: true });
  list.addEventListener("dragstart", (event) => {
    const id = Number(event.target.closest?.("li[data-id]")?.dataset.id);
    if (!id || isTouch) return event.preventDefault(); // a long press selects
    event.dataTransfer.clearData(); // the link, which would be taken for something from elsewhere
    event.dataTransfer.setData(KIND, JSON.stringify(idsOf(id)));
    event.dataTransfer.effectAllowed = "copy";
    return mark(true);
  });
  list.addEventListener("dragend", () => mark(false));
  target.addEventListener("dragover", (event) => isOurs(event) && event.preventDefault());
  target.addEventListener("drop", (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    event.stopPropagation();
    mark(false);
    drop(JSON.parse(event.dataTransfer.getData(KIND)));
  });
}
