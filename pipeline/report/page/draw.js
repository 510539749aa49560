"use strict";
// Draws every chart of the page, one after the other; where one can't be drawn, its table opens instead.
(async () => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const options = { actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { theme: "page" } };
  for (const plot of document.querySelectorAll(".plot")) {
    try {
      await vegaEmbed(plot, specs[plot.id], options);
      plot.dataset.drawn = "yes";
    } catch (error) {
      plot.textContent = "This chart can't be drawn here; its figures stand in the table.";
      plot.closest("figure").querySelector("details").open = true;
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = "all";
})();
