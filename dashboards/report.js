"use strict";
(() => {
  const figures = new Map();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // Figures come without colours of text, grid and background; these follow the page.
  function themed(layout) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const result = structuredClone(layout);
    result.paper_bgcolor = "rgba(0,0,0,0)";
    result.plot_bgcolor = "rgba(0,0,0,0)";
    result.font = { ...result.font, color: colour("--text") };
    result.hoverlabel = {
      bgcolor: colour("--card"),
      bordercolor: colour("--line"),
      font: { color: colour("--text"), family: result.font.family, size: 13 },
      align: "left",
    };
    result.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--text") };
    for (const annotation of result.annotations ?? []) {
      // Labels stand on top of the lines, so they need a ground of their own.
      if (annotation.name === "tick") Object.assign(annotation, { bgcolor: colour("--card"), borderpad: 1 });
    }
    for (const key of Object.keys(result)) {
      if (/^[xy]axis\d*$/.test(key)) {
        const axis = result[key];
        axis.gridcolor = colour("--line");
        axis.tickfont = { ...axis.tickfont, color: colour("--muted") };
        axis.title = { ...axis.title, font: { size: 13, color: colour("--muted") } };
      }
    }
    return result;
  }

  function draw(name, figure) {
    const place = document.getElementById(`figure-${name}`);
    const layout = themed(figure.layout);
    delete layout.height;
    layout.autosize = true;
    Plotly.react(place, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["toImage", "resetScale2d"]],
      displayModeBar: name === "parallel" ? false : true,
      toImageButtonOptions: { filename: name, scale: 2 },
    });
    return place;
  }

  for (const element of document.querySelectorAll("script[data-figure]")) {
    const name = element.dataset.figure;
    const figure = JSON.parse(element.textContent);
    figures.set(name, figure);
    draw(name, figure);
  }
  dark.addEventListener("change", () => figures.forEach((figure, name) => draw(name, figure)));

  // The table: sorted by a click on a heading, narrowed by text and by what is kept in the parallel axes.
  const table = document.getElementById("trials");
  const filter = document.getElementById("filter");
  let kept = null; // numbers of trials, or null for all

  function narrow() {
    if (!table) return;
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const isShown =
        (!kept || kept.has(Number(row.dataset.trial))) && row.textContent.toLowerCase().includes(wanted);
      row.hidden = !isShown;
      shown += isShown ? 1 : 0;
    }
    const all = table.tBodies[0].rows.length;
    document.getElementById("shown").textContent = shown === all ? "" : `${shown} of ${all}`;
  }

  function sort(heading) {
    const column = heading.cellIndex;
    const isNumber = heading.classList.contains("number");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const key = (row) => {
      const cell = row.cells[column];
      if (!isNumber) return cell.dataset.sort === "" ? null : cell.textContent;
      return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      // What has no value comes last, whichever way.
      if (a === null || b === null) return (a === null) - (b === null);
      const order = isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return descending ? -order : order;
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  if (table) {
    for (const heading of table.tHead.rows[0].cells) {
      heading.firstElementChild.addEventListener("click", () => sort(heading));
    }
    filter.addEventListener("input", narrow);
  }

  // Parallel axes: a box keeps the trials whose lines pass through it on the axes it covers.
  const parallel = figures.has("parallel") && document.getElementById("figure-parallel");
  if (parallel) {
    const keep = (range) => {
      const { data } = figures.get("parallel");
      if (!range) {
        kept = null;
      } else {
        const [left, right] = [...range.x].sort((a, b) => a - b);
        const [low, high] = [...range.y].sort((a, b) => a - b);
        const covered = new Set();
        kept = new Set();
        const out = new Set();
        for (const trace of data) {
          trace.x.forEach((x, index) => {
            if (x === null || x < left || x > right) return;
            covered.add(x);
            const trial = trace.customdata[index];
            const y = trace.y[index];
            (y >= low && y <= high ? kept : out).add(trial);
          });
        }
        out.forEach((trial) => kept.delete(trial));
        if (!covered.size) kept = null;
      }
      const heights = data.map((trace) =>
        trace.y.map((y, index) => (kept && !kept.has(trace.customdata[index]) ? null : y)),
      );
      Plotly.restyle(parallel, { y: heights, selectedpoints: [null] });
      narrow();
    };
    parallel.on("plotly_selected", (event) => event && event.range && keep(event.range));
    parallel.on("plotly_deselect", () => keep(null));
    parallel.on("plotly_doubleclick", () => keep(null));
  }
})();
