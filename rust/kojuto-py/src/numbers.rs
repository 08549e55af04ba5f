//! Wrapper of the readers of numbers, their summaries and sketches.

mod sketch;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use kojuto_core::Error as CoreError;
use kojuto_core::error::{Malformed, SketchFault};
use kojuto_core::stats::group_name::GroupName;
use kojuto_core::stats::pile::Pile;
use kojuto_core::stats::records::{Format, Groups, Records};
use kojuto_core::stats::samples::{NumberLines, Summary};
use kojuto_core::stats::sketch::Sketch;
use kojuto_core::stats::sketch_file::{self, Part};
use kojuto_core::stats::sketch_pool::SketchPool;
use kojuto_io::sys::blocks::{self, Stop};
use kojuto_io::unpack::{Packer, Told};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{refused, to_py};
use crate::group_name::{GroupOf, group_of};
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("MAX_SKETCH_BYTES", sketch_file::MAX_BYTES)?;
    module.add_function(wrap_pyfunction!(packed_by, module)?)?;
    module.add_class::<sketch::Sketch>()?;
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
type Group = (Option<GroupName>, Pile);

type Row = (Option<GroupOf>, u64, f64, f64, f64, Vec<f64>);

/// Numbers read from descriptors or out of sketches, by group, kept whole or in sketches.
#[pyclass(module = "kojuto._native")]
struct Numbers {
    reader: Reader,
    /// The key that parts the groups of what is read.
    by: Option<Vec<u8>>,
    groups: Groups,
    max_groups: usize,
    /// An empty sketch, when what is read is to be kept in sketches.
    blank: Option<Sketch>,
    /// What is read without groups.
    whole: Option<Sketch>,
    pool: Option<SketchPool>,
    /// What there was once all was read.
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
            Some("combined") => Some(Format::Combined),
            Some(other) => return Err(refused(format!("{other}: not a format"))),
        };
        let reader = match key {
            None => Reader::Lines(NumberLines::default()),
            Some(key) => Reader::Records(Box::new(Records::new(key, by, format).map_err(core)?)),
        };
        let blank = accuracy.map(Sketch::new).transpose().map_err(core)?;
        let by = by.filter(|_| key.is_some()).map(<[u8]>::to_vec);
        Ok(Numbers {
            reader,
            groups: Groups::new(max_groups, blank.clone()),
            max_groups,
            whole: blank.clone().filter(|_| by.is_none()),
            by,
            blank,
            pool: None,
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

    /// The relative accuracy of the sketches, when there are any.
    #[getter]
    fn accuracy(&self) -> Option<f64> {
        let pooled = self.pool.as_ref().and_then(SketchPool::blank);
        pooled.or(self.blank.as_ref()).map(Sketch::accuracy)
    }

    /// The key that parts the groups, when there are groups.
    #[getter]
    fn by<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let by = self.by.as_deref().or_else(|| self.pool.as_ref()?.by());
        by.map(|by| PyBytes::new(py, by))
    }

    /// How many bytes were read.
    #[getter]
    fn bytes(&self) -> u64 {
        self.bytes
    }

    /// (group or None, count, max, mean, min, quantiles) of each group, the largest first.
    fn summaries(&mut self, py: Python<'_>, fractions: Vec<f64>) -> Vec<Row> {
        py.detach(|| {
            let summarise = |(name, pile): &mut Group| {
                pile.summarise(&fractions).map(|found| row(name.as_ref(), found))
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
            if let Some((_, pile)) = self.sort().get(group) {
                pile.each(|number, count| {
                    let at = edges.partition_point(|&edge| edge <= number);
                    if ranges > 0 && at > 0 && (at <= ranges || number == edges[ranges]) {
                        counts[at.min(ranges) - 1] += count;
                    }
                });
            }
            counts
        })
    }

    /// The sketches as the bytes of their file.
    fn sketch<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.file());
        bytes.map(|bytes| PyBytes::new(py, &bytes))
    }

    /// Adds the sketches that stand whole in a piece of a file, or of its `last` piece all; gives how
    /// many bytes they are. The first decides the accuracy unless it was given.
    fn merge(&mut self, py: Python<'_>, data: &[u8], last: bool) -> PyResult<usize> {
        let blank = &self.blank;
        let pool = self.pool.get_or_insert_with(|| SketchPool::new(blank.clone()));
        job::run(py, |_| {
            let mut at = 0;
            loop {
                match Part::read(&data[at..]) {
                    Ok((part, used)) => {
                        pool.take(part)?;
                        at += used;
                    }
                    Err(CoreError::Malformed(Malformed::Sketch(SketchFault::CutShort)))
                        if !last && data.len() - at <= sketch_file::MAX_BYTES =>
                    {
                        return Ok(at);
                    }
                    Err(error) => return Err(error.into()),
                }
                if at == data.len() {
                    return Ok(at);
                }
            }
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
        if let Some(sketch) = &mut self.whole {
            self.groups.all.drain(..).for_each(|number| sketch.add(number));
        }
    }

    fn sort(&mut self) -> &mut [Group] {
        let Numbers { groups, by, whole, pool, max_groups, sorted, .. } = self;
        sorted.get_or_insert_with(|| {
            let mut groups = std::mem::take(groups);
            if let Some(pool) = pool {
                return pool.clone().into_sorted(*max_groups);
            }
            if by.is_none() {
                let numbers = Pile::Numbers(std::mem::take(&mut groups.all));
                let pile = whole.take().map(|sketch| Pile::Sketch(Box::new(sketch)));
                return vec![(None, pile.unwrap_or(numbers))];
            }
            groups.into_sorted().into_iter().map(|(name, pile)| (Some(name), pile)).collect()
        })
    }

    /// The file of the sketches; of groups without a number what says that there are groups.
    fn file(&mut self) -> Option<Vec<u8>> {
        let pooled = self.pool.as_ref();
        let by = self.by.clone().or_else(|| Some(pooled?.by()?.to_vec()));
        let blank = pooled.and_then(SketchPool::blank).or(self.blank.as_ref())?.clone();
        let groups = self.sort();
        let mut bytes = Vec::new();
        for (name, pile) in groups.iter_mut() {
            let group = by.as_deref().zip(name.as_ref());
            bytes.extend(sketch_file::to_bytes(group, pile.sketch(&blank)));
        }
        if bytes.is_empty() {
            bytes = sketch_file::to_bytes(by.as_deref().zip(Some(&GroupName::Other)), &blank);
        }
        Some(bytes)
    }
}

fn row(name: Option<&GroupName>, found: Summary) -> Row {
    let Summary { count, max, mean, min, quantiles } = found;
    (name.map(group_of), count, max, mean, min, quantiles)
}
