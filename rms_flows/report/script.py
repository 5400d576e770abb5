"""What the page of reports runs in the browser: pictures are drawn, rows are chosen."""

from __future__ import annotations

from typing import Final

DRAW: Final = """
const fitted = (spec, width) => spec.vconcat
  ? {...spec, vconcat: spec.vconcat.map(view => ({...view, width: width - 80}))}
  : {...spec, width, autosize: {type: "fit-x", contains: "padding"}};
for (const [name, spec] of Object.entries(specs)) {
  const place = document.getElementById(`chart-${name}`);
  const {view} = await vegaEmbed(place, fitted(spec, place.clientWidth), {actions: false, renderer: "svg"});
  view.addEventListener("click", (_, item) => {
    if (item?.datum) document.dispatchEvent(new CustomEvent("chosen", {detail: item.datum}));
  });
}"""
"""Draws `specs`, each in the element of its name; tells what was clicked on."""

FILTER: Final = """
const form = document.getElementById("filters");
const rows = [...document.querySelectorAll("tbody tr")];
const choices = ["level", "rule", "source"];
const filter = () => {
  const text = form.text.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const wanted = choices.every(name => !form[name].value || row.dataset[name] === form[name].value)
      && row.textContent.toLowerCase().includes(text);
    row.hidden = !wanted;
    shown += wanted;
  }
  form.shown.value = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
};
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
document.addEventListener("chosen", ({detail}) => {
  const known = choices.filter(
    name => [...form[name].options].some(one => one.value && one.value === detail[name]));
  if (!known.length) return;
  for (const name of choices) form[name].value = known.includes(name) ? detail[name] : "";
  filter();
  form.scrollIntoView();
});"""
"""Shows the rows that are chosen in the form, or by a click on a picture."""
