// Charts over time, drawn by uPlot: requests by status, and latencies as a heat map with lines of
// percentiles on it. All charts of the page show the same instant under the pointer.

const charts = new Set();
const LINES = [['p50', 0.5], ['p95', 0.95], ['p99', 0.99]];
const STATUSES = ['5xx', '499', '4xx', '3xx', '2xx', '1xx'];
const colours = new Map();

/** A colour of the style sheet as the canvas wants it, in the theme of now. */
function colour(name) {
  if (!colours.has(name)) {
    const probe = styled(el('i'), { color: `var(--${name})` });
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

/** Draws every chart again, in the theme and the size of now. */
function redrawCharts() {
  colours.clear();
  for (const chart of charts) chart.draw();
}

/** The colour of a part from 0 to 1 on the ramp of the theme. */
function ramp() {
  const stops = [0, 1, 2, 3, 4].map((stop) => colour(`heat-${stop}`).match(/[\d.]+/g).map(Number));
  return (part) => {
    const at = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const mix = (channel) =>
      Math.round(stops[low][channel] + (stops[low + 1][channel] - stops[low][channel]) * (at - low));
    return `rgb(${mix(0)},${mix(1)},${mix(2)})`;
  };
}

/** The lowest and the highest latency of the cells. */
function extent(slices, resolution) {
  let [low, high] = [Infinity, 0];
  for (const slice of slices.list) {
    for (const [step] of slice.steps) {
      const [from, to] = edges(step, resolution);
      if (from > 0) low = Math.min(low, from);
      high = Math.max(high, to);
    }
  }
  const bottom = low === Infinity ? high / 2 : low;
  const zero = slices.list.some((slice) => slice.steps.some(([step]) => step < 0));
  const found = [zero ? bottom / STEP ** 2 : bottom, high];
  // There is a power of ten to be named, and room above and below.
  while (found[1] / found[0] < 20) {
    found[0] /= STEP;
    found[1] *= STEP;
  }
  return found;
}

/** A `paths` function of uPlot: paints a cell for each slice and step, and has no path itself. */
function heatCells(slices, resolution) {
  let most = 0;
  for (const slice of slices.list) for (const [, count] of slice.steps) most = Math.max(most, count);
  return (plot) => {
    const shade = ramp();
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const bottom = bbox.top + bbox.height;
    for (const slice of slices.list) {
      const left = Math.round(plot.valToPos(slice.start, 'x', true));
      const right = Math.round(plot.valToPos(slice.start + slices.width, 'x', true));
      for (const [step, count] of slice.steps) {
        const [from, to] = edges(step, resolution);
        const top = Math.round(plot.valToPos(to, 'y', true));
        const base = from > 0 ? Math.round(plot.valToPos(from, 'y', true)) : bottom;
        ctx.fillStyle = shade(0.12 + 0.88 * (Math.log1p(count) / Math.log1p(most)) ** 1.5);
        ctx.fillRect(left, top, Math.max(right - left, 1), Math.max(base - top, 1));
      }
    }
    ctx.restore();
    return null;
  };
}

const NARROW = 520;
const WHOLE_SECONDS = [1, 2, 5, 10, 15, 30].flatMap((step) => [step, step * 60])
  .concat([1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 4320, 8760].map((step) => step * 3600))
  .sort((one, other) => one - other);
const PAPER_HEIGHT = 185;

function onPaper() {
  return document.documentElement.classList.contains('printing');
}

function axes(zone, width, valueText, valueSize) {
  const common = {
    stroke: () => colour('muted'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: () => colour('grid'), width: 1 },
    ticks: { stroke: () => colour('grid'), width: 1, size: 5 },
  };
  const named = (_, ticks) => ticks.map((value) => (valueText(value) ? value : null));
  return [
    {
      ...common,
      size: 38,
      incrs: WHOLE_SECONDS,
      space: width < NARROW ? 62 : 76,
      grid: { show: false },
      values: [
        [86400 * 28, '{YYYY}-{MM}', null, null, null, null, null, null, 1],
        [86400, '{MMM} {D}', '\n{YYYY}', null, null, null, null, null, 1],
        [60, '{HH}:{mm}', '\n{MMM} {D}, {YYYY}', null, '\n{MMM} {D}', null, null, null, 1],
        [1, '{HH}:{mm}:{ss}', '\n{MMM} {D}, {YYYY}', null, '\n{MMM} {D}', null, null, null, 1],
      ],
    },
    {
      ...common,
      size: valueSize,
      gap: 4,
      values: (_, ticks) => ticks.map(valueText),
      filter: named,
      grid: { ...common.grid, filter: named },
      ticks: { ...common.ticks, show: false },
    },
  ];
}

/**
 * A chart in its frame: a title, a key whose values follow the pointer or the arrow keys, and the
 * plot.
 *
 * Args:
 *   title: what it shows.
 *   slices: over which time.
 *   zone: the log's, in seconds.
 *   make(width): series, data and scales for uPlot.
 *   keys: [name, colour, value(place)] of the key.
 */
class Chart {
  constructor({ title, note, slices, span: [from, to], zone, height, make, keys }) {
    Object.assign(this, { slices, from, to, zone, height, make, keys });
    this.when = el('span', 'when');
    this.values = keys.map(() => el('span', 'value'));
    const key = el('ul', 'key', keys.map(([name, paint], at) => {
      const swatch = styled(el('span', 'swatch'), { background: `var(--${paint})` });
      return el('li', null, [swatch, el('span', null, name), this.values[at]]);
    }));
    this.plotBox = el('div', 'plot', null, {
      tabindex: 0, role: 'img', 'aria-label': `${title}. ${note} Left and right show the values.`,
    });
    this.frame = el('figure', 'chart', [
      el('figcaption', null, [el('h3', null, title), this.when, key]), this.plotBox,
    ]);
    this.plotBox.addEventListener('keydown', (event) => this.step(event));
    this.resized = new ResizeObserver(() => {
      if (Math.floor(this.plotBox.clientWidth) !== this.width) this.draw();
    });
    this.resized.observe(this.plotBox);
    charts.add(this);
    this.show(null);
  }

  /** The instants in the middle of the slices, in the log's zone. */
  middles() {
    return this.slices.list.map((slice) => slice.start + this.slices.width / 2);
  }

  draw() {
    const width = Math.floor(this.plotBox.clientWidth);
    if (width < 50) return;
    this.width = width;
    if (this.plot) this.plot.destroy();
    const { series, data, scales, valueText, valueSize } = this.make(width);
    const options = {
      width,
      height: onPaper() ? PAPER_HEIGHT : this.height,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      tzDate: (epoch) => uPlot.tzDate(new Date((epoch + this.zone) * 1000), 'UTC'),
      cursor: {
        y: false, drag: { x: false, y: false }, points: { show: false }, sync: { key: 'page' },
      },
      scales: { x: { range: [this.from, this.to] }, ...scales },
      axes: axes(this.zone, width, valueText, valueSize),
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => this.show(plot.cursor.left < 0 ? null : plot.cursor.idx)] },
    };
    this.plot = new uPlot(options, [this.middles(), ...data], this.plotBox);
  }

  show(place) {
    const slice = place == null ? null : this.slices.list[place];
    this.place = slice ? place : null;
    this.when.textContent = slice ? instant(slice.start, this.zone) : '';
    this.keys.forEach(([, , value], at) => {
      this.values[at].textContent = slice ? value(place) : '';
    });
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.plot) return;
    event.preventDefault();
    const last = this.slices.list.length - 1;
    const start = by > 0 ? -1 : last + 1;
    const place = Math.min(Math.max((this.place ?? start) + by, 0), last);
    const left = this.plot.valToPos(this.middles()[place], 'x');
    this.plot.setCursor({ left, top: 10 }, true, true);  // and the others'
  }

  close() {
    this.resized.disconnect();
    if (this.plot) this.plot.destroy();
    charts.delete(this);
  }
}

