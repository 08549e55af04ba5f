// What the page is given, as figures over time: slices of time, each with its statuses and with
// latencies counted by steps of 25 %.

const STEP = 1.25;
const CLASSES = ['1xx', '2xx', '3xx', '4xx', '499', '5xx'];

/** All slices from the first to the last, empty ones too. */
function slicesOf(packed) {
  if (!packed || !packed.slices.length) return null;
  const { width, slices } = packed;
  const first = slices[0][0];
  const last = slices[slices.length - 1][0];
  const found = [];
  for (let place = first; place <= last; place += 1) {
    found.push({ start: place * width, count: 0, timed: 0, statuses: {}, steps: [] });
  }
  for (const [place, count, statuses, ...steps] of slices) {
    const slice = found[place - first];
    slice.count = count;
    CLASSES.forEach((name, at) => { slice.statuses[name] = statuses[at]; });
    for (let at = 0; at < steps.length; at += 2) {
      slice.steps.push([steps[at], steps[at + 1]]);
      slice.timed += steps[at + 1];
    }
    slice.steps.sort((one, other) => one[0] - other[0]);
  }
  return { width, list: found, start: first * width, end: (last + 1) * width };
}

/** A moment as a slice of its own: what is drawn of the whole span must be as wide as all of it. */
function spanOf(slices, whole) {
  const from = Math.min(slices.start, whole ? whole.start : slices.start);
  const to = Math.max(slices.end, whole ? whole.end : slices.end);
  return [from, to];
}

/**
 * The latencies that a step stands for, from and to, in seconds. Where the log's own resolution is
 * coarser than the step, it is the resolution: 1 ms stands for 1 to 2 ms. Step -1 is below 1 µs.
 */
function edges(step, resolution) {
  if (step < 0) return [0, resolution || 1e-6];
  const low = STEP ** step * 1e-6;
  const high = low * STEP;
  if (!resolution || resolution < low / 50) return [low, high];
  const up = (time) => Math.ceil(time / resolution - 1e-6) * resolution;
  return [up(low), Math.max(up(high), up(low) + resolution)];
}

/**
 * The quantile of counted steps, laid evenly (by ratio) within its step, as the log would write it:
 * with its resolution, and 0 for what is below.
 */
function quantile(steps, count, part, resolution) {
  const wanted = part * count;
  let seen = 0;
  for (const [step, many] of steps) {
    if (seen + many >= wanted) {
      const [low, high] = edges(step, resolution);
      if (low === 0) return 0;
      const found = low * (high / low) ** ((wanted - seen) / many);
      if (!resolution) return found;
      return Math.max(Math.ceil(found / resolution - 1e-6) - 1, Math.round(low / resolution)) * resolution;
    }
    seen += many;
  }
  return null;
}

/** Percentiles of each slice; nothing where a slice has no times. */
function quantiles(slices, part, resolution) {
  return slices.list.map((slice) =>
    (slice.timed ? quantile(slice.steps, slice.timed, part, resolution) : null));
}

/** The part of the lines that the client or the server failed. */
function errorPart(row) {
  return row.count ? ((row['4xx'] || 0) + (row['499'] || 0) + (row['5xx'] || 0)) / row.count : 0;
}

/** The columns that came, as rows. */
function rowsOf(columns) {
  const names = Object.keys(columns);
  return columns.count.map((_, at) => {
    const row = { at };
    for (const name of names) row[name] = columns[name][at];
    row.errors = errorPart(row);
    return row;
  });
}
