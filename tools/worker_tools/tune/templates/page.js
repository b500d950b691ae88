// The plots of `worker tune`, and its buttons. uPlot draws; it is loaded before this script.

(() => {
  const HEIGHT = 230;
  const report = JSON.parse(document.getElementById("data").textContent);
  const recommended = report.choices[0].load;
  const points = report.measurements.filter((point) => point.completed);
  const place = document.getElementById("plots");
  let plots = [];

  const round = (value) =>
    value === null || value === undefined
      ? "—"
      : value.toLocaleString("en", { maximumFractionDigits: value < 1 ? 3 : value < 100 ? 1 : 0 });
  const dollars = (value) => (value === null || value === undefined ? "—" : `$${value.toFixed(3)}`);

  const ms = (name) => [
    { label: "p50", value: (point) => point[name].p50 },
    { label: "p95", value: (point) => point[name].p95 },
  ];
  const atOnce = { label: "requests at once", value: (point) => point.at_once, log: true };
  const whole = { label: "whole answer, p50 ms", value: (point) => point.total_ms.p50 };
  const rate = { label: "tokens/s out", value: (point) => point.output_tokens_per_s };
  const list = [
    { title: "Throughput, tokens/s out", x: atOnce, lines: [rate] },
    { title: "Throughput against the time of a whole answer", x: whole, lines: [rate] },
    { title: "First token, ms", x: atOnce, lines: ms("first_token_ms"), target: report.targets.first_token_ms },
    { title: "Time per token, ms", x: atOnce, lines: ms("token_ms"), target: report.targets.token_ms },
  ];
  if (points.some((point) => point.usd_per_million_output !== null))
    list.push({
      title: "Price of a million tokens",
      x: atOnce,
      lines: [
        { label: "out", value: (point) => point.usd_per_million_output },
        { label: "in and out", value: (point) => point.usd_per_million_tokens },
      ],
      show: dollars,
    });

  function draw(options, color) {
    const card = document.createElement("section");
    const title = document.createElement("h2");
    const canvas = document.createElement("div");
    card.className = "card";
    title.textContent = options.title;
    card.setAttribute("aria-label", options.title);
    card.append(title, canvas);
    place.append(card);

    const show = options.show ?? round;
    const sorted = [...points].sort((a, b) => options.x.value(a) - options.x.value(b));
    const xs = sorted.map(options.x.value);
    const data = [xs, ...options.lines.map((line) => sorted.map(line.value))];
    const series = options.lines.map((line, number) => ({
      label: line.label,
      stroke: color(`--line-${number + 1}`),
      width: 2,
      points: { show: true, size: 7 },
      value: (_plot, value) => show(value),
    }));
    if (options.target) {
      data.push(xs.map(() => options.target));
      series.push({ label: "target", stroke: color("--bad"), width: 1, dash: [6, 4], points: { show: false }, value: (_plot, value) => show(value) });
    }
    const axis = { stroke: color("--muted"), grid: { stroke: color("--border"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const log = options.x.log && xs.length > 1;
    const marks = [...new Set(xs)];
    const chosen = sorted.find((point) => point.name === recommended);
    const plot = new window.uPlot(
      {
        width: Math.max(canvas.clientWidth, 200),
        height: HEIGHT,
        cursor: { drag: { setScale: false } },
        scales: {
          // On a logarithmic axis uPlot rounds to whole powers; a third of one is enough at each end.
          x: log
            ? { time: false, distr: 3, log: 2, range: () => [xs[0] / 1.25, xs[xs.length - 1] * 1.25] }
            : { time: false, range: (_plot, low, high) => (low === high ? [low * 0.9, high * 1.1 || 1] : [low - (high - low) / 20, high + (high - low) / 20]) },
          y: { range: (_plot, _low, high) => [0, high * 1.1 || 1] },
        },
        axes: [
          { ...axis, size: 26, label: options.x.label, labelSize: 16, labelFont: "12px system-ui", space: log ? 34 : 60, ...(log ? { splits: () => marks, filter: (_plot, at) => at, values: (_plot, at) => thin(at) } : { values: (_plot, at) => at.map(round) }) },
          { ...axis, size: 62, space: 30, values: (_plot, at) => at.map(show) },
        ],
        hooks: { drawAxes: [(drawn) => drawLine(drawn, options.x.value(chosen), color("--good"))] },
        series: [{ label: options.x.label, value: (_plot, value) => round(value) }, ...series],
      },
      data,
      canvas,
    );
    return { plot, canvas };
  }

  // The recommended load.
  function drawLine(plot, value, stroke) {
    const { ctx, bbox } = plot;
    const left = plot.valToPos(value, "x", true);
    ctx.save();
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 2 * window.devicePixelRatio;
    ctx.setLineDash([2 * ctx.lineWidth, 2 * ctx.lineWidth]);
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  // Refined measurements are close to each other; their labels must not overlap.
  function thin(at) {
    let last = 0;
    return at.map((value) => {
      if (last && value / last < 1.6) return "";
      last = value;
      return round(value);
    });
  }

  function drawAll() {
    plots.forEach(({ plot }) => plot.destroy());
    place.replaceChildren();
    const style = getComputedStyle(document.documentElement);
    plots = list.map((options) => draw(options, (name) => style.getPropertyValue(name).trim()));
  }

  function resize() {
    for (const { plot, canvas } of plots)
      if (canvas.clientWidth && canvas.clientWidth !== plot.width)
        plot.setSize({ width: canvas.clientWidth, height: HEIGHT });
  }

  drawAll();
  resize();
  new ResizeObserver(resize).observe(place);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  for (const button of document.querySelectorAll("[data-copy]"))
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      window.getSelection().selectAllChildren(source);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected; press Ctrl-C";
      }
    });
})();
