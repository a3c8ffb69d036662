// The gallery of studies: each figure is drawn when it comes near the window, in the theme's colours.
function showPlot(place) {
  const figure = data.figures.find((f) => f.key === place.dataset.plot);
  plot(place, figure, figure.traces);
}

async function drawPlot(place) {
  await loadPlotly();
  drawn.add(place);
  showPlot(place);
}

const showPlots = () => drawn.forEach(showPlot);

async function startGallery() {
  document.documentElement.classList.add("has-js");
  data = JSON.parse(await unpack("payload"));
  const watcher = new IntersectionObserver((seen) => seen.filter((s) => s.isIntersecting).forEach((s) => { watcher.unobserve(s.target); drawPlot(s.target); }), { rootMargin: "200px" });
  $$("[data-plot]").forEach((place) => watcher.observe(place));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  $("#theme").addEventListener("click", () => {
    state.theme = (state.theme || (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = state.theme;
    showPlots();
  });
  dark.addEventListener("change", showPlots);
  document.documentElement.dataset.ready = "yes";
}

startGallery();
