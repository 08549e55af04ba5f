//! Wrapper of `kojuto_io::rotate`.

use std::path::PathBuf;

use kojuto_core::logs::log_name::Pattern;

use kojuto_io::rotate::{Hook, Keep, OnFull, Options, Rotator, SIGNALS};
use kojuto_io::sys::signals::Signals;
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::job::seconds;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(rotate_lines, module)?)?;
    module.add_function(wrap_pyfunction!(check_log_pattern, module)?)
}

/// Raises `ValueError` when the text is no file name pattern.
#[pyfunction]
fn check_log_pattern(text: &str) -> PyResult<()> {
    Pattern::parse(text).map(|_| ()).map_err(|error| to_py(error.into()))
}

/// Where the lines go and what stays: the fields of `kojuto.common.rotate.RotateOptions`.
#[derive(FromPyObject)]
struct RotateOptions {
    #[pyo3(attribute)]
    directory: Option<PathBuf>,
    #[pyo3(attribute)]
    pattern: String,
    #[pyo3(attribute)]
    mode: u32,
    #[pyo3(attribute)]
    link: Option<String>,
    #[pyo3(attribute)]
    utc: bool,
    #[pyo3(attribute)]
    rotation_minutes: i64,
    #[pyo3(attribute)]
    max_file_bytes: Option<u64>,
    #[pyo3(attribute)]
    max_age_s: Option<f64>,
    #[pyo3(attribute)]
    max_files: Option<usize>,
    #[pyo3(attribute)]
    max_total_bytes: Option<u64>,
    #[pyo3(attribute)]
    compress: Option<String>,
    #[pyo3(attribute)]
    on_rotate: Option<String>,
    #[pyo3(attribute)]
    hook_timeout_s: f64,
    #[pyo3(attribute)]
    with_time: bool,
    #[pyo3(attribute)]
    buffer_bytes: usize,
    #[pyo3(attribute)]
    on_full: String,
    #[pyo3(attribute)]
    fsync_s: Option<f64>,
    #[pyo3(attribute)]
    stop_timeout_s: f64,
    #[pyo3(attribute)]
    hand_over: bool,
}

impl RotateOptions {
    fn into_core(self) -> PyResult<Options> {
        let pattern = Pattern::parse(&self.pattern).map_err(|error| to_py(error.into()))?;
        Ok(Options {
            directory: self.directory.map(|path| (path, pattern)),
            mode: self.mode,
            link: self.link,
            utc: self.utc,
            rotation_minutes: self.rotation_minutes,
            max_size: self.max_file_bytes,
            keep: Keep {
                max_age: self.max_age_s.map(seconds),
                max_files: self.max_files,
                max_total: self.max_total_bytes,
            },
            compress: self.compress,
            on_rotate: self
                .on_rotate
                .map(|command| Hook { command, limit: seconds(self.hook_timeout_s) }),
            with_time: self.with_time,
            buffer: self.buffer_bytes,
            on_full: match self.on_full.as_str() {
                "drop-oldest" => OnFull::DropOldest,
                "drop-new" => OnFull::DropNew,
                _ => OnFull::Block,
            },
            fsync: self.fsync_s.map(seconds),
            stop_timeout: seconds(self.stop_timeout_s),
            hand_over: self.hand_over,
        })
    }
}

#[pyfunction]
#[pyo3(signature = (options, on_event, *, signals=true, ignored=vec![], input_fd=0, output_fd=1))]
fn rotate_lines(
    py: Python<'_>,
    options: RotateOptions,
    on_event: Py<PyAny>,
    signals: bool,
    ignored: Vec<i32>,
    input_fd: i32,
    output_fd: i32,
) -> PyResult<(i32, u64, u64)> {
    let options = options.into_core()?;
    let wanted = |signal: i32| signals && !ignored.contains(&signal);
    let caught: Vec<i32> = SIGNALS.into_iter().filter(|&signal| wanted(signal)).collect();
    let signals = Signals::install(&caught).map_err(to_py)?;
    let mut tell = |text: String| {
        Python::attach(|py| {
            if let Err(error) = on_event.call1(py, (text,)) {
                error.write_unraisable(py, None);
            }
        });
    };
    let ended = py.detach(|| {
        let mut rotator = Rotator::new(options, (input_fd, output_fd), &signals, &mut tell)?;
        rotator.run()
    });
    let ended = ended.map_err(to_py)?;
    Ok((ended.signal, ended.dropped, ended.lost))
}
