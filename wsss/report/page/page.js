// Plots are drawn when they come into view, in the page's text colour; sliders uncover masks.
const settings = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const ink = () => getComputedStyle(document.body).color;
function draw(place) {
  const source = place.querySelector("script[type='application/json']");
  if (!source) return;
  const figure = JSON.parse(source.textContent);
  source.remove();
  figure.layout.font = { ...figure.layout.font, color: ink() };
  Plotly.newPlot(place, figure.data, figure.layout, settings);
}
const places = document.querySelectorAll(".plot");
const seen = (entries) => entries.filter((one) => one.isIntersecting).forEach((one) => draw(one.target));
const watch = new IntersectionObserver(seen, { rootMargin: "600px" });
places.forEach((place) => watch.observe(place));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(plot, { "font.color": ink() });
});
for (const slider of document.querySelectorAll(".photo input[type=range]")) {
  const show = () => slider.closest(".photo").style.setProperty("--shown", slider.value);
  slider.addEventListener("input", show);
  show(); // a browser may remember where it stood
}
window.addEventListener("beforeprint", () => {
  places.forEach(draw);
  document.querySelectorAll("details").forEach((one) => (one.open = true));
});
