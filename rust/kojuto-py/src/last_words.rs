//! What a command says when the core itself cannot go on: no memory, or a panic.

use kojuto_io::last_words::{self, Speaking};
use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: Speaking = Speaking;

/// Takes the words from the shared command line, if one is running, and keeps panics quiet: they
/// become exceptions, which the command line turns into a line.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if let Ok(cli) = modules.get_item("kojuto.common.cli")
        && let Some(words) = cli.getattr("memory_words")?.extract::<Option<String>>()?
    {
        last_words::set(words);
        if std::env::var_os("KOJUTO_DEBUG").is_none_or(|value| value.is_empty() || value == "0") {
            std::panic::set_hook(Box::new(|_| {}));
        }
    }
    Ok(())
}
