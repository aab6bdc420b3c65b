// Draws the days of the spend page. The numbers are in the page, and so is the
// table of them; without this script the table is all there is.
"use strict";

for (const box of document.querySelectorAll("[data-chart]")) {
  const data = JSON.parse(box.dataset.chart);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const money = (v) => v.toLocaleString("en", { minimumFractionDigits: data.decimals, maximumFractionDigits: data.decimals });
  const font = "12px Inter, system-ui, sans-serif";
  const axis = () => ({ stroke: color("--soft"), font, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } });
  const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", timeZone: "UTC" });
  const make = () =>
    new uPlot(
      {
        width: box.clientWidth,
        height: 240,
        padding: [10, 26, 0, 0],
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "UTC"),
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: true, range: (u, min, max) => [min - 43200, max + 43200] }, y: { range: (u, min, max) => [Math.min(0, min), Math.max(max * 1.08, 1)] } },
        axes: [
          { ...axis(), grid: { show: false }, space: 70, values: (u, at) => at.map((t) => day.format(new Date(t * 1e3))) },
          { ...axis(), size: 64, values: (u, at) => at.map((v) => v.toLocaleString("en")) },
        ],
        series: [
          { label: "Day", value: (u, t) => (t == null ? "point at a bar" : day.format(new Date(t * 1e3))) },
          {
            label: "Paid, " + data.currency,
            stroke: color("--sea"),
            fill: color("--sea"),
            width: 1,
            paths: uPlot.paths.bars({ size: [0.72, 38, 2] }),
            points: { show: false },
            value: (u, v) => (v == null ? "…" : money(v)),
          },
        ],
      },
      [data.x, data.y],
      box,
    );
  let chart = make();
  // The theme and the width may change while the page is open.
  const again = () => {
    if (box.clientWidth === chart.width) return;
    chart.setSize({ width: box.clientWidth, height: 240 });
  };
  new ResizeObserver(again).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    chart.destroy();
    chart = make();
  });
}