/** How long a slice lasted within the log, but for a small rest, in which one line would be a peak. */
function lasted(slice, width, [from, to]) {
  if (to - from < width) return width;
  const time = Math.min(to, slice.start + width) - Math.max(from, slice.start);
  return Math.min(Math.max(time, width / 4), width);
}

/** Requests per second by status class, the failed ones at the bottom where they can be compared. */
function trafficChart(slices, zone, log, frame) {
  const present = STATUSES.filter((name) =>
    name === '2xx' || slices.list.some((slice) => slice.statuses[name]));
  const rate = (slice, name) => (slice.statuses[name] || 0) / lasted(slice, slices.width, log);
  const stacked = present.map((_, upTo) => slices.list.map((slice) =>
    present.slice(0, upTo + 1).reduce((sum, name) => sum + rate(slice, name), 0)));
  const bars = uPlot.paths.bars({ size: [1, Infinity], gap: slices.list.length > 1 ? 1 : 0 });
  const top = Math.max(...stacked[stacked.length - 1]) || 1;
  return new Chart({
    title: 'Requests per second',
    note: `Bars by status, ${span(slices.width)} each, at most ${three(top)} a second.`,
    slices, zone, ...frame,
    keys: [...present].reverse().map((name) =>
      [name, `status-${name}`, (place) => three(rate(slices.list[place], name))]),
    make: () => ({
      // The highest first: each covers what belongs to those below it.
      series: [...present].reverse().map((name) => ({
        fill: () => colour(`status-${name}`), width: 0, paths: bars, points: { show: false },
      })),
      data: [...stacked].reverse(),
      scales: { y: { range: [0, top * 1.05] } },
      valueText: (value) => (value == null ? '' : rateTick(value)),
      valueSize: 46,
    }),
  });
}

