//! Wrapper of the readers of numbers, their summaries and sketches.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use kojuto_core::Error as CoreError;
use kojuto_core::stats::group_name::GroupName;
use kojuto_core::stats::records::{Format, Groups, Records};
use kojuto_core::stats::samples::{self, NumberLines, Summary};
use kojuto_core::stats::sketch::Sketch;
use kojuto_io::sys::blocks::{self, Stop};
use kojuto_io::unpack::{Packer, Told};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{refused, to_py};
use crate::group_name::{GroupOf, group_of};
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("MAX_SKETCH_BYTES", kojuto_core::stats::sketch_file::MAX_BYTES)?;
    module.add_function(wrap_pyfunction!(packed_by, module)?)?;
    module.add_class::<Numbers>()
}

/// (the program that packed a file that begins so, whether more bytes may tell).
#[pyfunction]
fn packed_by(head: &[u8]) -> (Option<&'static str>, bool) {
    match Packer::tell(head) {
        Told::Packed(packer) => (Some(packer.program()), false),
        Told::Plain => (None, false),
        Told::TooShort => (None, true),
    }
}

enum Reader {
    Lines(NumberLines),
    Records(Box<Records>),
}

/// A group's name and numbers.
type Group = (Option<GroupName>, Vec<f64>);

type Row = (Option<GroupOf>, u64, f64, f64, f64, Vec<f64>);

/// Numbers read from descriptors, by group, kept whole or as a sketch.
#[pyclass(module = "kojuto._native")]
struct Numbers {
    reader: Reader,
    grouped: bool,
    groups: Groups,
    sketch: Option<Sketch>,
    /// What `groups` held once the reading was over.
    sorted: Option<Vec<Group>>,
    block: Vec<u8>,
    bytes: u64,
    strict: bool,
}

#[pymethods]
impl Numbers {
    #[new]
    #[pyo3(signature = (*, key=None, by=None, form=None, max_groups=1000, accuracy=None, strict=false))]
    fn new(
        key: Option<&[u8]>,
        by: Option<&[u8]>,
        form: Option<&str>,
        max_groups: usize,
        accuracy: Option<f64>,
        strict: bool,
    ) -> PyResult<Self> {
        let core = |error: CoreError| to_py(error.into());
        let format = match form {
            None => None,
            Some("ltsv") => Some(Format::Ltsv),
            Some("json") => Some(Format::Json),
            Some(other) => return Err(refused(format!("{other}: not a format"))),
        };
        let reader = match key {
            None => Reader::Lines(NumberLines::default()),
            Some(key) => Reader::Records(Box::new(Records::new(key, by, format).map_err(core)?)),
        };
        Ok(Numbers {
            reader,
            grouped: by.is_some() && key.is_some(),
            groups: Groups::new(max_groups),
            sketch: accuracy.map(Sketch::new).transpose().map_err(core)?,
            sorted: None,
            block: Vec::new(),
            bytes: 0,
            strict,
        })
    }

    /// Reads to the end (True), or for some seconds (False: there may be more).
    #[pyo3(signature = (fd, name, for_s=None))]
    fn read(&mut self, py: Python<'_>, fd: i32, name: &str, for_s: Option<f64>) -> PyResult<bool> {
        let within = for_s.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let mut block = std::mem::take(&mut self.block);
        let stop = job::run(py, |cancel| {
            // SAFETY: the caller holds the descriptor open during the call.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            blocks::read(fd, name, &mut block, within, cancel, |bytes| self.take(bytes))
        });
        self.block = block;
        Ok(stop? != Stop::Time)
    }

    /// Reads what gzip, xz or zstd packed, to its end; `head` is its beginning, `taken` what was
    /// read of it. False when it is none of theirs.
    fn unpack(
        &mut self,
        py: Python<'_>,
        fd: i32,
        name: &str,
        head: &[u8],
        taken: &[u8],
    ) -> PyResult<bool> {
        let packer = match Packer::tell(head) {
            Told::Packed(packer) if packer.is_built_in() => packer,
            _ => return Ok(false),
        };
        let mut block = std::mem::take(&mut self.block);
        let stop = job::run(py, |cancel| {
            // SAFETY: the caller holds the descriptor open during the call.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            packer.read((taken, fd), name, &mut block, cancel, |bytes| self.take(bytes))
        });
        self.block = block;
        stop.map(|_| true)
    }

