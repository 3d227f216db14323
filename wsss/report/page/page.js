// Plots take the page's text colour, in light and in dark; sliders uncover masks; printing opens the tables.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const ink = getComputedStyle(document.body).color;
  for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(plot, {"font.color": ink});
}
paint();
dark.addEventListener("change", paint);
for (const slider of document.querySelectorAll(".photo input[type=range]")) {
  const show = () => slider.closest(".photo").style.setProperty("--shown", slider.value);
  slider.addEventListener("input", show);
  show();
}
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
