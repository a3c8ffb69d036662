// Wires each control, then starts the page.
function showTheme() {
  const root = document.documentElement;
  if (state.theme) root.dataset.theme = state.theme;
  else delete root.dataset.theme;
}

function showControls() {
  $("#search").value = state.q;
  $("#baseline").value = state.base ?? "";
  $$("[data-column]").forEach((box) => (box.checked = state.columns.includes(box.dataset.column)));
  $$("[data-family]").forEach((box) => (box.checked = !state.without.includes(box.dataset.family)));
  for (const chart of $$(".chart")) {
    const box = $$(".tabs input", chart).find((input) => input.value === figureOf(chart).key);
    if (box) box.checked = true;
  }
}

function showAll() {
  showTheme();
  showControls();
  sortRows();
  filterRows();
  showColumns();
  showBaseline();
  showChooser();
  showModels();
  showGallery();
  redrawAll();
}

function wireTable() {
  $$("#ranking thead [data-sort] button").forEach((button) => button.addEventListener("click", () => sortBy(button.parentElement.dataset.sort)));
  $("#search").addEventListener("input", (event) => { state.q = event.target.value; filterRows(); keepAddress(); });
  $("#baseline").addEventListener("change", (event) => { state.base = event.target.value === "" ? null : Number(event.target.value); showBaseline(); showModels(); keepAddress(); });
  $$("[data-column]").forEach((box) => box.addEventListener("change", () => { state.columns = $$("[data-column]:checked").map((b) => b.dataset.column); showColumns(); keepAddress(); }));
  $$("[data-family]").forEach((box) => box.addEventListener("change", () => { state.without = $$("[data-family]:not(:checked)").map((b) => b.dataset.family); filterRows(); keepAddress(); }));
  $("#csv").addEventListener("click", saveCsv);
  $("#json").addEventListener("click", saveJson);
  $("#link").addEventListener("click", copyLink);
  $("#reset").addEventListener("click", () => { history.replaceState(null, "", "#"); readAddress(); showAll(); });
}

async function copyLink() {
  keepAddress();
  const said = $("#shown");
  try {
    await navigator.clipboard.writeText(location.href);
    said.textContent = "Link copied.";
  } catch {
    said.textContent = "The link is in the address bar.";
  }
}

function wireCharts() {
  const watcher = new IntersectionObserver((seen) => seen.filter((s) => s.isIntersecting).forEach((s) => { watcher.unobserve(s.target); draw(s.target); }), { rootMargin: "200px" });
  for (const chart of $$(".chart")) {
    $(".plot", chart).classList.add("waiting");
    watcher.observe(chart);
    $$(".tabs input", chart).forEach((input) => input.addEventListener("change", () => { state.tabs[chart.dataset.chart] = input.value; keepAddress(); draw(chart); }));
    $(".twin", chart).addEventListener("toggle", () => $(".twin", chart).open && fillTwin(chart));
    $(".picture", chart).addEventListener("click", async () => { await draw(chart); Plotly.downloadImage($(".plot", chart), { format: "png", scale: 2, filename: "zoometry-" + figureOf(chart).key }); });
  }
}

// Links within the page move to their target and leave the address, which holds the view, as it is.
function wireLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    const target = link && document.getElementById(link.hash.slice(1));
    if (!target) return;
    event.preventDefault();
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
    (target.matches("details") ? $("summary", target) : target).focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && $(".menu[open]");
    if (menu) { menu.open = false; $("summary", menu).focus(); }
  });
  document.addEventListener("click", (event) => { const menu = $(".menu[open]"); if (menu && !menu.contains(event.target)) menu.open = false; });
}

function wireTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  $("#theme").addEventListener("click", () => {
    state.theme = (state.theme || (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    showTheme();
    redrawAll();
    keepAddress();
  });
  dark.addEventListener("change", () => redrawAll());
}

// On paper: light colours, every chart drawn, none wider than the sheet.
function wirePrint() {
  const PAPER = 900;
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    if (window.Plotly) $$(".chart").forEach((chart) => drawNow(chart, PAPER));
  });
  addEventListener("afterprint", () => { showTheme(); redrawAll(); });
}

async function start() {
  document.documentElement.classList.add("has-js");
  data = JSON.parse(await unpack("payload"));
  data.rows.sort((a, b) => a.i - b.i);
  findRows();
  readAddress();
  listPreferences();
  showAll();
  wireTable();
  wireCharts();
  wireChooser();
  wireModels();
  wireGallery();
  wireLinks();
  wireTheme();
  wirePrint();
  addEventListener("hashchange", () => { readAddress(); showAll(); });
  document.documentElement.dataset.ready = "yes";
  requestIdleCallback(loadPlotly, { timeout: 5000 });
}

start();
