// Numbers, times and names as words, and elements that hold them. Whatever comes from the log is put
// into the page as text: by `textContent` and by attributes that hold text.

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A count with its thousands apart. */
function whole(count) {
  return count == null ? '–' : WHOLE.format(count);
}

/** So many of something. */
function many(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Three digits of a number, whatever its size. */
function three(number) {
  if (number === 0) return '0';
  const size = Math.abs(number);
  return number.toFixed(size < 0.1 ? 3 : size < 10 ? 2 : size < 100 ? 1 : 0);
}

/** A count for a headline: 1.23 M. */
function short(count) {
  if (count == null) return '–';
  if (Math.abs(count) < 10000) return WHOLE.format(count);
  const units = ['', ' k', ' M', ' G', ' T'];
  let unit = 0;
  while (Math.abs(count) >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return three(count) + units[unit];
}

function size(bytes) {
  if (bytes == null) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit ? three(bytes) : WHOLE.format(bytes)} ${units[unit]}`;
}

/** A latency or a sum of them, in the unit that suits it. */
function seconds(time) {
  if (time == null) return '–';
  if (time === 0) return '0';
  if (time < 0.0009995) return `${three(time * 1e6)} µs`;
  if (time < 0.9995) return `${three(time * 1e3)} ms`;
  if (time < 99.95) return `${three(time)} s`;
  return span(time);
}

/** A span of time in its two largest units. */
function span(time) {
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  if (time < 60) return `${three(time)} s`;
  const at = units.findIndex(([length]) => time >= length);
  const [length, name] = units[at];
  const [part, partName] = units[at + 1];
  const parts = Math.round(time / part);
  const much = Math.floor((parts * part) / length);
  const rest = parts - Math.round((much * length) / part);
  return rest ? `${whole(much)} ${name} ${rest} ${partName}` : `${whole(much)} ${name}`;
}

/** A part of a whole in percent. */
function percent(part) {
  if (part == null || Number.isNaN(part)) return '–';
  const hundred = part * 100;
  if (hundred === 0) return '0 %';
  if (hundred < 0.01) return '<0.01 %';
  return `${hundred.toFixed(hundred < 1 ? 2 : hundred < 99.95 ? 1 : 0)} %`;
}

/** The offset of a zone from UTC in seconds, from the end of an RFC 3339 time. */
function offset(text) {
  const found = /([+-])(\d\d):(\d\d)$/.exec(text || '');
  return found ? (found[1] === '-' ? -1 : 1) * (found[2] * 3600 + found[3] * 60) : 0;
}

/** An instant as date and time of the log's zone. */
function instant(epoch, zone, withDay = true) {
  const text = new Date((epoch + zone) * 1000).toISOString();
  return withDay ? `${text.slice(0, 10)} ${text.slice(11, 19)}` : text.slice(11, 19);
}

function zoneName(zone) {
  if (!zone) return 'UTC';
  const two = (number) => String(Math.floor(number)).padStart(2, '0');
  const ahead = Math.abs(zone);
  return `UTC${zone < 0 ? '−' : '+'}${two(ahead / 3600)}:${two((ahead % 3600) / 60)}`;
}

/** An element: its class, what it says or holds, and its attributes. */
function el(name, className, content, attributes) {
  const made = document.createElement(name);
  if (className) made.className = className;
  for (const part of Array.isArray(content) ? content : [content]) {
    if (part != null) made.append(part);
  }
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

/** An element whose width or colour is data. */
function styled(element, styles) {
  for (const [key, value] of Object.entries(styles)) element.style.setProperty(key, value);
  return element;
}

/** The name of an endpoint: its method apart, its path from left to right whatever it holds. */
function endpointName(name) {
  const found = /^([A-Z]{3,10}) (?=[/*])/.exec(name);
  const made = el('span', 'name', null, { dir: 'ltr' });
  if (found) made.append(el('span', 'method', found[1]), '\u00a0');
  // A long path may be broken behind its slashes.
  const parts = (found ? name.slice(found[0].length) : name).split(/(?<=.[/&?])(?=[^/])/s);
  made.append(el('bdi', 'path', parts.flatMap((part) => [part, el('wbr')]), { dir: 'ltr' }));
  return made;
}
