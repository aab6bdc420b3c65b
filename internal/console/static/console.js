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
