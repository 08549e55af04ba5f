//! Wrapper of `kojuto_core::stats::sketch`: `kojuto.Sketch`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kojuto_core::Error as CoreError;
use kojuto_core::stats::sketch::Sketch as Core;
use kojuto_core::stats::sketch_file;
use kojuto_core::stats::sketch_pool::SketchPool;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyType};

use crate::arrow;
use crate::errors::{refused, to_py};

/// Numbers of which quantiles are known within an accuracy.
#[pyclass(frozen, module = "kojuto")]
pub(crate) struct Sketch(Mutex<Core>);

fn core(error: CoreError) -> PyErr {
    to_py(error.into())
}

#[pymethods]
impl Sketch {
    #[new]
    #[pyo3(signature = (accuracy = 0.01))]
    fn new(accuracy: f64) -> PyResult<Sketch> {
        Core::new(accuracy).map(Sketch::of).map_err(core)
    }

    /// The relative accuracy.
    #[getter]
    fn accuracy(&self) -> f64 {
        self.lock().accuracy()
    }

    /// How many numbers were added.
    #[getter]
    fn count(&self) -> u64 {
        self.lock().count()
    }

    /// Their sum.
    #[getter]
    fn sum(&self) -> f64 {
        self.lock().sum()
    }

    /// The smallest.
    #[getter]
    fn min(&self) -> Option<f64> {
        self.lock().ends().map(|(min, _)| min)
    }

    /// The largest.
    #[getter]
    fn max(&self) -> Option<f64> {
        self.lock().ends().map(|(_, max)| max)
    }

    /// Adds a number.
    fn add(&self, x: f64) -> PyResult<()> {
        let number = finite(x)?;
        self.lock().add(number);
        Ok(())
    }

    /// Adds numbers, all of them or none.
    fn extend(&self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut part = Part { sketch: self.blank(), odd: None };
        if !arrow::each_number(values, &mut |number| part.add(number))?
            && !each_of_buffer(values, &mut |number| part.add(number))?
        {
            for value in values.try_iter()? {
                part.add(value?.extract()?);
                part.check()?;
            }
        }
        part.check()?;
        py.detach(|| self.lock().merge(&part.sketch)).map_err(core)
    }

    /// The quantile of a fraction.
    fn quantile(&self, q: f64) -> PyResult<Option<f64>> {
        if (0.0..=1.0).contains(&q) {
            Ok(self.lock().quantile(q))
        } else {
            Err(refused(format!("{} is not a quantile (0 to 1)", shown(q))))
        }
    }

    /// Adds all that another has counted.
    fn merge(&self, other: &Sketch) -> PyResult<()> {
        let theirs = other.lock().clone();
        self.lock().merge(&theirs).map_err(core)
    }

    fn __add__(&self, other: &Sketch) -> PyResult<Sketch> {
        let whole = Sketch::of(self.lock().clone());
        whole.merge(other)?;
        Ok(whole)
    }

    fn __eq__(&self, other: &Sketch) -> bool {
        let theirs = other.lock().clone();
        *self.lock() == theirs
    }

    fn __repr__(&self) -> String {
        let sketch = self.lock();
        format!("<kojuto.Sketch of {} numbers, accuracy {}>", sketch.count(), sketch.accuracy())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &sketch_file::to_bytes(None, &self.lock()))
    }

    /// Reads a file, or several behind each other.
    #[classmethod]
    fn from_bytes(_class: &Bound<'_, PyType>, content: &[u8]) -> PyResult<Sketch> {
        let mut pool = SketchPool::new(None);
        let (part, mut at) = sketch_file::Part::read(content).map_err(core)?;
        pool.take(part).map_err(core)?;
        while at < content.len() {
            let (part, used) = sketch_file::Part::read(&content[at..]).map_err(core)?;
            pool.take(part).map_err(core)?;
            at += used;
        }
        let whole = pool.into_whole().map_err(core)?;
        whole.map(Sketch::of).ok_or_else(|| refused("there is no sketch"))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let made = slf.get_type().getattr("from_bytes")?;
        Ok((made, (slf.get().__bytes__(slf.py()),)))
    }
}

impl Sketch {
    fn of(sketch: Core) -> Sketch {
        Sketch(Mutex::new(sketch))
    }

    /// No call that holds it waits for anything.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blank(&self) -> Core {
        let mut blank = self.lock().clone();
        blank.clear();
        blank
    }
}

/// Numbers on their way to a sketch, and the first that cannot be in one.
struct Part {
    sketch: Core,
    odd: Option<f64>,
}

impl Part {
    fn add(&mut self, number: f64) {
        if number.is_finite() {
            self.sketch.add(number);
        } else {
            self.odd = self.odd.or(Some(number));
        }
    }

    fn check(&self) -> PyResult<()> {
        self.odd.map_or(Ok(()), |odd| finite(odd).map(drop))
    }
}

/// A number that a sketch can hold, as a line of percentile can.
fn finite(number: f64) -> PyResult<f64> {
    if number.is_finite() {
        Ok(number)
    } else {
        Err(refused(format!("{} is not a finite number", shown(number))))
    }
}

/// As Python writes it.
fn shown(number: f64) -> String {
    if number.is_nan() { "nan".to_owned() } else { number.to_string() }
}

/// Hands over each number of a buffer of one dimension; false for what is none.
fn each_of_buffer(values: &Bound<'_, PyAny>, each: &mut dyn FnMut(f64)) -> PyResult<bool> {
    let Ok(view) = PyMemoryView::from(values) else { return Ok(false) };
    let format: String = view.getattr("format")?.extract()?;
    let size: usize = view.getattr("itemsize")?.extract()?;
    let dimensions: usize = view.getattr("ndim")?.extract()?;
    let Some(kind) = kind(&format).filter(|_| dimensions == 1) else { return Ok(false) };
    let content = view.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    let bytes = content.as_bytes();
    macro_rules! as_numbers {
        ($number:ty) => {
            for item in bytes.as_chunks::<{ size_of::<$number>() }>().0 {
                each(<$number>::from_ne_bytes(*item) as f64);
            }
        };
    }
    match (kind, size) {
        (Kind::Float, 4) => as_numbers!(f32),
        (Kind::Float, 8) => as_numbers!(f64),
        (Kind::Signed, 1) => as_numbers!(i8),
        (Kind::Signed, 2) => as_numbers!(i16),
        (Kind::Signed, 4) => as_numbers!(i32),
        (Kind::Signed, 8) => as_numbers!(i64),
        (Kind::Unsigned, 1) => as_numbers!(u8),
        (Kind::Unsigned, 2) => as_numbers!(u16),
        (Kind::Unsigned, 4) => as_numbers!(u32),
        (Kind::Unsigned, 8) => as_numbers!(u64),
        _ => return Ok(false),
    }
    Ok(true)
}

/// What the items of a buffer are.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// Of a format as the module struct has it, in this machine's byte order.
fn kind(format: &str) -> Option<Kind> {
    let order = if cfg!(target_endian = "little") { '<' } else { '>' };
    match format.trim_start_matches(['@', '=', order]) {
        "f" | "d" => Some(Kind::Float),
        "b" | "h" | "i" | "l" | "q" | "n" => Some(Kind::Signed),
        "?" | "B" | "H" | "I" | "L" | "Q" | "N" => Some(Kind::Unsigned),
        _ => None,
    }
}
