//! Wrapper of `kojuto_io::rotate`.

use std::path::PathBuf;

use kojuto_core::logs::log_name::Pattern;

use kojuto_io::rotate::{Keep, OnFull, Options, Rotator, SIGNALS};
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

#[pyfunction]
#[pyo3(signature = (
    directory, on_event, *, pattern="log.%Y%m%d%H%M", mode=0o644, rotation_minutes=60,
    max_size=None, max_age_s=None, max_files=None, max_total=None, compress=None,
    with_time=false, buffer=64_000_000, on_full="block", fsync_s=None, stop_timeout_s=10.0,
    ignore_int=false, signals=true, input_fd=0, output_fd=1
))]
#[allow(clippy::too_many_arguments)]
fn rotate_lines(
    py: Python<'_>,
    directory: Option<PathBuf>,
    on_event: Py<PyAny>,
    pattern: &str,
    mode: u32,
    rotation_minutes: i64,
    max_size: Option<u64>,
    max_age_s: Option<f64>,
    max_files: Option<usize>,
    max_total: Option<u64>,
    compress: Option<String>,
    with_time: bool,
    buffer: usize,
    on_full: &str,
    fsync_s: Option<f64>,
    stop_timeout_s: f64,
    ignore_int: bool,
    signals: bool,
    input_fd: i32,
    output_fd: i32,
) -> PyResult<(i32, u64, u64)> {
    let pattern = Pattern::parse(pattern).map_err(|error| to_py(error.into()))?;
    let options = Options {
        directory: directory.map(|path| (path, pattern)),
        mode,
        rotation_minutes,
        max_size,
        keep: Keep { max_age: max_age_s.map(seconds), max_files, max_total },
        compress,
        with_time,
        buffer,
        on_full: match on_full {
            "drop-oldest" => OnFull::DropOldest,
            "drop-new" => OnFull::DropNew,
            _ => OnFull::Block,
        },
        fsync: fsync_s.map(seconds),
        stop_timeout: seconds(stop_timeout_s),
    };
    let wanted = |signal: i32| signals && !(ignore_int && signal == SIGNALS[1]);
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
