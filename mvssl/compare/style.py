"""The look of a report's page: one style sheet, for light, dark, narrow and printed, and one small script."""

from mvssl.compare.drawing import THEME

_RULES = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif;
}
main { max-width: 980px; margin: 0 auto; padding: 3.2rem 1.5rem 5rem; }
header { border-bottom: 2px solid var(--ink); padding-bottom: 1rem; margin-bottom: 1.8rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.5rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -0.005em; margin: 3.2rem 0 0.9rem; }
p, ul { max-width: 44rem; margin: 0 0 1rem; text-wrap: pretty; }
ul { padding-left: 1.15rem; }
li { margin-bottom: 0.55rem; }
li::marker { color: var(--muted); }
h1, p, li, td, .prose th, figcaption, summary { overflow-wrap: anywhere; }
.subtitle, .small, figcaption { color: var(--muted); font-size: 0.875rem; line-height: 1.5; }
.subtitle { margin: 0; max-width: none; }
.lead { font-size: 1.25rem; line-height: 1.45; margin-bottom: 0.9rem; }
.note { border-left: 3px solid var(--series5); padding: 0.1rem 0 0.1rem 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.4rem 0 0.7rem; font-variant-numeric: tabular-nums; }
.caption { font-weight: 600; margin: 0 0 0.4rem; text-wrap: balance; }
.small + .caption, .scroll + .caption { margin-top: 2.4rem; }
figcaption { max-width: 44rem; text-wrap: pretty; }
th, td {
  padding: 0.5rem 0 0.5rem 1.1rem; text-align: right; vertical-align: top; font-weight: normal;
  white-space: nowrap;
}
th:first-child, td:first-child, .prose th, .prose td { text-align: left; }
th:first-child { padding-left: 0; }
thead th { border-bottom: 1px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody tr.rule > * { border-top: 1px solid var(--muted); }
thead + tbody tr:last-child > * { border-bottom: 1px solid var(--ink); }
th:last-child, td:last-child { padding-right: 1rem; }
thead th { white-space: normal; }
th button {
  font: inherit; color: inherit; background: none; border: 0; padding: 0; margin: 0; text-align: inherit;
  cursor: pointer;
}
th button::after { content: "\\00a0\\2195"; color: var(--muted); font-weight: normal; }
th[aria-sort="ascending"] button::after { content: "\\00a0\\2191"; color: var(--ink); }
th[aria-sort="descending"] button::after { content: "\\00a0\\2193"; color: var(--ink); }
.dense { font-size: 0.85rem; }
.dense th, .dense td { padding-top: 0.3rem; padding-bottom: 0.3rem; }
.dense th:first-child { white-space: normal; }
.prose td { white-space: normal; }
.prose th { white-space: normal; min-width: 9rem; max-width: 24rem; padding-right: 0.5rem; }
td small, th small { display: block; color: var(--muted); font-size: 0.78rem; font-weight: normal; }
.mark { position: absolute; padding-left: 0.15em; color: var(--muted); }
.up { color: var(--up); }
.down { color: var(--down); }
.muted { color: var(--muted); }
.dot { display: inline-block; width: 0.62em; height: 0.62em; border-radius: 50%; margin-right: 0.5em; }
figure { margin: 1.6rem 0 2.4rem; }
figure svg { display: block; width: 100%; min-width: 580px; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { margin-top: 0.6rem; }
figcaption strong { color: var(--ink); }
details { border: solid var(--rule); border-width: 1px 0; margin-bottom: -1px; padding: 0.65rem 0; }
summary { cursor: pointer; font-weight: 600; }
details[open] > summary { margin-bottom: 0.9rem; }
pre {
  background: var(--wash); padding: 0.9rem 1rem; border-radius: 6px; overflow-x: auto; margin: 0.4rem 0 1rem;
  font: 0.82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (max-width: 640px) {
  main { padding: 1.6rem 1rem 3rem; }
  h1 { font-size: 1.55rem; }
  .lead { font-size: 1.1rem; }
  th, td { padding-left: 0.8rem; }
  th[scope="row"], th[scope="col"]:first-child {
    position: sticky; left: 0; background: var(--paper); white-space: normal;
    min-width: 7.4rem; max-width: 8rem;
  }
}
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 1.6rem; }
  .caption { break-after: avoid; }
  figure, tr, li { break-inside: avoid; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 8.5pt; }
  .dense { font-size: 7pt; }
  th, td { padding: 0.25rem 0 0.25rem 0.5rem; }
  figure svg { min-width: 0; max-width: 16cm; max-height: 22cm; }
  th button::after { content: "" !important; }
}
"""

_EXTRA = {"wash": ("#f4f5f7", "#1f2228"), "up": ("#00714f", "#4fd6a8"), "down": ("#b3361b", "#ff8f73")}


def _variables(ground: int) -> str:
    return " ".join(f"--{role}: {colours[ground]};" for role, colours in (THEME | _EXTRA).items())


CSS = (
    f":root {{ {_variables(0)} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} }} }}\n{_RULES.lstrip()}"
)
"""The whole style sheet."""

SORTING = """
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const number = (cell) => {
    const found = cell.textContent.replace("\u2212", "-").match(/^-?\\d+(\\.\\d+)?/);
    return found ? Number(found[0]) : -Infinity;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const names = column === 0;
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : names;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (one, other) => names
        ? one.cells[0].textContent.localeCompare(other.cells[0].textContent)
        : number(one.cells[column]) - number(other.cells[column]) || 0;
      body.append(...[...body.rows].sort((one, other) => (up ? 1 : -1) * order(one, other)));
    });
  });
}
""".lstrip()
"""Makes the heads of sortable tables buttons that sort the rows; without it they stay plain heads."""