/** A rate on an axis. */
function rateTick(value) {
  if (value >= 10000) return short(value);
  return String(Number(value.toPrecision(3)));
}

/** How latencies are spread over time: darker (in a dark theme: lighter) where more requests are. */
function heatChart(slices, zone, resolution, frame) {
  const [low, high] = extent(slices, resolution);
  const lines = LINES.map(([name, part]) => [name, quantiles(slices, part, resolution)]);
  // A logarithm has no place for 0: it is at the bottom.
  const drawn = lines.map(([, values]) => values.map((time) =>
    (time == null ? null : Math.max(time, low))));
  return new Chart({
    title: 'Latency',
    note: `A heat map from ${seconds(low)} to ${seconds(high)} on a logarithmic scale.`,
    slices, zone, ...frame,
    keys: lines.map(([name, values]) => [name, `line-${name}`, (place) => seconds(values[place])]),
    make: () => ({
      series: [
        { paths: heatCells(slices, resolution), points: { show: false } },
        ...lines.flatMap(([name, values]) => [
          // A seam under each line keeps it apart from the cells.
          { stroke: () => colour('seam'), width: 4, points: { show: false } },
          { stroke: () => colour(`line-${name}`), width: 2, points: alone(values, name) },
        ]),
      ],
      data: [slices.list.map(() => high), ...drawn.flatMap((values) => [values, values])],
      scales: { y: { distr: 3, log: 10, range: [low, high] } },
      valueText: (value) => (value == null ? '' : tick(value, high / low < 200)),
      valueSize: 52,
    }),
  });
}

/** A value without neighbours has no line: it is a point. */
function alone(values, name) {
  const found = values.map((_, at) => at).filter((at) =>
    values[at] != null && values[at - 1] == null && values[at + 1] == null);
  return {
    show: false, filter: () => found, size: 7, width: 1,
    fill: () => colour(`line-${name}`), stroke: () => colour('seam'),
  };
}

/** A latency on an axis: powers of ten are named, and where there are few their 2 and 5. */
function tick(value, few) {
  const digits = value.toExponential(3).split('e')[0];
  if (digits !== '1.000' && !(few && (digits === '2.000' || digits === '5.000'))) return '';
  for (const [unit, name] of [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs']]) {
    if (value >= unit * 0.9995) return `${Number((value / unit).toPrecision(3))} ${name}`;
  }
  return `${Number((value / 1e-6).toPrecision(2))} µs`;
}
