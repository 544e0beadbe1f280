"use strict";
const rows = [...document.querySelectorAll(".papers tbody tr")];
const [search, family, verdict, count] = ["search", "family", "verdict", "count"].map((id) => document.getElementById(id));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits =
      words.every((word) => text.includes(word)) &&
      (!family.value || row.dataset.family === family.value) &&
      (!verdict.value || row.dataset.verdicts.split(" ").includes(verdict.value));
    row.hidden = !fits;
    shown += fits;
  }
  count.textContent = `${shown} paper${shown === 1 ? "" : "s"}`;
}
for (const control of [search, family, verdict]) control.addEventListener("input", filter);
filter();

// While `assay check --live` serves this page, it also serves how far the check is.
const live = document.getElementById("live");
let finished = 0;

function draw(state) {
  live.replaceChildren(
    ...state.papers.map((paper) => {
      const line = document.createElement("p");
      const bar = document.createElement("progress");
      bar.max = paper.total || 1;
      bar.value = paper.done;
      bar.setAttribute("aria-label", `progress of ${paper.slug}`);
      line.append(`${paper.slug}: ${paper.done} of ${paper.total} seeds. ${paper.doing}`, bar);
      return line;
    }),
  );
  live.hidden = false;
  if (state.finished > finished) location.reload();
}

async function follow() {
  try {
    const answer = await fetch("progress.json", { cache: "no-store" });
    if (!answer.ok) return;
    const state = await answer.json();
    if (!live.dataset.seen) finished = state.finished;
    live.dataset.seen = "yes";
    draw(state);
    setTimeout(follow, 500);
  } catch {
    live.hidden = !live.dataset.seen;
  }
}
if (location.protocol === "http:") follow();
