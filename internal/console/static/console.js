// What the pages do beside htmx: close what was opened, and nothing that a page
// without scripts could not do.
"use strict";

// A drop-down closes with Escape, and when something else is pressed.
document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  for (const d of document.querySelectorAll("details.drop[open]")) {
    d.open = false;
    d.querySelector("summary").focus();
  }
});
document.addEventListener("click", (e) => {
  for (const d of document.querySelectorAll("details.drop[open]")) {
    if (!d.contains(e.target)) d.open = false;
  }
});

// A currency field says in what the sums of its form are: act.js reads it from them.
const inCurrency = (field) => {
  const code = field.value.trim().toUpperCase();
  const known = [...(field.list ? field.list.options : [])].find((o) => o.value === code);
  for (const sum of field.form.querySelectorAll('[data-type="money"]')) {
    sum.dataset.currency = code;
    sum.dataset.exponent = known ? known.dataset.exponent : "2";
  }
  for (const name of field.form.querySelectorAll("[data-currency-name]")) name.textContent = code;
};
document.addEventListener("input", (e) => {
  if (e.target.matches("[data-currencies]")) inCurrency(e.target);
});
// A browser keeps what was typed over a reload, and tells nobody.
for (const field of document.querySelectorAll("[data-currencies]")) inCurrency(field);