    /// Takes bytes that were read elsewhere; False when no more are wanted.
    fn feed(&mut self, py: Python<'_>, data: &[u8]) -> bool {
        py.detach(|| self.take(data))
    }

    /// Ends a file: its (lines, bad lines, number of the first bad one, its text).
    fn finish<'py>(&mut self, py: Python<'py>) -> (u64, u64, u64, Bound<'py, PyBytes>) {
        let (lines, bad) = match &mut self.reader {
            Reader::Lines(reader) => {
                let mut reader = std::mem::take(reader);
                reader.finish(&mut self.groups.all);
                (reader.lines(), reader.bad().clone())
            }
            Reader::Records(records) => records.finish(&mut self.groups),
        };
        self.sketch_all();
        (lines, bad.count, bad.first_line, PyBytes::new(py, &bad.first_text))
    }

    /// The relative accuracy of the sketch, when there is one.
    #[getter]
    fn accuracy(&self) -> Option<f64> {
        self.sketch.as_ref().map(Sketch::accuracy)
    }

    /// How many bytes were read.
    #[getter]
    fn bytes(&self) -> u64 {
        self.bytes
    }

    /// (group or None, count, max, mean, min, quantiles) of each group, the largest first.
    fn summaries(&mut self, py: Python<'_>, fractions: Vec<f64>) -> Vec<Row> {
        py.detach(|| {
            if let Some(sketch) = &self.sketch {
                return sketch
                    .summarise(&fractions)
                    .map(|found| row(None, found))
                    .into_iter()
                    .collect();
            }
            let summarise = |(name, numbers): &mut Group| {
                samples::summarise(numbers, &fractions).map(|found| row(name.as_ref(), found))
            };
            self.sort().iter_mut().filter_map(summarise).collect()
        })
    }

    /// How many numbers of a group (counted as `summaries` lists them) lie between each two edges;
    /// the last edge belongs to the last range.
    fn histogram(&mut self, py: Python<'_>, group: usize, edges: Vec<f64>) -> Vec<u64> {
        py.detach(|| {
            let ranges = edges.len().saturating_sub(1);
            let mut counts = vec![0; ranges];
            let mut add = |number: f64, count: u64| {
                let at = edges.partition_point(|&edge| edge <= number);
                if ranges > 0 && at > 0 && (at <= ranges || number == edges[ranges]) {
                    counts[at.min(ranges) - 1] += count;
                }
            };
            match &self.sketch {
                Some(sketch) => sketch.buckets().for_each(|(middle, count)| add(middle, count)),
                None => {
                    if let Some((_, numbers)) = self.sort().get(group) {
                        numbers.iter().for_each(|&number| add(number, 1));
                    }
                }
            }
            counts
        })
    }

    /// The sketch as the bytes of its file.
    fn sketch<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.sketch.as_ref().map(Sketch::to_bytes));
        bytes.map(|bytes| PyBytes::new(py, &bytes))
    }

    /// Adds a sketch's file to this one; the first one decides the accuracy unless it was given.
    fn merge(&mut self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        job::run(py, |_| {
            let other = Sketch::from_bytes(data)?;
            match &mut self.sketch {
                None => self.sketch = Some(other),
                Some(sketch) => sketch.merge(&other)?,
            }
            Ok(())
        })
    }
}

impl Numbers {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.bytes += bytes.len() as u64;
        let bad = match &mut self.reader {
            Reader::Lines(reader) => {
                reader.feed(bytes, &mut self.groups.all);
                reader.bad().count
            }
            Reader::Records(records) => {
                records.feed(bytes, &mut self.groups);
                records.bad().count
            }
        };
        self.sketch_all();
        !(self.strict && bad > 0)
    }

    fn sketch_all(&mut self) {
        if let Some(sketch) = &mut self.sketch {
            self.groups.all.drain(..).for_each(|number| sketch.add(number));
        }
    }

    fn sort(&mut self) -> &mut [Group] {
        let (groups, grouped) = (&mut self.groups, self.grouped);
        self.sorted.get_or_insert_with(|| {
            let mut groups = std::mem::take(groups);
            if !grouped {
                return vec![(None, std::mem::take(&mut groups.all))];
            }
            groups.into_sorted().into_iter().map(|(name, numbers)| (Some(name), numbers)).collect()
        })
    }
}

fn row(name: Option<&GroupName>, found: Summary) -> Row {
    let Summary { count, max, mean, min, quantiles } = found;
    (name.map(group_of), count, max, mean, min, quantiles)
}
